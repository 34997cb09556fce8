package session

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Replicated is one stream of a replicated entity:
//
//	init  ──►  ( delta | command | stream_cancelled )*  ──►  delete
//
// A reply answers each command, in their order. A streamed command may be accepted: then messages follow its reply, one
// after each change at most. Every stream_cancelled is answered, also one of a stream that has ended, because the other
// side holds changes back until it has the answer. Whatever else arrives, or cannot be applied, is answered with a failure
// of the stream, after which it ends. Exceptions are answered as EventSourced answers them.
//
// A turn that fails leaves the data as it was, so there is nothing to restart.
type Replicated struct {
	entities map[string]*def.Entity
	peer     Peer
	log      *slog.Logger

	entity  *def.Entity // nil before init
	id      string
	replica def.Replica
	deleted bool
	// streams are the open ones, the oldest first.
	streams []stream
}

// stream is a streamed command whose caller waits for more.
type stream struct {
	command int64
	name    string
	watcher def.Watcher
}

// NewReplicated makes the session of a new stream. The entities are by service.
func NewReplicated(entities map[string]*def.Entity, peer Peer, log *slog.Logger) *Replicated {
	return &Replicated{entities: entities, peer: peer, log: log}
}

// Value is the whole data as a delta; nil before init.
func (s *Replicated) Value() *pb.CrdtDelta {
	if s.replica == nil {
		return nil
	}
	return s.replica.Value()
}

// Data is the live data, of the user's type; nil before init.
func (s *Replicated) Data() any {
	if s.replica == nil {
		return nil
	}
	return s.replica.Data()
}

// Step takes one message and sends what there is to say to it. more is false if the stream ends with it. An error is one
// of send.
func (s *Replicated) Step(ctx context.Context, in *pb.CrdtStreamIn, send func(*pb.CrdtStreamOut) error) (more bool, err error) {
	switch m := in.GetMessage().(type) {
	case *pb.CrdtStreamIn_Init:
		return s.init(m.Init, send)
	case *pb.CrdtStreamIn_Delta:
		return s.delta(m.Delta, send)
	case *pb.CrdtStreamIn_Delete:
		s.deleted, s.streams = true, nil
		return true, nil
	case *pb.CrdtStreamIn_Command:
		return s.command(ctx, m.Command, send)
	case *pb.CrdtStreamIn_StreamCancelled:
		return s.cancelled(ctx, m.StreamCancelled, send)
	default:
		return s.violation("a message without content", send)
	}
}

func (s *Replicated) init(m *pb.CrdtInit, send func(*pb.CrdtStreamOut) error) (bool, error) {
	if s.entity != nil {
		return s.violation("a second init", send)
	}
	e, ok := s.entities[m.GetServiceName()]
	if !ok || e.Replicate == nil {
		return s.fail(0, codes.Unimplemented, fmt.Sprintf("there is no service %q of replicated entities; there are %s",
			m.GetServiceName(), services(s.entities, def.Replicated)), send)
	}
	s.entity, s.id = e, m.GetEntityId()
	s.log = s.log.With(keyService, e.Service, keyID, s.id)
	var err error
	if s.replica, err = e.Replicate(s.id); err == nil && m.GetDelta() != nil {
		err = s.replica.Apply(m.GetDelta())
	}
	if err != nil {
		return s.spoilt("load", err, send)
	}
	return true, nil
}

func (s *Replicated) delta(d *pb.CrdtDelta, send func(*pb.CrdtStreamOut) error) (bool, error) {
	switch {
	case s.entity == nil:
		return s.violation("a delta before init", send)
	case s.deleted:
		return true, nil
	}
	if err := s.replica.Apply(d); err != nil {
		return s.spoilt("update", err, send)
	}
	return true, s.tell(send)
}

