package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// act carries out a command on this host for a caller who waits for one outcome.
func (d *Dispatch) act(ctx context.Context, here Here, c actors.Command) (actors.Outcome, error) {
	ctx, cancel := until(ctx, &c)
	defer cancel()
	if d.config.Streamed != nil {
		if in, out := d.config.Streamed(c.Service, c.Method); in || out {
			return d.one(ctx, here, c, in)
		}
	}
	return here.Handle(ctx, c)
}

// until bounds a call by the command's deadline, which nobody else does for actions.
func until(ctx context.Context, c *actors.Command) (context.Context, context.CancelFunc) {
	if c.Deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, c.Deadline)
}

// errOver ends a stream of which nothing more is wanted.
var errOver = errors.New("nothing more is wanted")

// one carries out a streamed command as if it was none: with one input, and up to the first answer. The effects of what
// answered nothing before are its effects too.
func (d *Dispatch) one(ctx context.Context, here Here, c actors.Command, streamedIn bool) (actors.Outcome, error) {
	var in func() (actors.Input, error)
	if streamedIn {
		in = single(&c)
	}
	var answer actors.Outcome
	over := false
	err := here.Stream(ctx, c, in, func(o actors.Outcome) error {
		effects := append(answer.Effects, o.Effects...)
		answer = o
		answer.Effects = effects
		if over = !blank(&o) || len(effects) > d.config.MaxEffects; over {
			return errOver
		}
		return nil
	})
	if err != nil && !over {
		return actors.Outcome{}, err
	}
	return answer, nil
}

// single moves the payload of c into a stream of one input.
func single(c *actors.Command) func() (actors.Input, error) {
	input := actors.Input{Payload: c.Payload}
	c.Payload = actors.Payload{}
	given := false
	return func() (actors.Input, error) {
		if given {
			return actors.Input{}, io.EOF
		}
		given = true
		return input, nil
	}
}

// blank reports whether o answers nothing.
func blank(o *actors.Outcome) bool { return o.Reply == nil && o.Failure == nil && o.Forward == nil }

// Stream implements actors.Streamer: as Handle does, for every outcome of a streamed method, one after the other. The
// forward of one is replaced by its target's outcome. An outcome that answers nothing is not given to out, but for the
// first of a replicated entity: that says that the command was accepted, and its caller may wait long for the next. A
// command that takes one message takes the first of the stream, and gives one outcome.
func (d *Dispatch) Stream(
	ctx context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error,
) error {
	streamedIn, streamedOut := in != nil, true
	here := d.here(d.kind(c.Service))
	if here == nil {
		streamedIn, streamedOut = false, false
	} else if d.config.Streamed != nil {
		streamedIn, streamedOut = d.config.Streamed(c.Service, c.Method)
	}
	switch {
	case in != nil && !streamedIn:
		input, err := in()
		if errors.Is(err, io.EOF) {
			return actors.Errorf(actors.InvalidArgument, "%s to %s takes one message, and none came", c.Method, c.Ref)
		}
		if err != nil {
			return err
		}
		c.Payload, c.Metadata = input.Payload, slices.Concat(c.Metadata, input.Metadata)
		in = nil
	case in == nil && streamedIn:
		in = single(&c)
	}
	if !streamedIn && !streamedOut {
		o, err := d.Handle(ctx, c)
		if err != nil || blank(&o) {
			return err
		}
		return out(o)
	}
	ctx, cancel := until(ctx, &c)
	defer cancel()
	over, accepted := false, d.kind(c.Service) != actors.Replicated
	this := &call{Command: c}
	err := here.Stream(ctx, c, in, func(o actors.Outcome) error {
		o, err := d.settle(ctx, this, o)
		if err != nil || blank(&o) && accepted {
			return err
		}
		accepted = true
		if err := out(o); err != nil {
			return err
		}
		if over = o.Failure != nil; over {
			return errOver
		}
		return nil
	})
	if over {
		return nil
	}
	return err
}

// keep gives the effects of an action or of a replicated entity, and its forward, their ids, and puts the asynchronous ones
// into the outbox, so that they are not lost with this process.
func (d *Dispatch) keep(ctx context.Context, c *call, o *actors.Outcome) error {
	if n := len(o.Effects); n > d.config.MaxEffects {
		return c.unkept(nil, actors.ResourceExhausted, "it has %d effects; the limit is %d (maxEffects)", n, d.config.MaxEffects)
	}
	var now, later []actors.Effect
	for _, x := range o.Effects {
		if x.ID = c.id(); x.Synchronous {
			now = append(now, x)
			continue
		}
		// A repeat may decide other effects. They must not be taken for those of the first time, and be left out.
		x.ID = rand.Text()
		later = append(later, x)
	}
	o.Effects = now
	if f := o.Forward; f != nil && c.Key != "" {
		named := *f
		named.Key = c.id()
		o.Forward = &named
	}
	if len(later) == 0 {
		return nil
	}
	if d.config.Outbox == nil {
		return c.unkept(nil, actors.Unimplemented,
			"nothing keeps asynchronous effects here; configure a journal, or make them synchronous")
	}
	for k := range later {
		x := &later[k]
		if !x.Cancel && x.Service != actors.Topics {
			if _, ok := d.config.Kind(x.Service); !ok {
				// It is kept all the same: it will be given up where it can be looked at, and released.
				to := &call{Command: actors.Command{Ref: x.Ref, Method: x.Method}, from: c}
				d.config.Report(fmt.Sprintf("the effect %s leads nowhere (%s): %s", to.name(), to.chain(), d.unknown(x.Service)))
			}
		}
		// Actions decide in no order, and the copies of an entity in several, so every effect is a source of its own,
		// unless it is named: among those of the service, or of the entity.
		source := actors.Ref{Service: c.Service, ID: x.ID}
		switch {
		case x.Key == "":
		case c.ID == "":
			source.ID = x.Key
		default:
			source.ID = c.ID
		}
		if err := d.config.Outbox.Enqueue(ctx, source, later[k:k+1]); err != nil {
			if k > 0 {
				d.config.Kept()
			}
			return c.unkept(err, actors.Unavailable, "its effects could not all be kept; some may be")
		}
	}
	d.config.Kept()
	return nil
}

// Leftover carries out the effects of o, an outcome of c for which nobody waits any more: those that are synchronous, and the
// others as far as nobody has kept them yet.
func (d *Dispatch) Leftover(ctx context.Context, c actors.Command, o actors.Outcome) error {
	c.Deadline = time.Now().Add(d.config.FinishTimeout)
	ctx, cancel := context.WithDeadline(ctx, c.Deadline)
	defer cancel()
	_, err := d.settle(ctx, &call{Command: c}, actors.Outcome{Effects: o.Effects})
	return err
}

// unkept is the error of a command whose effects are lost.
func (c *call) unkept(err error, code actors.Code, format string, args ...any) error {
	if known, ok := errors.AsType[*actors.Error](err); ok {
		code = known.Code
	}
	return &actors.Error{Code: code, Cause: carriedOut{err},
		Message: fmt.Sprintf("%s was carried out, but ", c.chain()) + fmt.Sprintf(format, args...)}
}
