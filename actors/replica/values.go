package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/crdt"
)

// ValuesConfig of Values.
type ValuesConfig struct {
	// Replicas are required.
	Replicas Replicas
	// Patience is how long a write waits for a node that is no member at present: one that has just started, as a rule.
	// Defaults to 5 seconds.
	Patience time.Duration
	// Timeout of opening a copy. Defaults to 30 seconds.
	Timeout time.Duration
}

// Values are replicated values without a user function: whoever comes reads and writes them. Its methods may be called from
// any goroutine; their errors are *actors.Error. A value whose entity is deleted is one that does not exist, and a write
// creates it again.
type Values struct {
	config ValuesConfig

	mu sync.Mutex
	// open are in use. One copy of an entity is open at a time, so those who come share it.
	open map[actors.Ref]*shared
}

// shared is a copy that is in use.
type shared struct {
	// ready is closed when replica or err is there, closed when the copy is closed.
	ready, closed chan struct{}
	replica       Replica
	err           error
	users         int
	// stale says that its entity was deleted: who comes waits until it is closed, and opens it anew.
	stale bool
}

// NewValues makes Values.
func NewValues(c ValuesConfig) (*Values, error) {
	if c.Replicas == nil {
		return nil, errors.New("configuring replicated values: Replicas is nil; say where they are")
	}
	if c.Patience < 0 || c.Timeout < 0 {
		return nil, fmt.Errorf("configuring replicated values: Patience is %v and Timeout %v; neither may be negative", c.Patience, c.Timeout)
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return &Values{config: c, open: map[actors.Ref]*shared{}}, nil
}

// Get returns what this node knows the value to be, nil if there is none.
func (v *Values) Get(ctx context.Context, ref actors.Ref) (value *crdt.Update, err error) {
	err = v.with(ctx, ref, func(r Replica) error {
		if _, deleted := r.Kind(); deleted {
			return ErrDeleted
		}
		value = r.Value()
		return nil
	})
	return value, failed("reading", ref, err)
}

// Update applies u as of what this node knows, and returns when the write is as safe as level says.
func (v *Values) Update(ctx context.Context, ref actors.Ref, u *crdt.Update, level Level) error {
	return v.write(ctx, ref, level, func(r Replica, done func(error)) error { return r.Apply(u, level, done) })
}

// Delete deletes the value, and returns when that is as safe as level says. That there is none is no error. What others
// write meanwhile to the value that is deleted goes with it.
func (v *Values) Delete(ctx context.Context, ref actors.Ref, level Level) error {
	return v.write(ctx, ref, level, func(r Replica, done func(error)) error {
		switch k, deleted := r.Kind(); {
		case deleted:
			return ErrDeleted
		case k == 0:
			done(nil)
			return nil
		}
		return r.Delete(level, done)
	})
}

// again is after what time a write is tried again that could not be done just now.
const again = 20 * time.Millisecond

func (v *Values) write(ctx context.Context, ref actors.Ref, level Level, do func(r Replica, done func(error)) error) error {
	done := make(chan error, 1)
	attempt := func() error {
		return v.with(ctx, ref, func(r Replica) error { return do(r, func(err error) { done <- err }) })
	}
	err := attempt()
	for end := time.Now().Add(v.config.Patience); errors.Is(err, ErrReadOnly) && time.Now().Before(end); err = attempt() {
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return failed("writing to", ref, err)
		}
	}
	if err != nil {
		return failed("writing to", ref, err)
	}
	select {
	case err := <-done:
		return failed("writing to", ref, err)
	case <-ctx.Done():
		return actors.Errorf(actors.CodeOf(ctx.Err()),
			"what was written to %s was applied on this node, but not confirmed at the level %s before the caller's time was up; look at it before you repeat it",
			ref, level)
	}
}

// with has do work with the copy. If the entity is deleted, do is called again, with the copy of its next generation.
func (v *Values) with(ctx context.Context, ref actors.Ref, do func(Replica) error) error {
	for {
		s, err := v.enter(ctx, ref)
		if err != nil {
			return err
		}
		err = do(s.replica)
		deleted := errors.Is(err, ErrDeleted)
		v.leave(ref, s, deleted)
		if !deleted {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// enter opens the copy, or joins those who have it open.
func (v *Values) enter(ctx context.Context, ref actors.Ref) (*shared, error) {
	for {
		v.mu.Lock()
		s := v.open[ref]
		switch {
		case s == nil:
			s = &shared{ready: make(chan struct{}), closed: make(chan struct{}), users: 1}
			v.open[ref] = s
			v.mu.Unlock()
			opening, cancel := context.WithTimeout(ctx, v.config.Timeout)
			s.replica, s.err = v.config.Replicas.Open(opening, ref, nil)
			cancel()
			close(s.ready)
			if s.err != nil {
				v.leave(ref, s, true)
				return nil, s.err
			}
			return s, nil
		case s.stale:
			v.mu.Unlock()
			select {
			case <-s.closed:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		s.users++
		v.mu.Unlock()
		select {
		case <-s.ready:
			if s.err == nil {
				return s, nil
			}
			v.leave(ref, s, true)
			if code := actors.CodeOf(s.err); ctx.Err() == nil && (code == actors.Canceled || code == actors.DeadlineExceeded) {
				continue // it was the time of the one who opened it that was up
			}
			return nil, s.err
		case <-ctx.Done():
			v.leave(ref, s, false)
			return nil, ctx.Err()
		}
	}
}

// leave lets go of the copy; the last one closes it. It is closed before another one can be opened.
func (v *Values) leave(ref actors.Ref, s *shared, stale bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s.stale = s.stale || stale
	if s.users--; s.users > 0 {
		return
	}
	if s.replica != nil {
		s.replica.Close()
	}
	delete(v.open, ref)
	close(s.closed)
}

// failed gives what came of it a code.
func failed(doing string, ref actors.Ref, err error) error {
	known := new(actors.Error)
	fail := func(code actors.Code, advice string) error {
		return &actors.Error{Code: code, Cause: err, Message: err.Error() + advice}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrReadOnly):
		return fail(actors.Unavailable, "; nothing came of it, try again")
	case errors.Is(err, ErrUnconfirmed):
		return fail(actors.DeadlineExceeded, "; it stays, so look at the value before you repeat it")
	case errors.As(err, &known):
		return known
	case errors.Is(err, crdt.ErrKindMismatch), errors.Is(err, crdt.ErrNoKind), errors.Is(err, crdt.ErrTwice):
		return fail(actors.InvalidArgument, "")
	case errors.Is(err, crdt.ErrOverflow), errors.Is(err, crdt.ErrClockExhausted):
		return fail(actors.OutOfRange, "; nothing came of it")
	case errors.Is(err, crdt.ErrTooLarge):
		return fail(actors.ResourceExhausted, "; nothing came of it, split it into several")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return actors.Errorf(actors.CodeOf(err), "%s %s: %w; nothing came of it", doing, ref, err)
	default: // the writer has lost its slot, or used up its numbers: it goes on under another name
		return fail(actors.Unavailable, "; try again")
	}
}
