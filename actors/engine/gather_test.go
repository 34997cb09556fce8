package engine

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors/journal"
)

// slow is a journal whose appends take their time.
type slow struct {
	instant
	takes   time.Duration
	batches []int
}

func (j *slow) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	j.batches = append(j.batches, len(batch))
	time.Sleep(j.takes)
	return j.instant.Append(ctx, batch)
}

// TestGather has commands come at certain times, each to an entity of its own, and looks at the batches that they share.
func TestGather(t *testing.T) {
	t.Parallel()
	const takes = 10 * time.Millisecond // 2 ms is how long a batch waits by default
	for _, x := range []struct {
		name string
		// Milliseconds, of the commands and of their answers.
		come, answered []float64
		batches        []int
	}{
		{"one after the other", []float64{0, 20, 40}, []float64{10, 30, 50}, []int{1, 1, 1}},
		{"during an append", []float64{0, 2, 4, 8}, []float64{10, 20, 20, 20}, []int{1, 3}},
		{
			"as many as before",
			[]float64{0, 2, 4, 30, 31, 50, 51.5}, []float64{10, 20, 20, 41, 41, 61.5, 61.5}, []int{1, 2, 2, 2},
		},
		{
			"fewer than before, waited for once",
			[]float64{0, 2, 4, 8, 30, 50}, []float64{10, 20, 20, 20, 42, 60}, []int{1, 3, 1, 1},
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &slow{takes: takes}
				e := measured(t, j, adding())
				ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
				began := time.Now()
				answered := make([]float64, len(x.come))
				var callers sync.WaitGroup
				for i := range x.come {
					callers.Go(func() {
						time.Sleep(ms(x.come[i]))
						if _, err := e.Handle(t.Context(), command(strconv.Itoa(i), "add", 1)); err != nil {
							t.Error(err)
						}
						answered[i] = float64(time.Since(began)) / float64(time.Millisecond)
					})
				}
				callers.Wait()
				if diff := cmp.Diff(x.answered, answered); diff != "" {
					t.Errorf("answers came at other times (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(x.batches, j.batches); diff != "" {
					t.Errorf("other batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}
