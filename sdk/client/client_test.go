package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/client"
)

type item struct {
	Product string `json:"product"`
}

const (
	addItem sdk.Method[item, item]                                      = "shop.v1.Cart/AddItem"
	length  sdk.Method[*wrapperspb.StringValue, *wrapperspb.Int64Value] = "shop.v1.Cart/Length"
	nothing sdk.Method[*emptypb.Empty, struct{}]                        = "shop.v1.Cart/Nothing"
	broken  sdk.Method[map[string]chan int, item]                       = "shop.v1.Cart/Broken"
	foreign sdk.Method[item, item]                                      = "Cart"
)

// sidecar answers as the function says and remembers what it was sent.
type sidecar struct {
	*httptest.Server
	requests chan request
}

type request struct {
	path   string
	header http.Header
	body   string
}

func serve(t *testing.T, answer func(n int, w http.ResponseWriter)) *sidecar {
	t.Helper()
	s := &sidecar{requests: make(chan request, 100)}
	n := 0
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.requests <- request{r.URL.Path, r.Header, string(b)}
		n++
		answer(n, w)
	}))
	t.Cleanup(s.Close)
	return s
}

func reply(contentType, body string) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body)
	}
}

func (s *sidecar) config() client.Config {
	return client.Config{Endpoint: s.URL, Token: "token", Backoff: time.Millisecond}
}

func TestDaprJSON(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("application/json", `{"product":"tea"}`))
	got, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), addItem.On("cart 1", item{"tea"}), sdk.WithKey("k-1"))
	if err != nil || got.Product != "tea" {
		t.Fatal(got, err)
	}
	r := <-s.requests
	if r.path != "/v1.0/actors/Cart/cart 1/method/AddItem" || r.body != `{"product":"tea"}` {
		t.Errorf("sent %s %s", r.path, r.body)
	}
	for key, want := range map[string]string{"Content-Type": "application/json", "Idempotency-Key": "k-1", "Dapr-Api-Token": "token"} {
		if r.header.Get(key) != want {
			t.Errorf("header %s = %q, want %q", key, r.header.Get(key), want)
		}
	}
}

func TestDaprProtobuf(t *testing.T) {
	t.Parallel()
	for _, answer := range []struct{ contentType, body string }{{"application/protobuf", "\x08\x05"}, {"application/x-protobuf", "\x08\x05"}, {"application/json", `"5"`}} {
		s := serve(t, reply(answer.contentType, answer.body))
		config := s.config()
		config.ActorTypes = map[string]string{"shop.v1.Cart": "Basket"}
		got, err := sdk.Invoke(t.Context(), client.Dapr(config), length.On("c", wrapperspb.String("three")))
		if err != nil || got.GetValue() != 5 {
			t.Fatal(got, err)
		}
		r := <-s.requests
		if r.path != "/v1.0/actors/Basket/c/method/Length" || r.body != "\n\x05three" || r.header.Get("Content-Type") != "application/protobuf" {
			t.Errorf("sent %s %q %s", r.path, r.body, r.header.Get("Content-Type"))
		}
		if len(r.header.Get("Idempotency-Key")) < 16 {
			t.Errorf("key %q, want a random one", r.header.Get("Idempotency-Key"))
		}
	}
}

func TestDaprIDs(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("", ""))
	for id, seen := range map[string]string{
		"a/b": "a%2Fb", `a\b`: "a%5Cb", "a#b?c": "a%23b%3Fc", "50%": "50%25", "..": "%2E%2E", ".": "%2E", "a..b": "a..b",
		"a||b": "a||b", "ä 🛒": "ä 🛒", "a\tb": "a%09b", "a+b&c;d:e@f=g": "a+b&c;d:e@f=g",
	} {
		if _, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), nothing.On(id, nil)); err != nil {
			t.Error(err)
		}
		if got := (<-s.requests).path; got != "/v1.0/actors/Cart/"+seen+"/method/Nothing" {
			t.Errorf("id %q: daprd sees %s, want %s", id, got, seen)
		}
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("text/plain", `"7"`))
	got, err := sdk.Invoke(t.Context(), client.Binding("entities", s.config()), length.On("a/b", wrapperspb.String("x")), sdk.WithKey("k"))
	if err != nil || got.GetValue() != 7 {
		t.Fatal(got, err)
	}
	r := <-s.requests
	want := `{"operation":"invoke","data":"x","metadata":{"service":"shop.v1.Cart","id":"a/b","command":"Length","idempotencyKey":"k"}}`
	if r.path != "/v1.0/bindings/entities" || r.body != want {
		t.Errorf("sent %s %s", r.path, r.body)
	}
}

