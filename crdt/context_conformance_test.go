package crdt_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// The fault that delta types are shipped with: a delta whose context is a prefix of its writer's clock takes away
// everything else of that writer wherever it arrives.
func TestDeltaContextNeverOverclaims(t *testing.T) {
	t.Parallel()

	t.Run("additions by delta", func(t *testing.T) {
		t.Parallel()
		a, b, c := three(t, crdt.ORSet)
		var said []*crdt.Delta
		for _, element := range []string{"x", "y", "z", "x2"} {
			said = append(said, a.Say(add(element)))
		}
		for i, d := range said {
			if got := dots(d.Ctx()); got != 1 {
				t.Errorf("a delta that adds one element claims to have seen %d dots: %v", got, d.Ctx().Ranges())
			}
			b.Hear(d)
			c.Hear(said[len(said)-1-i])
		}
		for _, n := range []*crdttest.Node{b, c} {
			if got := len(n.Plain().Elements); got != 4 {
				t.Errorf("%d elements of 4 arrived", got)
			}
		}
	})

	t.Run("a removal at a full copy", func(t *testing.T) {
		t.Parallel()
		a, b, _ := three(t, crdt.ORSet)
		a.Say(add("w", "x", "y", "z"))
		b.Hear(a.Entity.Full())
		removal := a.Say(remove("w"))
		if got := dots(removal.Ctx()); got != 1 {
			t.Errorf("a delta that removes one element claims to have seen %d dots", got)
		}
		b.Hear(removal)
		wantAll(t, "ORSet{"+x+" "+y+" "+z+"}", a, b)
	})

	t.Run("a map", func(t *testing.T) {
		t.Parallel()
		a, b, _ := three(t, crdt.ORMap)
		a.Say(put("k", add("x")))
		a.Say(put("l", put("k", inc(5))))
		b.Hear(a.Entity.Full())
		b.Hear(a.Say(changed("k", remove("x"))))
		b.Hear(a.Say(changed("l", put("l", on()))))
		b.Hear(a.Say(drop("k")))
		wantAll(t, "{"+l+": {"+k+": counts 5, "+l+": on true}}", a, b)
	})

	for _, kind := range []crdt.Kind{crdt.GSet, crdt.ORSet, crdt.ORMap} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			// Whatever is sent adds to the context no more than the writer's own new dots and what it removes, which others
			// wrote: all that a delta claims of its writer is new, or lived before.
			rapid.Check(t, func(t *rapid.T) {
				a, b := crdttest.NewNode(t, kind, 0, 1), crdttest.NewNode(t, kind, 1, 1)
				for range rapid.IntRange(1, 20).Draw(t, "steps") {
					from, to := a, b
					if rapid.Bool().Draw(t, "b says it") {
						from, to = b, a
					}
					before, live := from.Writer.Last, from.Entity.LiveDots()
					u := crdttest.DrawUpdate(t, kind, from.Plain())
					if u.Cleared { // which says in a few bytes that all is dead that was ever seen
						seen := from.Entity.Ctx().Snapshot()
						live = &seen
					}
					d := from.Say(u)
					if d == nil {
						continue
					}
					for _, r := range d.Ctx().Ranges() {
						for dot := r.First; dot <= r.Last; dot++ {
							isNew := dot.Slot() == from.Writer.Slot && dot.N() > before && dot.N() <= from.Writer.Last
							if !isNew && !live.Has(dot) {
								t.Fatalf("the delta claims %d:%d:%d, which it neither adds nor removes", dot.Slot(), dot.Epoch(), dot.N())
							}
						}
					}
					if rapid.Bool().Draw(t, "heard") {
						to.Hear(d)
					}
				}
			})
		})
	}
}

func dots(c *crdt.Ctx) int {
	n := 0
	for _, r := range c.Ranges() {
		n += int(r.Last-r.First) + 1
	}

	return n
}

func TestRemoveOvertakesAdd(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORSet)
	addition := a.Say(add("x", "y"))
	b.Hear(addition)
	removal := b.Say(remove("x"))
	c.Hear(removal)
	wantAll(t, "ORSet{}", c)
	c.Hear(addition)
	wantAll(t, "ORSet{"+y+"}", c)

	a, b, c = three(t, crdt.ORMap)
	addition = a.Say(put("k", inc(5)))
	b.Hear(addition)
	removal = b.Say(drop("k"))
	c.Hear(removal)
	c.Hear(addition)
	wantAll(t, "{}", c)
}

