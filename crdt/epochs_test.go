package crdt

import (
	"slices"
	"testing"
)

func TestEpochsGoWithSeal(t *testing.T) {
	t.Parallel()
	for _, u := range []*Update{
		{Kind: GCounter, Increment: 1}, {Kind: PNCounter, Change: -1}, {Kind: ORSet, Added: []Key{MakeKey("t", []byte("x"))}},
		{Kind: ORMap, Put: []Entry{{Key: MakeKey("t", []byte("k")), Update: &Update{Kind: GCounter, Increment: 1}}}},
	} {
		e := New(0)
		for _, m := range []Member{{1, 1}, {1, 2}, {1, 3}, {2, 7}} {
			if _, _, err := e.Apply(&Writer{Slot: m.Slot, Epoch: m.Epoch}, u, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(e.Epochs()); got != 4 {
			t.Errorf("%v: %d epochs", u.Kind, got)
		}
		if _, _, err := e.Seal(1, 2); err != nil {
			t.Fatal(err)
		}
		if got, want := e.Epochs(), []Member{{1, 3}, {2, 7}}; !slices.Equal(got, want) {
			t.Errorf("%v: after sealing %v, want %v", u.Kind, got, want)
		}
	}
}