func TestBindingRefusesWhatDaprWouldRound(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("", ""))
	const send sdk.Method[map[string]any, struct{}] = "shop.v1.Cart/Send"
	for n, code := range map[any]sdk.Code{
		5: sdk.CodeOK, 1.5: sdk.CodeOK, 0.1234567890123456: sdk.CodeOK, int64(1) << 53: sdk.CodeOK, "9007199254740993": sdk.CodeOK,
		int64(1)<<53 + 1: sdk.CodeInvalidArgument, -int64(1)<<53 - 1: sdk.CodeInvalidArgument,
		int64(math.MaxInt64): sdk.CodeInvalidArgument, uint64(math.MaxUint64): sdk.CodeInvalidArgument, uint64(1) << 63: sdk.CodeOK,
	} {
		_, err := sdk.Invoke(t.Context(), client.Binding("entities", s.config()), send.On("c", map[string]any{"n": n}))
		if sdk.CodeOf(err) != code {
			t.Errorf("%v: %v", n, err)
		}
	}
	if _, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), send.On("c", map[string]any{"n": int64(math.MaxInt64)})); err != nil {
		t.Errorf("the actor API takes every number: %v", err)
	}
}

func TestRetriesCarryTheSameKey(t *testing.T) {
	t.Parallel()
	s := serve(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 1:
			http.Error(w, `{"errorCode":"ERR_ACTOR_NO_ADDRESS","message":"did not find address for actor"}`, 500)
		case 2:
			http.Error(w, client.FailureText(sdk.Errorf(sdk.CodeAborted, "moved"), "shop.v1.Cart", "c"), 500)
		default:
			io.WriteString(w, `{"product":"tea"}`)
		}
	})
	got, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), addItem.On("c", item{}))
	if err != nil || got.Product != "tea" {
		t.Fatal(got, err)
	}
	first := (<-s.requests).header.Get("Idempotency-Key")
	for range 2 {
		if key := (<-s.requests).header.Get("Idempotency-Key"); key != first || key == "" {
			t.Errorf("key %q, then %q", first, key)
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	failing := func(code sdk.Code) func(int, http.ResponseWriter) {
		return func(_ int, w http.ResponseWriter) {
			http.Error(w, client.FailureText(&sdk.Error{Code: code, Message: "no", Sequence: 4}, "shop.v1.Cart", "c"), 500)
		}
	}
	for _, test := range []struct {
		code     sdk.Code
		attempts int
		want     int
	}{{sdk.CodeUnavailable, 3, 3}, {sdk.CodeAborted, 0, 5}, {sdk.CodeUnavailable, 1, 1}, {sdk.CodeInvalidArgument, 3, 1}, {sdk.CodeInternal, 3, 1}} {
		s := serve(t, failing(test.code))
		config := s.config()
		config.Attempts = test.attempts
		_, err := sdk.Invoke(t.Context(), client.Dapr(config), addItem.On("c", item{}))
		if sdk.CodeOf(err) != test.code || err.Error() != "no" {
			t.Errorf("%v: error %v", test.code, err)
		}
		if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Entity != "shop.v1.Cart/c" || e.Sequence != 4 {
			t.Errorf("%v: from %s at %d", test.code, e.Entity, e.Sequence)
		}
		if len(s.requests) != test.want {
			t.Errorf("%v: %d attempts, want %d", test.code, len(s.requests), test.want)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, func(int, http.ResponseWriter) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := sdk.Invoke(ctx, client.Dapr(s.config()), addItem.On("c", item{}))
	if sdk.CodeOf(err) != sdk.CodeDeadlineExceeded {
		t.Errorf("error %v %v", sdk.CodeOf(err), err)
	}
}

func TestNoSidecar(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.Close()
	_, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), addItem.On("c", item{"secret"}))
	if sdk.CodeOf(err) != sdk.CodeUnavailable || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
		t.Errorf("error %v %v", sdk.CodeOf(err), err)
	}
}

