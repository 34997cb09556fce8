package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// wake takes i out of the idle list, if it is there.
func (e *Engine) wake(i *instance) {
	if i.resting {
		i.resting = false
		e.resting--
		i.service.idle.Remove(i)
	}
}

// run gives i a worker, unless it has one or that one would have nothing to do.
func (e *Engine) run(i *instance) {
	if !i.running && i.wants() {
		i.running = true
		// A new one each time. Parked workers would spare the growing of a stack, 4 % of the engine's own way, but with
		// a sidecar and a user function on the same processors a tenth of the throughput went with them.
		e.workers.Go(func() {
			actors.GrowStack()
			e.work(i)
		})
	}
}

// advance gives i a worker or lets it rest, whatever it is ready for.
func (e *Engine) advance(i *instance) {
	e.run(i)
	if !i.running {
		e.rest(i)
	}
}

// work is the worker.
func (e *Engine) work(i *instance) {
	for {
		switch w, do := e.next(i); do {
		case halt:
			return
		case recovering:
			e.recover(i)
		case opening:
			e.activate(i)
		case turning:
			e.turn(i, w)
		}
	}
}

// task is what a worker does next.
type task uint8

const (
	halt task = iota
	recovering
	opening
	turning
)

func (e *Engine) next(i *instance) (*work, task) {
	e.mu.Lock()
	defer e.unlock()
	i.current = nil
	if i.broken {
		if i.launched > 0 {
			i.running = false
			return nil, halt
		}
		return nil, recovering
	}
	now := time.Now()
	// What the session was given ahead is begun; its deadline ends the session.
	for i.queue.n > 0 && i.queue.first.stage == queued && !i.queue.first.deadline.After(now) {
		e.expire(i.queue.pop())
	}
	s := e.services[i.service.Name]
	if i.session != nil && s != i.service {
		e.shut(i, Replaced)
	}
	if e.stopping {
		i.reopen = false
	}
	switch {
	case !i.wants():
	case i.session != nil:
		w := i.queue.pop()
		e.lookAhead(i, w, w.stage == handling)
		w.stage = handling
		w.tries++
		i.current = w
		e.turning++
		return w, turning
	case s == nil:
		i.reopen = false
		err := e.unknown(i.service.Name)
		for i.queue.n > 0 {
			e.finish(i.queue.pop(), actors.Outcome{}, err)
		}
	default:
		i.service = s
		return nil, opening
	}
	i.running = false
	i.ahead = nil
	e.rest(i)
	return nil, halt
}

func (e *Engine) expire(w *work) {
	w.dropped = true
	e.finish(w, actors.Outcome{}, actors.Errorf(actors.DeadlineExceeded,
		"%s to %s was not begun before its deadline; nothing came of it", w.command.Method, w.command.Ref))
}

// shut closes i's session, once the mutex is released.
func (e *Engine) shut(i *instance, reason Reason) {
	if i.session == nil {
		return
	}
	session, name := i.session, i.service.Name
	i.session = nil
	i.takeBack()
	e.after = append(e.after, func() {
		session.Close()
		e.config.Observer.Passivated(name, reason)
	})
}

// turn has the session handle w, and puts what came of it among the pending.
func (e *Engine) turn(i *instance, w *work) {
	ctx, cancel := context.WithDeadline(e.ctx, w.deadline)
	began := time.Now()
	if len(i.ahead) > 0 {
		i.session.(Ahead).Ahead(ctx, i.ahead)
		clear(i.ahead)
	}
	reply, err := i.session.Handle(ctx, Turn{Command: w.command, Sequence: i.sequence})
	e.config.Observer.Turned(w.command.Service, time.Since(began))
	late := ctx.Err() != nil
	cancel()
	if reply.Restart {
		reply.Events = nil
	}
	w.turn = turn{base: i.sequence, end: i.sequence + int64(len(reply.Events))}
	if err == nil {
		err = e.measure(w, &reply)
	}
	if err == nil {
		w.outcome = reply.Outcome
		w.outcome.Sequence, w.outcome.Repeated = w.end, false
		err = write(i, w, &reply)
	}

	e.mu.Lock()
	defer e.unlock()
	defer e.turned()
	i.current = nil
	if err != nil {
		e.fault(i, w, err, late)
		return
	}
	if reply.Restart {
		i.reopen = true
		e.shut(i, Restarted)
	}
	if i.broken {
		// The state that w was handled on never came to be.
		e.again(i, w)
		return
	}
	w.stage = pending
	i.pending.push(w)
	size := outcomeSize(&w.outcome)
	if w.wrote {
		size += appendSize(&w.append)
	}
	w.size += size
	e.buffered += size
	if !w.wrote {
		w.headKnown = e.config.Reads == Cached
		w.keyKnown = w.command.Key == ""
		e.settle(i)
		return
	}
	i.writing++
	i.sequence = w.end
	e.appends = append(e.appends, w)
	ring(e.toCommit)
}

