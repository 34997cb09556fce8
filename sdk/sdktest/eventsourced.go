package sdktest

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// eventSourced is an event-sourced subject.
type eventSourced struct {
	harness *Harness
	// latest is the snapshot that the entity attached last; nil for none.
	latest *pb.EventSourcedSnapshot
	live   *session.EventSourced
}

func (s *eventSourced) open() {
	s.harness.t.Helper()
	s.live = s.replay(s.latest)
}

// replay makes a session from the snapshot and the events after it.
func (s *eventSourced) replay(snapshot *pb.EventSourcedSnapshot) *session.EventSourced {
	h := s.harness
	h.t.Helper()
	live := session.NewEventSourced(h.services(), session.PeerOf(session.Extensions()), h.logger())
	s.step(live, &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{Init: &pb.EventSourcedInit{
		ServiceName: h.entity.Service,
		EntityId:    h.id,
		Snapshot:    snapshot,
	}}})
	for i, e := range h.events[snapshot.GetSnapshotSequence():] {
		s.step(live, &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Event{Event: &pb.EventSourcedEvent{
			Sequence: snapshot.GetSnapshotSequence() + int64(i) + 1,
			Payload:  e.Payload,
			Name:     e.Name,
		}}})
	}
	return live
}

func (s *eventSourced) handle(c *cloudstate.Command) answer {
	s.harness.t.Helper()
	reply := s.step(s.live, &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{Command: c}}).GetReply()
	for i, e := range reply.GetEvents() {
		s.harness.events = append(s.harness.events, def.Event{Name: reply.GetEventNames()[i], Payload: e})
	}
	if snapshot := reply.GetSnapshot(); snapshot != nil {
		s.latest = &pb.EventSourcedSnapshot{SnapshotSequence: int64(len(s.harness.events)), Snapshot: snapshot}
	}
	return answer{
		command:  reply.GetCommandId(),
		action:   reply.GetClientAction(),
		effects:  reply.GetSideEffects(),
		events:   reply.GetEventNames(),
		snapshot: reply.GetSnapshot() != nil,
	}
}

func (s *eventSourced) step(live *session.EventSourced, in *pb.EventSourcedStreamIn) *pb.EventSourcedStreamOut {
	h := s.harness
	h.t.Helper()
	sent := new(pb.EventSourcedStreamIn)
	h.wire(in, sent)
	out, _ := live.Step(context.WithoutCancel(h.t.Context()), sent)
	if out == nil {
		return nil
	}
	h.ended(out.GetFailure())
	got := new(pb.EventSourcedStreamOut)
	h.wire(out, got)
	return got
}

func (s *eventSourced) check(after string) {
	h := s.harness
	h.t.Helper()
	live := s.live.Instance().State()
	if d := difference(live, s.replay(nil).Instance().State()); d != "" {
		h.t.Errorf("after %s the live state differs from what its events give: %s", after, fmt.Sprintf(d, "replayed"))
	}
	if h.entity.SnapshotEvery == 0 {
		return
	}
	snapshot, err := s.live.Instance().Snapshot()
	if err != nil {
		h.t.Errorf("after %s: %v", after, err)
		return
	}
	restored := s.replay(&pb.EventSourcedSnapshot{SnapshotSequence: int64(len(s.harness.events)), Snapshot: snapshot})
	if d := difference(live, restored.Instance().State()); d != "" {
		h.t.Errorf("after %s the live state differs from its own snapshot: %s", after, fmt.Sprintf(d, "restored"))
	}
}

func (s *eventSourced) encode(v any) (def.Event, error) { return s.live.Instance().Encode(v) }

func (s *eventSourced) snapshot() error {
	snapshot, err := s.live.Instance().Snapshot()
	if err == nil {
		s.latest = &pb.EventSourcedSnapshot{SnapshotSequence: int64(len(s.harness.events)), Snapshot: snapshot}
	}
	return err
}

func (s *eventSourced) state() any { return s.live.Instance().State() }
