// Package sdktest runs entities in tests: the real session over the real encoding, with a journal in memory.
//
//	h := sdktest.New(t, cart.Entity, "cart-42")
//	got := sdktest.Do(h, cart.AddItem, cart.Item{Product: "tea", Quantity: 2})
//
// After every command the harness rebuilds the entity from what is stored of it and fails the test if that differs from
// the live state. An event-sourced entity is rebuilt twice: from its events alone, and from a snapshot. So a test that
// was written for something else finds an event that does not survive its encoding, an applier that reads the clock, and
// a handler that changes the state without an event.
package sdktest

import (
	"log/slog"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/replicated"
)

// Harness is one entity under test, of any kind; of a replicated one it is one node. It belongs to its test's goroutine.
type Harness struct {
	t       testing.TB
	entity  *def.Entity
	id      string
	command int64
	events  []def.Event // all that are stored
	subject subject
}

// subject is the entity and what is stored of it, by its kind. Everything goes through its wire form, and whatever
// would end the entity's stream ends the test.
type subject interface {
	// open drops the live entity and makes it anew from what is stored.
	open()
	// handle takes a command and stores what it answers.
	handle(c *cloudstate.Command) answer
	// check compares the live state with what is stored.
	check(after string)
	// encode makes an event of what Given takes.
	encode(v any) (def.Event, error)
	// snapshot stores one.
	snapshot() error
	// state points to the live state, or is it.
	state() any
}

// answer to a command, of any kind of entity.
type answer struct {
	command  int64
	action   *cloudstate.ClientAction
	effects  []*cloudstate.SideEffect
	events   []string
	level    replicated.Level
	snapshot bool
}

// Result of a command.
type Result[Out any] struct {
	// Reply is the zero Out if there is an Err or a Forward.
	Reply Out
	// Metadata of the reply.
	Metadata sdk.Metadata
	// Err is nil, or an *sdk.Error as a caller would get it.
	Err error
	// Forward is where the command was handed on to; nil if it was not.
	Forward *Call
	// Effects in the order in which they were asked for.
	Effects []Effect
	// Events are the names of the events that were recorded. Value entities and replicated ones record "updated" or
	// "deleted".
	Events []string
	// Level of the change of a replicated entity.
	Level replicated.Level
	// Snapshot is whether the reply carried one.
	Snapshot bool
	// Restarted is whether the entity was rebuilt from its journal, because it failed in a way that left its state in
	// doubt.
	Restarted bool
}

// New opens an entity of which nothing is stored yet; a replicated one on a single node, see Cluster. It ends the test if the definition has problems.
func New(t testing.TB, definition sdk.Definition, id string) *Harness {
	t.Helper()
	entity, err := definition.Definition()
	if err != nil {
		t.Fatalf("%s: %v", entity.Service, err)
	}
	h := &Harness{t: t, entity: entity, id: id}
	switch entity.Type {
	case def.EventSourced:
		h.subject = &eventSourced{harness: h}
	case def.ValueEntity:
		h.subject = &valueEntity{harness: h}
	case def.Replicated:
		return Cluster(t, definition, id, 1).Node(0)
	default:
		t.Fatalf("%s is no entity that New could open", entity.Service)
	}
	h.Reopen()
	return h
}

