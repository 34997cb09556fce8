package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// fellows makes a process write an element that it can tell only a fellow, and has both lose their slots and the
// element's epoch sealed without it. The fellow's user function has been told of it, and is busy from then on.
func fellows(t *testing.T, c *cluster) (a, b, z *simStream) {
	t.Helper()
	a, b, z = c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x"), c.open(c.nodes[2], "set-x")
	c.sure2(c.write(a, add("known"), replica.All))
	a.set["known"] = true
	was := c.nodes[0].standing.Self
	c.fence(c.nodes[0])
	c.fence(c.nodes[1])
	delete(c.severed, [2]int{0, 1})
	c.write(a, add("own", "other"), replica.Local)
	a.set["own"], a.set["other"] = true, true
	c.runFor(500 * time.Millisecond)
	b.flush()
	if !b.set["own"] {
		t.Fatal("the user function that is to remove it has not been told of it")
	}
	b.flushing = true
	c.cut(0, 1)
	c.runFor(2 * seatTTL)
	c.sealAll("set-x", c.sealings)
	if !sealedFor(z, was.Slot, was.Epoch) {
		t.Fatalf("%v is not sealed: %v", was, z.resident().state.Epochs())
	}
	return a, b, z
}

// back lets a process that was fenced reach everybody again.
func (c *cluster) back(n *simNode) {
	n.storeCut = false
	for to := range 20 {
		delete(c.severed, [2]int{n.place, to})
		delete(c.severed, [2]int{to, n.place})
	}
}

// A process that had heard of an element comes back before the element's writer, and loses it, because it has been sealed
// out. Its user function removes it before it is told. That is confirmed, so the writer does not bring it again.
func TestRemovalBeforeTheWriterIsBack(t *testing.T) {
	t.Parallel()
	for _, level := range []replica.Level{replica.Local, replica.Majority, replica.All} {
		t.Run(fmt.Sprint(level), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, sealing0)
			a, b, z := fellows(t, c)
			c.back(c.nodes[1])
			c.runFor(20 * time.Second)
			c.equal(b, z)
			if slices.Contains(b.elements(), "own") {
				t.Fatal("it has not been sealed out")
			}
			c.sure2(c.write(b, remove("own"), level))
			c.runFor(time.Second)
			c.back(c.nodes[0])
			c.runFor(20 * time.Second)
			c.equal(a, b, z)
			if es := z.elements(); slices.Contains(es, "own") || !slices.Contains(es, "other") {
				t.Errorf("%q, where own was removed and other was not", es)
			}
		})
	}
}

// So it is whoever comes back when, whatever the user function was told in between, and also if it adds the element once
// more or clears all: what was removed and confirmed is gone for good, and what was not is there in the end.
func TestRemovalsOfWhatWasSealedOut(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() || RaceDetector {
		seeds = 15
	}
	early, lost := 0, 0
	for seed := range seeds {
		c := newCluster(t, 3, sealing0)
		c.random = rand.New(rand.NewPCG(seed, 3))
		a, b, z := fellows(t, c)
		c.faults = simFaults{
			drop: 0.1, conflict: []float64{0, 0.2}[c.random.IntN(2)], putError: []float64{0, 0.1}[c.random.IntN(2)],
			delay: 20 * time.Millisecond, storeDelay: []time.Duration{2 * time.Millisecond, 300 * time.Millisecond}[c.random.IntN(2)],
		}
		first, second := c.nodes[1], c.nodes[0]
		if c.chance(0.2) {
			first, second = second, first
		}
		c.back(first)
		c.schedule(c.some(10*time.Second), nil, true, func() { c.back(second) })
		if c.chance(0.3) {
			b.flushing = false // it is told what has become of the element, if it is not too late for that
		}
		c.runFor(c.some(12 * time.Second))
		level := replica.Level(c.random.IntN(3))
		var removal *promise
		try := func(u *crdt.Update) *promise {
			for range 1000 {
				if r := b.resident(); b.user.n.standing.writable() && !r.behind && r.phase == phaseLive {
					return c.write(b, u, level)
				}
				c.runFor(30 * time.Millisecond)
			}
			t.Fatalf("seed %d: nothing can be written", seed)
			return nil
		}
		cleared := c.chance(0.2)
		if c.chance(0.2) {
			try(add("own"))
			b.set["own"] = true
			c.runFor(c.some(time.Second))
		}
		if !slices.Contains(b.elements(), "own") {
			early++
		}
		if removal = try(remove("own")); cleared {
			removal = try(&crdt.Update{Kind: crdt.ORSet, Cleared: true})
		}
		delete(b.set, "own")
		if cleared {
			clear(b.set)
		}
		c.runFor(15 * time.Second)
		c.faults = simFaults{delay: 5 * time.Millisecond, storeDelay: 2 * time.Millisecond}
		c.runFor(40 * time.Second)
		c.equal(a, b, z)
		es := z.elements()
		if !removal.done {
			t.Errorf("seed %d: the removal has not been answered", seed)
		}
		if slices.Contains(es, "own") && removal.err == nil {
			t.Errorf("seed %d: %q, though own was removed at level %v", seed, es, level)
		}
		if other := slices.Contains(es, "other"); !other && !cleared || other && cleared && removal.err == nil {
			t.Errorf("seed %d: %q, where other was cleared: %v", seed, es, cleared)
		}
		if removal.err != nil {
			lost++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds, in %d of which the element was away when it was removed; %d removals were not confirmed", seeds, early, lost)
	if early < int(seeds/5) || lost > int(seeds/2) {
		t.Error("too little happened")
	}
}

// A removal can reach the journal at the last moment, from a process that is gone by then, after the element's writer was
// sealed. Whoever folds that tail away remembers it.
func TestRemovalInAFoldedTail(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, sealing0)
	a, b, z := fellows(t, c)
	left := crdt.New(0)
	if _, err := left.Join(b.resident().state.Full(), nil); err != nil {
		t.Fatal(err)
	}
	was := identityOf(b.user.n.standing.Self)
	d, _, err := left.Apply(&crdt.Writer{Slot: was.slot, Epoch: was.epoch, Last: 100}, remove("own"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.user.n.die()
	key := tailKey(refOf("set-x"), was.slot)
	if _, err := c.put(journal.Cell{
		Key: key, Version: c.cells[key].Version,
		Value: (&tail{owner: was, delta: d.AppendBinary(nil)}).append(nil),
	}); err != nil {
		t.Fatal(err)
	}
	for place := range 2 { // which take the slots of those that are gone
		c.begin(30 + place)
		c.runFor(time.Second)
	}
	for range 2 {
		c.sure2(c.write(z, add("long enough to be folded"), replica.Majority))
		c.runFor(20 * time.Second)
	}
	if c.cells[key].Version > 0 {
		t.Fatal("the tail has not been folded")
	}
	c.back(c.nodes[0])
	c.runFor(20 * time.Second)
	c.equal(a, z)
	if es := z.elements(); slices.Contains(es, "own") || !slices.Contains(es, "other") {
		t.Errorf("%q, where own was removed and other was not", es)
	}
}
