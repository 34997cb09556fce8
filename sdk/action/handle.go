package action

import (
	"context"
	"errors"
	"io"
	"iter"
	"reflect"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// ErrNoReply is what a handler returns that carries out its effects and answers nothing. The handler of an event needs
// no reply; a caller over gRPC or HTTP takes a missing one for an error.
var ErrNoReply = errors.New("action: no reply")

// Handle binds a method to a handler that takes one input and replies once. ctx ends when the caller has gone.
func Handle[In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, t *Turn, in In) (Out, error),
	options ...sdk.MethodOption,
) Method {
	b := turn.Bind(method, handler == nil, options)
	m := shaped(b, false, false)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		input, err := receive(t, b)
		if err != nil {
			return nil, err
		}
		reply, err := handler(ctx, t, input)
		return b.Encode(&t.sent, reply, err)
	}
	return m
}

// HandleIn binds a method to a handler that takes any number of inputs and replies once. A handler that breaks off may
// go on with another loop over the same sequence; once it returns, what else the caller sends is dropped. The sequence
// ends with an error if the caller has gone or an input cannot be decoded.
func HandleIn[In, Out any](
	method sdk.StreamIn[In, Out],
	handler func(ctx context.Context, t *Turn, in iter.Seq2[In, error]) (Out, error),
	options ...sdk.MethodOption,
) Method {
	b := turn.Bind(sdk.Method[In, Out](method), handler == nil, options)
	m := shaped(b, true, false)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		reply, err := handler(ctx, t, inputs(t, b))
		return b.Encode(&t.sent, reply, err)
	}
	return m
}

// HandleOut binds a method to a handler that takes one input and replies any number of times. send blocks while the
// caller takes no more, and its error ends the handler. A handler that goes on for as long as the caller likes should
// end when Turn.Stopping says so.
func HandleOut[In, Out any](
	method sdk.StreamOut[In, Out],
	handler func(ctx context.Context, t *Turn, in In, send func(Out) error) error,
	options ...sdk.MethodOption,
) Method {
	b := turn.Bind(sdk.Method[In, Out](method), handler == nil, options)
	m := shaped(b, false, true)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		input, err := receive(t, b)
		if err != nil {
			return nil, err
		}
		return nil, handler(ctx, t, input, sender(t, b))
	}
	return m
}

// HandleDuplex binds a method to a handler that takes any number of inputs and replies any number of times. One
// goroutine may range over the inputs while another sends; whoever starts one waits for it before the handler returns.
func HandleDuplex[In, Out any](
	method sdk.Duplex[In, Out],
	handler func(ctx context.Context, t *Turn, in iter.Seq2[In, error], send func(Out) error) error,
	options ...sdk.MethodOption,
) Method {
	b := turn.Bind(sdk.Method[In, Out](method), handler == nil, options)
	m := shaped(b, true, true)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		return nil, handler(ctx, t, inputs(t, b), sender(t, b))
	}
	return m
}

// shaped is a method of that shape, without its run.
func shaped[In, Out any](b turn.Binding[In, Out], in, out bool) Method {
	m := Method{service: b.Service, name: b.Name, err: b.Err}
	m.method = func() (def.Method, error) {
		d, err := b.Method()
		d.StreamedIn, d.StreamedOut = in, out
		return d, err
	}
	if out {
		m.replies = reflect.TypeFor[Out]()
	}
	return m
}

// receive takes the next input. Its error is io.EOF after the last one, or else for the handler.
func receive[In, Out any](t *Turn, b turn.Binding[In, Out]) (In, error) {
	payload, err := t.receive()
	if err != nil {
		var none In
		if !errors.Is(err, io.EOF) {
			err = sdk.Errorf(codeOf(err), "receive an input of %s: %w", b.Name, err)
		}
		return none, err
	}
	return b.Decode(payload)
}

func inputs[In, Out any](t *Turn, b turn.Binding[In, Out]) iter.Seq2[In, error] {
	over := false
	return func(yield func(In, error) bool) {
		for !over {
			input, err := receive(t, b)
			if over = err != nil; over && errors.Is(err, io.EOF) {
				return
			}
			if !yield(input, err) {
				return
			}
		}
	}
}

func sender[In, Out any](t *Turn, b turn.Binding[In, Out]) func(Out) error {
	return func(reply Out) error {
		p, err := b.Encode(nil, reply, nil)
		if err != nil {
			return err
		}
		return t.send(func(r *def.Response) { r.Reply = p })
	}
}
