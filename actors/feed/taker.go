package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// taker is a consumer of this process.
type taker struct {
	name        string
	concurrency int
	handle      func(context.Context, journal.Event) error
	tries       context.Context

	// Guarded by the Subscription's mu:
	trying  int
	leaving bool
	idle    chan struct{} // closed when it is leaving, and nothing is tried
}

// rest closes idle if nothing is tried any more. The Subscription's mu is held.
func (t *taker) rest() {
	if t.leaving && t.trying == 0 {
		close(t.idle)
	}
}

func (s *Subscription) consume(ctx context.Context, concurrency int, handle func(context.Context, journal.Event) error) error {
	if concurrency <= 0 {
		concurrency = s.config.Concurrency
	}
	t := &taker{name: rand.Text(), concurrency: concurrency, handle: handle, idle: make(chan struct{})}
	var cut context.CancelCauseFunc
	t.tries, cut = context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	s.mu.Lock()
	s.takers = append(s.takers, t)
	s.change()
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.takers = slices.DeleteFunc(slices.Clone(s.takers), func(o *taker) bool { return o == t })
	t.leaving = true
	t.rest()
	s.change()
	s.mu.Unlock()
	late := time.AfterFunc(s.config.Drain, func() { cut(errCut) })
	defer late.Stop()
	<-t.idle
	return nil
}

func (s *Subscription) pause(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
	s.change()
}

// change tells the dealer, and the others, that it is to be asked anew who takes what here. mu is held.
func (s *Subscription) change() {
	s.changes++
	names := []string{}
	if len(s.takers) > 0 && !s.paused {
		for n := range s.plan.Lanes {
			names = append(names, laneName(n))
		}
	}
	if err := s.leases.Names(names); err != nil {
		s.config.Log.Error("the events are not shared out", logError, err) // MaxLanes names are never too long
	}
	s.box.wake()
}

func (s *Subscription) run(ctx context.Context) error {
	p, agreed := s.agree(ctx)
	if !agreed {
		return nil
	}
	c := &s.config
	d := &dealer{
		Subscription: s, lanes: map[int]*lane{}, total: p.Lanes, begins: map[string]journal.Position{},
		trial: trial{c.Tailer, c.Cells, c.Group, c.MaxTries, c.Backoff, c.MaxBackoff, c.Observer, c.Log},
		block: block{tailer: c.Tailer, observer: c.Observer, log: c.Log, moved: time.Now()},
	}
	s.dealer = d
	before := map[string][]string{}
	d.serve(s.services(ctx, p, before))
	beside, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { d.run(beside, stop) })
	running.Go(func() { s.look(ctx, p, before) })
	s.mu.Lock()
	s.plan = p
	s.change()
	s.mu.Unlock()
	err := s.leases.Run(ctx)
	close(stop)
	cut()
	running.Wait()
	d.beside.Wait()
	return err
}

// look now and then which services the sources mean.
func (s *Subscription) look(ctx context.Context, p plan, before map[string][]string) {
	ticker := time.NewTicker(s.config.Look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		begins := s.services(ctx, p, before)
		s.box.post(func() { s.dealer.serve(begins) })
	}
}

// work is what is done under the lease of a lane. A journal that fails does not end it.
func (s *Subscription) work(ctx context.Context, held *lease.Held) error {
	n, err := strconv.Atoi(held.Name())
	if err != nil {
		return fmt.Errorf("share out the lane %q: %w", held.Name(), err)
	}
	for failing := false; ctx.Err() == nil; {
		if err := s.hold(ctx, held, n); err != nil && ctx.Err() == nil && !failing {
			s.config.Log.Warn("a lane waits", "lane", n, logError, err)
			failing = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.config.Poll):
			// Who replaced us may have been an earlier life of ours, whose last words came late, or may have the lease now.
			if errors.Is(held.Check(ctx), lease.ErrLost) {
				return nil
			}
		}
	}
	return nil
}

// hold a lane until ctx ends, or another has its cell.
func (s *Subscription) hold(ctx context.Context, held *lease.Held, number int) (err error) {
	l := newLane(number, held, fenced{
		cells: s.config.Cells, key: "lane/" + part(s.config.Group) + "/" + held.Name(), writer: rand.Text(),
	})
	if err := l.claim(ctx); err != nil {
		return err
	}
	s.box.post(func() { s.dealer.join(l) })
	select {
	case <-ctx.Done():
	case <-l.replaced:
		err = ErrReplaced
	}
	s.box.post(func() { s.dealer.leave(l) })
	late := time.NewTimer(s.config.Drain)
	defer late.Stop()
	if errors.Is(context.Cause(ctx), lease.ErrGivenBack) {
		// Nobody is in a hurry: the lease is ours until the last try has ended, and that has its Timeout. Who is next would
		// begin what is cut again while, for all we know, the app of the one that was cut still works on it.
		late.Stop()
	}
	lost := held.Lost()
	for cut := l.replaced; ; {
		select {
		case <-l.idle:
			return s.settle(ctx, l, err)
		case <-cut:
		case <-lost:
		case <-late.C:
		}
		cut, lost = nil, nil
		s.box.post(func() {
			for t := range l.trying {
				t.cut(errCut)
			}
		})
	}
}

// settle the cursor of a lane that is left, unless somebody else has it.
func (s *Subscription) settle(ctx context.Context, l *lane, err error) error {
	if err != nil || l.lost || !l.dirty() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := l.save(ctx); err != nil {
		s.config.Log.Warn("some events are handled once more", "lane", l.number, logError, err)
	}
	return nil
}
