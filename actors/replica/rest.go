package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// wake takes i out of the idle list, if it is there.
func (h *Host) wake(i *instance) {
	if i.resting {
		i.resting = false
		h.resting--
		i.service.idle.Remove(i)
	}
}

// rest puts i among the idle if it has nothing to do.
func (h *Host) rest(i *instance) {
	s := i.session
	if i.gone || i.resting || i.running || s == nil || s.over || len(s.calls) > 0 || len(i.queue) > 0 {
		return
	}
	i.idleSince = time.Now()
	i.resting = true
	h.resting++
	i.service.idle.Add(i, struct{}{})
	for h.resting > max(0, h.config.MaxResident) {
		h.passivate(h.oldest(), Evicted)
	}
	if due := i.idleSince.Add(i.service.Idle); i.resting && due.Before(h.sweepAt) {
		knock(h.toSweep)
	}
}

// oldest is the instance that is idle for longest, over all services.
func (h *Host) oldest() *instance {
	var o *instance
	for _, s := range h.services {
		if i, _, ok := s.idle.GetOldest(); ok && (o == nil || i.idleSince.Before(o.idleSince)) {
			o = i
		}
	}
	return o
}

// passivate an instance that rests.
func (h *Host) passivate(i *instance, reason Reason) {
	h.wake(i)
	i.leave = reason
	h.run(i)
}

// interrupt ends i's open streams, and has it leave once what is unanswered is answered.
func (h *Host) interrupt(i *instance) {
	h.wake(i)
	if s := i.session; s != nil {
		why := h.leaving(i)
		for _, c := range s.calls {
			if c.streamed {
				h.sever(c, why)
			}
		}
	}
	h.run(i)
}

// leaving says why i's session is not to go on, or nothing.
func (h *Host) leaving(i *instance) string {
	switch {
	case h.stopping:
		return "the host is shutting down"
	case h.services[i.service.Name] != i.service:
		return "its service was replaced"
	default:
		return ""
	}
}

// sever ends a stream on the caller's side, and then on the user function's.
func (h *Host) sever(c *call, why string) {
	if !c.closed && !c.gone {
		h.push(c, &parcel{last: true, err: actors.Errorf(actors.Unavailable, "%s of %s is ended: %s; call it again", c.command.Method, c.command.Ref, why)})
	}
	h.cancelStream(c)
}

// never is far enough.
const never = time.Hour

// sweep is the sweeper: it passivates what was idle for too long, and ends sessions that owe an answer for too long.
func (h *Host) sweep(stop <-chan struct{}) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		timer.Reset(h.swept())
		select {
		case <-stop:
			return
		case <-h.toSweep:
		case <-timer.C:
		}
	}
}

// swept returns how long the sweeper has time until something is due.
func (h *Host) swept() time.Duration {
	h.mu.Lock()
	defer h.unlock()
	now := time.Now()
	next := never
	for _, s := range h.services {
		for {
			i, _, ok := s.idle.GetOldest()
			if !ok {
				break
			}
			if left := i.idleSince.Add(s.Idle).Sub(now); left > 0 {
				next = min(next, left)
				break
			}
			h.passivate(i, Idle)
		}
	}
	for {
		c, _, ok := h.unanswered.GetOldest()
		if !ok {
			break
		}
		if left := c.since.Add(h.config.AnswerTimeout).Sub(now); left > 0 {
			next = min(next, left)
			break
		}
		h.unanswered.Remove(c)
		h.unreplied(c)
	}
	h.sweepAt = now.Add(next)
	return next
}

// unreplied ends a session that owes an answer.
func (h *Host) unreplied(c *call) {
	i := c.instance
	if i.session == nil || i.session.calls[c.number] != c {
		return
	}
	what := "answer " + c.command.Method
	if c.stage == cancelled {
		what = "answer the cancellation of " + c.command.Method
	}
	err := actors.Errorf(actors.DeadlineExceeded, "the user function of %s did not %s within %s; its session is ended, and nothing came of it",
		c.command.Ref, what, h.config.AnswerTimeout)
	h.config.Log.Warn("a user function owes an answer; its session is ended", logService, i.service.Name, logID, i.id, logMethod, c.command.Method)
	if c.stage == asked {
		h.push(c, &parcel{err: err, last: true})
	}
	h.stop(i.session, Broken, func(o *call) error { return interrupted(o, err, false) })
}

// Run passivates, and ends sessions that do not answer, until ctx ends. Then it gives up everything: commands that are
// not answered fail, and sessions are closed. It returns when nothing is left of the host: no goroutine, no session and
// no open replica. For an end without losers, Drain first. It can be called once.
func (h *Host) Run(ctx context.Context) error {
	h.mu.Lock()
	again := h.ran
	h.ran = true
	h.unlock()
	if again {
		return errors.New("run the host of replicated entities: it was run before")
	}
	stop := make(chan struct{})
	h.workers.Go(func() { h.sweep(stop) })
	<-ctx.Done()
	h.mu.Lock()
	h.stopping = true
	left := h.inflight
	h.giveUp()
	quiet := h.halted()
	h.unlock()
	<-quiet
	close(stop)
	h.workers.Wait()
	h.config.Log.Info("host of replicated entities stopped", "commands_given_up", left)
	return nil
}

// Drain refuses new commands from now on, with the code Unavailable. It ends the open streams, which their user functions
// are told, and waits until what was taken is answered and every session is closed, or until ctx ends.
func (h *Host) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.stopping = true
	quiet := h.halted()
	h.unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		h.mu.Lock()
		left := h.inflight
		h.unlock()
		return fmt.Errorf("drain the host of replicated entities: %d commands are left: %w", left, ctx.Err())
	}
}

// halted has every instance leave and returns a channel that is closed when nothing is left. The host is stopping.
func (h *Host) halted() <-chan struct{} {
	for _, i := range h.instances {
		h.interrupt(i)
	}
	quiet := h.quiet
	if quiet == nil {
		quiet = make(chan struct{})
		h.quiet = quiet
	}
	h.hush()
	return quiet
}

// giveUp fails everything that is unanswered.
func (h *Host) giveUp() {
	h.cancel()
	failure := func(c *call) error {
		return actors.Errorf(actors.Unavailable, "%s to %s was given up because the host is shutting down; nothing came of it; try again", c.command.Method, c.command.Ref)
	}
	for _, i := range h.instances {
		for _, c := range i.queue {
			h.finish(c)
			h.push(c, &parcel{err: failure(c), last: true})
		}
		i.queue = nil
		if i.session != nil {
			h.stop(i.session, Stopped, failure)
		}
	}
}

// hush tells those who wait for the end that it has come.
func (h *Host) hush() {
	if h.quiet != nil && h.callers == 0 && h.confirming == 0 && h.leftovers == 0 && len(h.instances) == 0 {
		close(h.quiet)
		h.quiet = nil
	}
}

// Stats are what a Host holds at one moment.
type Stats struct {
	// Resident entities are in memory.
	Resident int
	// InFlight commands wait for their first answer, Streams are open.
	InFlight, Streams int
	// Bytes of commands, and of answers that were not taken.
	Bytes int
}

// Stats returns them. It takes the host's mutex for an instant.
func (h *Host) Stats() Stats {
	h.mu.Lock()
	defer h.unlock()
	return Stats{Resident: len(h.instances), InFlight: h.inflight, Streams: h.streams, Bytes: h.buffered}
}
