package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/dapr-entities/entities/sdk"
)

// Dapr makes a caller over Dapr's actor API, which reaches entities and no actions.
func Dapr(config Config) sdk.Caller { return dapr{config.withDefaults()} }

type dapr struct{ Config }

func (d dapr) Call(ctx context.Context, r sdk.Request) (sdk.Response, error) {
	if err := entity(r); err != nil {
		return sdk.Response{}, err
	}
	actorType, ok := d.ActorTypes[r.Service]
	if !ok {
		actorType = r.Service[strings.LastIndexByte(r.Service, '.')+1:]
	}
	address := fmt.Sprintf("%s/v1.0/actors/%s/%s/method/%s", d.Endpoint,
		url.PathEscape(actorType), url.PathEscape(escapeID(r.ID)), url.PathEscape(r.Method))
	return d.retry(ctx, func() (sdk.Response, error) {
		header := http.Header{"Content-Type": {r.ContentType}, "Idempotency-Key": {r.Key}}
		return d.post(ctx, address, header, string(r.Input))
	})
}

// escapeID percent-encodes what daprd refuses in actor ids, and the percent sign. The host decodes it. A path's own
// escaping comes on top and is gone when daprd looks at the id.
func escapeID(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	var b strings.Builder
	for i := range len(id) {
		switch c := id[i]; {
		case c < 0x20, c == 0x7f, strings.IndexByte(`/\#?%`, c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
