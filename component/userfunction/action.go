package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// served is what a user function serves at one time.
type served struct {
	catalog *catalog.Catalog
	actions map[string]*action
	// replicated services.
	replicated map[string]*replicated
	reports    cloudstate.EntityDiscoveryClient
}

// action is one service without state.
type action struct {
	*service
	stub protocol.ActionProtocolClient
}

func newAction(s *service) *action { return &action{s, protocol.NewActionProtocolClient(s.conn)} }

// call is one command to an action that is being carried out.
type call struct {
	*action
	method *catalog.Method
}

var (
	_ actors.Handler  = (*Client)(nil)
	_ actors.Streamer = (*Client)(nil)
)

// settingCalls is the key of the component's configuration that a refusal names.
const settingCalls = "maxInFlight"

// Handle implements actors.Handler for the actions of the user function's latest catalog. A method that takes or gives
// a stream is refused: Stream is for those.
func (c *Client) Handle(ctx context.Context, command actors.Command) (actors.Outcome, error) {
	call, done, err := c.call(command)
	if err != nil {
		return actors.Outcome{}, err
	}
	defer done()
	if call.method.StreamedIn || call.method.StreamedOut {
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented, "%s is streamed; give it the command in a stream", call.method)
	}
	return call.unary(ctx, command)
}

// Stream implements actors.Streamer for the same actions. A method that is not streamed gives its one answer. Calls
// whose commands have no deadline have none.
func (c *Client) Stream(ctx context.Context, command actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	call, done, err := c.call(command)
	if err != nil {
		return err
	}
	defer done()
	switch {
	case call.method.StreamedIn != (in != nil):
		return actors.Errorf(actors.InvalidArgument, "%s takes a stream: %t, but is given one: %t", call.method, call.method.StreamedIn, in != nil)
	case call.method.StreamedIn || call.method.StreamedOut:
		return call.streamed(ctx, command, in, out)
	}
	o, err := call.unary(ctx, command)
	if err != nil {
		return err
	}
	return out(o)
}

// call finds the method and takes a place among the calls at work, which done gives back.
func (c *Client) call(command actors.Command) (*call, func(), error) {
	now := c.served.Load()
	if now == nil || !c.met.Load() {
		return nil, nil, c.unreachable(commandOf(command), errNotMet)
	}
	s, ok := now.catalog.Service(command.Service)
	if !ok || now.actions[s.Name] == nil {
		return nil, nil, actors.Errorf(actors.Unimplemented, "the user function serves no action %s", quote(command.Service))
	}
	m, err := s.Method(command.Method)
	if err != nil {
		return nil, nil, err
	}
	if most := int64(c.config.MaxCalls); c.calls.Add(1) > most {
		c.calls.Add(-1)
		return nil, nil, actors.Errorf(actors.ResourceExhausted, "%s is not carried out: %d commands of actions are being carried out already; try again later, or raise %s",
			m, most, settingCalls)
	}
	return &call{now.actions[s.Name], m}, func() { c.calls.Add(-1) }, nil
}

// unary is one command and one answer.
func (c *call) unary(ctx context.Context, command actors.Command) (actors.Outcome, error) {
	var cancel context.CancelFunc
	if command.Deadline.IsZero() {
		ctx, cancel = context.WithTimeout(ctx, c.client.config.CommandTimeout)
	} else {
		ctx, cancel = context.WithDeadline(ctx, command.Deadline)
	}
	defer cancel()
	answer, err := c.stub.HandleUnary(ctx, c.whole(command))
	if err != nil {
		return actors.Outcome{}, c.ended(ctx, err)
	}
	return c.outcome(answer)
}

// streamed is a command of which one side at least is a stream.
func (c *call) streamed(ctx context.Context, command actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	if !command.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, command.Deadline)
		defer cancel()
	}
	// The end of life is the end of the call on both sides; its cause is why, if the caller's side is to blame.
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	stream, err := c.open(life, command)
	if err != nil {
		return c.ended(ctx, err)
	}
	if in != nil {
		f := &feed{call: c, stream: stream, in: in, end: end, done: make(chan struct{})}
		if !c.client.feeding.try(f.run) {
			return c.client.unreachable(c.method, errors.New("too many inputs are being waited for, or the end has come"))
		}
		defer f.stop()
	}
	for {
		answer := new(protocol.ActionResponse)
		err := stream.RecvMsg(answer)
		switch {
		case errors.Is(err, io.EOF) && c.method.StreamedOut:
			return nil
		case err != nil:
			return c.ended(life, err)
		}
		o, err := c.outcome(answer)
		if err != nil {
			return err
		}
		if err := out(o); err != nil {
			return err
		}
		if o.Failure != nil || !c.method.StreamedOut {
			return nil
		}
	}
}

