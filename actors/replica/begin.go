package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// maxTries bounds how often a session is opened that ends before anything can be said to it.
const maxTries = 3

// open makes the copy live and begins a session. Without success everything in the queue is answered with the error.
func (h *Host) open(i *instance) {
	h.mu.Lock()
	current := h.services[i.service.Name]
	if current == nil {
		h.refuse(i, h.unknown(i.service.Name))
		h.unlock()
		return
	}
	if i.tries++; i.tries > maxTries {
		h.refuse(i, i.trouble)
		i.tries = 0
		h.unlock()
		return
	}
	i.service = current
	ref := i.ref()
	h.unlock()
	ctx, cancel := context.WithTimeout(h.ctx, h.config.ActivationTimeout)
	defer cancel()
	began := time.Now()
	s, err := h.begin(ctx, i, current)
	if err != nil {
		err = h.unopened(ctx, ref, err)
	}
	h.mu.Lock()
	defer h.unlock()
	if err != nil {
		h.refuse(i, err)
		return
	}
	i.session = s
	h.after = append(h.after, func() { h.config.Observer.Activated(ref.Service, time.Since(began)) })
}

// begin opens replica and session.
func (h *Host) begin(ctx context.Context, i *instance, of *hosted) (*session, error) {
	select {
	case h.activations <- struct{}{}:
		defer func() { <-h.activations }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	replica, err := h.config.Replicas.Open(ctx, actors.Ref{Service: of.Persistence, ID: i.id}, func() { h.changed(i) })
	if err != nil {
		return nil, err
	}
	value, gone := replica.Begin()
	if gone {
		replica.Close()
		return nil, ErrDeleted
	}
	s := &session{instance: i, replica: replica, calls: make(map[int64]*call)}
	s.Session, err = of.Function.Open(ctx, Start{
		Ref: i.ref(), Value: value,
		Answer: func(a Answer) error { return h.answer(s, a) },
		Ended:  func(err error) { h.ended(s, err) },
	})
	if err != nil {
		replica.Close()
		return nil, err
	}
	return s, nil
}

// unopened is the answer to those who waited for a session that could not be opened.
func (h *Host) unopened(ctx context.Context, ref actors.Ref, err error) error {
	known := new(actors.Error)
	unavailable := func(format string, args ...any) error {
		return &actors.Error{Code: actors.Unavailable, Message: fmt.Sprintf(format, args...), Cause: err}
	}
	switch {
	case errors.Is(err, ErrDeleted):
		return deleted(ref)
	case h.ctx.Err() != nil:
		return unavailable("%s is not activated: the host is shutting down; try again", ref)
	case errors.As(err, &known):
		return known
	case ctx.Err() != nil:
		return unavailable("%s was not activated within %s; try again", ref, h.config.ActivationTimeout)
	default:
		return unavailable("%s could not be activated: its journal, or its other copies, cannot be reached; try again", ref)
	}
}

func deleted(ref actors.Ref) *actors.Error {
	return &actors.Error{Code: actors.NotFound, Message: fmt.Sprintf("the entity %s is deleted", ref), Cause: ErrDeleted}
}

// refuse everything in the queue.
func (h *Host) refuse(i *instance, err error) {
	for _, c := range i.queue {
		h.finish(c)
		h.push(c, &parcel{err: err, last: true})
	}
	i.queue = nil
}
