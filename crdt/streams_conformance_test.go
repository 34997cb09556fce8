package crdt_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// Every kind, with maps in maps: whatever others do, a user function is told what a plain value can do, and then has the
// value of its replica.
func TestDeltaAppliesCleanlyToPlainValue(t *testing.T) {
	t.Parallel()

	for _, kind := range crdttest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			crdttest.Check(t, crdttest.Run{Kind: kind, Delivery: crdttest.AnyOrder, Streams: 2})
		})
	}
}

// told checks that a stream is told exactly that.
func told(t *testing.T, s *crdttest.Stream, want string) {
	t.Helper()

	if got := crdttest.Format(s.Flush()); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestOwnOpNotEchoed(t *testing.T) {
	t.Parallel()

	// Of each kind, and of each kind in a map.
	said := [][]*crdt.Update{
		{inc(1), inc(2)},
		{change(5), change(-2), change(-3)},
		{gset("x"), gset("y")},
		{add("x", "y"), remove("x"), add("z"), {Kind: crdt.ORSet, Cleared: true}},
		{write("1", crdt.ClockCustom, 1), write("2", crdt.ClockCustom, 2), write("1", crdt.ClockDefault, 0)},
		{{Kind: crdt.Flag}, on()},
		{put("k", inc(1)), changed("k", inc(2)), put("l", add("x")), changed("l", remove("x")), drop("k"), put("k", on())},
	}
	for _, us := range said {
		s := crdttest.NewStream(t, crdttest.NewNode(t, us[0].Kind, 0, 1))
		m := crdttest.NewStream(t, crdttest.NewNode(t, crdt.ORMap, 0, 1))
		for _, u := range us {
			s.Say(u)
			told(t, s, "nothing")
			m.Say(put("k", u))
			told(t, m, "nothing")
		}
	}
}

func TestAddThenRemoveWhileBusyRemoves(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	s := crdttest.NewStream(t, a)
	s.Hear(b.Say(add("z"))) // which it is not told while it is busy
	s.Say(add("x"))
	s.Say(remove("x"))
	wantAll(t, "ORSet{"+z+"}", a)
	told(t, s, "ORSet( +"+z+")")

	a, b, _ = three(t, crdt.ORMap)
	s = crdttest.NewStream(t, a)
	s.Hear(b.Say(put("l", inc(1))))
	s.Say(put("k", inc(1)))
	s.Say(changed("k", inc(2)))
	s.Say(drop("k"))
	wantAll(t, "{"+l+": counts 1}", a)
	told(t, s, "ORMap( "+l+"=GCounter(+1))")
}

func TestSecondStreamSeesFirstStreamsOp(t *testing.T) {
	t.Parallel()

	n := crdttest.NewNode(t, crdt.ORSet, 0, 1)
	first, second := crdttest.NewStream(t, n), crdttest.NewStream(t, n)
	first.Say(add("x", "z"))
	told(t, second, "ORSet( +"+x+" +"+z+")")
	told(t, first, "nothing")
	first.Say(remove("x"))
	told(t, second, "ORSet( -"+x+")")
	told(t, first, "nothing")

	// What the second has not been told, it cannot remove.
	first.Say(add("y"))
	second.Say(remove("y"))
	wantAll(t, "ORSet{"+y+" "+z+"}", n)
	told(t, second, "ORSet( +"+y+")")

	n = crdttest.NewNode(t, crdt.GCounter, 0, 1)
	first, second = crdttest.NewStream(t, n), crdttest.NewStream(t, n)
	first.Say(inc(3))
	second.Say(inc(4))
	told(t, first, "GCounter(+4)")
	told(t, second, "GCounter(+3)")
}

// Increments that one stream makes are not removed by another one that has not been told of them, although both write
// into the same segments.
func TestStreamRemovesOnlyIncrementsItWasTold(t *testing.T) {
	t.Parallel()

	n := crdttest.NewNode(t, crdt.ORMap, 0, 1)
	n.Writer.Pending = 1 // so that increments are added up before they leave
	first, second := crdttest.NewStream(t, n), crdttest.NewStream(t, n)
	first.Say(put("k", inc(5)))
	told(t, second, "ORMap( "+k+"=GCounter(+5))")
	first.Say(changed("k", inc(3)))
	second.Say(drop("k"))
	wantAll(t, "{"+k+": counts 3}", n)
	first.Flush()
	second.Flush()
	for _, s := range []*crdttest.Stream{first, second} {
		if got := s.Plain.String(); got != "{"+k+": counts 3}" {
			t.Errorf("the user function has %s", got)
		}
	}
}

func TestSlowStreamGetsClearedPlusFull(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	s := crdttest.NewStream(t, a)
	var before, after []string
	for i := range 50 {
		before, after = append(before, fmt.Sprint("b", i)), append(after, fmt.Sprint("a", i))
	}
	s.Hear(b.Say(add(before...)))
	s.Flush()
	s.Hear(b.Say(remove(before...)))
	s.Hear(b.Say(add("z")))
	u := s.Flush()
	if u == nil || !u.Cleared || len(u.Removed) != 0 || !slices.Equal(u.Added, keys("z")) {
		t.Errorf("told %s, want the set cleared and z added", crdttest.Format(u))
	}
	// A few among many are named.
	s.Hear(b.Say(add(after...)))
	s.Flush()
	s.Hear(b.Say(remove("a1")))
	u = s.Flush()
	if u == nil || u.Cleared || !slices.Equal(u.Removed, keys("a1")) {
		t.Errorf("told %s, want a1 removed", crdttest.Format(u))
	}
	// The last one goes.
	s.Hear(b.Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true}))
	u = s.Flush()
	if u == nil || !u.Cleared || len(u.Removed)+len(u.Added) != 0 {
		t.Errorf("told %s, want the set cleared", crdttest.Format(u))
	}
}

func TestAddThenRemoveBetweenFlushesSendsNothing(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	s := crdttest.NewStream(t, a)
	s.Hear(b.Say(add("y")))
	s.Flush()
	s.Hear(b.Say(add("x")))
	s.Hear(b.Say(remove("x")))
	s.Hear(b.Say(remove("y")))
	s.Hear(b.Say(add("y")))
	told(t, s, "nothing")

	a, b, _ = three(t, crdt.ORMap)
	s = crdttest.NewStream(t, a)
	s.Hear(b.Say(put("l", inc(1))))
	s.Flush()
	s.Hear(b.Say(put("k", inc(1))))
	s.Hear(b.Say(drop("k")))
	told(t, s, "nothing")
}

// All that changed comes in one update: a user function never sees half of it.
func TestOneCrdtDeltaPerFlush(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORMap)
	s := crdttest.NewStream(t, a)
	s.Hear(b.Say(put("k", inc(1))))
	s.Hear(b.Say(put("l", add("x"))))
	told(t, s, "ORMap( "+k+"=GCounter(+1) "+l+"=ORSet( +"+x+"))")
	s.Hear(b.Say(changed("k", inc(1))))
	s.Hear(b.Say(changed("l", &crdt.Update{Kind: crdt.ORSet, Removed: keys("x"), Added: keys("y", "z")})))
	s.Hear(b.Say(put("m", on())))
	u := s.Flush()
	if u == nil || len(u.Changed) != 2 || len(u.Put) != 1 {
		t.Errorf("told %s, want two changed and one put", crdttest.Format(u))
	}
	told(t, s, "nothing")
	wantAll(t, s.Plain.String(), a, b)
}
