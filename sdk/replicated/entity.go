package replicated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Level says when a change counts as made, so that its caller gets the reply.
type Level uint8

// The levels.
const (
	// Local is as soon as this node has it. The others get it a moment later.
	Local Level = iota
	// Majority is as soon as more than half of the nodes have it.
	Majority
	// All is as soon as all nodes have it.
	All
)

// Entity defines a service of replicated entities. D is what each of them consists of, such as *Counter or
// *Map[string, *Set[Item]]. An Entity must not change once it is registered.
type Entity[D Data] struct {
	// Service is the full name, package included. If a protobuf service of that name is linked into the program, the
	// commands must be its methods.
	Service string
	// PersistenceID is the name under which data is stored and replicated. Another one starts from nothing. Defaults to
	// Service.
	PersistenceID string
	Commands      []Command[D]
	// New makes the data of the entity with that id: for the same id always of the same type, new and empty. What is in
	// it nevertheless is dropped. Defaults to the zero D; it must be there if D is Data, or a Map that NewMap makes.
	New func(id string) D
	// Write is the level of turns that choose none by Turn.Write. Defaults to Local.
	Write Level
	// Idle is how long an entity without commands stays in memory, in whole milliseconds. Defaults to what the component
	// is configured with. An entity stays while somebody watches it.
	Idle time.Duration
}

// Command is a command and its handler, made by Handle, Read or Stream.
type Command[D Data] struct {
	service  string
	name     string
	streamed bool
	reads    bool
	method   func() (def.Method, error) // asked late: see codec.Codec
	run      func(context.Context, *Turn[D], *anypb.Any) (outcome, error)
	err      error
}

// outcome of a command that succeeds.
type outcome struct {
	reply   *anypb.Any
	watcher def.Watcher
	ended   bool
}

// Handle binds a method to a handler that may change the data. The handler's error refuses the command: the code and text
// of an *sdk.Error reach the caller, another error is Unknown and reaches it as its text. A handler that fails has
// changed nothing. A panic is contained: the caller gets Internal, the log gets the stack. ctx ends when the component
// gives the command up. The options say where commands come from besides callers, and where replies go besides back.
func Handle[D Data, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, t *Turn[D], in In) (Out, error),
	options ...sdk.MethodOption,
) Command[D] {
	return bind(method, handler == nil, false, handler, options)
}

// Read binds a method to a handler that only looks at the data: to change it panics. Its errors and panics are treated as
// those of Handle.
func Read[D Data, In, Out any](
	method sdk.Method[In, Out],
	handler func(ctx context.Context, data D, in In) (Out, error),
	options ...sdk.MethodOption,
) Command[D] {
	return bind(method, handler == nil, true, func(ctx context.Context, t *Turn[D], in In) (Out, error) {
		return handler(ctx, t.Data(), in)
	}, options)
}

func bind[D Data, In, Out any](
	method sdk.Method[In, Out],
	missing, reads bool,
	handler func(context.Context, *Turn[D], In) (Out, error),
	options []sdk.MethodOption,
) Command[D] {
	b := turn.Bind(method, missing, options)
	return Command[D]{
		service: b.Service,
		name:    b.Name,
		reads:   reads,
		method:  b.Method,
		err:     b.Err,
		run: func(ctx context.Context, t *Turn[D], payload *anypb.Any) (outcome, error) {
			in, err := b.Decode(payload)
			if err != nil {
				return outcome{}, err
			}
			out, err := handler(ctx, t, in)
			reply, err := b.Encode(&t.sent, out, err)
			return outcome{reply: reply}, err
		},
	}
}

// Definition is called by package sdk and reports every problem of the entity.
func (e Entity[D]) Definition() (*def.Entity, error) {
	problems := turn.Problems(e.Service, e.PersistenceID, e.Idle, len(e.Commands))
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if e.Write > All {
		report("Write is %d, want Local, Majority or All", e.Write)
	}
	sample, ok := zero[D]()
	if e.New != nil {
		sample, ok = *new(D), true
		_ = def.Contain(func() { sample = e.New("") }) // which need not be an id that it knows
	}
	switch {
	case !ok:
		report("the data: %v is none of the types of this package, so it takes New to make it", typeName[D]())
	case !none(sample):
		for _, err := range sample.problems(1) {
			report("the data: %w", err)
		}
	}
	k := &kind[D]{entity: e, commands: make(map[string]*Command[D])}
	out := &def.Entity{Type: def.Replicated, Service: e.Service, PersistenceID: e.PersistenceID, Idle: e.Idle, Replicate: k.replicate}
	if out.PersistenceID == "" {
		out.PersistenceID = e.Service
	}
	for i, c := range e.Commands {
		switch {
		case c.run == nil:
			report("command %d was made neither by Handle nor by Read nor by Stream", i)
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
			m.StreamedOut = c.streamed
			out.Methods = append(out.Methods, m)
		}
	}
	return out, errors.Join(problems...)
}

// wire is the level on the wire.
func (l Level) wire() pb.CrdtWriteConsistency { return pb.CrdtWriteConsistency(l) }

var _ sdk.Definition = Entity[*Counter]{}
