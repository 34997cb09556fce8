package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func spanOf(t testing.TB, j journal.Journal, ref actors.Ref) journal.Span {
	t.Helper()
	span, err := j.Span(within(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	return span
}

func forget(t testing.TB, j journal.Journal, ref actors.Ref, through int64, whole bool) {
	t.Helper()
	if err := j.Forget(within(t), ref, through, whole); err != nil {
		t.Fatal(err)
	}
}

// read returns the sequences that are read, and the floor of a ForgottenError at the end.
func read(t testing.TB, all func(func(journal.Event, error) bool)) (sequences []int64, floor int64) {
	t.Helper()
	for e, err := range all {
		f, ok := errors.AsType[*journal.ForgottenError](err)
		switch {
		case ok && errors.Is(err, journal.ErrForgotten):
			return sequences, f.Floor
		case err != nil:
			t.Fatal(err)
		}
		sequences = append(sequences, e.Sequence)
	}
	return sequences, 0
}

func (s *suite) forget(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	with := add(a, 2, "2", "c")
	with.Snapshot = new(payload("s3"))
	must(t, j, keyed(add(a, 0, "1", "a", "b"), 1), with, add(a, 3, "3", "d"), add(a, 4, "4", "e"), add(b, 0, "1", "x", "y"))
	before := spanOf(t, j, a)
	for through, ok := range map[int64]bool{-1: true, 0: true, 4: false, 5: false, 9: false} {
		if err := j.Forget(ctx, a, through, false); (err == nil) != ok {
			t.Errorf("forget up to %d of 5, snapshot at 3: %v", through, err)
		}
	}
	if err := j.Forget(ctx, b, 1, false); err == nil {
		t.Error("forgot an event that no snapshot covers")
	}
	if err := j.Forget(ctx, cart("c"), 1, true); err == nil {
		t.Error("forgot an event of a stream that does not exist")
	}
	same(t, "nothing was forgotten", spanOf(t, j, a), before)
	same(t, "zero span", spanOf(t, j, cart("c")), journal.Span{})
	same(t, "all are there", dataOf(t, j, a), []string{"a", "b", "c", "d", "e"})

	for _, through := range []int64{2, 3, 3, 1, 0} {
		forget(t, j, a, through, false)
		before.Floor = max(before.Floor, through)
		same(t, fmt.Sprint("span after ", through), spanOf(t, j, a), before)
	}
	got, floor := read(t, j.Read(ctx, a, 3, 0))
	same(t, "read after the floor", got, []int64{4, 5})
	same(t, "no error", floor, int64(0))
	for _, after := range []int64{-1, 0, 1, 2} {
		if got, floor := read(t, j.Read(ctx, a, after, 1)); len(got) > 0 || floor != 3 {
			t.Errorf("read after %d: %v, floor %d", after, got, floor)
		}
	}
	l, err := j.Load(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	got, _ = read(t, l.Events)
	same(t, "loaded", got, []int64{4, 5})
	same(t, "snapshot", l.Snapshot.Sequence, int64(3))
	checked, err := j.Heads(ctx, []journal.Check{
		{Ref: a, Command: "1", After: -1}, {Ref: a, Command: "2", After: 2}, {Ref: a, Command: "3", After: 3},
		{Ref: a, Command: "3", After: 0},
	})
	if err != nil || checked[0].Record == nil || checked[1].Applied || !checked[2].Applied || checked[2].LastSequence != 4 || checked[3].Applied {
		t.Errorf("checked %+v, %v", checked, err)
	}
	list, err := j.List(ctx, a.Service, "", 1)
	if err != nil || len(list) != 1 || list[0].Sequence != 5 || list[0].Floor != 3 || !list[0].Updated.Equal(before.Updated) {
		t.Errorf("list %+v, %v", list, err)
	}
	must(t, j, add(a, 5, "5", "f"))
	got, _ = read(t, j.Read(ctx, a, 3, 0))
	same(t, "goes on", got, []int64{4, 5, 6})

	if s.Weaker.DamageElsewhere {
		return
	}
	// Without its snapshot the beginning of the stream is missing.
	s.Damage(t, j, a, FlipSnapshot, 0)
	if l, err = j.Load(ctx, a); err != nil {
		t.Fatal(err)
	}
	if got, floor := read(t, l.Events); l.Snapshot != nil || len(got) > 0 || floor != 3 {
		t.Errorf("loaded %v without what comes before them, floor %d", got, floor)
	}
	if err := j.Forget(ctx, a, 4, false); err == nil {
		t.Error("forgot more of a stream whose snapshot is damaged")
	}
}

func (s *suite) forgetValues(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	must(t, j, with(keyed(add(a, 0, "1", "a", "b", "c"), 1), kept("e")))
	forget(t, j, a, 2, true)
	got, _ := read(t, j.Read(ctx, a, 2, 0))
	same(t, "the newest", got, []int64{3})
	last, err := j.Last(ctx, []actors.Ref{a})
	if err != nil || string(last[0].Payload.Data) != "c" {
		t.Fatalf("last %+v, %v", last, err)
	}
	before := spanOf(t, j, a)
	if err := j.Forget(ctx, a, 4, true); err == nil {
		t.Error("forgot an event that is still to come")
	}
	forget(t, j, a, 3, true)
	span := spanOf(t, j, a)
	if span.Updated.Before(before.Updated) {
		t.Errorf("changed at %v, and before at %v", span.Updated, before.Updated)
	}
	span.Updated = before.Updated
	same(t, "span", span, journal.Span{Head: journal.Head{Sequence: 3}, Origin: 3, Floor: 3, Updated: before.Updated})
	for range 2 {
		last, err = j.Last(ctx, []actors.Ref{cart("none"), a})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "nothing but where it is", last, []journal.Event{{}, {Ref: a, Sequence: 3}})
		l, err := j.Load(ctx, a)
		if err != nil || l.Origin != 3 || l.Head.Sequence != 3 {
			t.Fatalf("load: %+v, %v", l, err)
		}
		got, _ := read(t, l.Events)
		same(t, "begins with nothing", got, []int64{})
		if got, floor := read(t, j.Read(ctx, a, 2, 0)); len(got) > 0 || floor != 3 {
			t.Errorf("read %v, floor %d", got, floor)
		}
		got, floor := read(t, j.Read(ctx, a, 3, 0))
		same(t, "nothing after the head", append(got, floor), []int64{0})
		forget(t, j, a, 3, true) // again
	}
	same(t, "effects stay", idsOf(due(t, j)), []string{"e"})
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, 3, "1", "d"), 1)}), journal.AlreadyApplied)
	must(t, j, add(a, 3, "2", "d"))
	l, err := j.Load(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	got, _ = read(t, l.Events)
	same(t, "begins anew", got, []int64{4})
}

