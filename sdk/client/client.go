// Package client sends commands to entities through Dapr's HTTP API or the component's gateway, with net/http and nothing
// else.
//
//	c := client.Dapr(client.Config{})
//	cart, err := sdk.Invoke(ctx, c, cart.GetCart.On("cart-42", struct{}{}))
//
// Dapr is the caller for every application: it uses Dapr's actor API, and Dapr finds the node that has the entity. Binding
// goes through an output binding of type bindings.entities instead. Gateway asks a component itself, which knows actions
// too.
//
// Every command carries an idempotency key, so a command that may or may not have arrived is simply sent again: while the
// answer is Unavailable or Aborted, up to Config.Attempts times and never past the context's deadline.
package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dapr-entities/entities/sdk"
)

// Config of a caller. The zero value works beside a sidecar.
type Config struct {
	// Endpoint of the sidecar's HTTP API. Defaults to $DAPR_HTTP_ENDPOINT, else http://127.0.0.1:$DAPR_HTTP_PORT, else
	// http://127.0.0.1:3500.
	Endpoint string
	// Token for the sidecar's API. Defaults to $DAPR_API_TOKEN.
	Token string
	// ActorTypes gives the actor type of services (by full name) for which it is not the last part of their name.
	ActorTypes map[string]string
	// HTTP defaults to a client of its own without a timeout: the context limits a call.
	HTTP *http.Client
	// Attempts is how often a command is sent at most. Defaults to 5; 1 means no retry.
	Attempts int
	// Backoff is the longest wait before the second attempt; it doubles with each, up to 2 s. Defaults to 50 ms.
	Backoff time.Duration
	// MaxReplyBytes limits a reply. Defaults to 16 MiB.
	MaxReplyBytes int64
}

func (c Config) withDefaults() Config {
	if c.Endpoint == "" {
		c.Endpoint = cmp.Or(os.Getenv("DAPR_HTTP_ENDPOINT"), "http://127.0.0.1:"+cmp.Or(os.Getenv("DAPR_HTTP_PORT"), "3500"))
	}
	if !strings.Contains(c.Endpoint, "://") {
		c.Endpoint = "http://" + c.Endpoint
	}
	c.Endpoint = strings.TrimRight(c.Endpoint, "/")
	c.Token = cmp.Or(c.Token, os.Getenv("DAPR_API_TOKEN"))
	if c.HTTP == nil {
		c.HTTP = &http.Client{Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}}
	}
	c.Attempts = cmp.Or(c.Attempts, 5)
	c.Backoff = cmp.Or(c.Backoff, 50*time.Millisecond)
	c.MaxReplyBytes = cmp.Or(c.MaxReplyBytes, 16<<20)
	return c
}

// maxBackoff is where the doubling of Config.Backoff ends.
const maxBackoff = 2 * time.Second

// retry calls once until the answer is final. What the context's end leaves unknown keeps the last answer's text.
func (c Config) retry(ctx context.Context, once func() (sdk.Response, error)) (sdk.Response, error) {
	for attempt, limit := 1, c.Backoff; ; attempt, limit = attempt+1, min(2*limit, maxBackoff) {
		response, err := once()
		code := sdk.CodeOf(err)
		if attempt >= c.Attempts || code != sdk.CodeUnavailable && code != sdk.CodeAborted {
			return response, err
		}
		wait := time.NewTimer(rand.N(limit) + limit/8)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return response, err
		}
	}
}

// post sends a request to the sidecar and returns the body of a 2xx answer; any other becomes an *sdk.Error.
func (c Config) post(ctx context.Context, url string, header http.Header, body string) (sdk.Response, error) {
	if c.Token != "" {
		header.Set("Dapr-Api-Token", c.Token)
	}
	r, err := request(ctx, url, header, body)
	if err != nil {
		return sdk.Response{}, sdk.Errorf(sdk.CodeInvalidArgument, "call the sidecar: %w", err)
	}
	return c.do(r, "the sidecar", func(status int, _ http.Header, body []byte) *sdk.Error { return failure(status, body) })
}

func request(ctx context.Context, url string, header http.Header, body string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err == nil {
		r.Header = header
	}
	return r, err
}

// do sends a request to a peer, and makes an error of an answer that is not a 2xx by failed.
func (c Config) do(r *http.Request, peer string, failed func(status int, h http.Header, body []byte) *sdk.Error) (sdk.Response, error) {
	response, err := c.HTTP.Do(r)
	if err != nil {
		return sdk.Response{}, transport(r.Context(), peer, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, c.MaxReplyBytes+1))
	switch {
	case err != nil:
		return sdk.Response{}, transport(r.Context(), peer, err)
	case int64(len(data)) > c.MaxReplyBytes:
		return sdk.Response{}, sdk.Errorf(sdk.CodeResourceExhausted, "the reply is larger than %d bytes", c.MaxReplyBytes)
	case response.StatusCode/100 != 2:
		return sdk.Response{}, failed(response.StatusCode, response.Header, data)
	}
	return sdk.Response{Output: data, ContentType: contentType(response.Header.Get("Content-Type"))}, nil
}

// transport gives a code to an error of net/http. Its text names the peer and never the token or the payload.
func transport(ctx context.Context, peer string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return sdk.Errorf(sdk.CodeDeadlineExceeded, "call %s: %w", peer, err)
	case errors.Is(ctx.Err(), context.Canceled):
		return sdk.Errorf(sdk.CodeCanceled, "call %s: %w", peer, err)
	default:
		return sdk.Errorf(sdk.CodeUnavailable, "call %s: %w", peer, err)
	}
}

// contentType: whatever does not say protobuf is JSON, as in the component.
func contentType(header string) string {
	mediaType, _, _ := strings.Cut(header, ";")
	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case "application/protobuf", "application/x-protobuf", "application/octet-stream":
		return "application/protobuf"
	default:
		return "application/json"
	}
}

// entity refuses calls that have no entity, for callers that can carry no other.
func entity(r sdk.Request) error {
	if r.ID == "" {
		return sdk.Errorf(sdk.CodeInvalidArgument, "call %s/%s: the entity id is empty; actions, which have none, are called through Gateway", r.Service, r.Method)
	}
	return nil
}
