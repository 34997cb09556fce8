package eventsourced

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

type (
	runFunc[S any] func(context.Context, *Turn[S], *anypb.Any) (*anypb.Any, error)
	packFunc       func(event any) (*anypb.Any, error)
)

// Handle binds a method to its handler. The handler's error refuses the command: the code and text of an *sdk.Error
// reach the caller, another error is Unknown and reaches it as its text. A handler that fails after it emitted events
// loses them, and the entity is rebuilt from its journal. A panic is contained: the caller gets Internal, the log gets
// the stack. ctx ends when the component gives the command up. The options say where commands come from besides
// callers, and where replies go besides back.
func Handle[S, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, t *Turn[S], in In) (Out, error),
	options ...sdk.MethodOption,
) Command[S] {
	b := turn.Bind(method, handler == nil, options)
	return Command[S]{
		service: b.Service,
		name:    b.Name,
		method:  b.Method,
		err:     b.Err,
		run: func(ctx context.Context, t *Turn[S], payload *anypb.Any) (*anypb.Any, error) {
			in, err := b.Decode(payload)
			if err != nil {
				return nil, err
			}
			out, err := handler(ctx, t, in)
			return b.Encode(&t.sent, out, err)
		},
	}
}

// On binds a kind of event to its applier. The name is stored with each event and must never change; the Go type and its
// place may. E is a struct or a pointer to a generated protobuf message.
func On[S, E any](name string, apply func(state *S, event E)) Event[S] {
	events, _ := codec.For[E](name)
	stored, err := shapeOf[E](name)
	v := Event[S]{name: name, typ: reflect.TypeFor[E](), shape: stored}
	problems := []error{checkName(name)}
	if apply == nil {
		problems = append(problems, errors.New("the applier is nil"))
	}
	v.problems = errors.Join(append(problems, err)...)
	v.pack = func(event any) (*anypb.Any, error) { return events.Pack(event.(E)) }
	v.apply = func(s *S, event any) { apply(s, event.(E)) }
	return v
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r)
	}) {
		return fmt.Errorf("a name has 1 to %d bytes and neither space nor slash", maxName)
	}
	return nil
}

// maxName is the longest name of an event, in bytes.
const maxName = 128
