package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// activate opens a session for i. Without success, everything in the queue is answered with the error.
func (e *Engine) activate(i *instance) {
	ctx, cancel := context.WithTimeout(e.ctx, e.config.ActivationTimeout)
	defer cancel()
	began := time.Now()
	o, err := e.open(ctx, i)
	for n := 0; n < maxLosses && again(err); n++ {
		o, err = e.open(ctx, i)
	}
	took := time.Since(began)

	e.mu.Lock()
	defer e.unlock()
	i.reopen = false
	if err != nil {
		answer := e.unopened(ctx, i, err)
		for i.queue.n > 0 {
			e.finish(i.queue.pop(), actors.Outcome{}, answer)
		}
		return
	}
	i.session = o.session
	i.sequence, i.durable, i.epoch = o.head.Sequence, o.head.Sequence, o.head.Epoch
	i.proofAt, i.proofTick = o.head.Sequence, o.launched
	name := i.service.Name
	e.after = append(e.after, func() { e.config.Observer.Activated(name, o.events, took) })
}

// again reports whether another try may open what could not be opened. What was forgotten while it was read is in a
// snapshot by now, or erased.
func again(err error) bool {
	return errors.Is(err, ErrSessionLost) || errors.Is(err, ErrSessionEnded) || errors.Is(err, journal.ErrForgotten)
}

type opened struct {
	session Session
	head    journal.Head
	events  int
	// launched is the tick at which the journal was asked for the head.
	launched uint64
}

// open loads the entity and begins a session with it.
func (e *Engine) open(ctx context.Context, i *instance) (opened, error) {
	select {
	case e.activations <- struct{}{}:
		defer func() { <-e.activations }()
	case <-ctx.Done():
		return opened{}, ctx.Err()
	}
	e.mu.Lock()
	e.tick++
	launched := e.tick
	e.unlock()
	stream := i.stream()
	l, err := e.load(ctx, i)
	if err != nil {
		return opened{}, err
	}
	start := Start{Ref: i.ref(), Origin: l.Origin}
	o := opened{head: l.Head, launched: launched}
	reached := l.Origin
	if i.service.Whole {
		reached = max(reached, l.Head.Sequence-1)
	}
	if l.Snapshot != nil {
		start.Snapshot, start.SnapshotSequence = &l.Snapshot.Payload, l.Snapshot.Sequence
		reached = l.Snapshot.Sequence
	}
	var broken error
	start.Events = replay(stream, l, &reached, &o.events, &broken)
	o.session, err = i.service.Function.Open(ctx, start)
	switch {
	case broken != nil && err == nil:
		err = broken
	case err == nil && reached != l.Head.Sequence:
		err = actors.Errorf(actors.Internal, "%s cannot be activated: its session was opened from %d of %d events", start.Ref, reached, l.Head.Sequence)
	}
	if err != nil && o.session != nil {
		o.session.Close()
	}
	return o, err
}

// load is the beginning of i.
func (e *Engine) load(ctx context.Context, i *instance) (journal.Loading, error) {
	if !i.service.Whole {
		return e.config.Journal.Load(ctx, i.stream())
	}
	return e.newest(ctx, i.stream())
}

// newestTries bounds how often head and newest event are read until they fit.
const newestTries = 3

// newest is a loading of the newest event alone. The head is read first, so its event is there, whatever is written
// meanwhile, unless the journal has let go of it for a newer one.
func (e *Engine) newest(ctx context.Context, stream actors.Ref) (journal.Loading, error) {
	check := []journal.Check{{Ref: stream}}
	for n := 1; ; n++ {
		checked, err := e.config.Journal.Heads(ctx, check)
		if err == nil && len(checked) != len(check) {
			err = errNoResult
		}
		if err != nil {
			return journal.Loading{}, err
		}
		l := journal.Loading{Head: checked[0].Head}
		if l.Head.Sequence == 0 {
			return l, nil
		}
		newest, err := e.event(ctx, stream, l.Head.Sequence)
		if errors.Is(err, journal.ErrForgotten) {
			if l, err = e.config.Journal.Load(ctx, stream); err == nil && l.Origin == l.Head.Sequence {
				return l, nil // it was erased, and is as if it had never been
			}
		}
		if err != nil {
			return journal.Loading{}, err
		}
		switch {
		case newest.Sequence == l.Head.Sequence:
			l.Events = func(yield func(journal.Event, error) bool) { yield(newest, nil) }
			return l, nil
		case n == newestTries:
			return journal.Loading{}, &journal.CorruptError{Ref: stream, Sequence: l.Head.Sequence, Reason: "missing"}
		}
	}
}

// event reads one, or a newer one in its place.
func (e *Engine) event(ctx context.Context, stream actors.Ref, sequence int64) (newest journal.Event, err error) {
	for ev, err := range e.config.Journal.Read(ctx, stream, sequence-1, 1) {
		if err != nil {
			return journal.Event{}, err
		}
		newest = ev
	}
	return newest, nil
}

// replay yields the events of a loading and sees to it that none is missing.
func replay(stream actors.Ref, l journal.Loading, reached *int64, count *int, broken *error) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		fail := func(err error) {
			*broken = err
			yield(Event{}, err)
		}
		if l.Events != nil {
			for ev, err := range l.Events {
				if err != nil {
					fail(err)
					return
				}
				if ev.Sequence != *reached+1 {
					fail(&journal.CorruptError{Ref: stream, Sequence: *reached + 1, Reason: "missing"})
					return
				}
				*reached++
				*count++
				if !yield(Event{Sequence: ev.Sequence, Name: ev.Name, Payload: ev.Payload}, nil) {
					return
				}
			}
		}
		if *reached != l.Head.Sequence {
			fail(&journal.CorruptError{Ref: stream, Sequence: *reached + 1, Reason: "missing"})
		}
	}
}

// unopened is the answer to those who waited for a session that could not be opened.
func (e *Engine) unopened(ctx context.Context, i *instance, err error) error {
	ref := i.ref()
	known := new(actors.Error)
	unavailable := func(format string, args ...any) error {
		return &actors.Error{Code: actors.Unavailable, Message: fmt.Sprintf(format, args...), Cause: err}
	}
	switch {
	case errors.Is(err, journal.ErrForgotten):
		return &actors.Error{Code: actors.DataLoss, Message: fmt.Sprintf(
			"%s cannot be activated: its snapshot is missing or damaged, and %s; restore it into a new journal from an export, or erase it",
			ref, err), Cause: err}
	case errors.Is(err, journal.ErrCorrupt):
		return &actors.Error{Code: actors.DataLoss, Message: fmt.Sprintf("%s cannot be activated: %s", ref, err), Cause: err}
	case e.ctx.Err() != nil:
		return unavailable("%s is not activated: the host is shutting down; try again", ref)
	case errors.As(err, &known):
		return known
	case ctx.Err() != nil:
		return unavailable("%s was not activated within %s; try again", ref, e.config.ActivationTimeout)
	case errors.Is(err, ErrSessionLost), errors.Is(err, ErrSessionEnded):
		return unavailable("%s could not be activated: the connection to the user function broke; try again", ref)
	default:
		return unavailable("%s could not be activated: its journal or its user function cannot be reached; try again", ref)
	}
}
