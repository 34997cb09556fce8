package journaltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// fight has sixteen writers that each believe to be alone.
func (s *suite) fight(t *testing.T) {
	j := s.open(t)
	a := cart("contended")
	ctx := within(t)
	const writers, each = 16, 10
	won := make([]map[int64]string, writers)
	var wg sync.WaitGroup
	for w := range writers {
		won[w] = map[int64]string{}
		wg.Go(func() {
			at := int64(0)
			for n := 0; n < each; {
				command := fmt.Sprintf("%d-%d", w, n)
				request := add(a, at, command, command)
				if w%2 == 0 {
					request = keyed(request, 1)
				}
				if w%4 == 1 {
					request.Expected = journal.AnySequence
				}
				r := j.Append(ctx, []journal.Append{request})[0]
				switch r.Status {
				case journal.Committed:
					won[w][r.Head.Sequence] = command
					at = r.Head.Sequence
					n++
				case journal.Conflict:
					if w%4 == 1 {
						t.Error("any sequence conflicts")
						return
					}
					at = r.Head.Sequence
				default:
					t.Errorf("writer %d: %+v", w, r)
					return
				}
			}
		})
	}
	wg.Wait()
	texts := dataOf(t, j, a)
	if len(texts) != writers*each {
		t.Fatalf("%d events, want %d", len(texts), writers*each)
	}
	for w := range writers {
		for sequence, command := range won[w] {
			if texts[sequence-1] != command {
				t.Errorf("event %d is %q; writer %d was told that it is %q", sequence, texts[sequence-1], w, command)
			}
		}
	}
}

