package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// verdict on an append that was sent to the journal and did not come back as committed.
type verdict struct {
	decided, applied bool
	// record of an applied command that has one.
	record *journal.Record
}

func (v verdict) String() string {
	switch {
	case !v.decided:
		return "unknown"
	case v.applied:
		return "committed"
	default:
		return "absent"
	}
}

// undecided is the cause of an error that leaves open whether its command was carried out.
type undecided struct{ cause error }

func (u undecided) Error() string {
	if u.cause == nil {
		return "the append is in doubt"
	}
	return u.cause.Error()
}

// Undecided lets others than the engine's own callers ask.
func (u undecided) Undecided() bool { return true }

func (u undecided) Unwrap() error { return u.cause }

// ours reports whether it was w's append that was applied. A drawn command id is known to nobody else, but a key may
// have been used on another host at the same time; then its record is another one, or as good as w's.
func (v verdict) ours(w *work) bool {
	return v.applied && (w.append.Record == nil || v.record != nil && bytes.Equal(v.record.Outcome, w.append.Record.Outcome))
}

// recover brings a broken instance back: it finds out what became of its appends, answers what is decided, and queues
// the rest for a new session. Nothing of the instance is on its way to the journal meanwhile.
func (e *Engine) recover(i *instance) {
	e.mu.Lock()
	var doubtful []*work
	for w := i.pending.first; w != nil; w = w.next {
		if s := w.result.Status; s == journal.Conflict || s == journal.Unknown {
			doubtful = append(doubtful, w)
		}
	}
	stream, epoch := i.stream(), i.epoch
	e.unlock()

	verdicts := make(map[*work]verdict, len(doubtful))
	if len(doubtful) > 0 {
		began := time.Now()
		e.resolve(stream, epoch, doubtful, verdicts)
		for _, w := range doubtful {
			if w.result.Status == journal.Unknown {
				e.config.Log.Warn("an append was in doubt", logService, w.command.Service, logID, w.command.ID,
					"verdict", verdicts[w].String(), "cause", w.result.Err)
				e.config.Observer.Resolved(w.command.Service, verdicts[w].String(), time.Since(began))
			}
		}
	}

	e.mu.Lock()
	defer e.unlock()
	e.shut(i, Broken)
	e.found(verdicts)
	// As in settle, reads before an own append that was committed are proved by it.
	var proved *work
	for w := i.pending.first; w != nil && (!w.wrote || w.landed() || verdicts[w].ours(w)); w = w.next {
		if w.wrote {
			proved = w
		}
	}
	var redo works
	for failed := false; i.pending.n > 0; {
		w := i.pending.pop()
		if w == proved {
			proved = nil
		}
		if !w.wrote && w.failure == nil && (w.headKnown || proved != nil) && w.keyKnown && !failed {
			e.finish(w, w.outcome, nil)
			continue
		}
		if w.landed() || verdicts[w].ours(w) {
			e.finish(w, w.outcome, nil)
			continue
		}
		if w.failure != nil && !failed {
			e.finish(w, actors.Outcome{}, w.failure)
			continue
		}
		wrote := w.wrote
		if !e.decided(w, verdicts[w], failed, i.stale) {
			redo.push(w)
		}
		failed = failed || wrote
	}
	// again puts works to the front, so the last one goes first.
	for redo.n > 0 {
		i.pending.pushFront(redo.pop())
	}
	for i.pending.n > 0 {
		e.again(i, i.pending.pop())
	}
	i.writing = 0
	i.broken, i.stale = false, false
	i.generation++
}

// found rings for what turned out to be durable.
func (e *Engine) found(verdicts map[*work]verdict) {
	events, effects := false, false
	for w, v := range verdicts {
		if v.applied {
			events = events || len(w.append.Events) > 0
			effects = effects || len(w.append.Effects) > 0
		}
	}
	if events || effects {
		e.after = append(e.after, func() { e.config.Landed(events, effects) })
	}
}

