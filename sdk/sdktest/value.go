package sdktest

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// The names of a value entity's events.
const (
	updated = "updated"
	deleted = "deleted"
)

// valueEntity is a subject of the value kind.
type valueEntity struct {
	harness *Harness
	live    *session.Value
}

// Value is the value of a value entity, and whether it has one.
func Value[S any](h *Harness) (value S, exists bool) {
	h.t.Helper()
	s, ok := h.subject.(*valueEntity)
	if !ok {
		h.t.Fatalf("%s is not a value entity: use State", h.entity.Service)
	}
	state := s.decode(s.live.Value())
	if value, ok = state.(S); !ok {
		h.t.Fatalf("the value is %T, want %T", state, value)
	}
	return value, s.live.Value() != nil
}

func (s *valueEntity) open() {
	s.harness.t.Helper()
	s.live = s.load()
}

// load makes a session with the value that is stored.
func (s *valueEntity) load() *session.Value {
	h := s.harness
	h.t.Helper()
	live := session.NewValue(h.services(), session.PeerOf(session.Extensions()), h.logger())
	s.step(live, &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Init{Init: &pb.ValueEntityInit{
		ServiceName: h.entity.Service,
		EntityId:    h.id,
		State:       &pb.ValueEntityInitState{Value: s.stored()},
	}}})
	return live
}

func (s *valueEntity) handle(c *cloudstate.Command) answer {
	s.harness.t.Helper()
	reply := s.step(s.live, &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Command{Command: c}}).GetReply()
	a := answer{command: reply.GetCommandId(), action: reply.GetClientAction(), effects: reply.GetSideEffects()}
	switch action := reply.GetStateAction().GetAction().(type) {
	case *pb.ValueEntityAction_Update:
		s.record(def.Event{Name: updated, Payload: action.Update.GetValue()}, &a)
	case *pb.ValueEntityAction_Delete:
		s.record(gone(), &a)
	}
	return a
}

func (s *valueEntity) record(e def.Event, a *answer) {
	s.harness.events, a.events = append(s.harness.events, e), []string{e.Name}
}

// stored is the value that the last event says; nil for none.
func (s *valueEntity) stored() *anypb.Any {
	events := s.harness.events
	if len(events) == 0 || events[len(events)-1].Name == deleted {
		return nil
	}
	return events[len(events)-1].Payload
}

// gone is the event of a value that was deleted.
func gone() def.Event {
	return def.Event{Name: deleted, Payload: &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Empty"}}
}

func (s *valueEntity) step(live *session.Value, in *pb.ValueEntityStreamIn) *pb.ValueEntityStreamOut {
	h := s.harness
	h.t.Helper()
	sent := new(pb.ValueEntityStreamIn)
	h.wire(in, sent)
	out, _ := live.Step(context.WithoutCancel(h.t.Context()), sent)
	if out == nil {
		return nil
	}
	h.ended(out.GetFailure())
	got := new(pb.ValueEntityStreamOut)
	h.wire(out, got)
	return got
}

// check loads the entity anew, and stores its value once more: neither may change it.
func (s *valueEntity) check(after string) {
	h := s.harness
	h.t.Helper()
	live := s.decode(s.live.Value())
	if d := difference(live, s.decode(s.load().Value())); d != "" {
		h.t.Errorf("after %s the live value differs from the stored one: %s", after, fmt.Sprintf(d, "stored"))
	}
	if s.stored() == nil {
		return
	}
	again, err := h.entity.Value.Encode(live)
	if err != nil {
		h.t.Errorf("after %s the value cannot be stored again: %v", after, err)
		return
	}
	if d := difference(live, s.decode(again)); d != "" {
		h.t.Errorf("after %s the value changes when it is stored again: %s", after, fmt.Sprintf(d, "then"))
	}
}

func (s *valueEntity) encode(v any) (def.Event, error) {
	if v == nil {
		return gone(), nil
	}
	value, err := s.harness.entity.Value.Encode(v)
	return def.Event{Name: updated, Payload: value}, err
}

func (s *valueEntity) snapshot() error { return errors.New("a value entity has no snapshots") }

func (s *valueEntity) decode(value *anypb.Any) any {
	h := s.harness
	h.t.Helper()
	v, err := h.entity.Value.Decode(value)
	if err != nil {
		h.t.Fatalf("%s/%s: %v", h.entity.Service, h.id, err)
	}
	return v
}

func (s *valueEntity) state() any { return s.decode(s.live.Value()) }
