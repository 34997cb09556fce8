package value

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Entity defines a service of value entities. S is the value: a struct or another plain Go type, which is stored as
// JSON, or a pointer to a generated protobuf message. An Entity must not change once it is registered.
type Entity[S any] struct {
	// Service is the full name, package included. If a protobuf service of that name is linked into the program, the
	// commands must be its methods.
	Service string
	// PersistenceID is the name under which values are stored. Another one starts from nothing. Defaults to Service.
	PersistenceID string
	Commands      []Command[S]
	// Idle is how long an entity without commands stays in memory, in whole milliseconds. Defaults to what the component
	// is configured with.
	Idle time.Duration
}

// Command is a command and its handler, made by Handle or Read.
type Command[S any] struct {
	service string
	name    string
	method  func() (def.Method, error) // asked late: see codec.Codec
	run     func(context.Context, *Turn[S], *anypb.Any) (*anypb.Any, error)
	err     error
}

// Handle binds a method to a handler that may change the value. The handler's error refuses the command: the code and
// text of an *sdk.Error reach the caller, another error is Unknown and reaches it as its text. A handler that fails has
// changed nothing. A panic is contained: the caller gets Internal, the log gets the stack. ctx ends when the component
// gives the command up. The options say where commands come from besides callers, and where replies go besides back.
func Handle[S, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, t *Turn[S], in In) (Out, error),
	options ...sdk.MethodOption,
) Command[S] {
	return bind(method, handler == nil, handler, options)
}

// Read binds a method to a handler that only looks at the value: the zero S, or an empty message, if there is none. Its
// errors and panics are treated as those of Handle.
func Read[S, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, state S, in In) (Out, error),
	options ...sdk.MethodOption,
) Command[S] {
	return bind(method, handler == nil, func(ctx context.Context, t *Turn[S], in In) (Out, error) {
		state, _ := t.Get()
		return handler(ctx, state, in)
	}, options)
}

func bind[S, In, Out any](
	method sdk.Method[In, Out],
	missing bool,
	handler func(context.Context, *Turn[S], In) (Out, error),
	options []sdk.MethodOption,
) Command[S] {
	b := turn.Bind(method, missing, options)
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

// Definition is called by package sdk and reports every problem of the entity.
func (e Entity[S]) Definition() (*def.Entity, error) {
	problems := turn.Problems(e.Service, e.PersistenceID, e.Idle, len(e.Commands))
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	states, err := codec.For[S](stateName)
	typ := reflect.TypeFor[S]()
	switch {
	case err != nil:
		report("the value cannot be stored: %w", err)
	case !states.IsMessage() && (typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Interface):
		report("the value is %v: use a type that is neither a pointer nor an interface, or a pointer to a protobuf message", typ)
	}
	k := &kind[S]{service: e.Service, commands: make(map[string]*Command[S]), states: states}
	out := &def.Entity{Type: def.ValueEntity, Service: e.Service, PersistenceID: e.PersistenceID, Idle: e.Idle, Value: k}
	if out.PersistenceID == "" {
		out.PersistenceID = e.Service
	}
	if m := states.Descriptor(); m != nil {
		out.Messages = append(out.Messages, m)
	}
	for i, c := range e.Commands {
		switch {
		case c.run == nil:
			report("command %d was made neither by Handle nor by Read", i)
		case c.service != e.Service:
			report("command %s/%s belongs to another service", c.service, c.name)
		case k.commands[c.name] != nil:
			report("command %s is listed twice", c.name)
		case c.err != nil:
			report("command %s: %w", c.name, c.err)
		default:
			k.commands[c.name] = &c
			m, err := c.method()
			if err != nil {
				report("command %s: %w", c.name, err)
			}
			out.Methods = append(out.Methods, m)
		}
	}
	return out, errors.Join(problems...)
}

// stateName is the JSON name of values.
const stateName = "state"

var _ sdk.Definition = Entity[struct{}]{}
