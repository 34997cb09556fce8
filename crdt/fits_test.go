package crdt_test

import (
	"errors"
	"testing"

	"github.com/dapr-entities/entities/crdt"
)

func TestFits(t *testing.T) {
	t.Parallel()

	key := func(name string) crdt.Key { return crdt.MakeKey("t", []byte(name)) }
	entry := func(name string, u *crdt.Update) *crdt.Update {
		return &crdt.Update{Kind: crdt.ORMap, Put: []crdt.Entry{{Key: key(name), Update: u}}}
	}
	counted, added := &crdt.Update{Kind: crdt.PNCounter, Change: 1}, &crdt.Update{Kind: crdt.ORSet, Added: []crdt.Key{key("x")}}
	replaced, cleared := entry("a", added), entry("a", added)
	replaced.Removed, cleared.Cleared = []crdt.Key{key("a")}, true

	e, w := crdt.New(0), &crdt.Writer{Slot: 1, Epoch: 1}
	if err := e.Fits(counted); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	for _, u := range []*crdt.Update{entry("a", counted), entry("m", entry("n", counted))} {
		if _, _, err := e.Apply(w, u, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		u    *crdt.Update
		fits bool
	}{
		"the same": {entry("a", counted), true}, "new": {entry("b", added), true}, "deep": {entry("m", entry("n", counted)), true},
		"replaced": {replaced, true}, "cleared": {cleared, true},
		"another kind": {counted, false}, "another entry": {entry("a", added), false}, "another deep one": {entry("m", entry("n", added)), false},
		"a counter for a map": {entry("m", counted), false},
	} {
		if err := e.Fits(x.u); (err == nil) != x.fits || err != nil && !errors.Is(err, crdt.ErrKindMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.Delete(w, nil)
	if err := e.Fits(added); err != nil {
		t.Errorf("it is deleted: %v", err)
	}
}
