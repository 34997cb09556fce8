package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// function is one event-sourced service of the user function. It implements engine.Function.
type function struct {
	client  *Client
	conn    *grpc.ClientConn
	service *catalog.Service
	stub    eventsourced.EventSourcedClient
	reports cloudstate.EntityDiscoveryClient
	log     *slog.Logger

	// Extensions that both sides know.
	codes, metadata, sequence, idempotency, events, pipeline bool

	// warned holds the methods whose replies have been complained about.
	warned sync.Map
}

func newFunction(c *Client, conn *grpc.ClientConn, reports cloudstate.EntityDiscoveryClient, s *catalog.Service) *function {
	return &function{
		client:      c,
		conn:        conn,
		service:     s,
		stub:        eventsourced.NewEventSourcedClient(conn),
		reports:     reports,
		log:         c.log.With(keyService, s.Name),
		codes:       s.Extensions["codes"],
		metadata:    s.Extensions["metadata"],
		sequence:    s.Extensions["sequence"],
		idempotency: s.Extensions["idempotency"],
		events:      s.Extensions["events"],
		pipeline:    s.Extensions["pipeline"],
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
	late := overdue(ctx, "open a session of the user function for", start.Ref)
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
	stream, err := s.function.stub.Handle(life)
	if err != nil {
		return s.unopened(err)
	}
	s.stream = stream
	initial := &eventsourced.EventSourcedInit{ServiceName: start.Ref.Service, EntityId: start.Ref.ID}
	if start.Snapshot != nil {
		initial.Snapshot = &eventsourced.EventSourcedSnapshot{SnapshotSequence: start.SnapshotSequence, Snapshot: toAny(*start.Snapshot)}
	}
	err = s.give("its state", &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: initial}})
	if err != nil || start.Events == nil {
		return err
	}
	for event, err := range start.Events {
		if err != nil {
			return err
		}
		out := &eventsourced.EventSourcedEvent{Sequence: event.Sequence, Payload: toAny(event.Payload)}
		if s.function.events {
			out.Name = event.Name
		}
		err := s.give("an event of", &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: out}})
		if err != nil {
			return err
		}
	}
	return nil
}

// give sends a part of the beginning.
func (s *session) give(what string, in *eventsourced.EventSourcedStreamIn) error {
	err := s.stream.Send(in)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		// The user function has ended the stream; why, is in what it sent last.
		out, err := s.stream.Recv()
		if err != nil {
			return s.broken(err)
		}
		return s.unexpected(out, "", 0)
	default:
		return s.unsent(err, what)
	}
}

var errNotMet = status.Error(codes.Unavailable, "discovery has not succeeded since the connection was lost")

// unopened is for a stream that there never was.
func (s *session) unopened(err error) error {
	if code := status.Code(err); code == codes.Unavailable || code == codes.Canceled {
		return &actors.Error{
			Code: actors.Unavailable,
			Message: fmt.Sprintf("the user function at %s cannot be reached for %s; try again when it runs",
				s.function.client.config.Address, s.ref()),
			Cause: err,
		}
	}
	return s.terminated(err)
}

// unsent is for a message that could not be written on our side.
func (s *session) unsent(err error, what string) error {
	if status.Code(err) == codes.ResourceExhausted {
		return &actors.Error{
			Code: actors.ResourceExhausted,
			Message: fmt.Sprintf("%s %s is larger than a message to the user function may be (%d bytes)",
				what, s.ref(), s.function.client.config.MaxMessage),
			Cause: err,
		}
	}
	return &actors.Error{Code: actors.Internal, Message: fmt.Sprintf("%s %s cannot be sent to the user function", what, s.ref()), Cause: err}
}

// overdue is for a context that ended.
func overdue(ctx context.Context, what string, on fmt.Stringer) *actors.Error {
	cause := ctx.Err()
	if errors.Is(cause, context.DeadlineExceeded) {
		return &actors.Error{Code: actors.DeadlineExceeded, Message: fmt.Sprintf("%s %s: the deadline has passed", what, on), Cause: cause}
	}
	return &actors.Error{Code: actors.Canceled, Message: fmt.Sprintf("%s %s: the caller has gone", what, on), Cause: cause}
}
