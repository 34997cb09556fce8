package journaltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) erase(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	erase := func(ref actors.Ref) {
		t.Helper()
		if err := j.Erase(ctx, ref); err != nil {
			t.Fatal(err)
		}
	}
	erase(cart("none"))
	same(t, "nothing was made", spanOf(t, j, cart("none")), journal.Span{})
	one := with(keyed(add(a, 0, "1", "a", "b"), 1), kept("e1"), later(kept("e2", "k")), kept("e3"))
	one.Snapshot, one.Epoch = new(payload("s")), 4
	must(t, j, one, with(keyed(add(b, 0, "1", "x"), 1), kept("f1")))
	if err := j.Settle(ctx, []journal.Settlement{parked("e1")}); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Minute)
	for range 2 {
		erase(a)
		span := spanOf(t, j, a)
		if span.Updated.Before(began) {
			t.Errorf("changed at %v", span.Updated)
		}
		span.Updated = time.Time{}
		same(t, "span", span, journal.Span{Head: journal.Head{Sequence: 2, Epoch: 5}, Origin: 2, Floor: 2})
		l, err := j.Load(ctx, a)
		if err != nil || l.Snapshot != nil || l.Origin != 2 {
			t.Errorf("load %+v, %v", l, err)
		}
		got, _ := read(t, l.Events)
		same(t, "events", got, []int64{})
		same(t, "effects", idsOf(due(t, j)), []string{"f1"})
		parked, err := j.Parked(ctx, "", 0)
		if err != nil || len(parked) > 0 {
			t.Errorf("parked %v, %v", parked, err)
		}
		records, err := j.Records(ctx, a, "", 0)
		if err != nil || len(records) > 0 {
			t.Errorf("records %v, %v", records, err)
		}
	}
	tail, _ := follow(t, j, []string{a.Service}, journal.Position{}, 0, 1)
	same(t, "the other is as it was", textsOf(tail), []string{"x"})

	// Who had it open notices; who begins anew does not come upon what was.
	stale := keyed(add(a, 2, "2", "late"), 1)
	stale.Epoch = 4
	want(t, j.Append(ctx, []journal.Append{stale}), journal.Conflict)
	again := with(keyed(add(a, 2, "1", "new"), 2), later(kept("e2", "k")))
	again.Epoch = 5
	must(t, j, again)
	l, err := j.Load(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := read(t, l.Events)
	same(t, "events of the new life", got, []int64{3})
	same(t, "head", l.Head, journal.Head{Sequence: 3, Epoch: 5})

	// One of which there are only a record, or only an effect.
	must(t, j, keyed(add(cart("c"), 0, "1"), 1))
	if err := j.Enqueue(ctx, cart("d"), []actors.Effect{kept("g")}); err != nil {
		t.Fatal(err)
	}
	erase(cart("c"))
	erase(cart("d"))
	same(t, "head of one without events", headOf(t, j, cart("c")), journal.Head{Epoch: 1})
	same(t, "head of one that was not there", headOf(t, j, cart("d")), journal.Head{})
	same(t, "effects", idsOf(due(t, j)), []string{"f1"})
	must(t, j, keyed(journal.Append{Ref: cart("c"), Epoch: 1, Command: "1", Events: events("x")}, 2))
}

// eraseMuch has more events and records than go at once.
func (s *suite) eraseMuch(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	const n = 1700
	for from := 0; from < n; from += 100 {
		var batch []journal.Append
		for i := from; i < from+100; i++ {
			batch = append(batch, keyed(add(a, int64(i), fmt.Sprint(i), "x"), 1))
		}
		must(t, j, batch...)
	}
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if err := j.Erase(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := j.Erase(within(t), a); err != nil {
		t.Fatal(err)
	}
	span := spanOf(t, j, a)
	same(t, "span", [3]int64{span.Sequence, span.Origin, span.Floor}, [3]int64{n, n, n})
	tail, _, err := j.Tail(within(t), []string{a.Service}, journal.Position{}, 0)
	if err != nil || len(tail) > 0 {
		t.Errorf("%d events are left, %v", len(tail), err)
	}
	records, err := j.Records(within(t), a, "", 0)
	if err != nil || len(records) > 0 {
		t.Errorf("%d records are left, %v", len(records), err)
	}
}

// eraseInFlight erases a stream while others write to it: what an append left is there wholly, or not at all.
func (s *suite) eraseInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	var left atomic.Int32
	left.Store(3)
	var work sync.WaitGroup
	for w := range 3 {
		work.Go(func() {
			defer left.Add(-1)
			for n := 0; n < 15; {
				command := fmt.Sprint(w, " ", n)
				one := with(keyed(add(a, journal.AnySequence, command, "x"), 1), kept(command))
				one.Epoch = headOf(t, j, a).Epoch
				switch r := j.Append(ctx, []journal.Append{one})[0]; r.Status {
				case journal.Committed:
					n++
				case journal.Conflict:
				default:
					t.Errorf("append: %+v", r)
					return
				}
			}
		})
	}
	work.Go(func() {
		for left.Load() > 0 {
			if err := j.Erase(ctx, a); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	work.Wait()
	span := spanOf(t, j, a)
	got, _ := read(t, j.Read(ctx, a, span.Floor, 0))
	records, err := j.Records(ctx, a, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	effects := due(t, j)
	if n := int(span.Sequence - span.Floor); span.Sequence != 45 || span.Floor != span.Origin || len(got) != n || len(records) != n || len(effects) != n {
		t.Errorf("span %+v, %d events, %d records, %d effects", span, len(got), len(records), len(effects))
	}
}

// Records go as told, but for a few of the newest of them, and nothing else does. Their commands are new ones then.
func (s *suite) forgetRecords(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	const all, few = 150, 45
	var batch []journal.Append
	for n := range int64(all) {
		batch = append(batch, keyed(add(a, n, fmt.Sprintf("%03d", n+1), "x"), 1))
	}
	for part := range slices.Chunk(batch, 10) {
		must(t, j, part...)
	}
	must(t, j, keyed(add(b, 0, "001", "x"), 1))
	if err := j.ForgetRecords(ctx, cart("none"), 7); err != nil {
		t.Error(err)
	}
	same(t, "made by it", headOf(t, j, cart("none")), journal.Head{})
	for _, through := range []int64{0, 70, 70, 120, all - 1} {
		if err := j.ForgetRecords(ctx, a, through); err != nil {
			t.Fatal(err)
		}
		records, err := j.Records(ctx, a, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if left := len(records); left < int(all-through) || left > int(all-through)+few || through == 0 && left != all {
			t.Errorf("%d records are left of %d up to %d", left, all, through)
		}
		for i, r := range slices.Backward(records) {
			same(t, "the newest stay", r.Sequence, int64(all-len(records)+i+1))
		}
	}
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, journal.AnySequence, "150", "no"), 1)}), journal.AlreadyApplied)
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, journal.AnySequence, "001", "again"), 1)}), journal.Committed)
	want(t, j.Append(ctx, []journal.Append{keyed(add(b, journal.AnySequence, "001", "no"), 1)}), journal.AlreadyApplied)
	same(t, "head", headOf(t, j, a), journal.Head{Sequence: all + 1})
	if texts := dataOf(t, j, a); len(texts) != all+1 || texts[all] != "again" {
		t.Errorf("events: %q", texts)
	}
}
