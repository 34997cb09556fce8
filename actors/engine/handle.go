package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
)

// Handle carries out a command on an entity of this host, activating it if need be. It does not ask whether the entity
// is owned. An end of ctx stops the waiting but not a turn that has begun.
//
// After an error nothing came of the command, with two exceptions: an Aborted one with an error in its chain that has
// the method Undecided() bool, and a DeadlineExceeded or Canceled one that says so. The codes are Aborted (another
// instance got in the way, or the append is in doubt), Unavailable (the journal, the user function, or shutting down),
// ResourceExhausted (a limit, with its setting), DataLoss (a damaged record), Unimplemented (no such service),
// InvalidArgument (the id, or a key used for another request), DeadlineExceeded and Canceled, and those of the session.
func (e *Engine) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	if err := e.inspect(&c); err != nil {
		return actors.Outcome{}, err
	}
	w := &work{command: c, size: commandSize(&c), deadline: c.Deadline, done: make(chan struct{})}
	if latest := time.Now().Add(e.config.CommandTimeout); c.Deadline.IsZero() || c.Deadline.After(latest) {
		w.deadline = latest
		w.command.Deadline = latest
	}
	if c.Key != "" {
		w.hash = hashOf(&c)
	}
	for {
		first, err := e.take(w)
		if err != nil {
			return actors.Outcome{}, err
		}
		if first == w {
			if err := e.await(ctx, w, w); err != nil {
				return actors.Outcome{}, err
			}
			return w.outcome, w.err
		}
		// The same command is on its way: it is waited for. If it was given up before it was handled, it is this one's
		// turn.
		err = e.await(ctx, first, w)
		e.mu.Lock()
		e.release(w)
		e.unlock()
		switch {
		case err != nil:
			return actors.Outcome{}, err
		case first.dropped && !e.stopped():
			continue
		case first.err != nil:
			return actors.Outcome{}, first.err
		}
		o := first.outcome
		o.Repeated = true
		return o, nil
	}
}

func (e *Engine) stopped() bool {
	e.mu.Lock()
	defer e.unlock()
	return e.stopping
}

// inspect refuses what is too large or cannot be stored.
func (e *Engine) inspect(c *actors.Command) error {
	if err := actors.ValidateID(c.ID); err != nil {
		return err
	}
	if !utf8.ValidString(c.Key) || strings.IndexByte(c.Key, 0) >= 0 {
		return actors.Errorf(actors.InvalidArgument, "the idempotency key %q of %s to %s is not UTF-8 text without zero bytes",
			c.Key[:min(64, len(c.Key))], c.Method, c.Ref)
	}
	if len(c.Key) > maxKeyBytes {
		return actors.Errorf(actors.InvalidArgument, "the idempotency key of %s to %s has %d bytes; at most %d are allowed",
			c.Method, c.Ref, len(c.Key), maxKeyBytes)
	}
	if n := len(c.Payload.Data); n > e.config.MaxMessage {
		return e.limited(c.Service, settingMessage, e.config.MaxMessage, fmt.Sprintf("the payload of %s to %s has %d bytes", c.Method, c.Ref, n))
	}
	if n := metadataSize(c.Metadata); n > e.config.MaxMetadata {
		return e.limited(c.Service, settingMetadata, e.config.MaxMetadata, fmt.Sprintf("the metadata of %s to %s has %d bytes", c.Method, c.Ref, n))
	}
	return nil
}

func (e *Engine) limited(service, setting string, limit int, what string) *actors.Error {
	e.config.Observer.Limited(service, setting)
	return actors.Errorf(actors.ResourceExhausted, "%s; the limit is %d (%s)", what, limit, setting)
}

// take puts w into the queue of its entity, or returns the unanswered command that has the same key.
func (e *Engine) take(w *work) (*work, error) {
	e.mu.Lock()
	defer e.unlock()
	c := &w.command
	if e.stopping {
		return nil, actors.Errorf(actors.Unavailable, "%s is not carried out here: the host is shutting down; try again", c.Ref)
	}
	s := e.services[c.Service]
	if s == nil {
		return nil, e.unknown(c.Service)
	}
	i := e.instances[c.Ref]
	var first *work
	if i != nil && c.Key != "" {
		if first = i.find(c.Key); first != nil && first.hash != w.hash {
			return nil, reused(c)
		}
	}
	if err := e.admit(s, i, first, w); err != nil {
		return nil, err
	}
	w.service = s
	s.inflight++
	e.inflight++
	e.buffered += w.size
	if first != nil {
		return first, nil
	}
	if i == nil {
		i = &instance{id: c.ID, service: s}
		e.instances[c.Ref] = i
	}
	e.wake(i)
	w.instance, w.arrived, w.stage = i, e.tick, queued
	i.queue.push(w)
	e.run(i)
	return w, nil
}

