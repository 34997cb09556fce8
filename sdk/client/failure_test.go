package client

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dapr-entities/entities/sdk"
)

func body(message string) []byte {
	b, err := json.Marshal(map[string]string{"errorCode": "ERR_ACTOR_INVOKE_METHOD", "message": message})
	if err != nil {
		panic(err)
	}
	return b
}

func TestFailure(t *testing.T) {
	t.Parallel()
	const text = "the cart is empty [entities code=FAILED_PRECONDITION entity=shop.v1.ShoppingCart/a+b%5D%2F%C3%A4 sequence=3]"
	want := &sdk.Error{Code: sdk.CodeFailedPrecondition, Message: "the cart is empty", Entity: "shop.v1.ShoppingCart/a b]/ä", Sequence: 3}
	with := func(message string) *sdk.Error {
		e := *want
		e.Message = message
		return &e
	}
	tests := []struct {
		name   string
		status int
		body   []byte
		want   *sdk.Error
	}{
		{"local", 500, body("error invoke actor method: error from actor service: " + text), want},
		{"remote", 500, body("error invoke actor method: failed to invoke target 10.0.0.1:3 after 2 retries. Error: rpc error: " +
			"code = Internal desc = error invoke actor method: error from actor service: " + text), want},
		{"binding", 500, body("error invoking output binding entities: rpc error: code = FailedPrecondition desc = " + text), want},
		{"binding without gRPC", 500, body("error invoking output binding entities: " + text), want},
		{"bare", 500, []byte(text), want},
		{"the phrase in the text", 500, body("error invoke actor method: error from actor service: I say error from actor service: " + text),
			with("I say error from actor service: the cart is empty")},
		{"a tail in the text", 500, body("error from actor service: " + strings.Replace(text, "the cart", "no [entities code=OK entity=a/b sequence=1]", 1)),
			with("no [entities code=OK entity=a/b sequence=1] is empty")},
		{"a suffix of Dapr's", 500, body("error from actor service: " + text + " (attempt 3)"), want},
		{"no tail", 500, body("did not find address for actor"), &sdk.Error{Code: sdk.CodeUnavailable,
			Message: "the sidecar answers 500 Internal Server Error: did not find address for actor"}},
		{"code only", 403, []byte(`{"errorCode":"ERR_X"}`), &sdk.Error{Code: sdk.CodePermissionDenied, Message: "the sidecar answers 403 Forbidden: ERR_X"}},
		{"broken tail", 400, body("x [entities code=OK entity=a sequence=1]"), &sdk.Error{Code: sdk.CodeInvalidArgument,
			Message: "the sidecar answers 400 Bad Request: x [entities code=OK entity=a sequence=1]"}},
		{"empty", 429, nil, &sdk.Error{Code: sdk.CodeResourceExhausted, Message: "the sidecar answers 429 Too Many Requests: "}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(test.want, failure(test.status, test.body), cmpopts.IgnoreUnexported(sdk.Error{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFailureOfAnUnknownAnswerIsShort(t *testing.T) {
	t.Parallel()
	if e := failure(502, []byte(strings.Repeat("ä", 10000))); len(e.Message) > 2*maxText || sdk.CodeOf(e) != sdk.CodeUnavailable {
		t.Errorf("%d bytes, %v", len(e.Message), e.Code)
	}
}

// FuzzFailure checks that the reader takes off exactly what FailureText puts on, and survives everything else.
func FuzzFailure(f *testing.F) {
	f.Add("the cart is empty", "shop.v1.ShoppingCart", "cart-1", int64(3), uint8(9))
	f.Add("a [entities code=OK entity=", "s", "]", int64(0), uint8(0))
	f.Add("", "", "", int64(1), uint8(16))
	f.Add("error invoking output binding x", "a/b", "%", int64(7), uint8(2))
	f.Fuzz(func(t *testing.T, text, service, id string, sequence int64, code uint8) {
		parseFailure(text)
		failure(500, []byte(text))
		if sequence < 0 || code > uint8(sdk.CodeUnauthenticated) {
			return
		}
		written := FailureText(&sdk.Error{Code: sdk.Code(code), Message: text, Sequence: sequence}, service, id)
		got, ok := parseFailure("error invoke actor method: error from actor service: " + written)
		want := &sdk.Error{Code: sdk.Code(code), Message: text, Entity: service + "/" + id, Sequence: sequence}
		if !ok {
			t.Fatalf("%q was not read", written)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(sdk.Error{})); d != "" {
			t.Error(d)
		}
	})
}
