package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dapr-entities/entities/sdk"
)

// Gateway makes a caller over the gateway of a component, at host:port or a URL, which reaches entities and actions. Of
// the config, Endpoint, Token and ActorTypes are without meaning here. A call of an action is sent once, whatever
// Attempts says: nothing but the action itself would keep it from taking effect twice.
func Gateway(address string, config Config) sdk.Caller {
	config.Endpoint = address
	return gateway{config.withDefaults()}
}

type gateway struct{ Config }

func (g gateway) Call(ctx context.Context, r sdk.Request) (sdk.Response, error) {
	path, config := pathElement(r.Service), g.Config
	if r.ID != "" {
		path += "/" + pathElement(r.ID)
	} else {
		config.Attempts = 1
	}
	address := fmt.Sprintf("%s/entities/%s/%s", g.Endpoint, path, pathElement(r.Method))
	return config.retry(ctx, func() (sdk.Response, error) {
		header := http.Header{"Content-Type": {r.ContentType}, "Accept": {r.ContentType}, "Idempotency-Key": {r.Key}}
		sent, err := request(ctx, address, header, string(r.Input))
		if err != nil {
			return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "call the gateway: %w", err)
		}
		if r.ID == "" {
			once(sent)
		}
		return config.do(sent, "the gateway", func(status int, h http.Header, body []byte) *sdk.Error {
			return problem(r, status, h, body)
		})
	})
}

// once keeps net/http from sending a request again, as it does with those that have a key, on a connection that broke. It
// cannot if it knows no way to begin the body anew, and takes an empty one for known.
func once(r *http.Request) {
	r.GetBody = nil
	if r.Body == http.NoBody {
		r.Body = io.NopCloser(strings.NewReader(""))
	}
}

// pathElement escapes one element of a path, those too that a path would lose.
func pathElement(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// problem makes an error of an answer that is not a 2xx: RFC 9457's with a code, or, of a failure without one, its text.
func problem(r sdk.Request, status int, h http.Header, body []byte) *sdk.Error {
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	var e *sdk.Error
	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case "application/problem+json":
		var p struct{ Detail, Code string }
		if json.Unmarshal(body, &p) != nil {
			break
		}
		if code, ok := sdk.ParseCode(p.Code); ok {
			e = &sdk.Error{Code: code, Message: p.Detail}
		}
	case "text/plain":
		if status == http.StatusInternalServerError {
			e = &sdk.Error{Code: sdk.CodeUnknown, Message: string(body)}
		}
	}
	if e == nil {
		text := strings.TrimSpace(string(body))
		if len(text) > maxText {
			text = strings.ToValidUTF8(text[:maxText], "") + "…"
		}
		return sdk.Errorf(codeOf(status), "the gateway answers %d %s: %s", status, http.StatusText(status), text)
	}
	// Only what an entity decided has a sequence.
	if n, err := strconv.ParseInt(h.Get("Entities-Sequence"), 10, 64); err == nil && n >= 0 && r.ID != "" {
		e.Entity, e.Sequence = r.Service+"/"+r.ID, n
	}
	return e
}
