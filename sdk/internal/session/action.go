package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// Action is one call of an action, by any of the four calls of the protocol. It starts no goroutine.
//
// The first message says which service and method are called. If inputs are streamed it carries no payload, and every
// further message is an input; otherwise it carries the only input. Whatever cannot be carried out is answered with a
// failure, which ends the call.
type Action struct {
	services map[string]*def.Entity
	peer     Peer
	log      *slog.Logger
	stopping <-chan struct{}

	// in and out are the shape of the call that it came by.
	in, out bool
}

// Shape of a call of the protocol.
type Shape struct{ StreamedIn, StreamedOut bool }

// NewAction makes the session of one call that came by a call of the protocol with that shape. The services are by name.
// stopping is closed when the server begins to stop; it may be nil.
func NewAction(services map[string]*def.Entity, peer Peer, log *slog.Logger, stopping <-chan struct{}, shape Shape) *Action {
	return &Action{services: services, peer: peer, log: log, stopping: stopping, in: shape.StreamedIn, out: shape.StreamedOut}
}

// Run carries out the call: receive takes its messages, the first one included, and send sends the responses, of which
// there is exactly one unless they are streamed. The error is that of receive or send: the other side has gone.
func (a *Action) Run(ctx context.Context, receive func() (*pb.ActionCommand, error), send func(*pb.ActionResponse) error) error {
	first, err := receive()
	switch {
	case errors.Is(err, io.EOF):
		return send(a.failure(codes.InvalidArgument, "protocol error: the call ended before its first message"))
	case err != nil:
		return err
	}
	a.log = a.log.With(keyService, first.GetServiceName(), keyCommand, first.GetName())
	service := a.services[first.GetServiceName()]
	if service == nil || service.Act == nil {
		return send(a.failure(codes.Unimplemented, fmt.Sprintf("there is no action %q; there are %s", first.GetServiceName(), services(a.services, def.Action))))
	}
	if i := slices.IndexFunc(service.Methods, func(m def.Method) bool { return m.Name == first.GetName() }); i >= 0 {
		if m := service.Methods[i]; m.StreamedIn != a.in || m.StreamedOut != a.out {
			return send(a.failure(codes.Unimplemented, fmt.Sprintf("%s of %s is %s, and was called as if it were %s",
				m.Name, service.Service, def.Shape(m.StreamedIn, m.StreamedOut), def.Shape(a.in, a.out))))
		}
	}
	last := service.Act(ctx, def.Invocation{
		Name:     first.GetName(),
		Metadata: first.GetMetadata(),
		Key:      first.GetIdempotencyKey(),
		Receive:  a.inputs(first, receive),
		Send:     func(r *def.Response) error { return send(a.response(r)) },
		Stopping: a.stopping,
	})
	if last == nil {
		return nil
	}
	return send(a.response(last))
}

// inputs of the call.
func (a *Action) inputs(first *pb.ActionCommand, receive func() (*pb.ActionCommand, error)) func() (def.Input, error) {
	// A proxy that sends an input with the first message is meant to be understood too.
	pending := !a.in || first.GetPayload() != nil
	return func() (def.Input, error) {
		switch {
		case pending:
			pending = false
			return def.Input{Payload: first.GetPayload()}, nil
		case !a.in:
			return def.Input{}, io.EOF
		}
		m, err := receive()
		return def.Input{Payload: m.GetPayload(), Metadata: m.GetMetadata()}, err
	}
}

// response puts a response on the wire. One that this peer would not carry out becomes a failure.
func (a *Action) response(r *def.Response) *pb.ActionResponse {
	out := new(pb.ActionResponse)
	effects, failure := a.peer.effects(r.Effects)
	if failure != nil {
		return a.refused(failure)
	}
	switch {
	case r.Failure != nil:
		out = a.refused(r.Failure)
	case r.Forward != nil:
		forward, failure := a.peer.forward(r.Forward)
		if failure != nil {
			return a.refused(failure)
		}
		out.Response = &pb.ActionResponse_Forward{Forward: forward}
	case r.Reply != nil:
		out.Response = &pb.ActionResponse_Reply{Reply: &cloudstate.Reply{Payload: r.Reply, Metadata: r.Metadata}}
	}
	out.SideEffects = effects
	return out
}

func (a *Action) refused(f *def.Failure) *pb.ActionResponse {
	if f.Cause != nil {
		a.log.Error("command failed inside its handler", keyError, f.Cause, keyStack, string(def.StackOf(f.Cause)))
	}
	return a.failure(codes.Code(f.Code), f.Text)
}

func (a *Action) failure(code codes.Code, text string) *pb.ActionResponse {
	f := &cloudstate.Failure{Description: strings.ToValidUTF8(text, "\uFFFD")}
	if a.peer.Codes {
		f.Code = int32(code)
	}
	return &pb.ActionResponse{Response: &pb.ActionResponse_Failure{Failure: f}}
}