// admit applies the bounds. A repeat waits for the first and takes no place in the entity's queue.
func (e *Engine) admit(s *service, i *instance, first, w *work) error {
	ref := w.command.Ref
	late := func(setting string, limit int, what string) error {
		e.after = append(e.after, func() { e.config.Observer.Limited(s.Name, setting) })
		return actors.Errorf(actors.ResourceExhausted, "%s; the limit is %d (%s); try again later", what, limit, setting)
	}
	switch {
	case i != nil && first == nil && i.load() >= e.config.MaxQueued:
		return late(settingQueued, e.config.MaxQueued, fmt.Sprintf("%s has %d commands waiting", ref, i.load()))
	case s.inflight >= e.config.MaxInFlight:
		return late(settingInFlight, e.config.MaxInFlight, fmt.Sprintf("%s has %d commands in flight", s.Name, s.inflight))
	case e.inflight > 0 && e.buffered+w.size > e.config.MaxBuffered:
		return late(settingBuffered, e.config.MaxBuffered, fmt.Sprintf("the commands in flight hold %d bytes", e.buffered))
	}
	return nil
}

func (e *Engine) unknown(name string) error {
	known := make([]string, 0, len(e.services))
	for n := range e.services {
		known = append(known, n)
	}
	if len(known) == 0 {
		return actors.Errorf(actors.Unimplemented, "there is no service %s here, nor any other: the user function was not discovered", name)
	}
	slices.Sort(known)
	return actors.Errorf(actors.Unimplemented, "there is no service %s here; there are %s", name, strings.Join(known, ", "))
}

func reused(c *actors.Command) *actors.Error {
	return actors.Errorf(actors.InvalidArgument, "the idempotency key %q was used for another request to %s; use a new key for %s",
		c.Key, c.Ref, c.Method)
}

// grace is for how long after its deadline a command is waited for: whoever handles it knows at the deadline that
// nothing came of it, which is a better answer than that nobody knows.
const grace = 10 * time.Millisecond

// await waits until w is done, for the caller of own, which is w or a repeat of it.
func (e *Engine) await(ctx context.Context, w, own *work) error {
	left := time.Until(own.deadline) + grace
	timer, _ := e.timers.Get().(*time.Timer)
	if timer == nil {
		timer = time.NewTimer(left)
	} else {
		timer.Reset(left)
	}
	defer func() {
		timer.Stop()
		e.timers.Put(timer)
	}()
	code, how := actors.DeadlineExceeded, "before its deadline"
	select {
	case <-w.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		how = "before its caller went away"
		if errors.Is(ctx.Err(), context.Canceled) {
			code = actors.Canceled
		}
	}
	e.mu.Lock()
	defer e.unlock()
	c := &own.command
	switch {
	case w.stage == finished:
		return nil
	case w == own && w.stage == queued:
		w.instance.queue.remove(func(x *work) bool { return x == w })
		w.dropped = true
		err := actors.Errorf(code, "%s to %s was not begun %s; nothing came of it", c.Method, c.Ref, how)
		e.finish(w, actors.Outcome{}, err)
		if !w.instance.running {
			e.rest(w.instance)
		}
		return err
	default:
		return actors.Errorf(code, "%s to %s was not finished %s and may still be; %s", c.Method, c.Ref, how, ask(c))
	}
}

// ask tells the caller of a command how to learn its outcome.
func ask(c *actors.Command) string {
	if c.Key == "" {
		return "without an idempotency key its outcome cannot be asked for: look at the entity before you repeat it"
	}
	return fmt.Sprintf("ask for its outcome by its idempotency key %q, or repeat it with that key", c.Key)
}

// finish a work that is in no list.
func (e *Engine) finish(w *work, o actors.Outcome, err error) {
	w.stage, w.outcome, w.err = finished, o, err
	w.turn = turn{}
	e.release(w)
	close(w.done)
}

// release what w holds of the bounds.
func (e *Engine) release(w *work) {
	w.service.inflight--
	e.inflight--
	e.buffered -= w.size
	e.hush()
}
