package journaltest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) effectOrder(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	must(t, j, with(add(a, 0, "1", "x"), kept("9"), kept("8")), with(add(b, 0, "1", "x"), kept("b")), with(add(a, 1, "2", "x"), kept("7")))
	must(t, j, with(add(a, 2, "3", "x"), kept("6")))
	enqueue(t, j, a, kept("5"), kept("4"))
	same(t, "due", dueOf(t, j, a), []string{"9", "8", "7", "6", "5", "4"})

	// One that is put off holds up those behind it, and nobody else.
	settle(t, j, done("9"), postponed("7", time.Hour))
	same(t, "due", dueOf(t, j, a), []string{"8"})
	same(t, "due of another", dueOf(t, j, b), []string{"b"})
	settle(t, j, done("8"))
	must(t, j, with(add(a, 3, "4", "x"), kept("3"), later(kept("later")), actors.Effect{Ref: cart("t"), ID: "past", Due: time.Unix(1, 0)}))
	same(t, "due behind one that is put off", dueOf(t, j, a), []string{"past"}) // which is not in the order
	settle(t, j, postponed("past", time.Hour))                                  // and holds nothing up
	settle(t, j, postponed("7", 0))
	same(t, "due", dueOf(t, j, a), []string{"7", "6", "5", "4", "3"})

	// One that is parked holds nothing up, and comes in its place when it is released.
	settle(t, j, parked("7"), parked("5"))
	same(t, "due", dueOf(t, j, a), []string{"6", "4", "3"})
	settle(t, j, postponed("6", time.Hour))
	same(t, "due", dueOf(t, j, a), []string{})
	if err := j.Release(within(t), []string{"5", "7"}); err != nil {
		t.Fatal(err)
	}
	same(t, "due", dueOf(t, j, a), []string{"7"})
	settle(t, j, done("6")) // in the middle, while it is put off
	same(t, "due", dueOf(t, j, a), []string{"7", "5", "4", "3"})
	settle(t, j, parked("7"), parked("5"), parked("3"))
	if err := j.Release(within(t), []string{"3", "5", "7"}); err != nil { // around one that may come at once
		t.Fatal(err)
	}
	same(t, "due", dueOf(t, j, a), []string{"7", "5", "4", "3"})
	settle(t, j, done("7"), done("5"), done("4"), done("3"))
	same(t, "due", dueOf(t, j, a), []string{})

	// Whatever part of them is asked for, it is a beginning.
	var effects []actors.Effect
	for i := range 30 {
		effects = append(effects, kept(fmt.Sprintf("c%02d", i)))
	}
	enqueue(t, j, cart("c"), effects...)
	settle(t, j, postponed("c20", time.Hour))
	for _, limit := range []int{1, 7, 19, 20, 21, 100} {
		list, err := j.Due(within(t), nil, []int{journal.Lane(cart("c"))}, limit)
		list = slices.DeleteFunc(list, func(p journal.Pending) bool { return p.Source != cart("c") })
		if err != nil || len(list) > limit || limit >= 21 && len(list) != 20 {
			t.Fatalf("%d effects, limit %d, %v", len(list), limit, err)
		}
		for i, p := range list {
			if p.ID != effects[i].ID {
				t.Errorf("limit %d: effect %d is %s", limit, i, p.ID)
			}
		}
	}
}

