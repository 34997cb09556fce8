package userfunction

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

type (
	command = protocol.ActionCommand
	result  = protocol.ActionResponse
)

// actionServer serves actions by scripted.action.
type actionServer struct {
	protocol.UnimplementedActionProtocolServer
	f *scripted
}

// actionWire is one call of an action, whatever its streams.
type actionWire struct {
	notes
	rpc  string
	ctx  context.Context
	take func() (*command, error)
	give func(*result) error
}

func (l *actionWire) recv() (*command, error) {
	m, err := l.take()
	switch {
	case errors.Is(err, io.EOF):
		l.notef("-> half-close")
	case err != nil:
		l.notef("-> %s", status.Code(err))
	default:
		l.notef("-> %s", text(m))
	}
	return m, err
}

func (l *actionWire) send(m *result) error {
	l.notef("<- %s", text(m))
	return l.give(m)
}

func (l *actionWire) hang() error {
	<-l.ctx.Done()
	l.notef("-> %s", status.FromContextError(l.ctx.Err()).Code())
	return l.ctx.Err()
}

func (s actionServer) serve(l *actionWire) error {
	l.notef("-> %s", l.rpc)
	return s.f.serve(l.ctx, &l.notes, func() error { return s.f.action(l) })
}

// once gives one message and then the end.
func once(m *command) func() (*command, error) {
	return func() (*command, error) {
		if m == nil {
			return nil, io.EOF
		}
		defer func() { m = nil }()
		return m, nil
	}
}

func (s actionServer) HandleUnary(ctx context.Context, m *command) (*result, error) {
	answer := new(result)
	err := s.serve(&actionWire{rpc: "handleUnary", ctx: ctx, take: once(m), give: func(r *result) error { answer = r; return nil }})
	return answer, err
}

func (s actionServer) HandleStreamedIn(stream grpc.ClientStreamingServer[command, result]) error {
	return s.serve(&actionWire{rpc: "handleStreamedIn", ctx: stream.Context(), take: stream.Recv, give: stream.SendAndClose})
}

func (s actionServer) HandleStreamedOut(m *command, stream grpc.ServerStreamingServer[result]) error {
	return s.serve(&actionWire{rpc: "handleStreamedOut", ctx: stream.Context(), take: once(m), give: stream.Send})
}

func (s actionServer) HandleStreamed(stream grpc.BidiStreamingServer[command, result]) error {
	return s.serve(&actionWire{rpc: "handleStreamed", ctx: stream.Context(), take: stream.Recv, give: stream.Send})
}

func actReply(product string) *result {
	return &result{Response: &protocol.ActionResponse_Reply{Reply: &cloudstate.Reply{Payload: toAny(payload(product))}}}
}

func actFailure(f *cloudstate.Failure) *result {
	return &result{Response: &protocol.ActionResponse_Failure{Failure: f}}
}

func actForward(f *cloudstate.Forward) *result {
	return &result{Response: &protocol.ActionResponse_Forward{Forward: f}}
}

func toAct(method, product string) actors.Command {
	c := actors.Command{Ref: actors.Ref{Service: "shop.Act"}, Method: method}
	if product != "" {
		c.Payload = payload(product)
	}
	return c
}

// inputs gives one line after the other.
func inputs(products ...string) func() (actors.Input, error) {
	return func() (actors.Input, error) {
		if len(products) == 0 {
			return actors.Input{}, io.EOF
		}
		p := payload(products[0])
		products = products[1:]
		return actors.Input{Payload: p}, nil
	}
}
