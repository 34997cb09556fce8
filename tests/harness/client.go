package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Client speaks Dapr's HTTP API. It is safe for concurrent use.
type Client struct {
	// Base is the URL of the sidecar, without a slash at the end.
	Base string
	// HTTP defaults to a client that waits for 30 s.
	HTTP *http.Client
}

// Response is what came back, whatever its status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// OK tells whether the status is a 2xx.
func (r Response) OK() bool { return r.Status/100 == 2 }

// Close gives up idle connections. Nobody need call it in a program that ends anyway.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// NewClient returns a client with connections enough for a benchmark's callers.
func NewClient(base string) *Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second}

	return &Client{Base: base, HTTP: &http.Client{Timeout: 30 * time.Second, Transport: transport}}
}

// Do sends one request. It returns an error only if there was no response.
func (c *Client) Do(ctx context.Context, method, path string, header map[string]string, body []byte) (Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}

	for key, value := range header {
		request.Header.Set(key, value)
	}

	response, err := c.HTTP.Do(request)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()

	data, err := io.ReadAll(response.Body)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: read the response: %w", method, path, err)
	}

	return Response{Status: response.StatusCode, Header: response.Header, Body: data}, nil
}

// ActorPath is the path of a method of an actor.
func ActorPath(actorType, id, method string) string {
	return "/v1.0/actors/" + url.PathEscape(actorType) + "/" + url.PathEscape(id) + "/method/" + url.PathEscape(method)
}

// Actor invokes a method of an actor.
func (c *Client) Actor(
	ctx context.Context, actorType, id, method string, header map[string]string, body []byte,
) (Response, error) {
	return c.Do(ctx, http.MethodPut, ActorPath(actorType, id, method), header, body)
}

// BindingRequest is the body of a call of an output binding.
type BindingRequest struct {
	Operation string            `json:"operation"`
	Data      json.RawMessage   `json:"data,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// Binding calls an output binding.
func (c *Client) Binding(ctx context.Context, name string, request BindingRequest) (Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return Response{}, fmt.Errorf("call binding %s: %w", name, err)
	}

	return c.Do(ctx, http.MethodPost, "/v1.0/bindings/"+url.PathEscape(name), jsonContent, body)
}

// GetState reads a key of a state store.
func (c *Client) GetState(ctx context.Context, store, key string) (Response, error) {
	return c.Do(ctx, http.MethodGet, "/v1.0/state/"+url.PathEscape(store)+"/"+url.PathEscape(key), nil, nil)
}

// StateItem is one key to be saved.
type StateItem struct {
	Key      string            `json:"key"`
	Value    any               `json:"value"`
	ETag     string            `json:"etag,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
}

// SaveState writes keys of a state store.
func (c *Client) SaveState(ctx context.Context, store string, items ...StateItem) (Response, error) {
	body, err := json.Marshal(items)
	if err != nil {
		return Response{}, fmt.Errorf("save state in %s: %w", store, err)
	}

	return c.Do(ctx, http.MethodPost, "/v1.0/state/"+url.PathEscape(store), jsonContent, body)
}

// StateOperation is one step of a state transaction.
type StateOperation struct {
	Operation string    `json:"operation"` // upsert or delete
	Request   StateItem `json:"request"`
}

// TransactState writes keys of a state store, all or none.
func (c *Client) TransactState(ctx context.Context, store string, operations ...StateOperation) (Response, error) {
	body, err := json.Marshal(map[string]any{"operations": operations})
	if err != nil {
		return Response{}, fmt.Errorf("transact state in %s: %w", store, err)
	}

	return c.Do(ctx, http.MethodPost, "/v1.0/state/"+url.PathEscape(store)+"/transaction", jsonContent, body)
}

// DeleteState deletes a key of a state store.
func (c *Client) DeleteState(ctx context.Context, store, key string) (Response, error) {
	return c.Do(ctx, http.MethodDelete, "/v1.0/state/"+url.PathEscape(store)+"/"+url.PathEscape(key), nil, nil)
}

// Metadata is what daprd says of itself, as much of it as tests look at.
type Metadata struct {
	ID             string `json:"id"`
	RuntimeVersion string `json:"runtimeVersion"`
	Components     []struct {
		Name         string   `json:"name"`
		Type         string   `json:"type"`
		Capabilities []string `json:"capabilities"`
	} `json:"components"`
	ActorRuntime struct {
		RuntimeStatus string `json:"runtimeStatus"`
		HostReady     bool   `json:"hostReady"`
		Placement     string `json:"placement"`
		ActiveActors  []struct {
			Type  string `json:"type"`
			Count int    `json:"count"`
		} `json:"activeActors"`
	} `json:"actorRuntime"`
}

// Metadata asks daprd what it has loaded and what it hosts.
func (c *Client) Metadata(ctx context.Context) (Metadata, error) {
	response, err := c.Do(ctx, http.MethodGet, "/v1.0/metadata", nil, nil)
	if err != nil {
		return Metadata{}, err
	}

	if !response.OK() {
		return Metadata{}, fmt.Errorf("ask daprd for its metadata: %d %s", response.Status, response.Body)
	}

	var metadata Metadata
	if err := json.Unmarshal(response.Body, &metadata); err != nil {
		return Metadata{}, fmt.Errorf("read daprd's metadata: %w", err)
	}

	return metadata, nil
}

var jsonContent = map[string]string{"Content-Type": "application/json"}
