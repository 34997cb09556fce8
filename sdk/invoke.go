package sdk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/sdk/internal/codec"
)

// Caller sends commands to entities, and to actions if it can. Package client has callers over Dapr and over the
// component's gateway.
type Caller interface {
	// Call sends one command and waits for the reply. Its errors are *Error; a caller that reaches no actions refuses a
	// request without an ID as InvalidArgument. It may be called from many goroutines.
	Call(ctx context.Context, r Request) (Response, error)
}

// Request is a command on its way to an entity or an action. Invoke makes it.
type Request struct {
	Service string
	Method  string
	// ID of the entity; empty for an action.
	ID string
	// Key is the idempotency key, never empty: the entity applies the command once, however often it arrives. An action
	// is told it and may do with it what it likes.
	Key string
	// Input in its own encoding, and what that is: application/json or application/protobuf.
	Input       []byte
	ContentType string

	json func() ([]byte, error)
}

// JSON is the input as JSON text, for transports that carry nothing else.
func (r Request) JSON() ([]byte, error) {
	if r.ContentType == codec.ContentJSON || r.json == nil {
		return r.Input, nil
	}
	return r.json()
}

// Response is an entity's reply: application/json, or application/protobuf.
type Response struct {
	Output      []byte
	ContentType string
}

// Option changes one call of Invoke.
type Option interface{ apply(*Request) }

// WithKey gives the command an idempotency key of the caller's own: two commands to one entity with the same key and the
// same input take effect once, and both get the first one's reply. Without it Invoke makes a random key, which covers
// its own retries.
func WithKey(key string) Option { return withKey(key) }

type withKey string

func (k withKey) apply(r *Request) { r.Key = string(k) }

// Invoke sends a command and returns its reply. A call without an entity (Method.With) is for an action. Every error is an *Error. It may be called from many goroutines.
//
//	cart, err := sdk.Invoke(ctx, caller, GetCart.On("cart-42", struct{}{}))
//	order, err := sdk.Invoke(ctx, caller, PlaceOrder.With(request))
func Invoke[In, Out any](ctx context.Context, c Caller, call Call[In, Out], options ...Option) (Out, error) {
	var zero Out
	service, name := call.Method.split()
	inputs, inErr := codec.For[In](name + ".in")
	outputs, outErr := codec.For[Out](name + ".out")
	if err := errors.Join(inErr, outErr); err != nil {
		return zero, Errorf(CodeInvalidArgument, "invoke %s: %w", call.Method, err)
	}
	if service == "" || name == "" {
		return zero, Errorf(CodeInvalidArgument, "invoke %q: a method has the form package.Service/Method", string(call.Method))
	}
	r := Request{Service: service, Method: name, ID: call.ID}
	for _, o := range options {
		o.apply(&r)
	}
	if r.Key == "" {
		r.Key = rand.Text()
	}
	var err error
	if r.Input, r.ContentType, err = inputs.Marshal(call.Input); err != nil {
		return zero, Errorf(CodeInvalidArgument, "invoke %s: encode the input: %w", call.Method, err)
	}
	r.json = func() ([]byte, error) { return inputs.JSON(call.Input) }
	response, err := c.Call(ctx, r)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return zero, err
		}
		return zero, &Error{Code: CodeOf(err), Message: fmt.Sprintf("invoke %s: %v", call.Method, err), cause: err}
	}
	out, err := outputs.Unmarshal(response.Output, response.ContentType)
	if err != nil {
		return zero, Errorf(CodeInternal, "invoke %s: the command took effect, but its reply cannot be decoded: %w", call.Method, err)
	}
	return out, nil
}