func TestBadCalls(t *testing.T) {
	t.Parallel()
	c := client.Dapr(client.Config{Endpoint: "http://127.0.0.1:1", Attempts: 1})
	_, noID := sdk.Invoke(t.Context(), c, addItem.On("", item{}))
	_, noService := sdk.Invoke(t.Context(), c, foreign.On("c", item{}))
	_, noType := sdk.Invoke(t.Context(), c, broken.On("c", nil))
	for name, err := range map[string]error{"id": noID, "service": noService, "type": noType} {
		if sdk.CodeOf(err) != sdk.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("application/json", `{"product":5}`))
	if _, err := sdk.Invoke(t.Context(), client.Dapr(s.config()), addItem.On("c", item{})); sdk.CodeOf(err) != sdk.CodeInternal {
		t.Errorf("a reply of another type: %v", err)
	}
	config := s.config()
	config.MaxReplyBytes = 12
	if _, err := sdk.Invoke(t.Context(), client.Dapr(config), addItem.On("c", item{})); sdk.CodeOf(err) != sdk.CodeResourceExhausted {
		t.Errorf("a reply of 13 bytes: %v", err)
	}
	config.MaxReplyBytes = 13
	if _, err := sdk.Invoke(t.Context(), client.Dapr(config), addItem.On("c", item{})); sdk.CodeOf(err) != sdk.CodeInternal {
		t.Errorf("a reply of 13 bytes that may come: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	s := serve(t, reply("", `{"product":"tea"}`))
	t.Setenv("DAPR_HTTP_ENDPOINT", strings.TrimPrefix(s.URL, "http://")+"/")
	t.Setenv("DAPR_API_TOKEN", "from the environment")
	if _, err := sdk.Invoke(t.Context(), client.Dapr(client.Config{}), addItem.On("c", item{})); err != nil {
		t.Fatal(err)
	}
	if got := (<-s.requests).header.Get("Dapr-Api-Token"); got != "from the environment" {
		t.Errorf("token %q", got)
	}
	t.Setenv("DAPR_HTTP_ENDPOINT", "")
	t.Setenv("DAPR_HTTP_PORT", s.URL[strings.LastIndexByte(s.URL, ':')+1:])
	if _, err := sdk.Invoke(t.Context(), client.Dapr(client.Config{}), addItem.On("c", item{})); err != nil {
		t.Fatal(err)
	}
}

func ExampleDapr() {
	// In a program, client.Config{} finds the sidecar by its environment.
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		json.NewEncoder(w).Encode(item{"tea"})
	}))
	defer sidecar.Close()
	c := client.Dapr(client.Config{Endpoint: sidecar.URL})

	got, err := sdk.Invoke(context.Background(), c, addItem.On("cart-42", item{"tea"}))
	fmt.Println(got.Product, err)
	// Output:
	// POST /v1.0/actors/Cart/cart-42/method/AddItem
	// tea <nil>
}

func ExampleBinding() {
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"errorCode":"ERR_INVOKE_OUTPUT_BINDING","message":"error invoking output binding entities: `+
			`rpc error: code = NotFound desc = no tea [entities code=NOT_FOUND entity=shop.v1.Cart/cart-42 sequence=7]"}`)
	}))
	defer sidecar.Close()
	c := client.Binding("entities", client.Config{Endpoint: sidecar.URL})

	_, err := sdk.Invoke(context.Background(), c, addItem.On("cart-42", item{"tea"}))
	fmt.Println(sdk.CodeOf(err), err)
	// Output:
	// POST /v1.0/bindings/entities
	// NOT_FOUND no tea
}
