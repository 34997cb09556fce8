package crdt_test

import (
	"errors"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

func TestZombieCounterStaysDead(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORMap)
	a.Tell(a.Say(put("k", inc(5))), b)
	removal, again := a.Say(drop("k")), a.Say(put("k", inc(1)))
	wantAll(t, "{"+k+": counts 1}", a)
	b.Hear(again) // in the wrong order, too
	b.Hear(removal)
	a.Hear(b.Entity.Full())
	wantAll(t, "{"+k+": counts 1}", a, b)
}

func TestRemoveConcurrentIncrementKeepsOnlyIncrement(t *testing.T) {
	t.Parallel()

	for _, kind := range []crdt.Kind{crdt.GCounter, crdt.PNCounter} {
		count := func(n int) *crdt.Update {
			return &crdt.Update{Kind: kind, Increment: uint64(n) * uint64(crdt.PNCounter-kind), Change: int64(n) * int64(kind-crdt.GCounter)}
		}
		a, b, c := three(t, crdt.ORMap)
		a.Tell(a.Say(put("k", count(5))), b, c)
		b.Tell(b.Say(changed("k", count(10))), a, c)
		removal, increment := a.Say(drop("k")), b.Say(changed("k", count(2)))
		a.Hear(increment)
		b.Hear(removal)
		c.Hear(removal)
		c.Hear(increment)
		want := "{" + k + ": counts 2}"
		if kind == crdt.PNCounter {
			want = "{" + k + ": sums up to 2}"
		}
		wantAll(t, want, a, b, c)
	}
}

func TestRemoveReaddRemoveReadd(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	var said []*crdt.Delta
	for i := range 5 {
		said = append(said, a.Say(put("k", inc(uint64(i+1)))), a.Say(drop("k")))
	}
	said = append(said, a.Say(put("k", inc(100))))
	for _, d := range said {
		b.Hear(d)
	}
	for i := range said {
		c.Hear(said[len(said)-1-i])
	}
	wantAll(t, "{"+k+": counts 100}", a, b, c)
	removal := b.Say(drop("k"))
	a.Hear(removal)
	c.Hear(removal)
	for _, d := range said {
		c.Hear(d)
	}
	wantAll(t, "{}", a, b, c)
}

func TestKindChangeUnderSameKey(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	counter := a.Say(put("k", inc(5)))
	b.Hear(counter)
	// In one update.
	set := a.Say(&crdt.Update{Kind: crdt.ORMap, Removed: keys("k"), Put: put("k", add("x")).Put})
	b.Hear(set)
	c.Hear(set)
	c.Hear(counter)
	wantAll(t, "{"+k+": ORSet{"+x+"}}", a, b, c)
	c.Tell(c.Say(drop("k")), a, b)
	wantAll(t, "{}", a, b, c)
	a.Tell(a.Say(put("k", inc(1))), b, c)
	wantAll(t, "{"+k+": counts 1}", a, b, c)
}

func TestConcurrentKindsDeterministic(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	counter, set := a.Say(put("k", inc(5))), b.Say(put("k", add("x")))
	a.Hear(set)
	b.Hear(counter)
	c.Hear(set)
	wantAll(t, "{"+k+": ORSet{"+x+"}}", c)
	c.Hear(counter)
	wantAll(t, "{"+k+": counts 5}", a, b, c) // as GCounter is the smaller kind

	// Removing the key removes both.
	c.Tell(c.Say(drop("k")), a, b)
	wantAll(t, "{}", a, b, c)
}

func TestUpdateWinsOverRemove(t *testing.T) {
	t.Parallel()

	// begin is what is there; change happens while somebody else removes the key, which leaves want.
	for name, c := range map[string]struct {
		begin, change *crdt.Update
		want          string
	}{
		"GCounter":           {inc(5), inc(2), "counts 2"},
		"PNCounter":          {change(5), change(-2), "sums up to -2"},
		"GSet":               {gset("x"), gset("y"), "GSet{" + y + "}"},
		"ORSet add":          {add("x"), add("y"), "ORSet{" + y + "}"},
		"ORSet remove":       {add("x", "y"), remove("x"), "ORSet{}"},
		"ORSet remove last":  {add("x"), remove("x"), "ORSet{}"},
		"ORSet clear":        {add("x"), &crdt.Update{Kind: crdt.ORSet, Cleared: true}, "ORSet{}"},
		"LWWRegister":        {write("1", 0, 0), write("2", 0, 0), `is "` + crdttest.TypeURL + `":"2"`},
		"Flag":               {&crdt.Update{Kind: crdt.Flag}, on(), "on true"},
		"Flag again":         {on(), on(), "on true"},
		"ORMap put":          {put("l", inc(1)), put("k", inc(2)), "{" + k + ": counts 2}"},
		"ORMap change":       {put("l", inc(1)), changed("l", inc(2)), "{" + l + ": counts 2}"},
		"ORMap remove":       {put("l", inc(1)), drop("l"), "{}"},
		"ORMap removes deep": {put("l", add("x")), changed("l", remove("x")), "{" + l + ": ORSet{}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			n1, n2, n3 := three(t, crdt.ORMap)
			n1.Tell(n1.Say(put("k", c.begin)), n2, n3)
			removal, update := n1.Say(drop("k")), n2.Say(changed("k", c.change))
			if update == nil {
				t.Fatal("the update says nothing to the others")
			}
			n1.Hear(update)
			n2.Hear(removal)
			n3.Hear(removal)
			n3.Hear(update)
			wantAll(t, "{"+k+": "+c.want+"}", n1, n2, n3)
		})
	}
}

