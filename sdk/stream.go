package sdk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// streams runs the sessions.
type streams struct {
	entities map[string]*def.Entity
	log      *slog.Logger
	// peer is what the proxy of the most recent discovery announced. A stream does not say which proxy opened it, so a
	// second proxy that understands less must not share a server with one that understands more.
	peer     atomic.Pointer[session.Peer]
	stopping chan struct{}
	workers  sync.WaitGroup
}

var (
	errStopping = status.Error(codes.Unavailable, "the service is stopping")
	errExited   = status.Error(codes.Internal, "a handler ended its goroutine")
)

// eventSourced serves the streams of event-sourced entities.
type eventSourced struct {
	eventsourced.UnimplementedEventSourcedServer
	*streams
}

func (s eventSourced) Handle(stream grpc.BidiStreamingServer[eventsourced.EventSourcedStreamIn, eventsourced.EventSourcedStreamOut]) error {
	return serve(s.streams, stream, answered(stream, session.NewEventSourced(s.entities, s.announced(), s.log).Step))
}

// valueEntity serves the streams of value entities.
type valueEntity struct {
	valueentity.UnimplementedValueEntityServer
	*streams
}

func (s valueEntity) Handle(stream grpc.BidiStreamingServer[valueentity.ValueEntityStreamIn, valueentity.ValueEntityStreamOut]) error {
	return serve(s.streams, stream, answered(stream, session.NewValue(s.entities, s.announced(), s.log).Step))
}

// replicated serves the streams of replicated entities.
type replicated struct {
	crdt.UnimplementedCrdtServer
	*streams
}

func (s replicated) Handle(stream grpc.BidiStreamingServer[crdt.CrdtStreamIn, crdt.CrdtStreamOut]) error {
	live := session.NewReplicated(s.entities, s.announced(), s.log)
	return serve(s.streams, stream, func(in *crdt.CrdtStreamIn) (bool, error) { return live.Step(stream.Context(), in, stream.Send) })
}

// answered sends what step answers: one message at most.
func answered[In, Out any](
	stream grpc.BidiStreamingServer[In, Out],
	step func(context.Context, *In) (*Out, bool),
) func(*In) (bool, error) {
	return func(in *In) (more bool, err error) {
		out, more := step(stream.Context(), in)
		if out != nil {
			err = stream.Send(out)
		}
		return more, err
	}
}

// announced is what the proxy understands.
func (s *streams) announced() session.Peer {
	if p := s.peer.Load(); p != nil {
		return *p
	}
	return session.Peer{}
}

// serve is one entity's stream, whose messages step answers; more is false after the last. A worker reads and takes the turns, so that a stop need not
// wait for the next message of an idle stream; the return of serve then ends the worker's read.
func serve[In, Out any](s *streams, stream grpc.BidiStreamingServer[In, Out], step func(*In) (more bool, err error)) error {
	var (
		turn  sync.Mutex // held while a message is being answered
		ended bool       // guarded by turn
		done  = make(chan error, 1)
	)
	s.workers.Go(func() {
		result := errExited
		defer func() { done <- result }()
		for more := true; more; {
			in, err := stream.Recv()
			if err != nil {
				result = nil
				if !errors.Is(err, io.EOF) {
					result = err
				}
				return
			}
			err = func() error {
				turn.Lock()
				defer turn.Unlock()
				if ended {
					return errStopping
				}
				more, err = step(in)
				return err
			}()
			if err != nil {
				result = err
				return
			}
		}
		result = nil
	})
	select {
	case err := <-done:
		return err
	case <-s.stopping:
		turn.Lock()
		ended = true
		turn.Unlock()
		return errStopping
	}
}
