package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// call sends one command to the entity and waits for its answer. It is called by many goroutines.
type call func(ctx context.Context, id string) error

// load is the closed loop: callers that choose an entity at random, call, wait, and choose again.
type load struct {
	callers  int
	warmup   time.Duration
	duration time.Duration
	seed     uint64
	// opened and closed are called when the window that counts begins and ends. They return quickly.
	opened, closed func()
}

// balanceOf reads back what an entity has stored.
type balanceOf func(ctx context.Context, id string) (int64, error)

// stragglers is how long a call that began in the window may take on after it.
const stragglers = 30 * time.Second

// result is what the callers saw.
type result struct {
	latency  *hdrhistogram.Histogram // microseconds, of the calls that began in the window and succeeded
	done     int64                   // calls that succeeded within the window
	failed   int64                   // calls that began in the window and failed
	acked    int64                   // calls that succeeded, whenever
	unsure   int64                   // calls that failed, whenever; they may have been carried out
	firstErr error
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// run loads the entities for warmup and duration. Latencies are kept of all calls that began in the window, however
// long they took, or the slowest ones would be left out; the rate counts those that ended in it.
func (l load) run(ctx context.Context, send call, ids []string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.warmup+l.duration+stragglers)
	defer cancel()

	var (
		opens   atomic.Int64 // nanoseconds since base; 0 before the window
		base    = time.Now()
		results = make([]result, l.callers)
		callers sync.WaitGroup
	)

	for i := range l.callers {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(l.seed, uint64(i)))
			results[i] = l.caller(ctx, base, &opens, func(ctx context.Context) error {
				return send(ctx, ids[random.IntN(len(ids))])
			})
		})
	}

	sleep(ctx, l.warmup)
	l.opened()
	opens.Store(max(1, int64(time.Since(base))))
	sleep(ctx, l.duration)
	l.closed()
	callers.Wait()

	return merge(results), ctx.Err()
}

func (l load) caller(
	ctx context.Context, base time.Time, opens *atomic.Int64, send func(context.Context) error,
) result {
	r := result{latency: newHistogram()}

	for ctx.Err() == nil {
		began := time.Since(base)

		err := send(ctx)
		ended := time.Since(base)

		if err == nil {
			r.acked++
		} else {
			r.unsure++
		}

		opened := time.Duration(opens.Load())
		if opened == 0 {
			continue
		}

		closes := opened + l.duration

		switch inside := began >= opened && began < closes; {
		case err == nil && inside:
			_ = r.latency.RecordValue(max(1, (ended - began).Microseconds())) // the timeout is below its limit
		case err != nil && inside:
			r.failed++
			if r.firstErr == nil {
				r.firstErr = err
			}
		}

		if err == nil && ended >= opened && ended < closes {
			r.done++
		}

		if ended >= closes {
			return r
		}
	}

	return r
}

func merge(results []result) result {
	all := result{latency: newHistogram()}

	for _, r := range results {
		all.latency.Merge(r.latency)
		all.done += r.done
		all.failed += r.failed
		all.acked += r.acked
		all.unsure += r.unsure

		if all.firstErr == nil {
			all.firstErr = r.firstErr
		}
	}

	return all
}

// prime calls every entity once, so that no measurement has to activate it.
func prime(ctx context.Context, callers int, send call, ids []string) error {
	return each(ctx, callers, ids, func(ctx context.Context, id string) error {
		if err := send(ctx, id); err != nil {
			return fmt.Errorf("first call of %s: %w", id, err)
		}

		return nil
	})
}

// sum adds up what the entities have stored.
func sum(ctx context.Context, callers int, read balanceOf, ids []string) (int64, error) {
	var total atomic.Int64

	err := each(ctx, callers, ids, func(ctx context.Context, id string) error {
		n, err := read(ctx, id)
		total.Add(n)

		return err
	})

	return total.Load(), err
}

// each visits every entity, and gives up at the first error.
func each(ctx context.Context, callers int, ids []string, visit call) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)

	for _, id := range ids {
		group.Go(func() error { return visit(ctx, id) })
	}

	return group.Wait() //nolint:wrapcheck // visit's own
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