// decided answers w if it is not to be handled again. innocent says that an append before it failed, stale
// that the instance was, without one.
func (e *Engine) decided(w *work, v verdict, innocent, stale bool) bool {
	c := &w.command
	var o actors.Outcome
	var err error
	switch s := w.result.Status; {
	case s == journal.AlreadyApplied:
		o, err = storedOutcome(c, w.result.Record)
	case v.applied && v.record != nil && v.record.Hash != w.hash:
		err = reused(c)
	case v.applied:
		o, err = storedOutcome(c, v.record)
	case s == journal.CommandIDReused:
		err = reused(c)
	case s == journal.Refused && !innocent:
		err = refused(c, w.result.Err)
	case (s == journal.Unknown || s == journal.Conflict) && !v.decided:
		err = &actors.Error{Code: actors.Aborted, Cause: undecided{w.result.Err},
			Message: fmt.Sprintf("it is not known whether %s to %s was carried out: the journal could not be asked for %s; %s", c.Method, c.Ref, e.config.ResolveTimeout, ask(c))}
	case innocent:
		return false
	case s == journal.Conflict || s == journal.Unknown || !w.wrote && stale:
		if s != journal.Unknown {
			e.after = append(e.after, func() { e.config.Observer.Conflicted(c.Service) })
		}
		w.conflicts++
		switch {
		case w.conflicts <= maxConflicts:
			return false
		case s == journal.Unknown:
			err = &actors.Error{Code: actors.Unavailable, Cause: w.result.Err,
				Message: fmt.Sprintf("%s to %s was certainly not carried out: the journal failed twice; try again", c.Method, c.Ref)}
		default:
			err = actors.Errorf(actors.Aborted, "%s to %s was not carried out: another host wrote to the entity at the same time, twice; try again", c.Method, c.Ref)
		}
	default:
		return false
	}
	e.finish(w, o, err)
	return true
}

// refused is the answer to the caller of an append that the journal does not take.
func refused(c *actors.Command, cause error) error {
	known := new(actors.Error)
	switch {
	case errors.As(cause, &known):
		return known
	case errors.Is(cause, journal.ErrClosed):
		return &actors.Error{Code: actors.Unavailable, Cause: cause,
			Message: fmt.Sprintf("%s to %s was not carried out: the journal is closed; try again", c.Method, c.Ref)}
	case errors.Is(cause, journal.ErrFull):
		return &actors.Error{Code: actors.ResourceExhausted, Cause: cause,
			Message: fmt.Sprintf("%s to %s was not carried out: %s; make room for it", c.Method, c.Ref, journal.ErrFull)}
	case errors.Is(cause, journal.ErrUnavailable):
		return &actors.Error{Code: actors.Unavailable, Cause: cause,
			Message: fmt.Sprintf("%s to %s was not carried out: %s; try again", c.Method, c.Ref, journal.ErrUnavailable)}
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, context.Canceled):
		return &actors.Error{Code: actors.Unavailable, Cause: cause,
			Message: fmt.Sprintf("%s to %s was not carried out: the journal had no time for it; try again", c.Method, c.Ref)}
	default:
		return &actors.Error{Code: actors.Internal, Cause: cause,
			Message: fmt.Sprintf("%s to %s was not carried out: the journal refused its events", c.Method, c.Ref)}
	}
}

// Between two attempts to resolve.
const (
	resolveFirst = 50 * time.Millisecond
	resolveLast  = 2 * time.Second
)

// resolve finds out about appends of one stream, in their order. A conflict is certain once the command is not found,
// but an append whose result is unknown may still happen until the stream is fenced.
func (e *Engine) resolve(stream actors.Ref, epoch int64, doubtful []*work, verdicts map[*work]verdict) {
	ctx, cancel := context.WithTimeout(e.ctx, e.config.ResolveTimeout)
	defer cancel()
	checks := make([]journal.Check, len(doubtful))
	unknown := false
	for k, w := range doubtful {
		checks[k] = journal.Check{Ref: stream, Command: w.append.Command, After: w.append.Expected}
		unknown = unknown || w.result.Status == journal.Unknown
	}
	fenced := !unknown
	for wait := resolveFirst; ; wait = min(2*wait, resolveLast) {
		found, err := e.config.Journal.Heads(ctx, checks)
		if err == nil && len(found) == len(checks) {
			missing := false
			for k, w := range doubtful {
				switch {
				case found[k].Applied:
					verdicts[w] = verdict{decided: true, applied: true, record: found[k].Record}
				case fenced:
					verdicts[w] = verdict{decided: true}
				default:
					missing = true
				}
			}
			if !missing {
				return
			}
			if _, err = e.config.Journal.Fence(ctx, stream, epoch+1); err == nil {
				fenced = true
				continue
			}
		}
		pause := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}