func gset(values ...string) *crdt.Update {
	return &crdt.Update{Kind: crdt.GSet, Added: keys(values...)}
}

func TestNestedClearSparesSiblings(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	a.Tell(a.Say(put("k", add("x", "y"))), b, c)
	a.Tell(a.Say(put("l", add("x", "z"))), b, c)
	clearing := a.Say(changed("k", &crdt.Update{Kind: crdt.ORSet, Cleared: true}))
	addition := b.Say(changed("k", add("z")))
	a.Hear(addition)
	b.Hear(clearing)
	c.Hear(clearing)
	c.Hear(addition)
	wantAll(t, "{"+k+": ORSet{"+z+"}, "+l+": ORSet{"+x+" "+z+"}}", a, b, c)

	// And of a map in a map.
	a, b, c = three(t, crdt.ORMap)
	a.Tell(a.Say(put("k", put("k", inc(1)))), b, c)
	a.Tell(a.Say(put("l", put("k", inc(2)))), b, c)
	clearing = b.Say(changed("k", &crdt.Update{Kind: crdt.ORMap, Cleared: true}))
	a.Hear(clearing)
	c.Hear(clearing)
	wantAll(t, "{"+k+": {}, "+l+": {"+k+": counts 2}}", a, b, c)
}

func TestEmptyNestedValueIsPresent(t *testing.T) {
	t.Parallel()

	for _, kind := range crdttest.Kinds {
		a, b, c := three(t, crdt.ORMap)
		s := crdttest.NewStream(t, b)
		d := a.Say(put("k", &crdt.Update{Kind: kind}))
		s.Hear(d)
		s.Flush()
		c.Hear(a.Entity.Full())
		for _, n := range []*crdttest.Node{a, b, c} {
			if entry := n.Plain().Entries[crdttest.Element("k")]; entry == nil || entry.Kind != kind {
				t.Errorf("an empty %s is not there: %s", kind, n.Plain())
			}
		}
		if entry := s.Plain.Entries[crdttest.Element("k")]; entry == nil || entry.Kind != kind {
			t.Errorf("the user function is not told of an empty %s: %s", kind, s.Plain)
		}
	}
}

func TestUpdatedOnAbsentKeyIgnored(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORMap)
	a.Tell(a.Say(put("l", inc(1))), b)
	if d := a.Say(changed("k", inc(5))); d != nil {
		b.Hear(d)
	}
	// Another kind under a key that is there is absent, too.
	if d := a.Say(changed("l", add("x"))); d != nil {
		b.Hear(d)
	}
	wantAll(t, "{"+l+": counts 1}", a, b)

	// Removed while the user function was busy.
	s := crdttest.NewStream(t, a)
	a.Hear(b.Say(drop("l")))
	s.Say(changed("l", inc(5)))
	wantAll(t, "{}", a)
	s.Flush()
	if got := s.Plain.String(); got != "{}" {
		t.Errorf("the user function has %s", got)
	}
}

func TestNestedGCounterDropSentAsRemoveAdd(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORMap)
	s := crdttest.NewStream(t, a)
	b.Hear(s.Node.Say(put("k", inc(5))))
	s.Flush()
	s.Hear(b.Say(drop("k")))
	s.Hear(b.Say(put("k", inc(3))))
	u := s.Flush()
	if u == nil || len(u.Removed) != 1 || len(u.Put) != 1 || len(u.Changed) != 0 {
		t.Errorf("told %s, want the key removed and put", crdttest.Format(u))
	}
	// A counter that grew more than it lost is another one, too, and must not come as a growth of what was there... nor
	// may it come as nothing when it is as great as before.
	s.Hear(b.Say(drop("k")))
	s.Hear(b.Say(put("k", inc(3))))
	s.Flush()
	wantAll(t, s.Plain.String(), a, b)
}

func TestDeepNestingLimit(t *testing.T) {
	t.Parallel()

	nest := func(depth int) *crdt.Update { // maps in each other
		u := inc(1)
		for range depth {
			u = put("k", u)
		}
		return u
	}

	a, b, _ := three(t, crdt.ORMap)
	a.Tell(a.Say(nest(crdt.MaxDepth)), b)
	wantAll(t, a.Plain().String(), b)

	for _, depth := range []int{crdt.MaxDepth + 1, crdt.MaxDepth + 2, 100} {
		n := crdttest.NewNode(t, crdt.ORMap, 0, 1)
		if _, _, err := n.Apply(nest(depth), n.Seen()); !errors.Is(err, crdt.ErrTooLarge) {
			t.Errorf("%d maps in each other: error %v, want %v", depth, err, crdt.ErrTooLarge)
		}
		wantAll(t, "{}", n)
	}
}
