package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// answer takes what the user function says. It is called by one goroutine of each session at a time.
func (h *Host) answer(s *session, a Answer) error {
	h.mu.Lock()
	defer h.unlock()
	if s.over {
		return nil // nobody waits for it
	}
	c, err := s.expected(&a)
	if err != nil {
		if !errors.Is(err, ErrStray) {
			h.broke(s, c, err)
		}
		return err
	}
	if err := h.measure(c, &a); err != nil {
		if a.Write != nil {
			h.broke(s, c, err) // it believes that it is applied
			return err
		}
		a.Outcome = actors.Outcome{}
		h.settle(s, c, &a, &parcel{err: err, last: true})
		return nil
	}
	given := &parcel{outcome: a.Outcome, last: !a.Streamed}
	if a.Kind == Message {
		given.last, given.empty = a.End, len(a.Outcome.Effects) == 0 && blank(&a.Outcome)
	}
	if a.Kind == Replied {
		took := time.Since(c.since)
		h.after = append(h.after, func() { h.config.Observer.Answered(c.command.Service, took) })
	}
	if a.Write == nil || a.Kind != Replied && a.Kind != CancelledToo {
		h.settle(s, c, &a, given)
		return nil
	}
	return h.write(s, c, &a, given)
}

// blank reports whether o answers nothing.
func blank(o *actors.Outcome) bool { return o.Reply == nil && o.Failure == nil && o.Forward == nil }

// expected finds the call that an answer is to.
func (s *session) expected(a *Answer) (*call, error) {
	c := s.calls[a.Number]
	switch {
	case a.Kind == Failed && a.Number == 0:
		text := "without saying why"
		if f := a.Outcome.Failure; f != nil && f.Message != "" {
			text = f.Message
		}
		return nil, s.violation("it gave up the entity: %s", text)
	case c == nil && a.Kind == Message && a.Number > 0 && a.Number <= s.last:
		return nil, fmt.Errorf("%w: a message for the command %d of %s", ErrStray, a.Number, s.instance.ref())
	case c == nil:
		return nil, s.violation("it answered the command %d, which is not to be answered", a.Number)
	case a.Kind == Replied && c.stage != asked:
		return c, s.violation("it replied to the command %d twice", a.Number)
	case a.Kind == Replied && a.Streamed && !c.streamed:
		return c, s.violation("it answered the command %d with a stream, and %s is not streamed", a.Number, c.command.Method)
	case a.Kind == Message && c.stage == asked:
		return c, s.violation("it sent a message for the command %d before it replied", a.Number)
	case a.Kind == CancelledToo && c.stage != cancelled:
		return c, s.violation("it answered a cancellation of the command %d, which was not cancelled", a.Number)
	case a.Kind < Replied || a.Kind > Failed:
		return c, s.violation("it gave an answer of an unknown kind to the command %d", a.Number)
	}
	return c, nil
}

// broke ends a session that cannot go on, because of an answer to c or to nobody.
func (h *Host) broke(s *session, c *call, err error) {
	if c != nil && c.stage != finished {
		h.push(c, &parcel{err: err, last: true})
	}
	h.stop(s, Broken, func(o *call) error { return interrupted(o, err, false) })
}

// ended is called when no more answers come.
func (h *Host) ended(s *session, err error) {
	h.mu.Lock()
	defer h.unlock()
	if s.over {
		return
	}
	s.instance.trouble = interruptedOpening(s.instance.ref(), err)
	h.config.Log.Debug("a session ended", logService, s.instance.service.Name, logID, s.instance.id, "cause", err)
	alone := len(s.calls) == 1
	h.stop(s, Broken, func(c *call) error { return interrupted(c, err, alone) })
}

// stop ends a session: what it has not finished fails.
func (h *Host) stop(s *session, reason Reason, failure func(c *call) error) {
	if s.over {
		return
	}
	s.over, s.reason = true, reason
	for _, c := range s.calls {
		if c.stage == asked || c.stage == streaming {
			h.push(c, &parcel{err: failure(c), last: true})
		}
		h.finish(c)
	}
	clear(s.calls)
	s.cancels, s.busy = nil, 0
	h.run(s.instance)
}

