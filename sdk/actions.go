package sdk

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// actions serves the calls of actions.
type actions struct {
	action.UnimplementedActionProtocolServer
	*streams
}

// HandleUnary is called for one input and one response.
func (s actions) HandleUnary(ctx context.Context, in *action.ActionCommand) (out *action.ActionResponse, err error) {
	err = s.run(ctx, session.Shape{}, once(in), func(r *action.ActionResponse) error { out = r; return nil })
	return out, err
}

// HandleStreamedIn is called for any number of inputs and one response.
func (s actions) HandleStreamedIn(stream grpc.ClientStreamingServer[action.ActionCommand, action.ActionResponse]) error {
	return s.run(stream.Context(), session.Shape{StreamedIn: true}, stream.Recv, stream.SendAndClose)
}

// HandleStreamedOut is called for one input and any number of responses.
func (s actions) HandleStreamedOut(in *action.ActionCommand, stream grpc.ServerStreamingServer[action.ActionResponse]) error {
	return s.run(stream.Context(), session.Shape{StreamedOut: true}, once(in), stream.Send)
}

// HandleStreamed is called for any number of both.
func (s actions) HandleStreamed(stream grpc.BidiStreamingServer[action.ActionCommand, action.ActionResponse]) error {
	return s.run(stream.Context(), session.Shape{StreamedIn: true, StreamedOut: true}, stream.Recv, stream.Send)
}

// run carries out a call in a goroutine of its own, because a handler may end the one that it is in.
func (s actions) run(
	ctx context.Context,
	shape session.Shape,
	receive func() (*action.ActionCommand, error),
	send func(*action.ActionResponse) error,
) error {
	call := session.NewAction(s.entities, s.announced(), s.log, s.stopping, shape)
	done := make(chan error, 1)
	s.workers.Go(func() {
		result := errExited
		defer func() { done <- result }()
		result = call.Run(ctx, receive, send)
	})
	return <-done
}

func once(in *action.ActionCommand) func() (*action.ActionCommand, error) {
	return func() (*action.ActionCommand, error) {
		if in == nil {
			return nil, io.EOF
		}
		first := in
		in = nil
		return first, nil
	}
}