func (s *suite) effectDelays(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	soon, at := kept("soon"), kept("at")
	const wait = 150 * time.Millisecond
	soon.Delay, at.Due = wait, time.Now().Add(wait)
	start := time.Now()
	must(t, j, with(add(a, 0, "1", "x"), soon, later(kept("later")), kept("now"), at))
	var seen []string
	apart := false // whether it was seen what is due at once, before the others were
	for len(seen) < 3 {
		list := due(t, j)
		apart = apart || time.Since(start) < wait
		if time.Since(start) > 30*time.Second {
			t.Fatalf("only %v are due", seen)
		}
		for _, p := range list {
			seen = append(seen, p.ID)
			// The journal's clock may be another one, but not by much.
			if early := wait - time.Since(start); p.ID != "now" && early > 50*time.Millisecond {
				t.Errorf("%s is due %v early", p.ID, early)
			}
			if p.Delay != 0 || p.Due.IsZero() != (p.ID == "now") || !p.Due.IsZero() && p.Due.Sub(start.Add(wait)).Abs() > 10*time.Second {
				t.Errorf("%s has delay %v and is due at %v", p.ID, p.Delay, p.Due)
			}
			settle(t, j, done(p.ID))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if apart && seen[0] != "now" {
		t.Errorf("due: %v", seen)
	}
	enqueue(t, j, a, kept("tried"))
	settle(t, j, postponed("tried", wait))
	same(t, "due", dueOf(t, j, a), []string{})
	for len(dueOf(t, j, a)) == 0 {
		if time.Since(start) > 30*time.Second {
			t.Fatal("what was put off does not come again")
		}
		time.Sleep(5 * time.Millisecond)
	}
	settle(t, j, parked("later")) // before it was due
	if list := parkedOf(t, j); len(list) != 1 || list[0].Due.IsZero() {
		t.Errorf("parked: %+v", list)
	}
	if err := j.Release(within(t), []string{"later"}); err != nil {
		t.Fatal(err)
	}
	same(t, "due after the release", sorted(dueOf(t, j, a)), []string{"later", "tried"})
}

func (s *suite) effectNames(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	// Within one append and one batch.
	must(t, j,
		with(add(a, 0, "1", "x"), kept("1", "k"), kept("2"), kept("3", "k"), kept("4", "l"), cancel("5", "l"), cancel("6", "none")),
		with(add(b, 0, "1", "x"), kept("b", "k")),
		with(add(a, 1, "2", "x"), kept("7", "m"), kept("8")),
		with(add(a, 2, "3", "x"), cancel("9", "m"), kept("10", "n"), kept("11", "k")))
	same(t, "due", dueOf(t, j, a), []string{"2", "8", "10", "11"})
	same(t, "due of another with the same name", dueOf(t, j, b), []string{"b"})
	// Apart, and whatever state the older one is in.
	settle(t, j, postponed("10", time.Hour))
	same(t, "due", dueOf(t, j, a), []string{"2", "8"})
	must(t, j, with(add(a, 3, "4", "x"), kept("12", "n")))
	same(t, "due", dueOf(t, j, a), []string{"2", "8", "11", "12"})
	settle(t, j, done("10"), parked("12"), parked("11")) // 10 is replaced, and forgotten
	same(t, "due", dueOf(t, j, a), []string{"2", "8"})
	must(t, j, with(add(a, 4, "5", "x"), later(kept("13", "n")), cancel("14", "k")))
	same(t, "parked", idsOf(parkedOf(t, j)), []string{})
	must(t, j, with(add(a, 5, "6", "x"), kept("15", "n")), with(keyed(add(a, 6, "7"), 1), cancel("16", "none")))
	same(t, "due", dueOf(t, j, a), []string{"2", "8", "15"})
	must(t, j, with(keyed(add(a, 6, "8"), 1), cancel("17", "n")))
	enqueue(t, j, a, kept("18", "o"), kept("19", "o"), kept("20", "p"), cancel("21", "p"))
	same(t, "due", dueOf(t, j, a), []string{"2", "8", "19"})
	// What was carried out has no name any more; what a failed append says is not heard.
	settle(t, j, done("19"))
	must(t, j, with(keyed(add(a, 6, "9"), 1), cancel("22", "o"), kept("23", "o")))
	want(t, j.Append(within(t), []journal.Append{with(add(a, 0, "10", "no"), cancel("24", "o"))}), journal.Conflict)
	same(t, "due", dueOf(t, j, a), []string{"2", "8", "23"})
	same(t, "due of another", dueOf(t, j, b), []string{"b"})
	// The head of the order may go, too.
	must(t, j, with(keyed(add(b, 1, "2"), 1), kept("b2")), with(keyed(add(b, 1, "3"), 1), cancel("b3", "k")))
	same(t, "due", dueOf(t, j, b), []string{"b2"})
}

func (s *suite) settling(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	enqueue(t, j, a, kept("1"), kept("2"), kept("3"))
	for range 2 {
		settle(t, j, done("1"), done("unknown"), postponed("unknown", 0), parked("unknown"))
		settle(t, j)
	}
	settle(t, j, postponed("2", 0), postponed("2", 0))
	for range 2 { // the second time nothing is pending
		settle(t, j, journal.Settlement{ID: "3", Verdict: journal.Parked, Problem: "bad\xff and \x00 worse"}, postponed("missing", 0))
	}
	settle(t, j, postponed("3", 0))
	got := due(t, j)
	if len(got) != 1 || got[0].ID != "2" || got[0].Tries != 2 || got[0].Problem != "not now" {
		t.Fatalf("due: %+v", got)
	}
	list := parkedOf(t, j)
	if len(list) != 1 || list[0].ID != "3" || list[0].Tries != 1 || list[0].Problem != "bad\uFFFD and \uFFFD worse" {
		t.Errorf("parked: %+v", list)
	}
	settle(t, j, done("3")) // somebody was late, but did it
	same(t, "parked", idsOf(parkedOf(t, j)), []string{})

	for _, problem := range []string{
		long(journal.MaxProblemBytes), long(journal.MaxProblemBytes + 1), long(journal.MaxProblemBytes-1) + "ü" + long(9),
		long(journal.MaxProblemBytes-3) + "🍵🍵", strings.Repeat("\xffü", 3000), strings.Repeat("€", 4000),
	} {
		settle(t, j, journal.Settlement{ID: "2", Verdict: journal.Postponed, Problem: problem})
		p := due(t, j)[0].Problem
		if len(p) > journal.MaxProblemBytes || len(p) <= journal.MaxProblemBytes-4 || !utf8.ValidString(p) ||
			!strings.HasPrefix(strings.ToValidUTF8(problem, "\uFFFD"), p) {
			t.Errorf("of %d bytes %d are kept: %q…", len(problem), len(p), p[max(0, len(p)-8):])
		}
	}
	for _, bad := range []journal.Settlement{{ID: "2"}, {ID: "2", Verdict: 4}, {ID: "2", Verdict: journal.Postponed, Again: -1}} {
		if err := j.Settle(ctx, []journal.Settlement{done("2"), bad}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	same(t, "due", dueOf(t, j, a), []string{"2"}) // all or none
}

func (s *suite) parking(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	ids := []string{"Z", "a", "a a", "b", "ü", "🍵"}
	for i, id := range ids {
		enqueue(t, j, cart(fmt.Sprint(i)), kept(id))
		settle(t, j, postponed(id, 0), parked(id))
	}
	enqueue(t, j, cart("a"), kept("pending"))
	for _, limit := range []int{0, 1, 4, 6, 7} {
		var got []string
		for after := ""; ; {
			page, err := j.Parked(ctx, after, limit)
			if err != nil || limit > 0 && len(page) > limit {
				t.Fatalf("%d are parked, limit %d, %v", len(page), limit, err)
			}
			for _, p := range page {
				if p.Tries != 2 || p.Problem != "never" || string(p.Payload.Data) != "to "+p.ID {
					t.Errorf("parked: %+v", p)
				}
			}
			got = append(got, idsOf(page)...)
			if limit == 0 || len(page) < limit {
				break
			}
			after = page[len(page)-1].ID
		}
		same(t, fmt.Sprint("parked, limit ", limit), got, ids)
	}
	for range 2 {
		if err := j.Release(ctx, []string{"ü", "unknown", "a", "pending", "a"}); err != nil {
			t.Fatal(err)
		}
		if err := j.Discard(ctx, []string{"Z", "unknown", "pending", "b"}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "parked", idsOf(parkedOf(t, j)), []string{"a a", "🍵"})
	for _, p := range due(t, j) {
		if p.Tries != 0 || p.Problem != "" {
			t.Errorf("due: %+v", p)
		}
	}
	same(t, "due", sorted(idsOf(due(t, j))), []string{"a", "pending", "ü"})
	if err := j.Release(ctx, nil); err != nil {
		t.Error(err)
	}
	if err := j.Discard(ctx, nil); err != nil {
		t.Error(err)
	}
}

func (s *suite) effectLanes(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	count := map[int]int{}
	for i := range 60 {
		source := cart(fmt.Sprint(i))
		must(t, j, with(add(source, 0, "1", "x"), kept(fmt.Sprint(i, "a")), actors.Effect{Ref: cart("t"), ID: fmt.Sprint(i, "b"), Due: time.Unix(0, 0)}))
		count[journal.Lane(source)] += 2
	}
	for lane := range journal.Lanes {
		list, err := j.Due(ctx, nil, []int{lane}, 0)
		if err != nil || len(list) != count[lane] {
			t.Errorf("lane %d has %d due, want %d: %v", lane, len(list), count[lane], err)
		}
		for _, p := range list {
			if journal.Lane(p.Source) != lane {
				t.Errorf("%s of %s is in lane %d", p.ID, p.Source, lane)
			}
		}
	}
	two, err := j.Due(ctx, nil, []int{3, 11}, 0)
	if err != nil || len(two) != count[3]+count[11] {
		t.Errorf("two lanes: %d, %v", len(two), err)
	}
	none, err := j.Due(ctx, nil, nil, 0)
	if err != nil || len(none) != 0 {
		t.Errorf("no lanes: %d, %v", len(none), err)
	}
	// Each user function gets the effects of its own services: put off, delayed and plain ones.
	for _, service := range []string{"shop.v1.Other", cart("").Service} {
		source := actors.Ref{Service: "shop.v1.Other", ID: "x"}
		if service == source.Service {
			must(t, j, with(add(source, 0, "1", "x"), kept("of other"), actors.Effect{Ref: cart("t"), ID: "later of other", Due: time.Unix(0, 0)}))
			settle(t, j, journal.Settlement{ID: "of other", Verdict: journal.Postponed})
		}
		list, err := j.Due(ctx, []string{service, "shop.v1.None"}, lanes(), 0)
		if want := map[string]int{source.Service: 2, cart("").Service: 120}[service]; err != nil || len(list) != want {
			t.Errorf("%d are due of %s, want %d: %v", len(list), service, want, err)
		}
		for _, p := range list {
			if p.Source.Service != service {
				t.Errorf("%s of %s comes with those of %s", p.ID, p.Source, service)
			}
		}
	}
	if list, err := j.Due(ctx, []string{}, lanes(), 0); err != nil || len(list) != 0 {
		t.Errorf("%d are due of no services, %v", len(list), err)
	}
	for _, id := range []string{"of other", "later of other"} {
		settle(t, j, done(id))
	}
	// However few are asked for, all come in the end.
	for left := 120; left > 0; {
		list, err := j.Due(ctx, nil, lanes(), 7)
		if err != nil || len(list) == 0 || len(list) > 7 {
			t.Fatalf("%d are due of %d, limit 7, %v", len(list), left, err)
		}
		for _, p := range list {
			settle(t, j, done(p.ID))
		}
		left -= len(list)
	}
	same(t, "due", idsOf(due(t, j)), []string{})
}

func (s *suite) enqueueing(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	for range 3 {
		enqueue(t, j, a, kept("1", "k"), kept("2"), kept("3", "k"), later(kept("4")))
		same(t, "due", dueOf(t, j, a), []string{"2", "3"})
	}
	settle(t, j, postponed("2", 0), parked("3"))
	enqueue(t, j, a, kept("2"), kept("3", "k"), kept("5"))
	if s.Weaker.EffectIDsPerSource {
		enqueue(t, j, b, kept("6"))
	} else {
		enqueue(t, j, b, kept("2"), kept("6"))
	}
	must(t, j, with(add(a, 0, "1", "x"), kept("2"), kept("7"))) // its events are in any case
	same(t, "due", dueOf(t, j, a), []string{"2", "5", "7"})
	same(t, "due", dueOf(t, j, b), []string{"6"})
	if got := due(t, j)[0]; got.ID == "2" && got.Tries != 1 {
		t.Errorf("it was kept anew: %+v", got)
	}
	same(t, "parked", idsOf(parkedOf(t, j)), []string{"3"})
	same(t, "events", dataOf(t, j, a), []string{"x"})
}

// effectsInFlight keeps effects from many sides while others carry them out.
func (s *suite) effectsInFlight(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	const writers, each = 6, 40
	var writing, taking sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				a := with(add(cart(fmt.Sprint(w)), journal.AnySequence, fmt.Sprint(n), "x"),
					kept(fmt.Sprintf("%d-%d", w, 2*n)), kept(fmt.Sprintf("%d-%d", w, 2*n+1)))
				if r := j.Append(ctx, []journal.Append{a})[0]; r.Status != journal.Committed {
					t.Errorf("append: %+v", r)
					return
				}
			}
		})
	}
	var mu sync.Mutex
	seen := map[actors.Ref]int{}
	left := writers * each * 2
	for half := range 2 { // each has its lanes
		taking.Go(func() {
			for try := 0; ; try++ {
				mu.Lock()
				over := left == 0
				mu.Unlock()
				if over || ctx.Err() != nil {
					return
				}
				list, err := j.Due(ctx, nil, lanes()[half*8:half*8+8], 20)
				if err != nil {
					t.Error(err)
					return
				}
				var settlements []journal.Settlement
				for i, p := range list {
					if i%7 == try%7 {
						settlements = append(settlements, postponed(p.ID, 0))
						break // those behind it have to wait
					}
					mu.Lock()
					if want := fmt.Sprintf("%s-%d", p.Source.ID, seen[p.Source]); p.ID != want {
						t.Errorf("%s came, want %s", p.ID, want)
					}
					seen[p.Source]++
					left--
					mu.Unlock()
					settlements = append(settlements, done(p.ID))
				}
				if err := j.Settle(ctx, settlements); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	taking.Wait()
	if left != 0 {
		t.Errorf("%d effects never came", left)
	}
}
