// Package dispatch sends a command to the handler of its service's kind: to the entity here if it lives here, else to
// where it lives, to this host's copy if the entity is replicated, to this host's user function if it is an action, to the
// broker if it is for a topic. Then it does what follows from the outcome: it carries out the synchronous effects, keeps
// the asynchronous ones of actions and replicated entities, and follows the forward.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Local carries out the commands of entities that live on this host.
type Local interface {
	// Owned reports whether the entity is placed here now. It may have moved away the moment after.
	Owned(ref actors.Ref) bool
	actors.Handler
}

// Here carries out the commands of services that every host serves by itself, streamed ones among them.
type Here interface {
	actors.Handler
	actors.Streamer
}

// Outbox keeps effects until they have been carried out.
type Outbox interface {
	// Enqueue keeps effects of one source, all or none. One whose ID is kept already is left out. An error leaves in
	// doubt whether they are kept.
	Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error
}

// Undecided is implemented by an error in the chain of an Aborted or Unavailable one, if it is not certain that nothing
// came of the command. Without it, nothing did.
type Undecided interface {
	error
	Undecided() bool
}

// Config of a Dispatch. Remote is needed. All functions and handlers are called from many goroutines at once.
type Config struct {
	// Kind of a service. Defaults to every service being known and placed: that of a pure client.
	Kind func(service string) (actors.Kind, bool)
	// Services names the known ones, for the error about an unknown one. Defaults to naming none.
	Services func() []string
	// Streamed says whether a method of an action or of a replicated service takes, and gives, any number of messages.
	// Defaults to what the caller takes it for.
	Streamed func(service, method string) (in, out bool)
	// Out is the topic to which a method's replies are published, "" for none. Only replies that no journal publishes
	// are published here: those of actions, and what came back for a method that forwarded. Defaults to none.
	Out func(service, method string) string

	// Local defaults to nothing living here.
	Local Local
	// Remote carries out a command wherever its entity is placed, be that here.
	Remote actors.Handler
	// Actions defaults to none.
	Actions Here
	// Replicated carries out commands on this host's copies of replicated entities. Defaults to none.
	Replicated Here
	// Publish carries out commands to actors.Topics. Defaults to refusing them.
	Publish actors.Handler

	// Outbox keeps the asynchronous effects of actions and of replicated entities. Defaults to refusing them.
	Outbox Outbox
	// Kept, if set, is called when the Outbox has something new. It must not block.
	Kept func()
	// Report, if set, is told of effects and forwards that lead nowhere: the user function's author should know. It must
	// not block. Defaults to a warning in the log.
	Report func(text string)

	// MaxHops bounds how many commands may follow one from the other. Defaults to 16.
	MaxHops int
	// MaxEffects of one outcome of an action or of a replicated entity. Defaults to 100.
	MaxEffects int
	// FinishTimeout is for what Finish does for a command without a deadline, and Leftover for any. Defaults to 1 minute.
	FinishTimeout time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Dispatch is an actors.Handler and an actors.Streamer. Its methods may be called from many goroutines at once.
type Dispatch struct{ config Config }

var (
	_ actors.Handler  = (*Dispatch)(nil)
	_ actors.Streamer = (*Dispatch)(nil)
)

// New makes a Dispatch.
func New(c Config) (*Dispatch, error) {
	var problems []error
	if c.Remote == nil {
		problems = append(problems, errors.New("Remote is not set"))
	}
	for _, n := range []struct {
		name  string
		value *int
		or    int
	}{{"MaxHops", &c.MaxHops, 16}, {"MaxEffects", &c.MaxEffects, 100}} {
		if *n.value == 0 {
			*n.value = n.or
		}
		if *n.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %d; at least 1 is needed", n.name, *n.value))
		}
	}
	if c.FinishTimeout == 0 {
		c.FinishTimeout = time.Minute
	}
	if c.FinishTimeout < 0 {
		problems = append(problems, fmt.Errorf("FinishTimeout is %s; it must be positive", c.FinishTimeout))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure dispatch: %w", err)
	}
	c.fill()
	return &Dispatch{c}, nil
}

