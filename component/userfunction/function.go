package userfunction

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// dialect is what differs between the kinds of entities: how they begin, and how their state changes. It is used by many
// sessions at once.
type dialect interface {
	// texts are what callers get when the user function breaks the protocol.
	texts() *texts
	// open begins a stream.
	open(ctx context.Context) (grpc.ClientStream, error)
	// begin gives the user function what the entity begins with, message by message, and ranges over start.Events once.
	begin(start engine.Start, give func(what string, in any) error) error
	// command makes a message in one piece, for it has one life and there is one for every turn. The command in it is
	// empty but has its payload.
	command() (in any, c *cloudstate.Command)
	receive(stream grpc.ClientStream) (said, error)
	// changes is what becomes of the state by a response that receive gave, without the outcome, or what is wrong with it.
	changes(r response) (out engine.Reply, wrong string)
}

// said is one message of the user function: a response, a failure out of turn, or neither.
type said struct {
	reply   response
	failure *cloudstate.Failure
}

// response is what the answers to commands have in common.
type response interface {
	GetCommandId() int64
	GetClientAction() *cloudstate.ClientAction
	GetSideEffects() []*cloudstate.SideEffect
}

// function is one service of entities. It implements engine.Function.
type function struct {
	*service
	dialect dialect
}

// newFunction returns nil for a service that has no entities of a kind that sessions know.
func newFunction(s *service) engine.Function {
	switch s.Kind {
	case actors.EventSourced:
		return &function{s, &eventSourced{eventsourced.NewEventSourcedClient(s.conn), s.events}}
	case actors.Value:
		return &function{s, &value{valueentity.NewValueEntityClient(s.conn)}}
	default:
		return nil
	}
}

// Open implements engine.Function. Its errors are *actors.Error or match engine.ErrSessionLost, except those of start.Events.
func (f *function) Open(ctx context.Context, start engine.Start) (engine.Session, error) {
	// The stream outlives ctx and keeps nothing of it. Until Open returns, ctx's end ends the stream all the same,
	// whatever that may be blocked in.
	life, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	s := &session{function: f, id: start.Ref.ID, cancel: cancel}
	err := s.begin(life, start)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && f.pipeline {
		return &pipelined{s}, nil
	}
	if err == nil {
		return s, nil
	}
	cancel()
	if ctx.Err() == nil {
		return nil, err
	}
	late := overdue(ctx.Err(), "open a session of the user function for", start.Ref)
	if s.stream == nil && f.conn.GetState() == connectivity.Ready {
		late.Message += "; the user function seems to allow no more streams at a time"
	}
	return nil, late
}

// begin opens the stream and sends what the entity begins with.
func (s *session) begin(life context.Context, start engine.Start) error {
	if !s.function.client.met.Load() {
		return s.unopened(errNotMet)
	}
	stream, err := s.function.dialect.open(life)
	if err != nil {
		return s.unopened(err)
	}
	s.stream = stream
	return s.function.dialect.begin(start, s.give)
}

// give sends a part of the beginning.
func (s *session) give(what string, in any) error {
	err := s.stream.SendMsg(in)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		// The user function has ended the stream; why, is in what it sent last.
		out, err := s.function.dialect.receive(s.stream)
		if err != nil {
			return s.broken(err)
		}
		return s.unexpected(out, "", 0)
	default:
		return s.function.client.unsent(err, what, s.ref())
	}
}
