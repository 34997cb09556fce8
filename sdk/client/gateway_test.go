package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/client"
)

func TestGateway(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("application/json", `{"product":"tea"}`))
	c := client.Gateway(s.URL, s.config())
	for _, test := range []struct {
		call sdk.Call[item, item]
		path string
	}{
		{addItem.On("a/b", item{"tea"}), "/entities/shop.v1.Cart/a/b/AddItem"},
		{addItem.On("..", item{"tea"}), "/entities/shop.v1.Cart/../AddItem"},
		{addItem.With(item{"tea"}), "/entities/shop.v1.Cart/AddItem"},
	} {
		got, err := sdk.Invoke(t.Context(), c, test.call, sdk.WithKey("k-1"))
		if err != nil || got.Product != "tea" {
			t.Fatal(got, err)
		}
		r := <-s.requests
		if r.path != test.path || r.body != `{"product":"tea"}` {
			t.Errorf("sent %s %s, want %s", r.path, r.body, test.path)
		}
		if r.header.Get("Idempotency-Key") != "k-1" || r.header.Get("Content-Type") != "application/json" || r.header.Get("Dapr-Api-Token") != "" {
			t.Errorf("headers %v", r.header)
		}
	}
}

func TestGatewayProtobuf(t *testing.T) {
	t.Parallel()
	s := serve(t, reply("application/protobuf", "\x08\x05"))
	got, err := sdk.Invoke(t.Context(), client.Gateway(strings.TrimPrefix(s.URL, "http://"), s.config()), length.On("c", wrapperspb.String("three")))
	if err != nil || got.GetValue() != 5 {
		t.Fatal(got, err)
	}
	if r := <-s.requests; r.body != "\n\x05three" || r.header.Get("Content-Type") != "application/protobuf" {
		t.Errorf("sent %q %s", r.body, r.header.Get("Content-Type"))
	}
}

func TestGatewayErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contentType string
		status            int
		body, sequence    string
		want              sdk.Error
	}{
		{"refused", "application/problem+json", 400, `{"type":"about:blank","detail":"too much","code":"OUT_OF_RANGE"}`, "7",
			sdk.Error{Code: sdk.CodeOutOfRange, Message: "too much", Entity: "shop.v1.Cart/c", Sequence: 7}},
		{"by the gateway", "application/problem+json", 404, `{"detail":"there is no service","code":"UNIMPLEMENTED"}`, "",
			sdk.Error{Code: sdk.CodeUnimplemented, Message: "there is no service"}},
		{"without a code", "text/plain; charset=utf-8", 500, "no [x]", "3",
			sdk.Error{Code: sdk.CodeUnknown, Message: "no [x]", Entity: "shop.v1.Cart/c", Sequence: 3}},
		{"a stranger", "text/html", 403, "<p>no</p>", "",
			sdk.Error{Code: sdk.CodePermissionDenied, Message: "the gateway answers 403 Forbidden: <p>no</p>"}},
		{"a code that nobody knows", "application/problem+json", 409, `{"code":"ODD"}`, "",
			sdk.Error{Code: sdk.CodeAborted, Message: `the gateway answers 409 Conflict: {"code":"ODD"}`}},
		{"a broken problem", "application/problem+json", 502, `{`, "",
			sdk.Error{Code: sdk.CodeUnavailable, Message: "the gateway answers 502 Bad Gateway: {"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(_ int, w http.ResponseWriter) {
				w.Header().Set("Content-Type", test.contentType)
				if test.sequence != "" {
					w.Header().Set("Entities-Sequence", test.sequence)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			_, err := sdk.Invoke(t.Context(), client.Gateway(s.URL, s.config()), addItem.On("c", item{"tea"}))
			e, ok := errors.AsType[*sdk.Error](err)
			if !ok || e.Code != test.want.Code || e.Message != test.want.Message || e.Entity != test.want.Entity || e.Sequence != test.want.Sequence {
				t.Errorf("error %#v, want %#v", e, test.want)
			}
		})
	}
}

// An entity knows a command that comes again by its key, so it is sent again; an action need not.
func TestGatewayRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		call sdk.Call[item, item]
		want int
	}{{addItem.On("c", item{}), 5}, {addItem.With(item{}), 1}} {
		s := serve(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
		_, err := sdk.Invoke(t.Context(), client.Gateway(s.URL, s.config()), test.call)
		if n := len(s.requests); sdk.CodeOf(err) != sdk.CodeUnavailable || n != test.want {
			t.Errorf("%q was sent %d times, want %d: %v", test.call.ID, n, test.want, err)
		}
	}
}

// A connection that breaks before the answer says nothing about whether the action was carried out.
func TestGatewaySendsActionsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, func(n int, w http.ResponseWriter) {
		if n > 1 {
			panic(http.ErrAbortHandler)
		}
	})
	c := client.Gateway(s.URL, s.config())
	for range 2 { // the second goes over a connection that has served, where net/http would repeat it
		_, err := sdk.Invoke(t.Context(), c, length.With(wrapperspb.String("")))
		t.Log(err)
	}
	if n := len(s.requests); n != 2 {
		t.Errorf("two calls were sent %d times", n)
	}
}

func TestActionsNeedTheGateway(t *testing.T) {
	t.Parallel()
	for _, c := range []sdk.Caller{client.Dapr(client.Config{}), client.Binding("b", client.Config{})} {
		_, err := sdk.Invoke(t.Context(), c, addItem.With(item{}))
		want := "call shop.v1.Cart/AddItem: the entity id is empty; actions, which have none, are called through Gateway"
		if sdk.CodeOf(err) != sdk.CodeInvalidArgument || err.Error() != want {
			t.Errorf("error = %v", err)
		}
	}
}
