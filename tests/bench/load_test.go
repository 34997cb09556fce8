package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoadCountsWhatHappensInTheWindow(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		var calls, windows atomic.Int64

		l := load{
			callers: 4, warmup: 95 * time.Millisecond, duration: time.Second,
			opened: func() { windows.Add(1) }, closed: func() { windows.Add(1) },
		}

		r, err := l.run(t.Context(), func(context.Context, string) error {
			time.Sleep(10 * time.Millisecond)
			calls.Add(1)

			return nil
		}, ids("a", 10))
		if err != nil {
			t.Fatal(err)
		}

		// Each caller's calls end at 100 ms, 110 ms … 1090 ms: a hundred of them. As many begin in the window.
		if r.done != 400 || r.latency.TotalCount() != 400 || r.failed != 0 {
			t.Errorf("got %d done, %d latencies, %d failed; want 400, 400, 0", r.done, r.latency.TotalCount(), r.failed)
		}

		if r.acked != calls.Load() || r.unsure != 0 {
			t.Errorf("got %d acknowledged and %d unsure of %d calls", r.acked, r.unsure, calls.Load())
		}

		if p50 := r.latency.ValueAtQuantile(50); p50 < 9_990 || p50 > 10_010 {
			t.Errorf("p50 is %d µs; want 10 ms", p50)
		}

		if windows.Load() != 2 {
			t.Errorf("the window was opened and closed %d times; want 2", windows.Load())
		}
	})
}

// A closed loop that forgets the calls still on their way when time is up forgets the slowest.
func TestLoadKeepsStragglers(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		l := load{callers: 1, duration: time.Second, opened: func() {}, closed: func() {}}
		calls := 0

		r, err := l.run(t.Context(), func(context.Context, string) error {
			calls++
			if calls == 3 {
				time.Sleep(5 * time.Second)
			} else {
				time.Sleep(10 * time.Millisecond)
			}

			return nil
		}, ids("a", 1))
		if err != nil {
			t.Fatal(err)
		}

		if longest := time.Duration(r.latency.Max()) * time.Microsecond; longest < 4990*time.Millisecond {
			t.Errorf("the longest call took %s; want 5s", longest)
		}

		if r.done != 2 {
			t.Errorf("got %d calls done within the window; want 2", r.done)
		}
	})
}

func TestLoadCountsFailures(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		l := load{
			callers: 2, warmup: 25 * time.Millisecond, duration: 100 * time.Millisecond,
			opened: func() {}, closed: func() {},
		}

		r, err := l.run(t.Context(), func(context.Context, string) error {
			time.Sleep(10 * time.Millisecond)

			return refused
		}, ids("a", 1))
		if err != nil {
			t.Fatal(err)
		}

		if r.done != 0 || r.failed != 20 || r.unsure < r.failed || !errors.Is(r.firstErr, refused) {
			t.Errorf("got %d done, %d failed, %d unsure, first error %v", r.done, r.failed, r.unsure, r.firstErr)
		}
	})
}

func TestLoadGivesUpOnACallThatHangs(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		l := load{callers: 1, duration: time.Second, opened: func() {}, closed: func() {}}

		_, err := l.run(t.Context(), func(ctx context.Context, _ string) error {
			<-ctx.Done()

			return ctx.Err()
		}, ids("a", 1))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want that the time is up", err)
		}
	})
}

func TestEachVisitsAll(t *testing.T) {
	t.Parallel()

	length := func(_ context.Context, id string) (int64, error) { return int64(len(id)), nil }

	total, err := sum(t.Context(), 3, length, ids("a", 12))
	if err != nil || total != 10*3+2*4 {
		t.Errorf("got %d, %v; want 38", total, err)
	}

	broken := errors.New("broken")
	fail := func(context.Context, string) error { return broken }

	if err := each(t.Context(), 3, ids("a", 12), fail); !errors.Is(err, broken) {
		t.Errorf("got %v; want the visit's error", err)
	}
}