// write makes w's append, if there is anything to append. A snapshot without events would say nothing new, and is left
// out.
func write(i *instance, w *work, r *Reply) error {
	o := &w.outcome
	if len(r.Events) == 0 && len(o.Effects) == 0 && o.Forward == nil {
		return nil
	}
	stream, id := i.stream(), commandID(w.command.Key)
	kept := w.follow(stream, id)
	if len(r.Events) == 0 && len(kept) == 0 {
		return nil
	}
	if err := journal.ValidateEffects(kept); err != nil {
		return senseless(&w.command, err)
	}
	w.wrote = true
	w.append = journal.Append{Ref: stream, Expected: w.base, Epoch: i.epoch, Command: id, Effects: kept}
	switch {
	case w.command.Key != "":
		w.append.Record = &journal.Record{Hash: w.hash, Outcome: actors.MarshalOutcome(*o)}
	case len(r.Events) == 0:
		// Only a record can tell that it happened. Nobody else knows its id, so nobody will ask for the outcome.
		w.hash = hashOf(&w.command)
		w.append.Record = &journal.Record{Hash: w.hash, Outcome: actors.MarshalOutcome(actors.Outcome{Sequence: w.end})}
	}
	if len(r.Events) == 0 {
		return nil
	}
	about := contextOf(w.command.Metadata)
	w.append.Events = make([]journal.Event, len(r.Events))
	for k := range r.Events {
		w.append.Events[k] = journal.Event{Name: eventName(&r.Events[k]), Payload: r.Events[k].Payload, Context: about}
	}
	if !i.service.Whole {
		w.append.Snapshot = r.Snapshot
	}
	return nil
}

// again puts w back to the front of the queue, or aborts it when that has been done too often.
func (e *Engine) again(i *instance, w *work) {
	e.buffered -= w.size
	w.size = commandSize(&w.command)
	e.buffered += w.size
	w.turn = turn{}
	w.outcome = actors.Outcome{}
	if w.tries >= maxTries {
		e.finish(w, actors.Outcome{}, actors.Errorf(actors.Aborted,
			"%s to %s was given up after %d attempts, each of which was undone; nothing came of it; try again",
			w.command.Method, w.command.Ref, w.tries))
		return
	}
	w.stage = queued
	i.queue.pushFront(w)
}

// fault decides what an error of the session means. The session is over in any case.
func (e *Engine) fault(i *instance, w *work, err error, late bool) {
	e.shut(i, Broken)
	c := &w.command
	e.config.Log.Debug("a session ended", logService, c.Service, logID, c.ID, "cause", err)
	lost := errors.Is(err, ErrSessionLost)
	var known *actors.Error
	switch {
	case e.ctx.Err() != nil:
		e.finish(w, actors.Outcome{}, actors.Errorf(actors.Unavailable, "%s to %s was given up because the host is shutting down; nothing came of it; try again", c.Method, c.Ref))
		return
	case late:
		e.finish(w, actors.Outcome{}, actors.Errorf(actors.DeadlineExceeded, "the user function did not answer %s to %s before its deadline; nothing came of it", c.Method, c.Ref))
		return
	case errors.Is(err, ErrSessionEnded), lost && w.losses < maxLosses:
		if lost {
			w.losses++
		}
		if w.tries < maxTries {
			e.again(i, w)
			return
		}
		fallthrough
	case lost:
		known = &actors.Error{Code: actors.Unavailable, Cause: err,
			Message: fmt.Sprintf("the connection to the user function broke while %s to %s was handled; nothing came of it; try again", c.Method, c.Ref)}
	case errors.As(err, &known):
	default:
		known = &actors.Error{Code: actors.Internal, Cause: err,
			Message: fmt.Sprintf("the session of %s broke while %s was handled; nothing came of it", c.Ref, c.Method)}
	}
	if i.broken {
		e.again(i, w)
		return
	}
	w.failure = known
	w.stage = pending
	i.pending.push(w)
	e.settle(i)
}

// measure refuses a reply that is too large. Its events are in the session's state already, so the session is over.
func (e *Engine) measure(w *work, r *Reply) error {
	c, limit := &w.command, e.config.MaxMessage
	if n := len(r.Events); n > e.config.MaxEvents {
		return e.limited(c.Service, settingEvents, e.config.MaxEvents, fmt.Sprintf("%s to %s emitted %d events", c.Method, c.Ref, n))
	}
	check := func(what string, p *actors.Payload) error {
		if p == nil || len(p.Data) <= limit {
			return nil
		}
		return e.limited(c.Service, settingMessage, limit, fmt.Sprintf("%s of %s to %s has %d bytes", what, c.Method, c.Ref, len(p.Data)))
	}
	for k := range r.Events {
		if err := check("an event", &r.Events[k].Payload); err != nil {
			return err
		}
	}
	if err := check("the snapshot", r.Snapshot); err != nil {
		return err
	}
	if err := e.measureEffects(w, r.Outcome.Effects); err != nil {
		return err
	}
	if n := metadataSize(r.Outcome.Metadata); n > e.config.MaxMetadata {
		return e.limited(c.Service, settingMetadata, e.config.MaxMetadata, fmt.Sprintf("the reply's metadata of %s to %s has %d bytes", c.Method, c.Ref, n))
	}
	if f := r.Outcome.Forward; f != nil {
		if n := metadataSize(f.Metadata); n > e.config.MaxMetadata {
			return e.limited(c.Service, settingMetadata, e.config.MaxMetadata, fmt.Sprintf("the forward's metadata of %s to %s has %d bytes", c.Method, c.Ref, n))
		}
		if err := check("the forward", &f.Payload); err != nil {
			return err
		}
	}
	return check("the reply", r.Outcome.Reply)
}
