package session

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// Keys of log records.
const (
	keyService = "service"
	keyID      = "id"
	keyCommand = "command"
	keyError   = "error"
	keyStack   = "stack"
)

// EventSourced is one stream of an event-sourced entity:
//
//	init  ──►  event* ──►  command*
//
// A reply answers each command. Whatever else arrives, and whatever makes the state doubtful while it is replayed, is
// answered with a failure of its own, after which the stream ends.
//
// A command that ends in an exception (no such command, a panic) is answered in two ways. The protocol wants a failure
// of the stream, whose text never reaches the caller. A peer that understands codes gets an ordinary failure instead,
// with code and text for the caller; the stream goes on if the state is sound, and asks for a restart if it is not.
type EventSourced struct {
	entities map[string]*def.Entity
	peer     Peer
	log      *slog.Logger

	entity   *def.Entity // nil before init
	instance def.Instance
	id       string
	sequence int64
	commands bool // the first command has come
	over     bool // a restart has been asked for
}

// NewEventSourced makes the session of a new stream. The entities are by service.
func NewEventSourced(entities map[string]*def.Entity, peer Peer, log *slog.Logger) *EventSourced {
	return &EventSourced{entities: entities, peer: peer, log: log}
}

// Instance is the live entity; nil before init.
func (s *EventSourced) Instance() def.Instance { return s.instance }

// Sequence of the last event applied.
func (s *EventSourced) Sequence() int64 { return s.sequence }

// Step takes one message. out is the answer, nil for none. more is false if the stream ends with it.
func (s *EventSourced) Step(ctx context.Context, in *pb.EventSourcedStreamIn) (out *pb.EventSourcedStreamOut, more bool) {
	switch m := in.GetMessage().(type) {
	case *pb.EventSourcedStreamIn_Init:
		return s.init(m.Init)
	case *pb.EventSourcedStreamIn_Event:
		return s.event(m.Event)
	case *pb.EventSourcedStreamIn_Command:
		return s.command(ctx, m.Command)
	default:
		return s.violation("a message without content")
	}
}

func (s *EventSourced) init(m *pb.EventSourcedInit) (*pb.EventSourcedStreamOut, bool) {
	if s.entity != nil {
		return s.violation("a second init")
	}
	e, ok := s.entities[m.GetServiceName()]
	if !ok || e.New == nil {
		return s.fail(0, codes.Unimplemented, fmt.Sprintf("there is no event-sourced service %q; there are %s",
			m.GetServiceName(), services(s.entities, def.EventSourced)))
	}
	s.entity, s.id = e, m.GetEntityId()
	s.log = s.log.With(keyService, e.Service, keyID, s.id)
	s.instance = e.New(s.id)
	if m.GetSnapshot() == nil {
		return nil, true
	}
	s.sequence = m.GetSnapshot().GetSnapshotSequence()
	if err := s.instance.Restore(m.GetSnapshot().GetSnapshot()); err != nil {
		return s.unsound(s.sequence, err)
	}
	return nil, true
}

func (s *EventSourced) event(m *pb.EventSourcedEvent) (*pb.EventSourcedStreamOut, bool) {
	switch {
	case s.entity == nil:
		return s.violation("an event before init")
	case s.commands:
		return s.violation("an event after a command")
	case m.GetSequence() != s.sequence+1 && (s.sequence > 0 || m.GetSequence() < 1):
		return s.violation(fmt.Sprintf("event %d after event %d", m.GetSequence(), s.sequence))
	}
	s.sequence = m.GetSequence()
	if err := s.instance.Apply(def.Event{Name: m.GetName(), Payload: m.GetPayload()}); err != nil {
		return s.unsound(s.sequence, err)
	}
	return nil, true
}

