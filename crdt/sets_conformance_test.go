package crdt_test

import (
	"fmt"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

func TestAddWinsOverConcurrentRemove(t *testing.T) {
	t.Parallel()

	for _, removeFirst := range []bool{true, false} {
		a, b, c := three(t, crdt.ORSet)
		a.Tell(a.Say(add("x")), b, c)

		removal, addition := a.Say(remove("x")), b.Say(add("x"))
		a.Hear(addition)
		b.Hear(removal)
		if removeFirst {
			c.Hear(removal)
			c.Hear(addition)
		} else {
			c.Hear(addition)
			c.Hear(removal)
		}

		wantAll(t, "ORSet{"+x+"}", a, b, c)
	}
}

func TestRemoveDoesNotKillUnseenAdd(t *testing.T) {
	t.Parallel()

	for name, update := range map[string]*crdt.Update{"remove": remove("x", "y"), "clear": {Kind: crdt.ORSet, Cleared: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			a, b, _ := three(t, crdt.ORSet)
			a.Tell(a.Say(add("x", "z")), b)
			shown := a.Seen()
			// While the user function is busy, another node adds x again and y. It is not told.
			b.Tell(b.Say(add("x", "y")), a)
			b.Hear(a.SaySeen(update, shown))

			if update.Cleared {
				wantAll(t, "ORSet{"+x+" "+y+"}", a, b)
			} else {
				wantAll(t, "ORSet{"+x+" "+y+" "+z+"}", a, b)
			}
		})
	}
}

func TestClearVsConcurrentAdd(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORSet)
	a.Tell(a.Say(add("x", "y")), b, c)
	clearing, addition := a.Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true}), b.Say(add("y", "z"))
	a.Hear(addition)
	b.Hear(clearing)
	c.Hear(addition)
	c.Hear(clearing)
	wantAll(t, "ORSet{"+y+" "+z+"}", a, b, c)
}

func TestClearIsConstantSize(t *testing.T) {
	t.Parallel()

	size := func(elements int) int {
		a, b, _ := three(t, crdt.ORSet)
		for i := range elements {
			a.Say(add(fmt.Sprint(i)))
		}
		b.Hear(a.Entity.Full())
		d := b.Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true})
		a.Hear(d)
		wantAll(t, "ORSet{}", a, b)

		return len(d.AppendBinary(nil))
	}

	few, many := size(10), size(10_000)
	t.Logf("clearing 10 elements takes %d bytes, 10,000 take %d", few, many)
	if many > few+4 { // for a longer number
		t.Errorf("clearing 10,000 elements takes %d bytes, 10 elements %d", many, few)
	}
}

func TestClearedRemovedAddedOrder(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	a.Tell(a.Say(add("x", "z")), b)
	last := a.Writer.Last
	d := a.Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true, Removed: keys("x", "y"), Added: keys("x", "y")})
	if got := a.Writer.Last - last; got != 2 {
		t.Errorf("adding two elements took %d dots", got)
	}
	b.Hear(d)
	wantAll(t, "ORSet{"+x+" "+y+"}", a, b)
}

func TestReaddRefreshesDot(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	a.Tell(a.Say(add("x")), b)
	again := a.Say(add("x"))
	if again == nil {
		t.Fatal("adding an element again says nothing to the others")
	}
	removal := b.Say(remove("x"))
	a.Hear(removal)
	b.Hear(again)
	wantAll(t, "ORSet{"+x+"}", a, b)
}

func TestSameElementAddedTwiceConcurrentlyThenRemovedOnce(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORSet)
	first, second := a.Say(add("x")), b.Say(add("x"))

	// c has seen one of them, a has seen both.
	c.Hear(first)
	one := c.Say(remove("x"))
	a.Hear(second)
	b.Hear(first)
	wantAll(t, "ORSet{"+x+"}", a, b)

	d := crdttest.NewNode(t, crdt.ORSet, 3, 1)
	d.Hear(one)
	d.Hear(second)
	d.Hear(first)
	wantAll(t, "ORSet{"+x+"}", d)

	a.Tell(a.Say(remove("x")), b, c, d)
	c.Hear(second)
	b.Hear(one)
	a.Hear(one)
	wantAll(t, "ORSet{}", a, b, c, d)
}

func TestEqualBytesDifferentTypeUrlAreDistinct(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	one, other, none := crdt.MakeKey("one", []byte("x")), crdt.MakeKey("other", []byte("x")), crdt.MakeKey("", []byte("x"))
	a.Tell(a.Say(&crdt.Update{Kind: crdt.ORSet, Added: []crdt.Key{one, other, none, {}}}), b)
	b.Tell(b.Say(&crdt.Update{Kind: crdt.ORSet, Removed: []crdt.Key{other}}), a)
	wantAll(t, `ORSet{"" "one":"x" "x"}`, a, b)
}
