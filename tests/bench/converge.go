package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dapr-entities/entities/tests/harness"
)

// transport is a way for deltas to go from node to node, and how long they may take: from the reply to a local write at
// one node until another node's stream shows it.
type transport struct {
	name, title string
	redis       bool
	p99         float64 // ms, a gate
}

var transports = []transport{
	{name: "converge-journal", title: "over the journal in Postgres", p99: 150},
	{name: "converge-redis", title: "over Redis pub/sub", redis: true, p99: 50 + 10}, // and the flush tick
}

// converged is a transport with what was measured.
type converged struct {
	transport

	rooms  *rooms
	rounds []*hdrhistogram.Histogram
}

func (c converged) quantile(q float64) float64 {
	all := make([]float64, len(c.rounds))
	for i, h := range c.rounds {
		all[i] = float64(h.ValueAtQuantile(q)) / 1000
	}

	return median(all)
}

// converge measures the wanted transports, with all nodes of both up.
func (s *stage) converge(ctx context.Context, o options, progress io.Writer) (_ []converged, err error) {
	var all []converged

	for _, t := range transports {
		if !o.rows.MatchString(t.name) {
			continue
		}

		made, err := s.startRooms(ctx, t.name, t.redis)
		if err != nil {
			return nil, err
		}

		all = append(all, converged{transport: t, rooms: made})
	}

	var streams sync.WaitGroup
	defer streams.Wait()

	watching, stop := context.WithCancel(ctx)
	defer stop()

	for _, c := range all {
		if err := c.rooms.open(watching, &streams); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", c.name, err)
		}
	}

	for round := range o.rounds {
		for i := range all {
			c := &all[i]

			h, err := c.rooms.measure(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", c.name, err)
			}

			c.rounds = append(c.rounds, h)

			fmt.Fprintf(progress, "round %d/%d  %-16s %8d samples  p50 %7.2f ms  p99 %7.2f ms  max %7.1f ms\n", round+1, o.rounds, c.name,
				h.TotalCount(), float64(h.ValueAtQuantile(50))/1000, float64(h.ValueAtQuantile(99))/1000, float64(h.Max())/1000)
		}
	}

	return all, nil
}

// open has every room knocked at, and watched at the other nodes.
func (r *rooms) open(ctx context.Context, streams *sync.WaitGroup) error {
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	for i := range r.rooms {
		at := &r.rooms[i]

		err := harness.Poll(ready, 100*time.Millisecond, func(ctx context.Context) error {
			_, err := r.knock(ctx, at)

			return err
		})
		if err != nil {
			return err //nolint:wrapcheck // knock's own
		}

		for node := range r.gateways {
			if node == at.writer {
				continue
			}

			w, err := r.watch(ctx, streams, at, node)
			if err != nil {
				return err
			}

			at.watchers = append(at.watchers, w)
		}
	}

	return nil
}

// measure writes to the rooms in turn, at a pace that does not depend on how long that takes.
func (r *rooms) measure(ctx context.Context, o options) (*hdrhistogram.Histogram, error) {
	var (
		calls  sync.WaitGroup
		mu     sync.Mutex
		failed error
	)

	write := func(at *room) {
		knocks, err := r.knock(ctx, at)
		replied := time.Now()

		if err != nil {
			mu.Lock()
			defer mu.Unlock()

			failed = err

			return
		}

		for _, w := range at.watchers {
			w.replied(knocks, replied)
		}
	}

	ticker := time.NewTicker(time.Second / roomUpdates)
	defer ticker.Stop()

	began, counting := time.Now(), false

	for n := 0; time.Since(began) < o.warmup+o.duration; n++ {
		if !counting && time.Since(began) >= o.warmup {
			counting = true

			r.eachWatcher(func(w *watcher) { w.count(true) })
		}

		// One node after the other, not one room after the other.
		at := &r.rooms[n%roomNodes*roomsOfNode+n/roomNodes%roomsOfNode]

		calls.Go(func() { write(at) })

		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}

	calls.Wait()

	if failed != nil {
		return nil, failed
	}

	return r.counted(ctx)
}

// counted waits until every stream shows every acknowledged write.
func (r *rooms) counted(ctx context.Context) (*hdrhistogram.Histogram, error) {
	late, cancel := context.WithTimeout(ctx, stragglers)
	defer cancel()

	err := harness.Poll(late, 10*time.Millisecond, func(context.Context) error {
		var errs []error

		r.eachWatcher(func(w *watcher) { errs = append(errs, w.behind()) })

		return errors.Join(errs...)
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // behind's own
	}

	all := newHistogram()

	r.eachWatcher(func(w *watcher) { all.Merge(w.count(false)) })

	return all, nil
}

func (r *rooms) eachWatcher(visit func(*watcher)) {
	for i := range r.rooms {
		for _, w := range r.rooms[i].watchers {
			visit(w)
		}
	}
}

// convergence writes how long it took, and returns how many gates were missed.
func (r report) convergence(out io.Writer) (missed int) {
	if len(r.converged) == 0 {
		return 0
	}

	t := table{header: []string{
		fmt.Sprintf("%d nodes, %d local writes/s, until another node's stream shows it", roomNodes, roomUpdates),
		"p50 ms", "p99 ms", "max ms", "samples", "gate: p99 ms", "",
	}}

	for _, c := range r.converged {
		all := newHistogram()
		for _, h := range c.rounds {
			all.Merge(h)
		}

		p99, verdict := c.quantile(99), "pass"
		if p99 > c.p99 {
			verdict = "MISS"
			missed++
		}

		t.add(c.title, milliseconds(c.quantile(50)), milliseconds(p99), milliseconds(float64(all.Max())/1000),
			thousands(all.TotalCount()), "≤ "+milliseconds(c.p99), verdict)
	}

	fmt.Fprintln(out)
	t.write(out)

	return missed
}
