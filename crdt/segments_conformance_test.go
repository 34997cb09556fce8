package crdt_test

import (
	"fmt"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// increments lets a node count to n in a counter in a map, and everything leaves it at once.
func increments(n *crdttest.Node, count int) (said []*crdt.Delta) {
	said = append(said, n.Say(put("k", inc(1))))
	for range count - 1 {
		said = append(said, n.Say(changed("k", inc(1))))
	}

	return said
}

func counts(n int) string { return fmt.Sprintf("{%s: counts %d}", k, n) }

func encoded(e *crdt.Entity) string { return string(e.Full().AppendBinary(nil)) }

func TestSegmentFoldIsInflation(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	increments(a, 10)
	unfolded := a.Entity.Full()
	b.Hear(unfolded)
	before := encoded(a.Entity)
	fold := a.Entity.Stable(a.Writer, a.Seen())
	if fold == nil {
		t.Fatal("nothing is folded")
	}
	folded := encoded(a.Entity)
	if len(folded) >= len(before) {
		t.Errorf("folding made %d bytes of %d", len(folded), len(before))
	}
	wantAll(t, counts(10), a)
	if a.Hear(unfolded) || encoded(a.Entity) != folded {
		t.Error("what is not folded is news to what is")
	}
	if !b.Hear(fold) || encoded(b.Entity) != folded {
		t.Errorf("the fold made %x of %x, want %x", encoded(b.Entity), before, folded)
	}
	c.Hear(fold)
	c.Hear(unfolded)
	if encoded(c.Entity) != folded {
		t.Errorf("the fold before what it folds made %x, want %x", encoded(c.Entity), folded)
	}
	wantAll(t, counts(10), a, b, c)
	if again := a.Entity.Stable(a.Writer, a.Seen()); again != nil {
		t.Error("what is folded is folded again")
	}

	// What is not known everywhere is not folded.
	seen := a.Seen()
	a.Say(changed("k", inc(5)))
	a.Say(changed("k", inc(5)))
	if again := a.Entity.Stable(a.Writer, seen); again != nil {
		t.Error("what others have not seen is folded")
	}
	wantAll(t, counts(20), a)
}

func TestSegmentForcedFoldConverges(t *testing.T) {
	t.Parallel()

	// Nobody ever says that something is stable, and a removal has seen only part of what is folded.
	a, b, c := three(t, crdt.ORMap)
	var said []*crdt.Delta
	var removal *crdt.Delta
	for i := range 300 {
		update := put("k", inc(1))
		if i > 0 {
			update = changed("k", inc(1))
		}
		said = append(said, a.Say(update))
		if i < 100 {
			b.Hear(said[i])
		}
		if i == 99 {
			removal = b.Say(drop("k"))
		}
	}
	if live := dots(a.Entity.LiveDots()); live > 70 {
		t.Errorf("300 increments of one writer are %d live dots", live)
	}
	wantAll(t, counts(300), a)

	c.Hear(removal)
	for i := range said {
		c.Hear(said[len(said)-1-i])
	}
	a.Hear(removal)
	for _, d := range said {
		b.Hear(d)
	}
	got := a.Plain().String()
	wantAll(t, got, b, c)
	if a, b, c := encoded(a.Entity), encoded(b.Entity), encoded(c.Entity); a != b || b != c {
		t.Errorf("states differ:\n%x\n%x\n%x", a, b, c)
	}
	// It is the removal of what it had seen, or, where that is folded with the rest, of nothing or of that as well.
	if count := a.Plain().Entries[keys("k")[0]].Count; count < 200 || count > 300 {
		t.Errorf("300 increments and the removal of 100 are %d", count)
	}
}

func TestSealFoldsDeadOwnersSegments(t *testing.T) {
	t.Parallel()

	a, b, store := three(t, crdt.ORMap)
	b.Hear(a.Say(put("l", add("x"))))
	for _, d := range increments(a, 10) {
		b.Hear(d)
	}
	b.Say(changed("k", inc(5)))
	// The slot's next holder counts, too, and is gone as well.
	next := crdttest.NewNode(t, crdt.ORMap, 0, 2)
	next.Hear(b.Entity.Full())
	for range 4 {
		next.Say(changed("k", inc(1)))
	}
	store.Hear(next.Entity.Full())
	before := store.Plain().String()
	live := dots(store.Entity.LiveDots())

	_, sealed, err := store.Entity.Seal(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, before, store)
	if now := dots(store.Entity.LiveDots()); now > live-12 {
		t.Errorf("14 segments of a dead slot: %d dots before sealing, %d after", live, now)
	}
	if through, ok := store.Entity.Ctx().Closed(0); !ok || through != 2 {
		t.Errorf("closed through %d, %t", through, ok)
	}
	b.Hear(sealed)
	b.Hear(store.Entity.Full())
	next.Hear(store.Entity.Full())
	wantAll(t, before, b, next)
	if encoded(b.Entity) != encoded(store.Entity) {
		t.Errorf("who heard of the seal differs:\n%x\n%x", encoded(store.Entity), encoded(b.Entity))
	}
	// It goes on from there.
	b.Tell(b.Say(changed("k", inc(1))), store, next)
	b.Tell(b.Say(drop("k")), store, next)
	wantAll(t, "{"+l+": ORSet{"+x+"}}", b, store, next)
}

func TestFoldedRemoveHitsUnfoldedPeer(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	for _, d := range increments(a, 5) {
		b.Hear(d)
		c.Hear(d)
	}
	fold := a.Entity.Stable(a.Writer, a.Seen())
	b.Hear(fold)
	removal := b.Say(drop("k"))
	c.Hear(removal) // before the fold
	wantAll(t, "{}", b, c)
	c.Hear(fold)
	a.Hear(removal)
	wantAll(t, "{}", a, b, c)
	if a, c := encoded(a.Entity), encoded(c.Entity); a != c {
		t.Errorf("states differ:\n%x\n%x", a, c)
	}
}
