package eventsourced

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

type (
	runFunc[S any] func(context.Context, *Turn[S], *anypb.Any) (*anypb.Any, error)
	packFunc       func(event any) (*anypb.Any, error)
	unpackFunc     func(*anypb.Any) (any, error)
)

// Handle binds a method to its handler. The handler's error refuses the command: the code and text of an *sdk.Error
// reach the caller, another error is Unknown and reaches it as its text. A handler that fails after it emitted events
// loses them, and the entity is rebuilt from its journal. A panic is contained: the caller gets Internal, the log gets
// the stack. ctx ends when the component gives the command up. The options say where commands come from besides callers,
// and where replies go besides back.
func Handle[S, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, t *Turn[S], in In) (Out, error),
	options ...sdk.MethodOption,
) Command[S] {
	name := method.Name()
	in, inErr := codec.For[In](name + ".in")
	out, outErr := codec.For[Out](name + ".out")
	c := Command[S]{
		service: method.Service(),
		name:    name,
		method:  func() (def.Method, error) { return turn.Method(name, in, out, options) },
	}
	var problems []error
	if name == "" || c.service == "" {
		problems = append(problems, fmt.Errorf("method %q is not of the form package.Service/Method", string(method)))
	}
	if inErr != nil {
		problems = append(problems, fmt.Errorf("input: %w", inErr))
	}
	if outErr != nil {
		problems = append(problems, fmt.Errorf("reply: %w", outErr))
	}
	if handler == nil {
		problems = append(problems, errors.New("the handler is nil"))
	}
	c.err = errors.Join(problems...)
	c.run = func(ctx context.Context, t *Turn[S], payload *anypb.Any) (*anypb.Any, error) {
		input, err := in.Unpack(payload)
		if err != nil {
			return nil, sdk.Errorf(sdk.CodeInvalidArgument, "decode the input of %s: %w", name, err)
		}
		reply, err := handler(ctx, t, input)
		if err != nil || t.sent.Forward != nil {
			return nil, err
		}
		p, err := out.Pack(reply)
		if err != nil {
			return nil, sdk.Errorf(sdk.CodeInternal, "encode the reply of %s: %w", name, err)
		}
		return p, nil
	}
	return c
}

// On binds a kind of event to its applier. The name is stored with each event and must never change; the Go type and its
// place may. E is a struct or a pointer to a generated protobuf message.
func On[S, E any](name string, apply func(state *S, event E)) Event[S] {
	events, err := codec.For[E](name)
	v := Event[S]{name: name, typ: reflect.TypeFor[E](), typeURL: events.TypeURL, message: events.Descriptor}
	var problems []error
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r)
	}) {
		problems = append(problems, fmt.Errorf("a name has 1 to %d bytes and neither space nor slash", maxName))
	}
	if err == nil && v.typ.Kind() != reflect.Struct && !v.typ.Implements(reflect.TypeFor[proto.Message]()) {
		err = fmt.Errorf("%v is neither a struct nor a pointer to a protobuf message", v.typ)
	}
	if apply == nil {
		problems = append(problems, errors.New("the applier is nil"))
	}
	v.problems = errors.Join(append(problems, err)...)
	v.pack = func(event any) (*anypb.Any, error) { return events.Pack(event.(E)) }
	v.unpack = func(p *anypb.Any) (any, error) { return events.Unpack(p) }
	v.apply = func(s *S, event any) { apply(s, event.(E)) }
	return v
}

// maxName is the longest name of an event, in bytes.
const maxName = 128