func TestGapThenFill(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	var said []*crdt.Delta
	for i := range 7 {
		said = append(said, a.Say(add(fmt.Sprint(i))))
	}
	for _, i := range []int{0, 2, 3, 6} {
		b.Hear(said[i])
	}
	if got := len(b.Entity.Ctx().Ranges()); got != 3 {
		t.Errorf("dots 1, 3, 4 and 7 are %d ranges", got)
	}
	if missing := b.Entity.Ctx().Missing(a.Entity.Ctx()); dots(missing) != 3 {
		t.Errorf("missing %v", missing.Ranges())
	}
	b.Hear(a.Entity.Since(b.Entity.Ctx()))
	wantAll(t, a.Plain().String(), b)
	if got := len(b.Entity.Ctx().Ranges()); got != 1 {
		t.Errorf("dots 1 to 7 are %d ranges", got)
	}
	for _, d := range said {
		if b.Hear(d) {
			t.Error("what had been filled in is news")
		}
	}
}

func TestCloudCompacts(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.ORSet)
	var said []*crdt.Delta
	for i := range 1000 {
		said = append(said, a.Say(add(fmt.Sprint(i%10))))
	}
	most := 0
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(said)) {
		b.Hear(said[i])
		most = max(most, len(b.Entity.Ctx().Ranges()))
	}
	if ranges := b.Entity.Ctx().Ranges(); len(ranges) != 1 || most < 10 {
		t.Errorf("1,000 dots in any order were at most %d ranges, and in the end %d", most, len(ranges))
	}
	if !b.Entity.Ctx().Equal(a.Entity.Ctx()) {
		t.Errorf("contexts %v and %v", a.Entity.Ctx().Ranges(), b.Entity.Ctx().Ranges())
	}
}

func TestSealedPrefixAbsorbsEpochs(t *testing.T) {
	t.Parallel()

	var c crdt.Ctx
	for epoch := range crdt.Epoch(10) {
		c.AddRange(crdt.Range{First: crdt.MakeDot(3, epoch+1, 1), Last: crdt.MakeDot(3, epoch+1, 7)})
		c.AddRange(crdt.Range{First: crdt.MakeDot(3, epoch+1, 9), Last: crdt.MakeDot(3, epoch+1, 9)})
		c.Add(crdt.MakeDot(4, epoch+1, 2))
	}
	if got := len(c.Ranges()); got != 30 {
		t.Fatalf("%d ranges", got)
	}
	if !c.Close(3, 8) || c.Close(3, 8) || c.Close(3, 5) {
		t.Error("closing grows the context once")
	}
	if through, ok := c.Closed(3); !ok || through != 8 {
		t.Errorf("closed through %d, %t", through, ok)
	}
	if got := len(c.Ranges()); got != 1+4+10 {
		t.Errorf("%d ranges are left: %v", got, c.Ranges())
	}
	if !c.Has(crdt.MakeDot(3, 8, 8)) || c.Has(crdt.MakeDot(3, 9, 8)) || c.Add(crdt.MakeDot(3, 2, 100)) {
		t.Error("exactly the dots of closed epochs are seen, whether they ever were or not")
	}
	if _, ok := c.Closed(4); ok {
		t.Error("another slot is closed")
	}

	// The last epoch of a slot and the first of the next one touch.
	for _, order := range [][]crdt.Slot{{1, 2}, {2, 1}} {
		var c crdt.Ctx
		for _, slot := range order {
			c.Close(slot, map[crdt.Slot]crdt.Epoch{1: crdt.MaxEpochs - 1, 2: 3}[slot])
		}
		one, _ := c.Closed(1)
		two, ok := c.Closed(2)
		if one != crdt.MaxEpochs-1 || two != 3 || !ok {
			t.Errorf("slot 1 is closed through %d, slot 2 through %d", one, two)
		}
		if last := c.Last(2, 3); last != math.MaxUint32 {
			t.Errorf("the last number of a closed epoch is %d", last)
		}
	}
}

func TestContextBytesBoundedBySlots(t *testing.T) {
	t.Parallel()

	// Many writes by few writers, in any order: what is left when all arrived takes a few bytes for each writer.
	nodes := []*crdttest.Node{crdttest.NewNode(t, crdt.ORSet, 0, 1), crdttest.NewNode(t, crdt.ORSet, 1, 1), crdttest.NewNode(t, crdt.ORSet, 2, 1)}
	random := rand.New(rand.NewPCG(3, 4))
	var said []*crdt.Delta
	for i := range 3000 {
		said = append(said, nodes[i%3].Say(add(fmt.Sprint(i))))
		if i%10 == 0 {
			nodes[random.IntN(3)].Hear(said[random.IntN(len(said))])
		}
	}
	said = append(said, nodes[0].Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true}))
	random.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
	for _, n := range nodes {
		for _, d := range said {
			n.Hear(d)
		}
		if got := len(n.Entity.Ctx().Ranges()); got != 3 {
			t.Errorf("3 writers take %d ranges", got)
		}
		n.Hear(nodes[0].Say(&crdt.Update{Kind: crdt.ORSet, Cleared: true}))
	}
	if got := len(nodes[0].Entity.Full().AppendBinary(nil)); got > 64 {
		t.Errorf("an empty set of 3 writers takes %d bytes after 3,000 additions", got)
	}
}

