package main

import (
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestWatcherComparesStreamsWithReplies(t *testing.T) {
	t.Parallel()

	w, began := &watcher{}, time.Now()
	after := began.Add

	w.replied(1, after(0)) // before anything counts
	w.count(true)
	w.show(1, after(5*time.Millisecond))
	w.replied(2, after(10*time.Millisecond))
	w.replied(4, after(11*time.Millisecond))
	w.show(3, after(20*time.Millisecond)) // 2, after 10 ms
	w.replied(3, after(25*time.Millisecond))

	if err := w.behind(); err == nil || !strings.Contains(err.Error(), "shows 3 knocks, and 4") {
		t.Errorf("the stream has not shown the last write, but: %v", err)
	}

	w.show(4, after(41*time.Millisecond)) // 30 ms after its reply

	if err := w.behind(); err != nil {
		t.Error(err)
	}

	h := w.count(false)
	if h.TotalCount() != 3 || h.Min() > 1 || h.Max() < 29_900 || h.Max() > 30_100 {
		t.Errorf("%d samples from %d to %d µs; want 3, from 1 to 30,000", h.TotalCount(), h.Min(), h.Max())
	}
}

func TestConvergenceIsGated(t *testing.T) {
	t.Parallel()

	took := func(ms int64) []*hdrhistogram.Histogram {
		h := newHistogram()
		_ = h.RecordValues(ms*1000, 100)

		return []*hdrhistogram.Histogram{h}
	}

	var out strings.Builder

	missed := report{converged: []converged{
		{transport: transports[0], rounds: took(149)}, {transport: transports[1], rounds: took(61)},
	}}.convergence(&out)

	if missed != 1 || strings.Count(out.String(), "pass") != 1 || strings.Count(out.String(), "MISS") != 1 {
		t.Errorf("%d missed; want the second one:\n%s", missed, out.String())
	}
}