// fill gives every function that is nil the default one.
func (c *Config) fill() {
	if c.Kind == nil {
		c.Kind = func(string) (actors.Kind, bool) { return actors.EventSourced, true }
	}
	if c.Out == nil {
		c.Out = func(string, string) string { return "" }
	}
	if c.Kept == nil {
		c.Kept = func() {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Report == nil {
		log := c.Log
		c.Report = func(text string) { log.Warn("an effect or a forward leads nowhere", "problem", text) }
	}
}

// Handle carries out a command and all that follows from it but asynchronous effects: the outcome has neither effects nor
// a forward. It implements actors.Handler. An error that has Undecided in its chain may mean that the command was carried
// out, but not what follows from it.
func (d *Dispatch) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	o, err := d.route(ctx, c)
	if err != nil {
		return actors.Outcome{}, err
	}
	if len(o.Effects) == 0 && o.Forward == nil && d.kind(c.Service) != actors.Action {
		return o, nil // nothing follows: the way of nearly all
	}
	return d.settle(ctx, &call{Command: c}, o)
}

// kind of a service, 0 if there is none, or if it is that of topics.
func (d *Dispatch) kind(service string) actors.Kind {
	if service == actors.Topics {
		return 0
	}
	kind, ok := d.config.Kind(service)
	if !ok {
		return 0
	}
	return kind
}

// here is the handler of a kind that every host serves by itself; nil if there is none.
func (d *Dispatch) here(kind actors.Kind) Here {
	switch kind {
	case actors.Action:
		return d.config.Actions
	case actors.Replicated:
		return d.config.Replicated
	default:
		return nil
	}
}

// route carries out a command, and nothing of what follows from it.
func (d *Dispatch) route(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	if c.Service == actors.Topics {
		if d.config.Publish == nil {
			return actors.Outcome{}, actors.Errorf(actors.Unimplemented,
				"the topic %q cannot be published to: no pub/sub component is configured", c.ID)
		}
		return d.config.Publish.Handle(ctx, c)
	}
	kind, ok := d.config.Kind(c.Service)
	here := d.here(kind)
	switch {
	case !ok:
		return actors.Outcome{}, d.unknown(c.Service)
	case here != nil:
		return d.act(ctx, here, c)
	case !kind.Placed():
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented,
			"%s to %s cannot be carried out: the service is of the kind %q, which is not served here", c.Method, c.Ref, kind)
	case d.config.Local == nil || !d.config.Local.Owned(c.Ref):
		return d.config.Remote.Handle(ctx, c)
	}
	o, err := d.config.Local.Handle(ctx, c)
	if err != nil && d.moved(c, err) && ctx.Err() == nil {
		return d.config.Remote.Handle(ctx, c)
	}
	return o, err
}

// moved reports whether the entity may live elsewhere, so that c is to be tried once more by way of placement. A
// conflict (Aborted) says that another host writes to it, even if this one was not told yet. What may have been carried
// out already is tried again only with a key, which keeps it from happening twice.
func (d *Dispatch) moved(c actors.Command, err error) bool {
	var u Undecided
	if c.Key == "" && errors.As(err, &u) && u.Undecided() {
		return false
	}
	switch actors.CodeOf(err) {
	case actors.Aborted:
		return true
	case actors.Unavailable:
		return !d.config.Local.Owned(c.Ref)
	default:
		return false
	}
}

func (d *Dispatch) unknown(service string) error {
	var known []string
	if d.config.Services != nil {
		known = slices.Sorted(slices.Values(d.config.Services()))
	}
	if len(known) == 0 {
		return actors.Errorf(actors.Unimplemented, "there is no service %s", service)
	}
	return actors.Errorf(actors.Unimplemented, "there is no service %s; there are %s", service, strings.Join(known, ", "))
}