// spoilt ends the stream for the sake of data that could not be taken.
func (s *Replicated) spoilt(what string, err error, send func(*pb.CrdtStreamOut) error) (bool, error) {
	text := err.Error()
	if stack := def.StackOf(err); stack != nil {
		s.log.Error(what+" failed", keyError, err, keyStack, string(stack))
		text = "a function of the entity's panicked; the log of the service has the details"
	}
	return s.fail(0, codes.Internal, fmt.Sprintf("%s %s/%s: %s", what, s.entity.Service, s.id, text), send)
}

func (s *Replicated) command(ctx context.Context, m *cloudstate.Command, send func(*pb.CrdtStreamOut) error) (bool, error) {
	switch {
	case s.entity == nil:
		return s.violation("a command before init", send)
	case m.GetEntityId() != s.id:
		return s.fail(m.GetId(), codes.Internal, fmt.Sprintf("protocol error: a command for %q on the stream of %q", m.GetEntityId(), s.id), send)
	case s.deleted:
		return s.refused(m, &def.Failure{
			Code: int32(codes.NotFound),
			Text: fmt.Sprintf("%s/%s has just been deleted; send the command again to begin anew", s.entity.Service, s.id),
		}, send)
	}
	result := s.replica.Handle(ctx, def.Command{
		Name:     m.GetName(),
		Payload:  m.GetPayload(),
		Metadata: m.GetMetadata(),
		Key:      m.GetIdempotencyKey(),
		Sequence: m.GetSequence(),
		Streamed: m.GetStreamed(),
	})
	if result.Failure != nil {
		return s.refused(m, result.Failure, send)
	}
	effects, forward, failure := s.peer.outgoing(&result)
	s.replica.Settle(failure == nil)
	if failure != nil {
		return s.refused(m, failure, send)
	}
	reply := &pb.CrdtReply{
		CommandId:    m.GetId(),
		ClientAction: action(&result, forward),
		SideEffects:  effects,
		StateAction:  s.state(result.Write),
		Streamed:     result.Watcher != nil,
	}
	// A reply that ends a stream and changes nothing has been overlooked by proxies, so the end is said apart.
	apart := result.Ended && result.Write == nil
	reply.Streamed = reply.Streamed || apart
	if err := send(&pb.CrdtStreamOut{Message: &pb.CrdtStreamOut_Reply{Reply: reply}}); err != nil {
		return false, err
	}
	if apart {
		if err := send(message(&pb.CrdtStreamedMessage{CommandId: m.GetId(), EndStream: true})); err != nil {
			return false, err
		}
	}
	if err := s.changed(result.Write, send); err != nil {
		return false, err
	}
	if result.Watcher != nil && !s.deleted {
		s.streams = append(s.streams, stream{m.GetId(), m.GetName(), result.Watcher})
	}
	return true, nil
}

func (s *Replicated) cancelled(ctx context.Context, m *cloudstate.StreamCancelled, send func(*pb.CrdtStreamOut) error) (bool, error) {
	if s.entity == nil {
		return s.violation("a stream_cancelled before init", send)
	}
	var result def.Result
	response := &pb.CrdtStreamCancelledResponse{CommandId: m.GetId()}
	if i := slices.IndexFunc(s.streams, func(x stream) bool { return x.command == m.GetId() }); i >= 0 {
		x := s.streams[i]
		s.streams = slices.Delete(s.streams, i, i+1)
		result = x.watcher.Done(ctx)
		if result.Failure == nil {
			response.SideEffects, result.Failure = s.peer.effects(result.Effects)
			s.replica.Settle(result.Failure == nil)
		}
		if f := result.Failure; f != nil { // nobody is there to hear of it
			s.log.Error("the end of a stream failed", keyCommand, x.name, keyError, f.Text, keyStack, string(def.StackOf(f.Cause)))
			response.SideEffects, result.Write = nil, nil
		}
		response.StateAction = s.state(result.Write)
	}
	if err := send(&pb.CrdtStreamOut{Message: &pb.CrdtStreamOut_StreamCancelledResponse{StreamCancelledResponse: response}}); err != nil {
		return false, err
	}
	return true, s.changed(result.Write, send)
}

