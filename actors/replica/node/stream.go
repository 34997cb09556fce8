package node

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Stream implements actors.Streamer for commands that give any number of messages; in is nil. The first outcome is given
// to out also if it answers nothing: it says that the command was accepted. Others that answer nothing are given only with
// effects. A caller who goes, by an end of ctx or an error of out, is told to the user function, whose effects are left
// over then. Errors are those of Handle; a stream whose caller takes too little is ended with ResourceExhausted.
func (h *Host) Stream(
	ctx context.Context, command actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error,
) error {
	if in != nil {
		return actors.Errorf(actors.InvalidArgument, "%s of the replicated service %s takes one message, not a stream", command.Method, command.Service)
	}
	c, err := h.admit(command, true)
	if err != nil {
		return err
	}
	defer h.dismiss(c)
	var late <-chan time.Time
	if !c.deadline.IsZero() {
		timer := time.NewTimer(time.Until(c.deadline))
		defer timer.Stop()
		late = timer.C
	}
	for {
		a, err := h.take(ctx, c, late)
		if err != nil {
			return err
		}
		if a.err != nil {
			return a.err
		}
		if !a.empty {
			if err := out(a.outcome); err != nil {
				return err
			}
		}
		if a.last || a.outcome.Failure != nil {
			return nil
		}
	}
}
