package session

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// Value is one stream of a value entity:
//
//	init  ──►  command*
//
// A reply answers each command. Whatever else arrives is answered with a failure of the stream, after which it ends. The
// session keeps the value in its encoded form, and a turn that fails leaves it as it was; so there is no state that can
// be spoilt, and nothing to restart. Exceptions are answered as EventSourced answers them.
type Value struct {
	entities map[string]*def.Entity
	peer     Peer
	log      *slog.Logger

	entity *def.Entity // nil before init
	id     string
	value  *anypb.Any // nil for none
}

// NewValue makes the session of a new stream. The entities are by service.
func NewValue(entities map[string]*def.Entity, peer Peer, log *slog.Logger) *Value {
	return &Value{entities: entities, peer: peer, log: log}
}

// Value of the entity; nil for none.
func (s *Value) Value() *anypb.Any { return s.value }

// Step takes one message. out is the answer, nil for none. more is false if the stream ends with it.
func (s *Value) Step(ctx context.Context, in *pb.ValueEntityStreamIn) (out *pb.ValueEntityStreamOut, more bool) {
	switch m := in.GetMessage().(type) {
	case *pb.ValueEntityStreamIn_Init:
		return s.init(m.Init)
	case *pb.ValueEntityStreamIn_Command:
		return s.command(ctx, m.Command)
	default:
		return s.violation("a message without content")
	}
}

func (s *Value) init(m *pb.ValueEntityInit) (*pb.ValueEntityStreamOut, bool) {
	if s.entity != nil {
		return s.violation("a second init")
	}
	e, ok := s.entities[m.GetServiceName()]
	if !ok || e.Value == nil {
		return s.fail(0, codes.Unimplemented, fmt.Sprintf("there is no service %q of value entities; there are %s",
			m.GetServiceName(), services(s.entities, def.ValueEntity)))
	}
	s.entity, s.id, s.value = e, m.GetEntityId(), m.GetState().GetValue()
	s.log = s.log.With(keyService, e.Service, keyID, s.id)
	if s.value == nil {
		return nil, true
	}
	if _, err := e.Value.Decode(s.value); err != nil {
		text := err.Error()
		if stack := def.StackOf(err); stack != nil {
			s.log.Error("load failed", keyError, err, keyStack, string(stack))
			text = "the value's decoder panicked; the log of the service has the details"
		}
		return s.fail(0, codes.Internal, fmt.Sprintf("load %s/%s: %s", e.Service, s.id, text))
	}
	return nil, true
}

func (s *Value) command(ctx context.Context, m *cloudstate.Command) (*pb.ValueEntityStreamOut, bool) {
	switch {
	case s.entity == nil:
		return s.violation("a command before init")
	case m.GetEntityId() != s.id:
		return s.fail(m.GetId(), codes.Internal, fmt.Sprintf("protocol error: a command for %q on the stream of %q", m.GetEntityId(), s.id))
	}
	result := s.entity.Value.Handle(ctx, s.id, s.value, def.Command{
		Name:     m.GetName(),
		Payload:  m.GetPayload(),
		Metadata: m.GetMetadata(),
		Key:      m.GetIdempotencyKey(),
		Sequence: m.GetSequence(),
	})
	failure := result.Failure
	var (
		effects []*cloudstate.SideEffect
		forward *cloudstate.Forward
	)
	if failure == nil {
		effects, forward, failure = s.peer.outgoing(&result)
	}
	if failure != nil {
		return s.refused(m, failure)
	}
	reply := &pb.ValueEntityReply{CommandId: m.GetId(), SideEffects: effects}
	if forward != nil {
		reply.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: forward}}
	} else {
		reply.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{
			Reply: &cloudstate.Reply{Payload: result.Reply, Metadata: result.Metadata},
		}}
	}
	if c := result.Change; c != nil {
		s.value = c.Value
		reply.StateAction = &pb.ValueEntityAction{Action: &pb.ValueEntityAction_Delete{Delete: new(pb.ValueEntityDelete)}}
		if c.Value != nil {
			reply.StateAction.Action = &pb.ValueEntityAction_Update{Update: &pb.ValueEntityUpdate{Value: c.Value}}
		}
	}
	return &pb.ValueEntityStreamOut{Message: &pb.ValueEntityStreamOut_Reply{Reply: reply}}, true
}

func (s *Value) refused(m *cloudstate.Command, f *def.Failure) (*pb.ValueEntityStreamOut, bool) {
	if f.Cause != nil {
		s.log.Error("command failed inside its handler", keyCommand, m.GetName(), keyError, f.Cause,
			keyStack, string(def.StackOf(f.Cause)))
	}
	if f.Exception && !s.peer.Codes {
		return s.fail(m.GetId(), codes.Code(f.Code), f.Text)
	}
	return &pb.ValueEntityStreamOut{Message: &pb.ValueEntityStreamOut_Reply{Reply: &pb.ValueEntityReply{
		CommandId: m.GetId(),
		ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{
			Failure: s.peer.failure(m.GetId(), codes.Code(f.Code), f.Text),
		}},
	}}}, true
}

func (s *Value) violation(what string) (*pb.ValueEntityStreamOut, bool) {
	return s.fail(0, codes.Internal, "protocol error: "+what)
}

func (s *Value) fail(command int64, code codes.Code, text string) (*pb.ValueEntityStreamOut, bool) {
	return &pb.ValueEntityStreamOut{Message: &pb.ValueEntityStreamOut_Failure{Failure: s.peer.failure(command, code, text)}}, false
}