// forgetMuch removes more than goes at once, and is stopped in between.
func (s *suite) forgetMuch(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	const n = 2600
	for from := 0; from < n; from += 200 {
		must(t, j, add(a, int64(from), fmt.Sprint(from), numbered("e", 200)...), add(b, int64(from), fmt.Sprint(from), numbered("e", 200)...))
	}
	forget(t, j, a, n-1, true)
	got, _ := read(t, j.Read(within(t), a, n-1, 0))
	same(t, "the newest", got, []int64{n})
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if err := j.Forget(ctx, b, n-1, true); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	floor := spanOf(t, j, b).Floor
	got, _ = read(t, j.Read(within(t), b, floor, 0))
	same(t, "the others are there", int64(len(got)), n-floor)
	forget(t, j, b, n-1, true)
	same(t, "floor", spanOf(t, j, b).Floor, int64(n-1))
}

// forgetEach forgets of many streams at once, where a back end can, also while others do and write.
func (s *suite) forgetEach(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	many, ok := j.(journal.ManyForgetter)
	if !ok {
		return
	}
	const streams = 40
	var parts []journal.Forgetting
	var batch []journal.Append
	for i := range streams {
		ref := cart(fmt.Sprint((i * 7) % streams)) // not in their order
		batch = append(batch, add(ref, 0, "1", "a", "b", "c"))
		parts = append(parts, journal.Forgetting{Ref: ref, Through: int64(i % 5)})
	}
	must(t, j, batch...)
	parts = append(parts, journal.Forgetting{Ref: cart("none"), Through: 1})
	check := func(ended int64) {
		t.Helper()
		for i, p := range parts[:streams] {
			floor, origin := int64(i%5), int64(0)
			if floor == 4 {
				floor = ended // it goes beyond the head, or is moved
			}
			if floor == 3 {
				origin = 3
			}
			span := spanOf(t, j, p.Ref)
			if floor == 4 && span.Origin == 4 { // it was the head just then
				origin = 4
			}
			if span.Floor != floor || span.Origin != origin {
				t.Errorf("%s: %+v, want the floor %d and the origin %d", p.Ref, span, floor, origin)
			}
			got, _ := read(t, j.Read(ctx, p.Ref, floor, 0))
			if int64(len(got)) != span.Sequence-floor {
				t.Errorf("%s: events %v after %d", p.Ref, got, floor)
			}
		}
	}
	for range 2 {
		if err := many.ForgetEach(ctx, parts); err != nil {
			t.Fatal(err)
		}
		check(0)
	}
	if err := many.ForgetEach(ctx, nil); err != nil {
		t.Error(err)
	}
	var work sync.WaitGroup
	for w := range 3 {
		work.Go(func() {
			for n := range 5 {
				var batch []journal.Append
				for i := range streams {
					batch = append(batch, add(cart(fmt.Sprint((i*(2*w+1))%streams)), journal.AnySequence, fmt.Sprint(w, " ", n, " ", i), "x"))
				}
				for _, r := range j.Append(ctx, batch) {
					if r.Status != journal.Committed {
						t.Errorf("append: %+v", r)
					}
				}
			}
		})
		work.Go(func() {
			for range 5 {
				if err := many.ForgetEach(ctx, parts); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if err := many.ForgetEach(ctx, parts); err != nil {
		t.Fatal(err)
	}
	check(4)
}

// forgetInFlight has readers at a stream that grows and is forgotten: they read what is there without a gap, or are told.
func (s *suite) forgetInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	must(t, j, add(a, 0, "0", "x"))
	const n = 60
	var at atomic.Int64
	at.Store(1)
	var work sync.WaitGroup
	work.Go(func() {
		for i := int64(1); i < n; i++ {
			if r := j.Append(ctx, []journal.Append{add(a, i, fmt.Sprint(i), "x")})[0]; r.Status != journal.Committed {
				t.Errorf("append: %+v", r)
			}
			at.Store(i + 1)
		}
	})
	work.Go(func() {
		for at.Load() < n {
			if err := j.Forget(ctx, a, at.Load()-1, true); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		work.Go(func() {
			for at.Load() < n {
				span, err := j.Span(ctx, a)
				if err != nil {
					t.Error(err)
					return
				}
				next := span.Floor + 1
				for e, err := range j.Read(ctx, a, span.Floor, 0) {
					if f, ok := errors.AsType[*journal.ForgottenError](err); ok && f.Floor >= next {
						break
					}
					if err != nil || e.Sequence != next {
						t.Errorf("event %d, %v; want %d", e.Sequence, err, next)
						return
					}
					next++
				}
				last, err := j.Last(ctx, []actors.Ref{a})
				if err != nil || string(last[0].Payload.Data) != "x" {
					t.Errorf("last: %+v, %v", last, err)
				}
			}
		})
	}
	work.Wait()
}

// tailForgotten has nothing left of most of the order: its readers come to the end all the same.
func (s *suite) tailForgotten(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b, c := cart("a"), cart("b"), cart("c")
	services := []string{a.Service}
	must(t, j, add(a, 0, "1", "a1", "a2", "a3"))
	all, middle := follow(t, j, services, journal.Position{}, 0, 3)
	for from := 0; from < 9000; from += 500 { // more than a back end looks at in one go
		must(t, j, add(b, int64(from), fmt.Sprint(from), numbered("b", 500)...))
	}
	must(t, j, add(c, 0, "1", "c1"))
	forget(t, j, b, 8999, true)
	forget(t, j, a, 2, true)
	rest, end := follow(t, j, services, journal.Position{}, 0, 3)
	same(t, "what is left", textsOf(rest), []string{"a3", "b500", "c1"})
	rest, _ = follow(t, j, services, all[0].Position, 1, 3)
	same(t, "what is left after a1", textsOf(rest), []string{"a3", "b500", "c1"})
	rest, _ = follow(t, j, services, middle, 0, 2)
	same(t, "what is left in the middle", textsOf(rest), []string{"b500", "c1"})

	// The end of the order goes, and a reader is where it was.
	if err := j.Erase(ctx, c); err != nil {
		t.Fatal(err)
	}
	forget(t, j, b, 9000, true)
	for _, from := range []journal.Position{end, middle} {
		if events, position, err := j.Tail(ctx, services, from, 0); err != nil || len(events) > 0 || position.Compare(from) < 0 {
			t.Errorf("tail behind what is left: %d events, %+v, %v", len(events), position, err)
		}
	}
	must(t, j, add(b, 9000, "again", "new"))
	for _, from := range []journal.Position{end, middle} {
		rest, _ = follow(t, j, services, from, 0, 1)
		same(t, "goes on", textsOf(rest), []string{"new"})
	}
}