// changed follows a write of this stream's.
func (s *Replicated) changed(w *def.Write, send func(*pb.CrdtStreamOut) error) error {
	switch {
	case w == nil:
		return nil
	case w.Delta == nil:
		s.deleted, s.streams = true, nil
		return nil
	default:
		return s.tell(send)
	}
}

// tell tells those who watch the data that it has changed.
func (s *Replicated) tell(send func(*pb.CrdtStreamOut) error) error {
	var err error
	s.streams = slices.DeleteFunc(s.streams, func(x stream) bool {
		if err != nil {
			return false
		}
		result := x.watcher.Next()
		effects, failure := s.peer.effects(result.Effects)
		if result.Failure == nil {
			result.Failure = failure
		}
		m := &pb.CrdtStreamedMessage{CommandId: x.command, ClientAction: action(&result, nil), SideEffects: effects, EndStream: result.Ended}
		if f := result.Failure; f != nil {
			s.report(x.name, f)
			m.ClientAction, m.SideEffects, m.EndStream = s.failure(x.command, f), nil, true
		}
		if m.ClientAction != nil || len(m.SideEffects) > 0 || m.EndStream {
			err = send(message(m))
		}
		return m.EndStream
	})
	return err
}

func (s *Replicated) refused(m *cloudstate.Command, f *def.Failure, send func(*pb.CrdtStreamOut) error) (bool, error) {
	s.report(m.GetName(), f)
	if f.Exception && !s.peer.Codes {
		return s.fail(m.GetId(), codes.Code(f.Code), f.Text, send)
	}
	return true, send(&pb.CrdtStreamOut{Message: &pb.CrdtStreamOut_Reply{Reply: &pb.CrdtReply{
		CommandId: m.GetId(), ClientAction: s.failure(m.GetId(), f),
	}}})
}

func (s *Replicated) report(command string, f *def.Failure) {
	if f.Cause != nil {
		s.log.Error("command failed inside its handler", keyCommand, command, keyError, f.Cause, keyStack, string(def.StackOf(f.Cause)))
	}
}

func (s *Replicated) failure(command int64, f *def.Failure) *cloudstate.ClientAction {
	return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{
		Failure: s.peer.failure(command, codes.Code(f.Code), f.Text),
	}}
}

func (s *Replicated) violation(what string, send func(*pb.CrdtStreamOut) error) (bool, error) {
	return s.fail(0, codes.Internal, "protocol error: "+what, send)
}

func (s *Replicated) fail(command int64, code codes.Code, text string, send func(*pb.CrdtStreamOut) error) (bool, error) {
	return false, send(&pb.CrdtStreamOut{Message: &pb.CrdtStreamOut_Failure{Failure: s.peer.failure(command, code, text)}})
}

// state is what a write says on the wire; nil for none.
func (s *Replicated) state(w *def.Write) *pb.CrdtStateAction {
	switch {
	case w == nil:
		return nil
	case w.Delta == nil:
		return &pb.CrdtStateAction{Action: &pb.CrdtStateAction_Delete{Delete: new(pb.CrdtDelete)}, WriteConsistency: w.Level}
	default:
		return &pb.CrdtStateAction{Action: &pb.CrdtStateAction_Update{Update: w.Delta}, WriteConsistency: w.Level}
	}
}

// action is what the caller gets; nil for nothing.
func action(r *def.Result, forward *cloudstate.Forward) *cloudstate.ClientAction {
	switch {
	case forward != nil:
		return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: forward}}
	case r.Reply != nil:
		return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{
			Reply: &cloudstate.Reply{Payload: r.Reply, Metadata: r.Metadata},
		}}
	default:
		return nil
	}
}

func message(m *pb.CrdtStreamedMessage) *pb.CrdtStreamOut {
	return &pb.CrdtStreamOut{Message: &pb.CrdtStreamOut_StreamedMessage{StreamedMessage: m}}
}
