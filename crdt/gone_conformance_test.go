package crdt_test

import (
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// What is to be there and rests on events that may be sealed out by somebody who has not seen them is written again: else a
// sealed state that does not have them would take away what was confirmed.
func TestGoneWriterIsNotRestedOn(t *testing.T) {
	t.Parallel()

	for name, u := range map[string]*crdt.Update{
		"element": {Kind: crdt.GSet, Added: keys("x")},
		"entry": {Kind: crdt.ORMap, Put: []crdt.Entry{
			{Key: crdttest.Element("k"), Update: &crdt.Update{Kind: crdt.ORSet}},
		}},
		"nested element": {Kind: crdt.ORMap, Put: []crdt.Entry{
			{Key: crdttest.Element("k"), Update: &crdt.Update{Kind: crdt.GSet, Added: keys("x")}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dead, late, store := crdt.New(0), crdt.New(0), crdt.New(0)
			dw, lw := crdt.Writer{Slot: 0, Epoch: 1}, crdt.Writer{Slot: 1, Epoch: 1}
			sealer := crdt.Writer{Slot: 2, Epoch: 1}
			other := &crdt.Update{Kind: u.Kind}
			if u.Kind == crdt.GSet {
				other.Added = keys("other")
			} else {
				other.Put = []crdt.Entry{{Key: crdttest.Element("other"), Update: on()}}
			}
			known := must(t, store, &sealer, other)
			joinAll(t, dead, known)
			// The writer told only a process that is gone by now, which told the late one.
			joinAll(t, late, known, must(t, dead, &dw, u))
			// To add to what is in an entry always leaves a dot of the entry itself.
			always := name == "nested element"
			if d := must(t, late, &lw, u); d != nil && !always {
				t.Fatal("a write that changes nothing, and need not be safe, is written")
			}
			lw.Gone = func(s crdt.Slot, e crdt.Epoch) bool { return s == 0 && e == 1 }
			before := late.Value(nil)
			again := must(t, late, &lw, u)
			if again == nil {
				t.Fatal("nothing is written")
			}
			if len(late.Value(nil).Added) != len(before.Added) || len(late.Value(nil).Put) != len(before.Put) {
				t.Error("to write again has changed the value")
			}
			if d := must(t, late, &lw, u); d != nil && !always {
				t.Error("it is written a third time, though it rests on the writer's own by now")
			}
			if _, _, err := store.Seal(0, 1); err != nil {
				t.Fatal(err)
			}
			joinAll(t, store, late.Full())
			joinAll(t, late, store.Full())
			for _, e := range []*crdt.Entity{store, late} {
				if v := e.Value(nil); len(v.Added) != len(before.Added) || len(v.Put) != len(before.Put) {
					t.Errorf("what was confirmed is lost: %v", v)
				}
			}
			if store.Digest() != late.Digest() {
				t.Error("the two states differ")
			}
		})
	}
}

func must(t *testing.T, e *crdt.Entity, w *crdt.Writer, u *crdt.Update) *crdt.Delta {
	t.Helper()
	d, _, err := e.Apply(w, u, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func joinAll(t *testing.T, e *crdt.Entity, deltas ...*crdt.Delta) {
	t.Helper()
	for _, d := range deltas {
		if _, err := e.Join(d, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Two processes add an element, and one of them writes it again, because the other one is gone. Who has heard of both must
// not have let go of the one that stays, in whichever order it learns of it.
func TestElementAddedTwiceOutlivesOneOfThem(t *testing.T) {
	t.Parallel()

	x := &crdt.Update{Kind: crdt.GSet, Added: keys("x")}
	gone := func(s crdt.Slot, _ crdt.Epoch) bool { return s == 0 }
	first, again := crdt.Writer{Slot: 0, Epoch: 1}, crdt.Writer{Slot: 1, Epoch: 1, Gone: gone}
	one, two := crdt.New(0), crdt.New(0)
	added := must(t, one, &first, x)
	joinAll(t, two, added)
	replaced := must(t, two, &again, x)

	late := crdt.New(0)
	joinAll(t, late, added)
	whole := late.Full()
	if err := whole.Join(replaced); err != nil {
		t.Fatal(err)
	}
	compared := two.Since(late.Ctx())
	if err := compared.Join(two.Kills(late.LiveDots())); err != nil {
		t.Fatal(err)
	}
	for name, deltas := range map[string][]*crdt.Delta{
		"told": {replaced}, "compared": {compared}, "whole": {whole}, "of the state": {two.Full()}, "in two": {two.Since(late.Ctx()), two.Kills(late.LiveDots())},
	} {
		at := crdt.New(0)
		joinAll(t, at, added)
		joinAll(t, at, deltas...)
		if v := at.Value(nil); len(v.Added) != 1 || at.Digest() != two.Digest() {
			t.Errorf("%s: %d elements are there, want 1", name, len(v.Added))
		}
	}
	// Added without having heard of the first one, which is then sealed out.
	concurrent, other := crdt.New(0), crdt.Writer{Slot: 2, Epoch: 1}
	joinAll(t, late, must(t, concurrent, &other, x))
	_, sealed, err := concurrent.Seal(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	joinAll(t, late, sealed)
	if v := late.Value(nil); len(v.Added) != 1 || late.Digest() != concurrent.Digest() {
		t.Errorf("sealed: %d elements are there, want 1", len(v.Added))
	}
}
