// Package sdktest runs entities in tests: the real session over the real encoding, with a journal in memory.
//
//	h := sdktest.New(t, cart.Entity, "cart-42")
//	got := sdktest.Do(h, cart.AddItem, cart.Item{Product: "tea", Quantity: 2})
//
// After every command the harness rebuilds the entity from its encoded journal, once from the events alone and once from
// a snapshot, and fails the test if that differs from the live state. So a test that was written for something else
// finds an event that does not survive its encoding, an applier that reads the clock, and a handler that changes the
// state without an event.
package sdktest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// Harness is one entity under test. It belongs to its test's goroutine.
type Harness struct {
	t       testing.TB
	entity  *def.Entity
	id      string
	journal []def.Event
	// snapshot is the latest that the entity attached; nil for none.
	snapshot *pb.EventSourcedSnapshot
	live     *session.EventSourced
	command  int64
}

// Result of a command.
type Result[Out any] struct {
	Reply Out
	// Err is nil, or an *sdk.Error as a caller would get it.
	Err error
	// Events are the names of the events that were recorded.
	Events []string
	// Snapshot is whether the reply carried one.
	Snapshot bool
	// Restarted is whether the entity was rebuilt from its journal, because it failed in a way that left its state in
	// doubt.
	Restarted bool
}

// New opens an entity that has no events yet. It ends the test if the definition has problems.
func New(t testing.TB, definition sdk.Definition, id string) *Harness {
	t.Helper()
	entity, err := definition.Definition()
	if err != nil {
		t.Fatalf("%s: %v", entity.Service, err)
	}
	h := &Harness{t: t, entity: entity, id: id}
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
	h.command++
	reply := h.step(&pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{Command: &cloudstate.Command{
		EntityId: h.id,
		Id:       h.command,
		Name:     method.Name(),
		Payload:  payload,
		Sequence: int64(len(h.journal)),
	}}}).GetReply()
	if reply.GetCommandId() != h.command {
		h.t.Fatalf("%s: reply to command %d, want %d", method, reply.GetCommandId(), h.command)
	}

	var result Result[Out]
	if f := reply.GetClientAction().GetFailure(); f != nil {
		code := sdk.Code(f.GetCode())
		if code == sdk.CodeOK {
			code = sdk.CodeUnknown
		}
		result.Err = &sdk.Error{Code: code, Message: f.GetDescription(), Entity: h.entity.Service + "/" + h.id, Sequence: int64(len(h.journal))}
		if f.GetRestart() {
			result.Restarted = true
			h.Reopen()
		}
	} else if result.Reply, err = outputs.Unpack(reply.GetClientAction().GetReply().GetPayload()); err != nil {
		h.t.Fatalf("%s: decode the reply: %v", method, err)
	}
	for i, e := range reply.GetEvents() {
		h.journal = append(h.journal, def.Event{Name: reply.GetEventNames()[i], Payload: e})
	}
	result.Events = reply.GetEventNames()
	if s := reply.GetSnapshot(); s != nil {
		result.Snapshot = true
		h.snapshot = &pb.EventSourcedSnapshot{SnapshotSequence: int64(len(h.journal)), Snapshot: s}
	}
	h.check(string(method))
	return result
}

// State is a pointer to the live state, for reading.
func State[S any](h *Harness) *S {
	h.t.Helper()
	s, ok := h.live.Instance().State().(*S)
	if !ok {
		h.t.Fatalf("the state is %T, want %T", h.live.Instance().State(), s)
	}
	return s
}

// Given adds events to the entity's past and opens it anew.
func (h *Harness) Given(events ...any) {
	h.t.Helper()
	for _, event := range events {
		e, err := h.live.Instance().Encode(event)
		if err != nil {
			h.t.Fatalf("given %T: %v", event, err)
		}
		h.journal = append(h.journal, e)
	}
	h.Reopen()
	h.check("the given events")
}

// Reopen drops the live entity, as if it had been passivated, and rebuilds it: from the latest snapshot that it attached
// and the events after it.
func (h *Harness) Reopen() {
	h.t.Helper()
	h.live = h.open(h.snapshot)
	h.command = 0
}

// Snapshot forces one of the state as it is now, for the next Reopen.
func (h *Harness) Snapshot() {
	h.t.Helper()
	s, err := h.live.Instance().Snapshot()
	if err != nil {
		h.t.Fatal(err)
	}
	h.snapshot = &pb.EventSourcedSnapshot{SnapshotSequence: int64(len(h.journal)), Snapshot: s}
}

// Journal returns the names of all the entity's events.
func (h *Harness) Journal() []string {
	names := make([]string, len(h.journal))
	for i, e := range h.journal {
		names[i] = e.Name
	}
	return names
}

// open replays the journal after the snapshot into a new session.
func (h *Harness) open(snapshot *pb.EventSourcedSnapshot) *session.EventSourced {
	h.t.Helper()
	live := session.NewEventSourced(map[string]*def.Entity{h.entity.Service: h.entity}, session.PeerOf(session.Extensions()),
		slog.New(slog.NewTextHandler(h.t.Output(), nil)))
	h.stepOf(live, &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{Init: &pb.EventSourcedInit{
		ServiceName: h.entity.Service,
		EntityId:    h.id,
		Snapshot:    snapshot,
	}}})
	for i, e := range h.journal[snapshot.GetSnapshotSequence():] {
		h.stepOf(live, &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Event{Event: &pb.EventSourcedEvent{
			Sequence: snapshot.GetSnapshotSequence() + int64(i) + 1,
			Payload:  e.Payload,
			Name:     e.Name,
		}}})
	}
	return live
}

func (h *Harness) step(in *pb.EventSourcedStreamIn) *pb.EventSourcedStreamOut {
	h.t.Helper()
	out := h.stepOf(h.live, in)
	if out == nil {
		h.t.Fatal("the session did not answer")
	}
	return out
}

// stepOf passes both messages through their wire form, and ends the test if the stream would end.
func (h *Harness) stepOf(live *session.EventSourced, in *pb.EventSourcedStreamIn) *pb.EventSourcedStreamOut {
	h.t.Helper()
	sent := new(pb.EventSourcedStreamIn)
	h.wire(in, sent)
	out, _ := live.Step(context.WithoutCancel(h.t.Context()), sent)
	if out == nil {
		return nil
	}
	if f := out.GetFailure(); f != nil {
		h.t.Fatalf("the entity's stream failed: %s", f.GetDescription())
	}
	got := new(pb.EventSourcedStreamOut)
	h.wire(out, got)
	return got
}

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

// check compares the live state with what the journal gives.
func (h *Harness) check(after string) {
	h.t.Helper()
	live := h.live.Instance().State()
	if d := difference(live, h.open(nil).Instance().State()); d != "" {
		h.t.Errorf("after %s the live state differs from what its events give: %s", after, fmt.Sprintf(d, "replayed"))
	}
	if h.entity.SnapshotEvery == 0 {
		return
	}
	s, err := h.live.Instance().Snapshot()
	if err != nil {
		h.t.Errorf("after %s: %v", after, err)
		return
	}
	restored := h.open(&pb.EventSourcedSnapshot{SnapshotSequence: int64(len(h.journal)), Snapshot: s})
	if d := difference(live, restored.Instance().State()); d != "" {
		h.t.Errorf("after %s the live state differs from its own snapshot: %s", after, fmt.Sprintf(d, "restored"))
	}
}
