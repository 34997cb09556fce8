package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/dapr-entities/entities/sdk"
)

// Binding makes a caller over the output binding of that name, of type bindings.entities. Messages travel as JSON.
func Binding(name string, config Config) sdk.Caller { return binding{config.withDefaults(), name} }

type binding struct {
	Config
	name string
}

func (b binding) Call(ctx context.Context, r sdk.Request) (sdk.Response, error) {
	input, err := r.JSON()
	if err != nil {
		return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "encode the input: %w", err)
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