// opposite has two writers whose batches name the same streams in opposite orders.
func (s *suite) opposite(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	const streams, rounds = 8, 15
	var wg sync.WaitGroup
	for _, reverse := range []bool{false, true} {
		for _, write := range []func(context.Context, []journal.Append) []journal.Result{j.Append, j.Transact} {
			wg.Go(func() {
				for round := range rounds {
					batch := make([]journal.Append, streams)
					for i := range batch {
						n := i
						if reverse {
							n = streams - 1 - i
						}
						batch[i] = keyed(add(cart(fmt.Sprint(n)), journal.AnySequence, fmt.Sprint(reverse, &write, round), "x"), 1)
					}
					for _, r := range write(ctx, batch) {
						if r.Status != journal.Committed {
							t.Errorf("round %d: %+v", round, r)
							return
						}
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range streams {
		if n := len(dataOf(t, j, cart(fmt.Sprint(i)))); n != 4*rounds {
			t.Errorf("stream %d has %d events, want %d", i, n, 4*rounds)
		}
	}
}

// money is moved by transactions between streams; both sides always show the same number of moves.
func (s *suite) money(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	var moves atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 10 {
				from, to := cart(fmt.Sprint(w%3)), cart(fmt.Sprint((w+n+1)%3))
				if from == to {
					continue
				}
				for try := 0; ; try++ {
					checked, err := j.Heads(ctx, []journal.Check{{Ref: from}, {Ref: to}})
					if err != nil {
						t.Error(err)
						return
					}
					command := fmt.Sprint(w, n, try)
					r := j.Transact(ctx, []journal.Append{
						add(from, checked[0].Head.Sequence, command, "-"), add(to, checked[1].Head.Sequence, command, "+"),
					})
					if r[0].Status == journal.Committed && r[1].Status == journal.Committed {
						moves.Add(1)
						break
					}
					for _, r := range r {
						if r.Status != journal.Conflict && !errors.Is(r.Err, journal.ErrTransaction) {
							t.Errorf("transaction: %+v", r)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	count := map[string]int64{}
	for i := range 3 {
		for _, text := range dataOf(t, j, cart(fmt.Sprint(i))) {
			count[text]++
		}
	}
	if count["-"] != moves.Load() || count["+"] != moves.Load() {
		t.Errorf("%d moves, %v", moves.Load(), count)
	}
}

// fenceInFlight fences streams that are being written. No append of the old epoch may succeed once Fence has returned.
func (s *suite) fenceInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	for round := range 20 {
		a := cart(fmt.Sprint(round))
		var wg sync.WaitGroup
		var fenced atomic.Int64
		fenced.Store(-1)
		for w := range 3 {
			wg.Go(func() {
				for n := range 30 {
					before := fenced.Load()
					r := j.Append(ctx, []journal.Append{add(a, journal.AnySequence, fmt.Sprint(w, n), "x")})[0]
					switch {
					case r.Status == journal.Committed && before >= 0:
						t.Errorf("append of epoch 0 committed event %d after a fence at %d", r.Head.Sequence, before)
						return
					case r.Status == journal.Conflict:
						return
					case r.Status != journal.Committed:
						t.Errorf("append: %+v", r)
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		head, err := j.Fence(ctx, a, 1)
		if err != nil {
			t.Fatal(err)
		}
		fenced.Store(head.Sequence)
		wg.Wait()
		if now := headOf(t, j, a); now != head {
			t.Fatalf("fenced at %+v, but the head is %+v", head, now)
		}
		if n := len(dataOf(t, j, a)); int64(n) != head.Sequence {
			t.Fatalf("%d events below head %+v", n, head)
		}
	}
}

// duplicateInFlight sends one command many times at once.
func (s *suite) duplicateInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	for round := range 10 {
		a := cart(fmt.Sprint(round))
		texts := []string{"once"}
		if round%2 == 1 {
			texts = nil // a record alone does not move the head
		}
		var committed, repeated atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				batch := []journal.Append{
					keyed(add(a, journal.AnySequence, "key", texts...), 1),
					add(actors.Ref{Service: "beside", ID: fmt.Sprint(round, rand.Int64())}, 0, "1", "x"),
				}
				r := j.Append(ctx, batch)
				switch {
				case r[1].Status != journal.Committed:
					t.Errorf("beside: %+v", r[1])
				case r[0].Status == journal.Committed:
					committed.Add(1)
				case r[0].Status == journal.AlreadyApplied:
					repeated.Add(1)
				default:
					t.Errorf("duplicate: %+v", r[0])
				}
			})
		}
		wg.Wait()
		if committed.Load() != 1 || repeated.Load() != 7 {
			t.Errorf("%d committed, %d already applied", committed.Load(), repeated.Load())
		}
		same(t, "events", dataOf(t, j, a), texts)
	}
}

// contextEnds lets contexts end before and within calls. Whatever the results say has to be true.
func (s *suite) contextEnds(t *testing.T) {
	j := s.open(t)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	a := cart("a")
	want(t, j.Append(over, []journal.Append{add(a, 0, "1", "x")}), journal.Refused)
	want(t, j.Transact(over, []journal.Append{add(a, 0, "1", "x")}), journal.Refused)
	_, err := j.Fence(over, a, 1)
	_, err2 := j.Load(over, a)
	_, err3 := j.Heads(over, []journal.Check{{Ref: a}})
	_, err4 := j.Last(over, []actors.Ref{a})
	_, err5 := j.List(over, a.Service, "", 1)
	for i, err := range []error{err, err2, err3, err4, err5} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for name, call := range newerCalls(over, j) {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	same(t, "head", headOf(t, j, a), journal.Head{})
	same(t, "due", idsOf(due(t, j)), []string{})
	same(t, "cell", cellOf(t, j, "k"), journal.Cell{Key: "k"})

	seen := map[journal.Status]int{}
	for n := range 60 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(1500))*time.Microsecond)
		command := fmt.Sprint(n)
		r := j.Append(ctx, []journal.Append{keyed(add(a, journal.AnySequence, command, command), 1)})[0]
		cancel()
		seen[r.Status]++
		if r.Status == journal.Unknown {
			if _, err := j.Fence(within(t), a, 0); err != nil {
				t.Fatal(err)
			}
			a = cart("a" + command) // go on with a stream at epoch 0
			continue
		}
		checked, err := j.Heads(within(t), []journal.Check{{Ref: a, Command: command, After: -1}})
		if err != nil {
			t.Fatal(err)
		}
		if committed := r.Status == journal.Committed; committed != checked[0].Applied {
			t.Errorf("append %d: %v, but applied is %v", n, r.Status, checked[0].Applied)
		}
		if r.Status != journal.Committed && r.Status != journal.Refused {
			t.Errorf("append %d: %+v", n, r)
		}
	}
	t.Logf("results: %v", seen)
}

func (s *suite) close(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	id, err := j.ID(ctx)
	if err != nil || id == "" {
		t.Fatalf("id %q, %v", id, err)
	}
	if err := j.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	// Close waits for running calls: what has been told committed stays so, and nothing else is told than the truth.
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 50 {
				r := j.Append(ctx, []journal.Append{add(cart(fmt.Sprint(w)), int64(n), fmt.Sprint(n), "x")})[0]
				if r.Status == journal.Refused && errors.Is(r.Err, journal.ErrClosed) {
					return
				}
				if r.Status != journal.Committed {
					t.Errorf("append while closing: %+v", r)
					return
				}
			}
		})
	}
	time.Sleep(time.Millisecond)
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for _, write := range []func(context.Context, []journal.Append) []journal.Result{j.Append, j.Transact} {
		r := write(ctx, []journal.Append{add(a, 0, "1", "x")})
		want(t, r, journal.Refused)
		if !errors.Is(r[0].Err, journal.ErrClosed) {
			t.Errorf("append: %v", r[0].Err)
		}
	}
	_, err0 := j.Fence(ctx, a, 1)
	_, err1 := j.Load(ctx, a)
	_, err2 := j.Heads(ctx, []journal.Check{{Ref: a}})
	_, err3 := j.Last(ctx, []actors.Ref{a})
	_, err4 := j.List(ctx, a.Service, "", 1)
	_, err5 := j.ID(ctx)
	var err6 error
	for _, err6 = range j.Read(ctx, a, 0, 0) {
	}
	for i, err := range []error{err0, err1, err2, err3, err4, err5, err6, j.Ping(ctx)} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for name, call := range newerCalls(ctx, j) {
		if err := call(); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// newerCalls are the calls of the outbox, of the order over all streams, of cells and of the keeper.
func newerCalls(ctx context.Context, j journal.Journal) map[string]func() error {
	return map[string]func() error{
		"enqueue":  func() error { return j.Enqueue(ctx, cart("a"), []actors.Effect{kept("1")}) },
		"due":      func() error { _, err := j.Due(ctx, nil, lanes(), 0); return err },
		"settle":   func() error { return j.Settle(ctx, []journal.Settlement{done("1")}) },
		"parked":   func() error { _, err := j.Parked(ctx, "", 0); return err },
		"release":  func() error { return j.Release(ctx, []string{"1"}) },
		"discard":  func() error { return j.Discard(ctx, []string{"1"}) },
		"tail":     func() error { _, _, err := j.Tail(ctx, []string{"s"}, journal.Position{}, 0); return err },
		"cell":     func() error { _, err := j.Cell(ctx, "k"); return err },
		"cells":    func() error { _, err := j.Cells(ctx, "k", "", 0); return err },
		"put":      func() error { _, err := j.Put(ctx, journal.Cell{Key: "k"}); return err },
		"put each": func() error { _, err := j.PutEach(ctx, []journal.Cell{{Key: "k"}}); return err },
		"remove":   func() error { return j.Remove(ctx, "k", 1) },
		"services": func() error { _, err := j.Services(ctx); return err },
		"records":  func() error { _, err := j.Records(ctx, cart("a"), "", 0); return err },
		"span":     func() error { _, err := j.Span(ctx, cart("a")); return err },
		"forget":   func() error { return j.Forget(ctx, cart("a"), 1, true) },
		"erase":    func() error { return j.Erase(ctx, cart("a")) },
		"restore": func() error {
			return j.Restore(ctx, journal.Restored{Ref: cart("a"), Span: journal.Span{Updated: time.Now()}})
		},
	}
}