// A context does what a set of dots does.
func TestContextIsSetOfDots(t *testing.T) {
	t.Parallel()

	dot := rapid.Custom(func(t *rapid.T) crdt.Dot {
		return crdt.MakeDot(
			rapid.SampledFrom([]crdt.Slot{0, 1, crdt.MaxSlots - 1}).Draw(t, "slot"),
			rapid.SampledFrom([]crdt.Epoch{1, 2, crdt.MaxEpochs - 1}).Draw(t, "epoch"),
			rapid.Uint32Range(1, 9).Draw(t, "n"))
	})
	all := func(f func(crdt.Dot)) {
		for _, slot := range []crdt.Slot{0, 1, crdt.MaxSlots - 1} {
			for _, epoch := range []crdt.Epoch{1, 2, crdt.MaxEpochs - 1} {
				for n := range uint32(11) {
					f(crdt.MakeDot(slot, epoch, n+1))
				}
			}
		}
	}
	draw := func(t *rapid.T) (*crdt.Ctx, map[crdt.Dot]bool) {
		c, model := new(crdt.Ctx), make(map[crdt.Dot]bool)
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			first := dot.Draw(t, "first")
			switch rapid.IntRange(0, 5).Draw(t, "action") {
			case 0:
				grew := false
				all(func(d crdt.Dot) {
					if d.Slot() == first.Slot() && d.Epoch() <= first.Epoch() {
						grew = grew || !model[d]
						model[d] = true
					}
				})
				if c.Close(first.Slot(), first.Epoch()) != grew && grew {
					t.Fatal("closing says that nothing is new")
				}
			case 1:
				s := c.Snapshot()
				before := slices.Clone(s.Ranges())
				c.Add(first)
				model[first] = true
				if !slices.Equal(s.Ranges(), before) {
					t.Fatal("a snapshot changed")
				}
			default:
				last := crdt.MakeDot(first.Slot(), first.Epoch(), first.N()+rapid.Uint32Range(0, 2).Draw(t, "more"))
				grew := false
				for d := first; d <= last; d++ {
					grew = grew || !model[d]
					model[d] = true
				}
				if c.AddRange(crdt.Range{First: first, Last: last}) != grew {
					t.Fatalf("adding %x to %x: grew is not %t", first, last, grew)
				}
			}
		}

		return c, model
	}
	check := func(t *rapid.T, what string, c *crdt.Ctx, has func(crdt.Dot) bool) {
		all(func(d crdt.Dot) {
			if c.Has(d) != has(d) {
				t.Fatalf("%s: has %d:%d:%d is %t; ranges %x", what, d.Slot(), d.Epoch(), d.N(), c.Has(d), c.Ranges())
			}
		})
		for i, r := range c.Ranges() {
			if r.Last < r.First || i > 0 && r.First <= c.Ranges()[i-1].Last {
				t.Fatalf("%s: ranges %x are not in order", what, c.Ranges())
			}
		}
	}

	rapid.Check(t, func(t *rapid.T) {
		a, inA := draw(t)
		b, inB := draw(t)
		check(t, "a", a, func(d crdt.Dot) bool { return inA[d] })
		check(t, "both", a.Intersect(b), func(d crdt.Dot) bool { return inA[d] && inB[d] })
		check(t, "what a lacks", a.Missing(b), func(d crdt.Dot) bool { return inB[d] && !inA[d] })
		if a.Subset(b) != a.Intersect(b).Equal(a) || a.Subset(b) != b.Missing(a).Empty() {
			t.Fatalf("%x is in %x: %t", a.Ranges(), b.Ranges(), a.Subset(b))
		}
		union := a.Snapshot()
		if grew := union.Union(b); grew == b.Subset(a) {
			t.Fatalf("%x and %x: grew is %t", a.Ranges(), b.Ranges(), grew)
		}
		check(t, "union", &union, func(d crdt.Dot) bool { return inA[d] || inB[d] })
		check(t, "a after union", a, func(d crdt.Dot) bool { return inA[d] })
		other := b.Snapshot()
		other.Union(a)
		if !union.Equal(&other) {
			t.Fatalf("unions %x and %x", union.Ranges(), other.Ranges())
		}
	})
}
