package operations

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
)

// What comes out of a journal, and into another one of any kind, comes out of that the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for from, open := range backends {
		for to, create := range backends {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				source, target := open(t), create(t)
				fill(t, source.Of, 10)
				export := exported(t, source)
				for _, repeat := range []bool{false, true} {
					s, err := Importing{To: target}.Import(t.Context(), strings.NewReader(export))
					if err != nil || s.Already != repeat {
						t.Fatalf("%+v, %v", s, err)
					}
					want, got := histories(t, export), histories(t, exported(t, target))
					if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
						t.Fatal(diff)
					}
				}
				// The order of each stream is the same, and cursors stand where they stood.
				for _, ref := range refs {
					if diff := cmp.Diff(ofStream(histories(t, export), ref.ID), ofStream(histories(t, exported(t, target)), ref.ID)); diff != "" {
						t.Error(diff)
					}
				}
				checkCursors(t, target)
				loading, err := target.Of.Load(t.Context(), refs[0])
				if err != nil || loading.Snapshot == nil {
					t.Errorf("%+v, %v", loading, err)
				}
				slots, _ := target.Of.Cell(t.Context(), "slot/shop/0000")
				if string(slots.Value) != `{"epoch":7}` {
					t.Errorf("the slot is %s", slots.Value)
				}
				due, err := target.Of.Due(t.Context(), nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0)
				if err != nil || len(due) != 2 || due[0].Effect.ID != "e1" || due[1].Effect.ID != "e4" {
					t.Errorf("due: %+v, %v", due, err)
				}
			})
		}
	}
}

func sorted(lines []string) []string {
	lines = slices.Clone(lines)
	slices.Sort(lines)
	return lines
}

func ofStream(lines []string, id string) (list []string) {
	for _, l := range lines {
		if strings.Contains(l, `"id":"`+id+`"`) {
			list = append(list, l)
		}
	}
	return list
}

// checkCursors looks whether consumers go on where they were.
func checkCursors(t *testing.T, target *Direct) {
	t.Helper()
	for key, read := range map[string]func(v map[string]any) any{
		"cursor/g/shop.v1.Cart": func(v map[string]any) any { return v },
		"lane/g/0":              func(v map[string]any) any { return v["places"].([]any)[1] },
		"subscription/g":        func(v map[string]any) any { return v["sources"].(map[string]any)["shop.v1.Cart"] },
	} {
		cell, err := target.Of.Cell(t.Context(), key)
		if err != nil || cell.Version == 0 {
			t.Fatal(key, err)
		}
		value, err := document(cell.Value)
		if err != nil {
			t.Fatal(key, err)
		}
		at, ok := positionOf(read(value.(map[string]any)).(map[string]any))
		events, _, err := target.Of.Tail(t.Context(), []string{"shop.v1.Cart"}, at, 1)
		if err != nil || !ok || len(events) != 1 || events[0].Ref != refs[1] || events[0].Sequence != 1 {
			t.Errorf("%s stands before %+v, %v", key, events, err)
		}
	}
	// What was given up is where it is told to be.
	parked, err := feed.List(t.Context(), target.Of, "g", "shop.v1.Cart", "", 0)
	if err != nil || len(parked) != 1 {
		t.Fatal(parked, err)
	}
	before := journal.Position{Transaction: parked[0].Transaction, Ordinal: parked[0].Ordinal - 1}
	events, _, err := target.Of.Tail(t.Context(), []string{"shop.v1.Cart"}, before, 1)
	if err != nil || len(events) != 1 || events[0].Ref != refs[0] || events[0].Sequence != 2 {
		t.Errorf("parked is %+v, %v", events, err)
	}
	cell, err := target.Of.Cell(t.Context(), "lane/g/0")
	if err != nil {
		t.Fatal(err)
	}
	if value, _ := document(cell.Value); len(places(value, nil)) != 2 || !strings.Contains(string(cell.Value), `"ordinal":0,"services":["x"],"transaction":0`) {
		t.Errorf("the lane is %s", cell.Value)
	}
}
