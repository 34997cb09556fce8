package journaltest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// follow reads on until it has n events. It may have to wait: a back end may not pass what others are about to write.
func follow(t testing.TB, j journal.Tailer, services []string, after journal.Position, limit, n int) ([]journal.Event, journal.Position) {
	t.Helper()
	ctx := within(t)
	var all []journal.Event
	for len(all) < n {
		events, position, err := j.Tail(ctx, services, after, limit)
		if err != nil {
			t.Fatalf("tail after %d events: %v", len(all), err)
		}
		if limit > 0 && len(events) > limit {
			t.Fatalf("%d events, limit %d", len(events), limit)
		}
		if c := position.Compare(after); c < 0 || c == 0 && len(events) > 0 {
			t.Fatalf("tail went from %+v to %+v", after, position)
		} else if c == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, e := range events {
			if e.Position.Compare(after) <= 0 || e.Position.Compare(position) > 0 {
				t.Fatalf("event at %+v between %+v and %+v", e.Position, after, position)
			}
			after = e.Position
		}
		after = position
		all = append(all, events...)
	}
	if len(all) > n {
		t.Fatalf("%d events, want %d", len(all), n)
	}
	return all, after
}

func textsOf(events []journal.Event) []string {
	texts := []string{}
	for _, e := range events {
		texts = append(texts, string(e.Payload.Data))
	}
	return texts
}

func (s *suite) tail(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b, o := cart("a"), cart("b"), actors.Ref{Service: "shop.v1.Other", ID: "a"}
	carts, others := []string{a.Service}, []string{o.Service}
	both := []string{o.Service, "shop.v1.None", a.Service}

	empty, start, err := j.Tail(ctx, carts, journal.Position{}, 0)
	if err != nil || len(empty) != 0 {
		t.Fatalf("tail of nothing: %v, %v", empty, err)
	}
	rich := add(a, 0, "1", "1", "2")
	rich.Events[1].Context = journal.Context{Correlation: "c", Caller: "app"}
	must(t, j, rich)
	must(t, j, add(o, 0, "1", "3"))
	must(t, j, add(b, 0, "2", "4", "5"))
	must(t, j, keyed(add(b, 2, "3"), 1)) // no event
	want(t, j.Append(ctx, []journal.Append{add(a, 0, "4", "no")}), journal.Conflict)
	must(t, j, add(o, 1, "5", "6"))
	must(t, j, add(a, 2, "6", "7"))

	for _, limit := range []int{0, 1, 2, 3, 100} {
		all, _ := follow(t, j, both, journal.Position{}, limit, 7)
		same(t, fmt.Sprint("all, limit ", limit), textsOf(all), numbered("", 7))
		some, _ := follow(t, j, carts, start, limit, 5)
		same(t, fmt.Sprint("carts, limit ", limit), textsOf(some), []string{"1", "2", "4", "5", "7"})
	}
	all, end := follow(t, j, both, journal.Position{}, 0, 7)
	for _, e := range all {
		for read, err := range j.Read(ctx, e.Ref, e.Sequence-1, 1) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Weaker.PositionsInTailOnly {
				read.Position = e.Position
			}
			same(t, "event", e, read)
		}
	}
	from, _ := follow(t, j, both, all[3].Position, 0, 3)
	same(t, "from the middle", textsOf(from), []string{"5", "6", "7"})

	// At the end nothing comes, and nothing is lost that comes later.
	nothing, still, err := j.Tail(ctx, both, end, 10)
	if err != nil || len(nothing) != 0 || still.Compare(end) < 0 {
		t.Fatalf("at the end: %v, %+v, %v", nothing, still, err)
	}
	must(t, j, add(b, 2, "8", "8"), add(o, 2, "8", "9"))
	next, _ := follow(t, j, carts, still, 0, 1)
	same(t, "next", textsOf(next), []string{"8"})
	rest, _ := follow(t, j, others, end, 0, 1)
	same(t, "next of the others", textsOf(rest), []string{"9"})
	none, moved, err := j.Tail(ctx, nil, journal.Position{}, 0)
	if err != nil || len(none) != 0 {
		t.Errorf("of no services: %v, %+v, %v", none, moved, err)
	}
}

