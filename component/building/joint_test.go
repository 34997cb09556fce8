package building

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bench is a joint whose calls are numbers. It answers with their negatives when it is let, and records what it carried.
type bench struct {
	joint[int, int]
	let     chan struct{}
	carried [][]int
}

func newBench(most int) *bench {
	b := &bench{let: make(chan struct{})}
	b.join = func() func(int) bool {
		n := 0
		return func(int) bool { n++; return n <= most }
	}
	b.carry = func(_ context.Context, calls []*joined[int, int]) {
		var numbers []int
		for _, c := range calls {
			c.answer = -c.question
			numbers = append(numbers, c.question)
		}
		b.carried = append(b.carried, numbers)
		<-b.let
	}
	return b
}

// call makes a call in the background. The caller of wait waits for its end.
func (b *bench) call(t *testing.T, ctx context.Context, group *sync.WaitGroup, n int) *error {
	err := new(error)
	group.Go(func() {
		var got int
		if got, *err = b.do(ctx, n); *err == nil && got != -n {
			t.Errorf("the answer to %d is %d", n, got)
		}
	})
	synctest.Wait() // it has come to rest
	return err
}

// Who comes while a batch is carried out goes with the next one, as far as there is room.
func TestJointGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(3)
		var group sync.WaitGroup
		for n := range 6 {
			b.call(t, t.Context(), &group, n+1)
		}
		close(b.let)
		group.Wait()
		if want := [][]int{{1}, {2, 3, 4}, {5, 6}}; !slices.EqualFunc(b.carried, want, slices.Equal) {
			t.Errorf("carried %v, want %v", b.carried, want)
		}
		if b.led || len(b.waiting) > 0 {
			t.Error("it is not at rest")
		}
	})
}

// A caller whose patience ends goes, and leaves everything in order: the others' calls, and who leads.
func TestJointLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(10)
		var group sync.WaitGroup
		ended := errors.New("the patience has ended")
		first := b.call(t, t.Context(), &group, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		waiting := b.call(t, ctx, &group, 2)
		stays := b.call(t, t.Context(), &group, 3)
		cancel(ended)
		synctest.Wait()
		if !errors.Is(*waiting, ended) || !errors.Is(*waiting, errNotBegun) {
			t.Errorf("who waited: %v", *waiting)
		}

		// The next batch is led by 3. 4 goes with it, and its caller does not wait for the end.
		ctx, cancel = context.WithCancelCause(t.Context())
		carried := b.call(t, ctx, &group, 4)
		b.let <- struct{}{}
		synctest.Wait()
		cancel(ended)
		synctest.Wait()
		if !errors.Is(*carried, ended) || errors.Is(*carried, errNotBegun) {
			t.Errorf("whose call is carried out: %v", *carried)
		}
		close(b.let)
		group.Wait()
		if want := [][]int{{1}, {3, 4}}; !slices.EqualFunc(b.carried, want, slices.Equal) {
			t.Errorf("carried %v, want %v", b.carried, want)
		}
		if *first != nil || *stays != nil {
			t.Error(*first, *stays)
		}
	})
}

// Who leads although his time is up makes room for the next one, whichever of the two he sees first.
func TestJointLeaderLeaves(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(1)
			var group sync.WaitGroup
			b.call(t, t.Context(), &group, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := b.call(t, ctx, &group, 2)
			last := b.call(t, t.Context(), &group, 3)
			group.Go(func() {
				time.Sleep(time.Second) // the same moment
				close(b.let)
			})
			group.Wait()
			if *err != nil && !errors.Is(*err, errNotBegun) || *last != nil {
				t.Error(*err, *last)
			}
			if *err != nil && len(b.carried) != 2 || *err == nil && len(b.carried) != 3 {
				t.Errorf("carried %v, and the second got %v", b.carried, *err)
			}
		})
	}
}

// A lone caller's own deadline holds; that of one among several ends nobody else's call.
func TestJointDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(10)
		var limits []time.Duration
		carry := b.carry
		b.carry = func(ctx context.Context, calls []*joined[int, int]) {
			d, _ := ctx.Deadline()
			limits = append(limits, time.Until(d))
			carry(ctx, calls)
		}
		var group sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for n := range 3 {
			b.call(t, ctx, &group, n)
		}
		close(b.let)
		group.Wait()
		if want := []time.Duration{time.Second, patience}; !slices.Equal(limits, want) {
			t.Errorf("the limits were %v, want %v", limits, want)
		}
	})
}

// What panics is an error for all whose calls it carried, and the next ones go on.
func TestJointPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(10)
		carry := b.carry
		b.carry = func(ctx context.Context, calls []*joined[int, int]) {
			carry(ctx, calls)
			if len(calls) > 1 {
				panic("broken")
			}
		}
		var group sync.WaitGroup
		b.call(t, t.Context(), &group, 1)
		group.Go(func() {
			defer func() {
				if recover() == nil {
					t.Error("the leader does not panic")
				}
			}()
			_, _ = b.do(t.Context(), 2)
		})
		synctest.Wait()
		other := b.call(t, t.Context(), &group, 3)
		close(b.let)
		group.Wait()
		if !errors.Is(*other, errBroken) || errors.Is(*other, errNotBegun) {
			t.Errorf("the other: %v", *other)
		}
		if _, err := b.do(t.Context(), 4); err != nil {
			t.Error(err)
		}
	})
}

// A batch waits until it is as large as the one before, but no longer than it may.
func TestJointAwaits(t *testing.T) {
	t.Parallel()
	const takes, gather = 10 * time.Millisecond, 2 * time.Millisecond
	for _, x := range []struct {
		name string
		// Milliseconds, of the calls and of their answers.
		come, answered []float64
		carried        [][]int
	}{
		{"one after the other", []float64{0, 20, 40}, []float64{10, 30, 50}, [][]int{{0}, {1}, {2}}},
		{"during another", []float64{0, 2, 4, 8}, []float64{10, 20, 20, 20}, [][]int{{0}, {1, 2, 3}}},
		{"as many as before", []float64{0, 2, 4, 30, 31.5}, []float64{10, 20, 20, 41.5, 41.5}, [][]int{{0}, {1, 2}, {3, 4}}},
		{
			"fewer than before, waited for once",
			[]float64{0, 2, 4, 30, 50}, []float64{10, 20, 20, 42, 60}, [][]int{{0}, {1, 2}, {3}, {4}},
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(10)
				carry := b.carry
				b.carry = func(ctx context.Context, calls []*joined[int, int]) {
					time.Sleep(takes)
					carry(ctx, calls)
				}
				b.gather = gather
				close(b.let)
				began := time.Now()
				answered := make([]float64, len(x.come))
				var group sync.WaitGroup
				for n, at := range x.come {
					group.Go(func() {
						time.Sleep(time.Duration(at * float64(time.Millisecond)))
						if _, err := b.do(t.Context(), n); err != nil {
							t.Error(err)
						}
						answered[n] = float64(time.Since(began)) / float64(time.Millisecond)
					})
				}
				group.Wait()
				if diff := cmp.Diff(x.answered, answered); diff != "" {
					t.Errorf("answers came at other times (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(x.carried, b.carried); diff != "" {
					t.Errorf("other batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// How long a batch waits depends on how long the one before took: when that is nothing, it does not.
func TestJointHurries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(10)
		b.gather = time.Second
		began := time.Now()
		var group sync.WaitGroup
		for n := range 3 {
			b.call(t, t.Context(), &group, n)
		}
		close(b.let)
		group.Wait()
		b.call(t, t.Context(), &group, 3)
		group.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v", d)
		}
	})
}
