package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// carry makes a call, whatever protocol it came by: inputs come from in, which gives io.EOF after the last, and what the
// user function answers goes to out. That gets outcomes with a reply; a streamed answer may begin with one without, which
// says that the call was accepted. A handler's failure comes back as a *failure. c has all but the payload, and its entity
// if the protocol did not address one.
func (g *Gateway) carry(ctx context.Context, m *method, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	c.Service, c.Method = m.Service, m.Name
	if d, ok := ctx.Deadline(); ok {
		c.Deadline = d
	}
	if !m.StreamedIn {
		first, err := in()
		if errors.Is(err, io.EOF) {
			return actors.Errorf(actors.InvalidArgument, "%s takes one message, and none came", m.Method)
		}
		if err != nil {
			return err
		}
		c.Payload, in = first.Payload, nil
		if m.addressed() && c.ID == "" {
			if c.ID, err = m.Entity(c.Payload); err != nil {
				return err
			}
		}
	}
	if m.streamed() {
		return g.stream(ctx, m, c, in, out)
	}
	o, err := g.config.Commands.Handle(ctx, c)
	switch {
	case err != nil:
		return err
	case o.Failure != nil:
		return &failure{o}
	case o.Reply == nil:
		return noReply(m)
	}
	return out(o)
}

func noReply(m *method) error {
	return actors.Errorf(actors.Internal, "the user function answered nothing to %s, which promises a reply; its handler has to return one", m.Method)
}

func (g *Gateway) stream(ctx context.Context, m *method, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed *failure
	begun, replies := !m.StreamedOut, 0
	err := g.config.Commands.Stream(ctx, c, in, func(o actors.Outcome) error {
		switch {
		case o.Failure != nil:
			// To return it ends the call, even if the caller still has something to say.
			failed = &failure{o}
			return failed
		case o.Reply == nil && begun:
			return nil // it had effects only
		case o.Reply == nil:
			begun = true
			return out(o)
		}
		begun = true
		if replies++; replies > 1 && !m.StreamedOut {
			return actors.Errorf(actors.Internal, "the user function answered more than once to %s, which promises one reply", m.Method)
		}
		return out(o)
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case replies == 0 && !m.StreamedOut:
		return noReply(m)
	}
	return nil
}

// finished tells the observer and the log about a call. It is deferred, and keeps a panic from ending the process: what
// was asked then failed, and nobody else is harmed.
func (g *Gateway) finished(protocol string, m *method, began time.Time, err *error) {
	if p := recover(); p != nil {
		g.log.Error("panic in a call", "protocol", protocol, "method", m.path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = actors.Errorf(actors.Internal, "the call failed inside the gateway; its log says why")
	}
	code := actors.OK
	if *err != nil {
		e := public(*err)
		code = e.Code
		if e.Cause != nil && (code == actors.Internal || code == actors.DataLoss) {
			g.log.Warn("a call failed", "protocol", protocol, "method", m.path, "code", code.String(), "error", e.Cause)
		}
	}
	if g.config.Observe != nil {
		g.config.Observe(protocol, m.Service, m.Name, code.String(), time.Since(began))
	}
}
