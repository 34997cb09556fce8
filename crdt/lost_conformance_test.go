package crdt_test

import (
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// A user function has been shown what its writer had told nobody else, and removes it after it was sealed out and before it
// is told so. The writer does not bring that again, and brings all else.
func TestRemovalOfWhatWasSealedOut(t *testing.T) {
	t.Parallel()

	set := func(removed ...string) *crdt.Update { return &crdt.Update{Kind: crdt.ORSet, Removed: keys(removed...)} }
	for name, c := range map[string]struct {
		way     string
		updates []*crdt.Update
		want    []string
		gone    bool
	}{
		"an element":             {way: "ORSet", updates: []*crdt.Update{set("y")}, want: []string{"x", "z"}},
		"another element":        {way: "ORSet", updates: []*crdt.Update{set("x")}, want: []string{"y", "z"}},
		"all":                    {way: "ORSet", updates: []*crdt.Update{{Kind: crdt.ORSet, Cleared: true}}, gone: true},
		"added again":            {way: "ORSet", updates: []*crdt.Update{add("y"), set("y")}, want: []string{"x", "z"}},
		"a nested element":       {way: "nested set", updates: []*crdt.Update{changed("k", changed("l", set("y")))}, want: []string{"x", "z"}},
		"a nested element, put":  {way: "nested set", updates: []*crdt.Update{put("k", put("l", set("y")))}, want: []string{"x", "z"}},
		"a nested map":           {way: "nested set", updates: []*crdt.Update{changed("k", &crdt.Update{Kind: crdt.ORMap, Removed: keys("l")})}, gone: true},
		"a counter":              {way: "nested counter", updates: []*crdt.Update{{Kind: crdt.ORMap, Removed: keys("k")}}, gone: true},
		"a counter that is more": {way: "nested counter", updates: []*crdt.Update{changed("k", inc(0))}, want: []string{"x", "y", "z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := ways[c.way]
			own, fellow, store := three(t, way.kind)
			store.Hear(own.Say(way.wrap("x")))
			store.Hear(fellow.Say(way.wrap("z")))
			own.Say(way.wrap("y"))
			fellow.Hear(own.Entity.Full())
			var view crdt.View
			view.Begin(fellow.Entity, nil)
			r, sealed, err := store.Entity.Seal(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			view.Lose(fellow.Entity, sealed)
			fellow.Hear(sealed)
			wantAll(t, way.want("x", "z"), fellow)
			for _, u := range c.updates {
				said := fellow.SaySeen(u, view.Seen())
				view.Own(fellow.Entity, u, said)
				store.Hear(said)
				if d := view.Strike(fellow.Entity, u); d != nil && r.Follow(crdttest.Recode(t, d)) != nil {
					t.Error("nothing is moved yet")
				}
				if view.Strike(fellow.Entity, u) != nil {
					t.Error("it is removed twice")
				}
			}

			again := crdttest.NewNode(t, way.kind, 3, 1)
			again.Hear(store.Entity.Full())
			if r, err = crdt.DecodeReceipt(r.AppendBinary(nil)); err != nil {
				t.Fatal(err)
			}
			d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Hear(d)
			fellow.Hear(d)
			if encoded(store.Entity) != encoded(again.Entity) || fellow.Plain().String() != again.Plain().String() {
				t.Errorf("states differ: %s, %s, %s", store.Plain(), again.Plain(), fellow.Plain())
			}
			if c.gone {
				for _, s := range []string{"x", "y", "z"} {
					if again.Plain().String() == way.want(s) {
						t.Errorf("%s is left", again.Plain())
					}
				}
				return
			}
			wantAll(t, way.want(c.want...), store, again, fellow)
		})
	}
}

// A register that was overwritten does not show what it was before.
func TestOverwrittenValueOfWhatWasSealedOut(t *testing.T) {
	t.Parallel()

	own, fellow, store := three(t, crdt.ORMap)
	store.Hear(fellow.Say(put("k", write("x", crdt.ClockCustom, 1))))
	own.Hear(fellow.Entity.Full())
	own.Say(changed("k", write("y", crdt.ClockCustom, 9)))
	fellow.Hear(own.Entity.Full())
	var view crdt.View
	view.Begin(fellow.Entity, nil)
	r, sealed, err := store.Entity.Seal(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	view.Lose(fellow.Entity, sealed)
	fellow.Hear(sealed)
	u := put("k", write("z", crdt.ClockCustom, 5))
	store.Hear(fellow.SaySeen(u, view.Seen()))
	d := view.Strike(fellow.Entity, u)
	if d == nil {
		t.Fatal("what was overwritten is not remembered")
	}
	r.Follow(d)
	again := crdttest.NewNode(t, crdt.ORMap, 3, 1)
	again.Hear(store.Entity.Full())
	moved, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Hear(moved)
	if v := store.Entity.Value(nil).Put[0].Update.Value; v != crdttest.Element("z") {
		t.Errorf("it shows %v", v)
	}
}

// What a sealing leaves as it is, and what somebody removed, is not lost; nor is what was never shown.
func TestNothingIsLostBySealing(t *testing.T) {
	t.Parallel()

	own, fellow, store := three(t, crdt.ORSet)
	store.Hear(own.Say(add("x")))
	fellow.Hear(store.Entity.Full())
	var view crdt.View
	view.Begin(fellow.Entity, nil)
	fellow.Hear(own.Say(add("y"))) // which the user function has not been told of
	_, sealed, err := store.Entity.Seal(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	view.Lose(fellow.Entity, sealed)
	fellow.Hear(sealed)
	if d := view.Strike(fellow.Entity, remove("x", "y")); d != nil {
		t.Errorf("%v", d.Ctx().Ranges())
	}
}
