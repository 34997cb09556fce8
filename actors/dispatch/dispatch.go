// Package dispatch sends a command to the handler of its service's kind: to the entity here if it lives here, else to
// where it lives.
package dispatch

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors"
)

// Local carries out the commands of entities that live on this host.
type Local interface {
	// Owned reports whether the entity is placed here now. It may have moved away the moment after.
	Owned(ref actors.Ref) bool
	actors.Handler
}

// Undecided is implemented by an error in the chain of an Aborted or Unavailable one of Local, if it is not known whether
// the command was carried out. Without it, it certainly was not.
type Undecided interface {
	error
	Undecided() bool
}

// Config of a Dispatch. Remote is needed.
type Config struct {
	// Kind of a service. Defaults to every service being known and placed: that of a pure client.
	Kind func(service string) (actors.Kind, bool)
	// Services names the known ones, for the error about an unknown one. Defaults to naming none.
	Services func() []string
	// Local defaults to nothing living here.
	Local Local
	// Remote carries out a command wherever its entity is placed, be that here.
	Remote actors.Handler
}

// Dispatch is an actors.Handler.
type Dispatch struct{ config Config }

// New makes a Dispatch.
func New(c Config) (*Dispatch, error) {
	if c.Remote == nil {
		return nil, errors.New("configure dispatch: Remote is not set")
	}
	if c.Kind == nil {
		c.Kind = func(string) (actors.Kind, bool) { return actors.EventSourced, true }
	}
	return &Dispatch{c}, nil
}

// Handle implements actors.Handler.
func (d *Dispatch) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	kind, ok := d.config.Kind(c.Service)
	switch {
	case !ok:
		return actors.Outcome{}, d.unknown(c.Service)
	case !kind.Placed():
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented,
			"%s to %s cannot be carried out: the service is of the kind %q, which is not served yet", c.Method, c.Ref, kind)
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
