package client

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dapr-entities/entities/sdk"
)

// Binding makes a caller over the output binding of that name, of type bindings.entities. Messages travel as JSON, and
// Dapr reads their numbers as floating point on the way: an input with an integer that this would change is refused with
// InvalidArgument. (Protobuf's JSON has 64-bit integers as strings, so those pass.) It reaches entities and no actions.
func Binding(name string, config Config) sdk.Caller { return binding{config.withDefaults(), name} }

type binding struct {
	Config
	name string
}

func (b binding) Call(ctx context.Context, r sdk.Request) (sdk.Response, error) {
	if err := entity(r); err != nil {
		return sdk.Response{}, err
	}
	input, err := r.JSON()
	if err != nil {
		return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "encode the input: %w", err)
	}
	if n := rounded(input); n != "" {
		return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "Dapr's bindings would round the number %s; use the actor API or a string", n)
	}
	type metadata struct {
		Service        string `json:"service"`
		ID             string `json:"id"`
		Command        string `json:"command"`
		IdempotencyKey string `json:"idempotencyKey"`
	}
	body, err := json.Marshal(struct {
		Operation string          `json:"operation"`
		Data      json.RawMessage `json:"data"`
		Metadata  metadata        `json:"metadata"`
	}{"invoke", input, metadata{r.Service, r.ID, r.Method, r.Key}})
	if err != nil {
		return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "encode the input: %w", err)
	}
	address := b.Endpoint + "/v1.0/bindings/" + url.PathEscape(b.name)
	return b.retry(ctx, func() (sdk.Response, error) {
		response, err := b.post(ctx, address, http.Header{"Content-Type": {"application/json"}}, string(body))
		response.ContentType = "application/json" // Dapr keeps none of a binding's
		return response, err
	})
}

// rounded returns the first integer of the text that is not the same as a float64, or "".
func rounded(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		n, ok := token.(json.Number)
		if !ok || len(n) <= 15 {
			continue
		}
		if i, err := n.Int64(); err == nil && (int64(float64(i)) != i || i == math.MaxInt64) {
			return n.String()
		} else if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil && (uint64(float64(u)) != u || u == math.MaxUint64) {
			return n.String()
		}
	}
}
