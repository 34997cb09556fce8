package engine

import (
	"time"

	"github.com/dapr-entities/entities/actors"
)

// rest puts i among the idle if it has nothing to do, or passivates it.
func (e *Engine) rest(i *instance) {
	if i.gone || i.resting || i.running || i.broken || i.queue.n > 0 || i.pending.n > 0 || i.reopen && !e.stopping {
		return
	}
	switch {
	case e.stopping:
		e.passivate(i, Stopped)
	case i.leave:
		e.passivate(i, Disowned)
	case i.session == nil:
		e.passivate(i, Broken)
	case e.services[i.service.Name] != i.service:
		e.passivate(i, Replaced)
	default:
		i.idleSince = time.Now()
		i.resting = true
		e.resting++
		i.service.idle.Add(i, struct{}{})
		for e.resting > max(0, e.config.MaxResident) {
			e.passivate(e.oldest(), Evicted)
		}
		if due := i.idleSince.Add(i.service.Idle); i.resting && due.Before(e.sweepAt) {
			ring(e.toSweep)
		}
	}
}

// oldest is the instance that is idle for longest, over all services.
func (e *Engine) oldest() *instance {
	var o *instance
	for _, s := range e.services {
		if i, _, ok := s.idle.GetOldest(); ok && (o == nil || i.idleSince.Before(o.idleSince)) {
			o = i
		}
	}
	return o
}

// passivate an instance that has nothing to do.
func (e *Engine) passivate(i *instance, reason Reason) {
	e.wake(i)
	i.gone = true
	delete(e.instances, i.ref())
	e.shut(i, reason)
	e.hush()
}

// never is far enough.
const never = time.Hour

// sweep is the sweeper: it passivates what was idle for too long.
func (e *Engine) sweep(stop <-chan struct{}) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		timer.Reset(e.passivateIdle())
		select {
		case <-stop:
			return
		case <-e.toSweep:
		case <-timer.C:
		}
	}
}

// passivateIdle returns how long it has time until the next one is due.
func (e *Engine) passivateIdle() time.Duration {
	e.mu.Lock()
	defer e.unlock()
	now := time.Now()
	next := never
	for _, s := range e.services {
		for {
			i, _, ok := s.idle.GetOldest()
			if !ok {
				break
			}
			if left := i.idleSince.Add(s.Idle).Sub(now); left > 0 {
				next = min(next, left)
				break
			}
			e.passivate(i, Idle)
		}
	}
	e.sweepAt = now.Add(next)
	return next
}

// hush tells those who wait for the end that it has come.
func (e *Engine) hush() {
	if e.quiet != nil && e.inflight == 0 && len(e.instances) == 0 {
		close(e.quiet)
		e.quiet = nil
	}
}

// halted passivates what rests and returns a channel that is closed when nothing is left. The engine is stopping.
func (e *Engine) halted() <-chan struct{} {
	for _, i := range e.instances {
		e.advance(i)
		if i.resting {
			e.passivate(i, Stopped)
		}
	}
	quiet := e.quiet
	if quiet == nil {
		quiet = make(chan struct{})
		e.quiet = quiet
	}
	e.hush()
	return quiet
}

// giveUp answers everything that was not begun, and ends turns.
func (e *Engine) giveUp() {
	e.cancel()
	for _, i := range e.instances {
		for i.queue.n > 0 {
			w := i.queue.pop()
			e.finish(w, actors.Outcome{}, actors.Errorf(actors.Unavailable,
				"%s to %s was not begun: the host is shutting down; nothing came of it; try again", w.command.Method, w.command.Ref))
		}
	}
}