// Do handles one command.
func Do[In, Out any](h *Harness, method sdk.Method[In, Out], in In) Result[Out] {
	h.t.Helper()
	inputs, err := codec.For[In](method.Name() + ".in")
	if err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	outputs, err := codec.For[Out](method.Name() + ".out")
	if err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	if method.Service() != h.entity.Service {
		h.t.Fatalf("%s belongs to another service than %s", method, h.entity.Service)
	}
	payload, err := inputs.Pack(in)
	if err != nil {
		h.t.Fatalf("%s: encode the input: %v", method, err)
	}
	a := h.subject.handle(h.next(method.Name(), payload))
	if a.command != h.command {
		h.t.Fatalf("%s: reply to command %d, want %d", method, a.command, h.command)
	}
	result := Result[Out]{Effects: effectsOf(h.t, a.effects), Events: a.events, Level: a.level, Snapshot: a.snapshot}
	switch action := a.action.GetAction().(type) {
	case *cloudstate.ClientAction_Failure:
		result.Err = h.failure(action.Failure)
		if result.Restarted = action.Failure.GetRestart(); result.Restarted {
			h.Reopen()
		}
	case *cloudstate.ClientAction_Forward:
		f := action.Forward
		call := callOf(h.t, f.GetServiceName(), f.GetCommandName(), f.GetEntityId(), f.GetPayload(), f.GetMetadata())
		result.Forward = &call
	default:
		if result.Reply, err = outputs.Unpack(a.action.GetReply().GetPayload()); err != nil {
			h.t.Fatalf("%s: decode the reply: %v", method, err)
		}
		result.Metadata = turn.Metadata(a.action.GetReply().GetMetadata())
	}
	h.subject.check(string(method))
	return result
}

// next is the next command.
func (h *Harness) next(name string, payload *anypb.Any) *cloudstate.Command {
	h.command++
	return &cloudstate.Command{EntityId: h.id, Id: h.command, Name: name, Payload: payload, Sequence: int64(len(h.events))}
}

func (h *Harness) failure(f *cloudstate.Failure) *sdk.Error {
	code := sdk.Code(f.GetCode())
	if code == sdk.CodeOK {
		code = sdk.CodeUnknown
	}
	return &sdk.Error{
		Code:     code,
		Message:  f.GetDescription(),
		Entity:   h.entity.Service + "/" + h.id,
		Sequence: int64(len(h.events)),
	}
}

// State is a pointer to the live state of an event-sourced entity, for reading. See Value for value entities, and Data for
// replicated ones.
func State[S any](h *Harness) *S {
	h.t.Helper()
	if h.entity.Type == def.ValueEntity {
		h.t.Fatalf("%s is a value entity: use Value", h.entity.Service)
	}
	state := h.subject.state()
	s, ok := state.(*S)
	if !ok {
		h.t.Fatalf("the state is %T, want %T", state, s)
	}
	return s
}

// Given adds to the entity's past, and opens it anew: events, or the values that a value entity had, one after the other
// (nil: it was deleted). A replicated entity has no such past.
func (h *Harness) Given(past ...any) {
	h.t.Helper()
	for _, v := range past {
		e, err := h.subject.encode(v)
		if err != nil {
			h.t.Fatalf("given %T: %v", v, err)
		}
		h.events = append(h.events, e)
	}
	h.Reopen()
	h.subject.check("what was given")
}

// Reopen drops the live entity, as if it had been passivated, and rebuilds it: from its value, or from the latest
// snapshot that it attached and the events after it.
func (h *Harness) Reopen() {
	h.t.Helper()
	h.subject.open()
	h.command = 0
}

// Snapshot forces one of the state as it is now, for the next Reopen. Event-sourced entities only.
func (h *Harness) Snapshot() {
	h.t.Helper()
	if err := h.subject.snapshot(); err != nil {
		h.t.Fatal(err)
	}
}

// Journal returns the names of all the entity's events. A value entity's are "updated" and "deleted".
func (h *Harness) Journal() []string {
	names := make([]string, len(h.events))
	for i, e := range h.events {
		names[i] = e.Name
	}
	return names
}

// logger is the session's.
func (h *Harness) logger() *slog.Logger { return slog.New(slog.NewTextHandler(h.t.Output(), nil)) }

// services is what a session looks for the entity in.
func (h *Harness) services() map[string]*def.Entity {
	return map[string]*def.Entity{h.entity.Service: h.entity}
}

// wire copies a message by its wire form.
func (h *Harness) wire(from, to proto.Message) {
	h.t.Helper()
	b, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(b, to)
	}
	if err != nil {
		h.t.Fatalf("encode: %v", err)
	}
}

// ended ends the test for the sake of a stream that failed.
func (h *Harness) ended(f *cloudstate.Failure) {
	h.t.Helper()
	if f != nil {
		h.t.Fatalf("the entity's stream failed: %s", f.GetDescription())
	}
}
