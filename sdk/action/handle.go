package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
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
	m, in, out := bind(method, handler == nil, options)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		input, err := receive(t, m.name, in)
		if err != nil {
			return nil, err
		}
		reply, err := handler(ctx, t, input)
		return answer(t, m.name, out, reply, err)
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
	m, in, out := bind(sdk.Method[In, Out](method), handler == nil, options)
	m.method = shaped(m.method, true, false)
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		reply, err := handler(ctx, t, inputs(t, m.name, in))
		return answer(t, m.name, out, reply, err)
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
	m, in, out := bind(sdk.Method[In, Out](method), handler == nil, options)
	m.method, m.out = shaped(m.method, false, true), out.Name
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		input, err := receive(t, m.name, in)
		if err != nil {
			return nil, err
		}
		return nil, handler(ctx, t, input, sender(t, m.name, out))
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
	m, in, out := bind(sdk.Method[In, Out](method), handler == nil, options)
	m.method, m.out = shaped(m.method, true, true), out.Name
	m.run = func(ctx context.Context, t *Turn) (*anypb.Any, error) {
		return nil, handler(ctx, t, inputs(t, m.name, in), sender(t, m.name, out))
	}
	return m
}

// bind does what all shapes share.
func bind[In, Out any](method sdk.Method[In, Out], missing bool, options []sdk.MethodOption) (Method, codec.Codec[In], codec.Codec[Out]) {
	m := Method{service: method.Service(), name: method.Name()}
	in, inErr := codec.For[In](m.name + ".in")
	out, outErr := codec.For[Out](m.name + ".out")
	name := m.name
	m.method = func() (def.Method, error) { return turn.Method(name, in, out, options) }
	var problems []error
	if m.name == "" || m.service == "" {
		problems = append(problems, fmt.Errorf("method %q is not of the form package.Service/Method", string(method)))
	}
	if inErr != nil {
		problems = append(problems, fmt.Errorf("input: %w", inErr))
	}
	if outErr != nil {
		problems = append(problems, fmt.Errorf("reply: %w", outErr))
	}
	if missing {
		problems = append(problems, errors.New("the handler is nil"))
	}
	m.err = errors.Join(problems...)
	return m, in, out
}

func shaped(method func() (def.Method, error), in, out bool) func() (def.Method, error) {
	return func() (def.Method, error) {
		m, err := method()
		m.StreamedIn, m.StreamedOut = in, out
		return m, err
	}
}

// receive takes the next input. Its error is io.EOF after the last one, or else for the handler.
func receive[In any](t *Turn, name string, in codec.Codec[In]) (In, error) {
	payload, err := t.receive()
	if err != nil {
		var none In
		if !errors.Is(err, io.EOF) {
			err = sdk.Errorf(codeOf(err), "receive an input of %s: %w", name, err)
		}
		return none, err
	}
	input, err := in.Unpack(payload)
	if err != nil {
		return input, sdk.Errorf(sdk.CodeInvalidArgument, "decode the input of %s: %w", name, err)
	}
	return input, nil
}

func inputs[In any](t *Turn, name string, in codec.Codec[In]) iter.Seq2[In, error] {
	over := false
	return func(yield func(In, error) bool) {
		for !over {
			input, err := receive(t, name, in)
			if over = err != nil; over && errors.Is(err, io.EOF) {
				return
			}
			if !yield(input, err) {
				return
			}
		}
	}
}

func answer[Out any](t *Turn, name string, out codec.Codec[Out], reply Out, err error) (*anypb.Any, error) {
	if err != nil || t.forwarded() {
		return nil, err
	}
	return pack(name, out, reply)
}

func sender[Out any](t *Turn, name string, out codec.Codec[Out]) func(Out) error {
	return func(reply Out) error {
		p, err := pack(name, out, reply)
		if err != nil {
			return err
		}
		return t.send(func(r *def.Response) { r.Reply = p })
	}
}

func pack[Out any](name string, out codec.Codec[Out], reply Out) (*anypb.Any, error) {
	p, err := out.Pack(reply)
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInternal, "encode the reply of %s: %w", name, err)
	}
	return p, nil
}
