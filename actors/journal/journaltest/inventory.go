package journaltest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// inventory lists all effects that are kept: due ones, later ones, put off ones and parked ones.
func (s *suite) inventory(t *testing.T) {
	j := s.open(t)
	all, ok := j.(journal.Inventory)
	if !ok {
		t.Skip("the back end lists no effects")
	}
	ctx := within(t)
	one, two := actors.Ref{Service: "shop.v1.Cart", ID: "1"}, actors.Ref{Service: "shop.v1.Cart", ID: "2"}
	for _, call := range []struct {
		source  actors.Ref
		effects []actors.Effect
	}{
		{one, []actors.Effect{kept("1a"), later(kept("1b", "name")), kept("1c")}},
		{two, []actors.Effect{kept("2a")}},
		{one, []actors.Effect{kept("1d")}},
		{two, []actors.Effect{kept("2b"), kept("2c")}},
	} {
		if err := j.Enqueue(ctx, call.source, call.effects); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Settle(ctx, []journal.Settlement{
		{ID: "2a", Verdict: journal.Done}, {ID: "2b", Verdict: journal.Parked, Problem: "no"}, {ID: "1a", Verdict: journal.Postponed, Again: 1 << 40, Problem: "not now"},
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		source  actors.Ref
		key     string
		parked  bool
		delayed bool
		problem string
	}{
		"1a": {source: one, problem: "not now"}, "1b": {source: one, key: "name", delayed: true}, "1c": {source: one}, "1d": {source: one},
		"2b": {source: two, parked: true, problem: "no"}, "2c": {source: two},
	}
	for _, limit := range []int{0, 1, 2, 100} {
		got := map[actors.Ref][]string{}
		for mark, n := "", 0; ; n++ {
			page, next, err := all.Kept(ctx, mark, limit)
			if err != nil || n > len(want) {
				t.Fatal(n, err)
			}
			for _, e := range page {
				w := want[e.ID]
				if e.Source != w.source || e.Key != w.key || e.Parked != w.parked || e.Due.IsZero() == w.delayed || e.Problem != w.problem ||
					e.Method != "Send" || e.Since.IsZero() {
					t.Errorf("got %+v, want %+v", e, w)
				}
				got[e.Source] = append(got[e.Source], e.ID)
			}
			if mark = next; mark == "" {
				break
			}
		}
		if diff := cmp.Diff(map[actors.Ref][]string{one: {"1a", "1b", "1c", "1d"}, two: {"2b", "2c"}}, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
	// Pages end before they are too big.
	big := kept("big")
	big.Payload.Data = make([]byte, 1<<20)
	for i := range 4 {
		big.ID = fmt.Sprint("big", i)
		if err := j.Enqueue(ctx, one, []actors.Effect{big}); err != nil {
			t.Fatal(err)
		}
	}
	if page, _, err := all.Kept(ctx, "", 0); err != nil || len(page) < 7 {
		t.Errorf("%d effects, %v", len(page), err)
	}
}
