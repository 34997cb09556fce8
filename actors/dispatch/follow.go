package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// call is a command, and the calls that led to it.
type call struct {
	actors.Command
	// from is the call whose outcome led to this one, nil for the first. effect says that it is an effect of that one,
	// else it is its forward.
	from   *call
	effect bool
	hops   int
	// held is an entity that takes no command until the first call has ended. The zero Ref is none.
	held actors.Ref
	// follows counts what has followed from it.
	follows int
}

// name is for people: service/id.method.
func (c *call) name() string {
	if c.ID == "" {
		return c.Service + "." + c.Method
	}
	return c.Ref.String() + "." + c.Method
}

// chain names all calls that led to c, and c.
func (c *call) chain() string {
	var names []string
	for ; c != nil; c = c.from {
		names = append(names, c.name())
	}
	slices.Reverse(names)
	return strings.Join(names, " → ")
}

func (c *call) first() *call {
	for c.from != nil {
		c = c.from
	}
	return c
}

// carriedOut is the cause of an error after which nobody may believe that nothing came of the command.
type carriedOut struct{ cause error }

func (e carriedOut) Error() string {
	if e.cause == nil {
		return "the command was carried out"
	}
	return e.cause.Error()
}

func (e carriedOut) Undecided() bool { return true }

func (e carriedOut) Unwrap() error { return e.cause }

// broken is the error of the first call, because c came to nothing.
func (c *call) broken(err error) *actors.Error {
	what := "but %s, to which it forwards, gave no outcome"
	if c.effect {
		what = "but the effect %s could not be carried out"
	}
	code := actors.CodeOf(err)
	text := "it failed inside the component; its log says more"
	if known, ok := errors.AsType[*actors.Error](err); ok {
		text = known.Message
	} else if code == actors.DeadlineExceeded || code == actors.Canceled {
		text = "there was no answer before the caller's time was up"
	}
	return &actors.Error{Code: code, Cause: carriedOut{err},
		Message: fmt.Sprintf("%s was carried out, "+what+" (%s): %s", c.first().name(), c.name(), c.chain(), text)}
}

// id of what follows next from c: drawn, unless c has a key; whoever repeats c gets the same one then.
func (c *call) id() string {
	ordinal := c.follows
	c.follows++
	if c.Key == "" {
		return rand.Text()
	}
	return actors.EffectID(c.Ref, c.Method+" "+c.Key, ordinal)
}

// Finish does what follows from o, the outcome of c, for a caller who cannot: Handle without c itself. A placed entity is held
// meanwhile: a chain that leads back to it is refused at once, since it would wait for itself.
func (d *Dispatch) Finish(ctx context.Context, c actors.Command, o actors.Outcome) (actors.Outcome, error) {
	if c.Deadline.IsZero() {
		c.Deadline = time.Now().Add(d.config.FinishTimeout)
	}
	first := &call{Command: c}
	if d.kind(c.Service).Placed() {
		first.held = c.Ref // others take commands beside those that come by way of Dapr
	}
	return d.settle(ctx, first, o)
}

// settle does what follows from o, an outcome of c, and returns what the caller is told.
func (d *Dispatch) settle(ctx context.Context, c *call, o actors.Outcome) (actors.Outcome, error) {
	kind := d.kind(c.Service)
	if d.here(kind) != nil {
		if err := d.keep(ctx, c, &o); err != nil {
			return actors.Outcome{}, err
		}
	}
	for k := range o.Effects {
		x := &o.Effects[k]
		// It has been carried out, whatever its outcome is.
		if _, err := d.follow(ctx, c, true, actors.Command{
			Ref: x.Ref, Method: x.Method, Payload: x.Payload, Metadata: x.Metadata, Key: x.ID,
		}); err != nil {
			return actors.Outcome{}, err
		}
	}
	o.Effects = nil
	forwarded := o.Forward != nil
	if f := o.Forward; f != nil {
		var err error
		if o, err = d.follow(ctx, c, false, actors.Command{
			Ref: f.Ref, Method: f.Method, Payload: f.Payload, Metadata: f.Metadata, Key: f.Key,
		}); err != nil {
			return actors.Outcome{}, err
		}
	}
	if o.Reply != nil && (kind == actors.Action || forwarded) {
		if err := d.publish(ctx, c, &o); err != nil {
			return actors.Outcome{}, err
		}
	}
	return o, nil
}

// follow carries out what follows from c, and what follows from that.
func (d *Dispatch) follow(ctx context.Context, from *call, effect bool, command actors.Command) (actors.Outcome, error) {
	command.Deadline = from.Deadline
	c := &call{Command: command, from: from, effect: effect, hops: from.hops + 1, held: from.held}
	err := d.refused(c)
	nowhere := err != nil
	if err == nil {
		var o actors.Outcome
		if o, err = d.route(ctx, command); err == nil {
			return d.settle(ctx, c, o)
		}
		nowhere = actors.CodeOf(err) == actors.Unimplemented
	}
	broken := c.broken(err)
	if nowhere {
		d.config.Report(broken.Message)
	}
	return actors.Outcome{}, broken
}

// refused says why c is not to be tried at all.
func (d *Dispatch) refused(c *call) error {
	if c.held != (actors.Ref{}) && c.Ref == c.held {
		return actors.Errorf(actors.FailedPrecondition, "%s would wait for the end of its own turn, which Dapr holds until the "+
			"answer has left; make it an asynchronous effect, or send the command by the binding or the gateway", c.Ref)
	}
	for b := c.from; b != nil; b = b.from {
		if b.Ref == c.Ref && b.Method == c.Method {
			return actors.Errorf(actors.FailedPrecondition, "it goes in circles; make it an asynchronous effect if it is meant to")
		}
	}
	if c.hops > d.config.MaxHops {
		return actors.Errorf(actors.FailedPrecondition, "it is too long; at most %d commands may follow from one (maxHops)", d.config.MaxHops)
	}
	return nil
}

// publish o's reply, if c's method has a topic.
func (d *Dispatch) publish(ctx context.Context, c *call, o *actors.Outcome) error {
	topic := d.config.Out(c.Service, c.Method)
	if topic == "" {
		return nil
	}
	result, err := d.route(ctx, actors.Command{
		Ref: actors.Ref{Service: actors.Topics, ID: topic}, Method: c.Service + "." + c.Method,
		Payload: *o.Reply, Metadata: o.Metadata, Key: c.id(), Deadline: c.Deadline,
	})
	if err == nil && result.Failure != nil {
		err = result.Failure
	}
	if err == nil {
		return nil
	}
	return &actors.Error{Code: actors.CodeOf(err), Cause: carriedOut{err},
		Message: fmt.Sprintf("%s was carried out, but its reply could not be published to the topic %q", c.chain(), topic)}
}