func (s *EventSourced) command(ctx context.Context, m *cloudstate.Command) (*pb.EventSourcedStreamOut, bool) {
	switch {
	case s.entity == nil:
		return s.violation("a command before init")
	case m.GetEntityId() != s.id:
		return s.fail(m.GetId(), codes.Internal, fmt.Sprintf("protocol error: a command for %q on the stream of %q", m.GetEntityId(), s.id))
	case s.over:
		return s.fail(m.GetId(), codes.Internal, "protocol error: a command after a restart was asked for; open a new stream")
	case m.GetSequence() > 0 && s.sequence == 0 && !s.commands:
		s.sequence = m.GetSequence()
	case m.GetSequence() != 0 && m.GetSequence() != s.sequence:
		return s.fail(m.GetId(), codes.Internal, fmt.Sprintf("protocol error: a command at sequence %d, but %d events have been applied",
			m.GetSequence(), s.sequence))
	}
	s.commands = true
	result := s.instance.Handle(ctx, def.Command{
		Name:     m.GetName(),
		Payload:  m.GetPayload(),
		Metadata: m.GetMetadata(),
		Key:      m.GetIdempotencyKey(),
		Sequence: s.sequence,
	})
	if result.Failure != nil {
		return s.refused(m, result.Failure)
	}
	effects, forward, failure := s.peer.outgoing(&result)
	if failure != nil {
		failure.Spoilt = len(result.Events) > 0
		return s.refused(m, failure)
	}
	// In one piece: it has one life, and there is one for every turn.
	var answer struct {
		out    pb.EventSourcedStreamOut
		kind   pb.EventSourcedStreamOut_Reply
		turn   pb.EventSourcedReply
		client cloudstate.ClientAction
		action cloudstate.ClientAction_Reply
		reply  cloudstate.Reply
	}
	answer.reply.Payload, answer.reply.Metadata = result.Reply, result.Metadata
	answer.action.Reply = &answer.reply
	answer.client.Action = &answer.action
	if forward != nil {
		answer.client.Action = &cloudstate.ClientAction_Forward{Forward: forward}
	}
	answer.kind.Reply = &answer.turn
	answer.out.Message = &answer.kind
	reply := &answer.turn
	reply.CommandId, reply.ClientAction, reply.SideEffects = m.GetId(), &answer.client, effects
	for _, e := range result.Events {
		reply.Events = append(reply.Events, e.Payload)
		if s.peer.Events {
			reply.EventNames = append(reply.EventNames, e.Name)
		}
	}
	before := s.sequence
	s.sequence += int64(len(result.Events))
	if n := s.entity.SnapshotEvery; n > 0 && s.sequence/n > before/n {
		snapshot, err := s.instance.Snapshot()
		if err != nil {
			// The events are what counts; without the snapshot the next replay is only longer.
			s.log.Error("no snapshot", keyError, err, keyStack, string(def.StackOf(err)))
		}
		reply.Snapshot = snapshot
	}
	return &answer.out, true
}

func (s *EventSourced) refused(m *cloudstate.Command, f *def.Failure) (*pb.EventSourcedStreamOut, bool) {
	if f.Cause != nil {
		s.log.Error("command failed inside its handler", keyCommand, m.GetName(), keyError, f.Cause,
			keyStack, string(def.StackOf(f.Cause)))
	}
	if f.Exception && !s.peer.Codes {
		return s.fail(m.GetId(), codes.Code(f.Code), f.Text)
	}
	s.over = f.Spoilt
	failure := s.peer.failure(m.GetId(), codes.Code(f.Code), f.Text)
	failure.Restart = f.Spoilt
	return &pb.EventSourcedStreamOut{Message: &pb.EventSourcedStreamOut_Reply{Reply: &pb.EventSourcedReply{
		CommandId: m.GetId(),
		ClientAction: &cloudstate.ClientAction{
			Action: &cloudstate.ClientAction_Failure{Failure: failure},
		},
	}}}, true
}

// unsound answers a snapshot or event that could not be applied. No command has come, so none can be answered.
func (s *EventSourced) unsound(sequence int64, err error) (*pb.EventSourcedStreamOut, bool) {
	text := err.Error()
	if stack := def.StackOf(err); stack != nil {
		s.log.Error("replay failed", "sequence", sequence, keyError, err, keyStack, string(stack))
		text = "the applier panicked; the log of the service has the details"
	}
	return s.fail(0, codes.Internal, fmt.Sprintf("replay %s/%s at sequence %d: %s", s.entity.Service, s.id, sequence, text))
}

func (s *EventSourced) violation(what string) (*pb.EventSourcedStreamOut, bool) {
	return s.fail(0, codes.Internal, "protocol error: "+what)
}

func (s *EventSourced) fail(command int64, code codes.Code, text string) (*pb.EventSourcedStreamOut, bool) {
	s.over = true
	return &pb.EventSourcedStreamOut{Message: &pb.EventSourcedStreamOut_Failure{Failure: s.peer.failure(command, code, text)}}, false
}