// tailForeign has few events among very many of others.
func (s *suite) tailForeign(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	noise := actors.Ref{Service: "noise", ID: "n"}
	must(t, j, add(cart("a"), 0, "1", "1"))
	for n := range 10 {
		must(t, j, add(noise, int64(n*500), fmt.Sprint(n), numbered("n", 500)...))
	}
	must(t, j, add(cart("a"), 1, "2", "2"))
	must(t, j, add(noise, 5000, "last", "n"))
	all, _ := follow(t, j, []string{noise.Service}, journal.Position{}, 0, 5001)
	end := all[5000].Position
	got, position := follow(t, j, []string{cart("a").Service}, journal.Position{}, 10, 2)
	same(t, "events", textsOf(got), []string{"1", "2"})
	// The position goes beyond what is of no interest, so that it is looked at once.
	for position.Compare(end) < 0 {
		events, to, err := j.Tail(ctx, []string{cart("a").Service}, position, 10)
		if err != nil || len(events) != 0 {
			t.Fatalf("%v, %v", events, err)
		}
		if to == position {
			time.Sleep(time.Millisecond)
		}
		position = to
	}
	// Big events come, in however many pieces.
	megabyte := long(1 << 20)
	must(t, j, add(cart("b"), 0, "1", megabyte, megabyte, megabyte), add(cart("b"), 3, "2", megabyte, megabyte, megabyte))
	big, _ := follow(t, j, []string{cart("b").Service}, position, 0, 6)
	for i, e := range big {
		if e.Sequence != int64(i+1) || len(e.Payload.Data) != 1<<20 {
			t.Errorf("event %d has sequence %d and %d bytes", i, e.Sequence, len(e.Payload.Data))
		}
	}
}

// tailInFlight has readers that follow while many write.
func (s *suite) tailInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	const writers, each, streams = 8, 30, 5
	var wg sync.WaitGroup
	total := 0
	for w := range writers {
		total += each * 3
		wg.Go(func() {
			for n := range each {
				batch := []journal.Append{
					add(cart(fmt.Sprint((w+n)%streams)), journal.AnySequence, fmt.Sprint(w, n), "x", "y"),
					add(actors.Ref{Service: "other", ID: fmt.Sprint(w)}, journal.AnySequence, fmt.Sprint(w, n), "z"),
				}
				write := j.Append
				if n%3 == 0 {
					write = j.Transact
				}
				for _, r := range write(ctx, batch) {
					if r.Status != journal.Committed {
						t.Errorf("append: %+v", r)
						return
					}
				}
			}
		})
	}
	orders := make([][]journal.Event, 3)
	for r := range orders {
		wg.Go(func() {
			after := journal.Position{}
			for len(orders[r]) < total && ctx.Err() == nil {
				events, position, err := j.Tail(ctx, []string{"other", cart("").Service}, after, []int{0, 1, 50}[r])
				if err != nil {
					t.Error(err)
					return
				}
				orders[r] = append(orders[r], events...)
				after = position
			}
		})
	}
	wg.Wait()
	for r, order := range orders {
		next := map[actors.Ref]int64{}
		for _, e := range order {
			if next[e.Ref]++; e.Sequence != next[e.Ref] {
				t.Fatalf("reader %d has event %d of %s, want %d", r, e.Sequence, e.Ref, next[e.Ref])
			}
		}
		if len(order) != total {
			t.Errorf("reader %d has %d events, want %d", r, len(order), total)
		}
		same(t, "order", order, orders[0])
	}
}

func (s *suite) tailDamage(t *testing.T) {
	if s.Damage == nil {
		t.Fatal("the back end gives no way to damage it")
	}
	j := s.open(t)
	a, b := cart("a"), cart("b")
	carts := []string{a.Service}
	must(t, j, add(a, 0, "1", "1", "2", "3"), add(b, 0, "1", "4"))
	must(t, j, add(b, 1, "2", "5"))
	follow(t, j, carts, journal.Position{}, 0, 5)
	s.Damage(t, j, a, FlipEvent, 2)
	s.Damage(t, j, b, RenameEvent, 2)

	var position journal.Position
	for _, step := range []struct {
		want []string
		ref  actors.Ref
		at   int64
	}{{[]string{"1"}, a, 2}, {[]string{"3", "4"}, b, 2}} {
		var events []journal.Event
		var err error
		if events, position, err = j.Tail(within(t), carts, position, 10); !slices.Equal(textsOf(events), step.want) {
			t.Fatalf("%v before the damage, want %v (%v)", textsOf(events), step.want, err)
		}
		corrupt(t, err, step.ref, step.at)
	}
	must(t, j, add(cart("c"), 0, "1", "6"))
	rest, _ := follow(t, j, carts, position, 0, 1)
	same(t, "behind the damage", textsOf(rest), []string{"6"})
	// Who does not get to it does not stumble over it.
	if events, _, err := j.Tail(within(t), carts, journal.Position{}, 1); err != nil || len(events) != 1 {
		t.Errorf("before the damage: %v, %v", events, err)
	}
	if _, _, err := j.Tail(within(t), []string{"other"}, journal.Position{}, 0); err != nil && !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("tail of others: %v", err)
	}
}