// open begins a stream and sends its first message.
func (c *call) open(ctx context.Context, command actors.Command) (grpc.ClientStream, error) {
	if !c.method.StreamedIn {
		return c.stub.HandleStreamedOut(ctx, c.whole(command))
	}
	var stream grpc.ClientStream
	var err error
	if c.method.StreamedOut {
		stream, err = c.stub.HandleStreamed(ctx)
	} else {
		stream, err = c.stub.HandleStreamedIn(ctx)
	}
	if err != nil {
		return nil, err
	}
	// An end of the stream shows when it is read.
	if err := stream.SendMsg(c.first(command)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream, nil
}

// first is the message that says what is to be done.
func (c *call) first(command actors.Command) *protocol.ActionCommand {
	m := &protocol.ActionCommand{ServiceName: c.Name, Name: c.method.Name, Metadata: present(command.Metadata)}
	if c.idempotency {
		m.IdempotencyKey = strings.ToValidUTF8(command.Key, "\uFFFD")
	}
	return m
}

// whole is the only message.
func (c *call) whole(command actors.Command) *protocol.ActionCommand {
	m := c.first(command)
	m.Payload = toAny(command.Payload)
	return m
}

// present is metadata that is there even if there is none.
func present(list actors.Metadata) *cloudstate.Metadata {
	if m := toMetadata(list); m != nil {
		return m
	}
	return new(cloudstate.Metadata)
}

// outcome reads one answer.
func (c *call) outcome(in *protocol.ActionResponse) (o actors.Outcome, err error) {
	switch m := in.GetResponse().(type) {
	case *protocol.ActionResponse_Reply:
		c.reply(m.Reply, c.method.Name, &o)
	case *protocol.ActionResponse_Failure:
		o.Failure = c.failure(m.Failure)
	case *protocol.ActionResponse_Forward:
		o.Forward, err = c.forward(m.Forward, c.method.Name)
	}
	if err == nil {
		o.Effects, err = c.effects(in.GetSideEffects(), c.method.Name)
	}
	if errors.Is(err, errBroken) {
		c.log.Warn("the user function broke the protocol", keyMethod, c.method.Name, keyDetail, err.Error())
		err = &actors.Error{Code: actors.Unknown, Message: fmt.Sprintf("Unexpected action reply: %v", err)}
	}
	if err != nil {
		return actors.Outcome{}, err
	}
	return o, nil
}

// ended is for a call that ended without an answer.
func (c *call) ended(ctx context.Context, err error) error {
	var e *actors.Error
	switch {
	case errors.As(context.Cause(ctx), &e):
		return e // the caller's side
	case ctx.Err() != nil:
		return overdue(ctx.Err(), "wait for the user function to carry out", c.method)
	case status.Code(err) == codes.DeadlineExceeded && limited(ctx):
		// The user function knows the deadline too, and its clock was a little ahead.
		return overdue(context.DeadlineExceeded, "wait for the user function to carry out", c.method)
	case c.cut(err):
		return c.client.unreachable(c.method, err)
	case overSize(err):
		return c.client.tooLarge(err, c.method)
	case tooLargeToSend(err):
		return c.client.unsent(err, "the command", c.method)
	}
	c.log.Warn("the user function gave up a command", keyMethod, c.method.Name, keyError, err)
	return &actors.Error{
		Code:    actors.Unknown,
		Message: fmt.Sprintf("Unexpected action termination: the user function ended %s with %s", c.method, actors.Code(status.Code(err))),
		Cause:   err,
	}
}

func limited(ctx context.Context) bool {
	_, ok := ctx.Deadline()
	return ok
}

// commandOf names a command in texts.
type commandOf actors.Command

func (c commandOf) String() string { return quote(c.Service) + "." + quote(c.Method) }
