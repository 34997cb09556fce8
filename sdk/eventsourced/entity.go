package eventsourced

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// DefaultSnapshotEvery is the number of events between snapshots unless an Entity says otherwise.
const DefaultSnapshotEvery = 100

// Entity defines an event-sourced service. S is the state of one entity: a struct, or a generated protobuf message
// (then S is pb.Cart, not *pb.Cart). An Entity must not change once it is registered.
type Entity[S any] struct {
	// Service is the full name, package included. If a protobuf service of that name is linked into the program, the
	// commands must be its methods.
	Service string
	// PersistenceID is the name under which events are stored. Another one starts from nothing. Defaults to Service.
	PersistenceID string
	Commands      []Command[S]
	Events        []Event[S]
	// Upcasters read events of the past that have another name or shape than those of Events.
	Upcasters []Upcaster
	// SnapshotEvery is the number of events between snapshots. Defaults to 100; a negative one means never.
	SnapshotEvery int
	// Idle is how long an entity without commands stays in memory, in whole milliseconds. Defaults to what the component
	// is configured with.
	Idle time.Duration
	// New makes the state before the first event. Defaults to a zero S.
	New func() *S
}

// Command is a command and its handler, made by Handle.
type Command[S any] struct {
	service string
	name    string
	// method is asked late: see codec.Codec.
	method func() (def.Method, error)
	run    runFunc[S]
	err    error
}

// Event is a kind of event and its applier, made by On.
type Event[S any] struct {
	name     string
	typ      reflect.Type
	shape    shape
	pack     packFunc
	apply    func(*S, any)
	problems error
}

// Definition is called by package sdk and reports every problem of the entity.
func (e Entity[S]) Definition() (*def.Entity, error) {
	problems := turn.Problems(e.Service, e.PersistenceID, e.Idle, len(e.Commands))
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	state := reflect.TypeFor[S]()
	states, err := codec.For[*S](stateName)
	switch {
	case state.Kind() == reflect.Pointer && state.Implements(reflect.TypeFor[proto.Message]()):
		report("the state is %v: use %v, the Turn hands out a pointer to it", state, state.Elem())
	case state.Kind() == reflect.Pointer || state.Kind() == reflect.Interface:
		report("the state is %v: use a struct, the Turn hands out a pointer to it", state)
	case err != nil && e.SnapshotEvery >= 0:
		report("the state cannot be stored in a snapshot (a negative SnapshotEvery does without): %w", err)
	}

	e.Commands, e.Events, e.Upcasters = slices.Clone(e.Commands), slices.Clone(e.Events), slices.Clone(e.Upcasters) // the caller's may change
	d := &kind[S]{
		service:  e.Service,
		commands: make(map[string]*Command[S]),
		byName:   make(map[string]*Event[S]),
		byType:   make(map[reflect.Type]*Event[S]),
		states:   states,
		fresh:    e.New,
	}
	out := &def.Entity{
		Type:          def.EventSourced,
		Service:       e.Service,
		PersistenceID: e.PersistenceID,
		Idle:          e.Idle,
		SnapshotEvery: int64(e.SnapshotEvery),
		New:           d.open,
	}
	if out.PersistenceID == "" {
		out.PersistenceID = e.Service
	}
	if out.SnapshotEvery == 0 {
		out.SnapshotEvery = DefaultSnapshotEvery
	}
	out.SnapshotEvery = max(out.SnapshotEvery, 0)
	if m := states.Descriptor(); err == nil && m != nil {
		out.Messages = append(out.Messages, m)
	}
	for i := range e.Commands {
		c := &e.Commands[i]
		switch {
		case c.run == nil:
			report("command %d was not made by Handle", i)
		case c.service != e.Service:
			report("command %s/%s belongs to another service", c.service, c.name)
		case d.commands[c.name] != nil:
			report("command %s is listed twice", c.name)
		case c.err != nil:
			report("command %s: %w", c.name, c.err)
		default:
			d.commands[c.name] = c
			m, err := c.method()
			if err != nil {
				report("command %s: %w", c.name, err)
			}
			out.Methods = append(out.Methods, m)
		}
	}
	for i := range e.Events {
		v := &e.Events[i]
		switch {
		case v.apply == nil:
			report("event %d was not made by On", i)
		case v.problems != nil:
			report("event %q: %w", v.name, v.problems)
		case d.byName[v.name] != nil:
			report("event name %q is listed twice", v.name)
		case d.byType[v.typ] != nil:
			report("event type %v is listed twice, as %q and %q", v.typ, d.byType[v.typ].name, v.name)
		default:
			d.byName[v.name], d.byType[v.typ] = v, v
			if m := v.shape.message(); m != nil {
				out.Messages = append(out.Messages, m)
			}
		}
	}
	messages, upcastProblems := d.sources(e.Upcasters)
	out.Messages, problems = append(out.Messages, messages...), append(problems, upcastProblems...)
	return out, errors.Join(problems...)
}

// stateName is the JSON name of snapshots.
const stateName = "state"

var _ sdk.Definition = Entity[struct{}]{}