// settle takes what a makes of c, and gives its caller the answer, unless that is nil.
func (h *Host) settle(s *session, c *call, a *Answer, given *parcel) {
	n := a.Number
	done := func() {
		if c.stage == cancelling {
			s.uncancel(c)
		}
		delete(s.calls, n)
		h.finish(c)
	}
	if a.Kind == Replied || c.stage == asked || c.stage == cancelled && a.Kind != Message {
		s.busy--
		h.unanswered.Remove(c)
	}
	switch {
	case c.stage >= cancelling:
		if a.Kind != Message { // one that crossed the cancellation
			done()
		}
		if given != nil {
			h.leave(c, given)
		}
	case a.Kind == Replied && a.Streamed:
		h.answered(c)
		c.stage, c.open = streaming, true
		c.service.streams++
		h.streams++
		if given != nil {
			h.push(c, given)
		}
		if why := h.leaving(s.instance); why != "" {
			h.sever(c, why)
		}
		if c.gone || c.closed {
			h.cancelStream(c)
		}
	case a.Kind == Message && !a.End:
		if !given.empty {
			h.push(c, given)
		}
		if given.last {
			h.cancelStream(c)
		}
	default:
		done()
		if given != nil {
			h.push(c, given)
		}
	}
	h.advance(s.instance)
}

func (s *session) uncancel(c *call) {
	for k, o := range s.cancels {
		if o == c {
			s.cancels = append(s.cancels[:k:k], s.cancels[k+1:]...)
			return
		}
	}
}

// write applies a write, and has c answered once it is confirmed. The mutex is held, and released meanwhile.
func (h *Host) write(s *session, c *call, a *Answer, given *parcel) error {
	began := time.Now()
	s.applying = true
	h.confirming++
	given.unconfirmed = true
	kept := a.Kind == Replied && !c.gone
	if kept {
		h.push(c, given) // before anything else that comes for c
	}
	h.unlock()
	confirmed := func(err error) { h.confirmed(c, given, a, kept, began, err) }
	var err error
	if a.Write.Delete {
		err = s.replica.Delete(a.Write.Level, confirmed)
	} else {
		err = s.replica.Update(a.Write.Update, a.Write.Level, confirmed)
	}
	h.mu.Lock()
	s.applying = false
	if err != nil {
		h.confirming--
		return h.unwritten(s, c, a, given, kept, err)
	}
	if s.over {
		h.run(s.instance)
		return nil
	}
	s.instance.dirty = true // it may not know yet how many have voted
	h.settle(s, c, a, nil)
	if a.Write.Delete {
		h.stop(s, Deleted, func(o *call) error {
			return actors.Errorf(actors.Aborted, "%s was deleted before %s came to its end; call it again", o.command.Ref, o.command.Method)
		})
	}
	return nil
}

// confirmed is called when a write is as safe as was asked for, or is not known to be.
func (h *Host) confirmed(c *call, given *parcel, a *Answer, kept bool, began time.Time, err error) {
	h.mu.Lock()
	defer h.unlock()
	h.confirming--
	ok, level, took := err == nil, a.Write.Level, time.Since(began)
	h.after = append(h.after, func() { h.config.Observer.Confirmed(c.command.Service, level, ok, took) })
	if !ok {
		given.outcome = actors.Outcome{Effects: given.outcome.Effects, Failure: &actors.Error{
			Code: actors.DeadlineExceeded, Cause: err,
			Message: fmt.Sprintf("what %s does to %s was applied on this node, not confirmed at the level %s; look at the entity before you repeat it",
				c.command.Method, c.command.Ref, level),
		}}
	}
	given.unconfirmed = false
	if !kept || given.dropped {
		h.leave(c, given)
	} else {
		c.announce()
	}
	h.hush()
}

// unwritten is for a write of which nothing was applied. It returns what breaks the protocol.
func (h *Host) unwritten(s *session, c *call, a *Answer, given *parcel, kept bool, cause error) error {
	broke, err := refused(c, a, cause)
	given.outcome, given.err, given.unconfirmed, given.last = actors.Outcome{}, err, false, true
	c.closed = c.closed || kept
	c.announce()
	switch {
	case s.over:
		h.run(s.instance)
		return nil
	case errors.Is(cause, ErrDeleted):
		s.instance.dirty = true // the user function is to be told
		after := *a
		after.Streamed = false
		h.settle(s, c, &after, nil)
		return nil
	case errors.Is(cause, ErrReadOnly) && !a.Write.Delete:
		// The user function believes that its write is applied. It is told otherwise as soon as it has answered what it was
		// given already, and gets nothing else before.
		s.instance.dirty, s.instance.newsSince = true, time.Now().Add(-h.config.Stale)
		h.settle(s, c, a, nil)
		return nil
	}
	h.stop(s, Broken, func(o *call) error { return interrupted(o, err, false) })
	if !broke {
		return nil
	}
	return err
}
