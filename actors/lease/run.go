package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// Run takes part until ctx ends. Then it stops the works, and goes on to show that it lives until all have returned; so
// a work that takes its time keeps its lease. A journal that cannot be reached ends the works, not Run. It can be called
// once.
func (l *Leases) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var guard sync.WaitGroup
	guard.Go(func() { l.guard(stop) })
	defer guard.Wait()
	defer close(stop)
	defer l.works.Wait()

	always := context.WithoutCancel(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		select {
		case <-done:
			done = nil
			l.end(ErrStopping, func(string) bool { return true })
		case <-timer.C:
		case <-l.wake:
		}
		began := time.Now()
		next, err := l.round(always, ctx.Err() != nil)
		l.config.Observer.Round(time.Since(began), err)
		l.complain(err)
		if ctx.Err() != nil && len(l.working()) == 0 {
			return l.leave(always)
		}
		wait := l.config.Poll
		if !next.IsZero() {
			wait = max(0, min(wait, time.Until(next)))
		}
		timer.Reset(wait)
	}
}

// complain once when the journal begins to fail, and tell when it is over.
func (l *Leases) complain(err error) {
	switch {
	case err != nil && !l.failing:
		l.config.Log.Warn("leases cannot be shared out now; works stop soon unless that ends", logError, err)
	case err == nil && l.failing:
		l.config.Log.Info("leases are shared out again")
	}
	l.failing = err != nil
}

// round shows that we live, looks who else does, and gives back and takes leases accordingly. It returns when to look
// again, if that is before the next poll.
func (l *Leases) round(ctx context.Context, stopping bool) (next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.config.TTL)
	defer cancel()
	names := []string{}
	if !stopping {
		l.mu.Lock()
		names = append(names, l.names...)
		l.mu.Unlock()
	}
	if err := l.renew(ctx, names); err != nil {
		return time.Time{}, err
	}
	// Leases first: who is named by one had a cell by then, so that a cell which is not there afterwards was removed.
	leases := map[string]journal.Cell{}
	prefix := l.leaseKey("")
	if err := l.each(ctx, prefix, func(c journal.Cell) error {
		leases[c.Key[len(prefix):]] = c
		return nil
	}); err != nil {
		return time.Time{}, fmt.Errorf("look who holds what: %w", err)
	}
	living, next, err := l.members(ctx)
	if err != nil {
		return time.Time{}, err
	}
	assigned := Spread(living)
	mine := func(name string) bool { return assigned[name] == l.config.Member }
	l.end(ErrGivenBack, func(name string) bool { return !mine(name) })
	held := l.working()
	var problems []error
	for name, c := range leases {
		if string(c.Value) != l.config.Member || held[name] || mine(name) {
			continue
		}
		if err := l.config.Cells.Remove(ctx, c.Key, c.Version); err != nil && !errors.Is(err, journal.ErrConflict) {
			problems = append(problems, fmt.Errorf("give the lease of %s back: %w", name, err))
		}
	}
	for name := range assigned {
		holder := string(leases[name].Value)
		_, occupied := living[holder]
		if !mine(name) || held[name] || occupied && holder != l.config.Member {
			continue
		}
		if err := l.take(ctx, name, leases[name].Version); err != nil {
			problems = append(problems, err)
		}
	}
	return next, errors.Join(problems...)
}

// take a lease that is free, or that names us though we do not hold it, and begin its work.
func (l *Leases) take(ctx context.Context, name string, version int64) error {
	version, err := l.config.Cells.Put(ctx, journal.Cell{Key: l.leaseKey(name), Value: []byte(l.config.Member), Version: version})
	if errors.Is(err, journal.ErrConflict) {
		return nil // another was faster
	}
	if err != nil {
		return fmt.Errorf("take the lease of %s: %w", name, err)
	}
	h := &Held{leases: l, name: name, version: version, lost: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.until()) {
		return nil // too late; a later round takes it again
	}
	h.ctx, h.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	l.held[name] = h
	l.works.Go(h.run)
	return nil
}

// end tells the works of some names to stop.
func (l *Leases) end(why error, which func(name string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.held {
		if which(name) {
			h.cancel(why)
		}
	}
}

// working returns the names whose works have not returned, and forgets the others.
func (l *Leases) working() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.held, func(_ string, h *Held) bool { return h.ended })
	names := map[string]bool{}
	for name := range l.held {
		names[name] = true
	}
	return names
}

// leave frees all our leases at once. If the journal does not let us, the others wait for the TTL.
func (l *Leases) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.config.TTL)
	defer cancel()
	for range 2 {
		if l.version == 0 {
			return nil
		}
		key := l.memberKey(l.config.Member)
		err := l.config.Cells.Remove(ctx, key, l.version)
		if err == nil {
			return nil
		}
		now, err := l.config.Cells.Cell(ctx, key)
		if err != nil {
			break
		}
		l.version = now.Version
	}
	if l.version != 0 {
		l.config.Log.Warn("the member's cell could not be removed; others take its leases when they have not seen it move for its TTL")
	}
	return nil
}
