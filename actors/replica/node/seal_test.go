package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// A process that is started again and again leaves no more behind than one that never was.
func TestThousandIncarnationsBoundedState(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	n := c.nodes[0]
	size := 0
	for i := range 1000 {
		count, set := c.open(n, "count"), c.open(n, "set")
		c.sure2(c.write(count, plus(1), replica.Majority))
		c.sure2(c.write(set, add("x"), replica.Majority))
		if i == 20 {
			c.runFor(5 * time.Second)
			size = len(count.resident().state.Full().AppendBinary(nil)) + len(set.resident().state.Full().AppendBinary(nil))
		}
		if i == 999 {
			c.runFor(5 * time.Second)
			last := len(count.resident().state.Full().AppendBinary(nil)) + len(set.resident().state.Full().AppendBinary(nil))
			if last > 2*size {
				t.Errorf("after 1,000 incarnations the states have %d bytes, after 20 they had %d", last, size)
			}
			if got := count.value().Increment; got != 1000 {
				t.Errorf("the counter is %d", got)
			}
			break
		}
		n.die()
		c.nodes = nil
		for _, x := range c.seats.seats { // its lease is over, and nobody has to wait for that
			x.expires = c.now.Add(-time.Second)
		}
		n = c.begin(0)
		c.runFor(900 * time.Millisecond)
	}
}

// fence has a process lose its slot while it goes on, and be sealed out of what it wrote.
func (c *cluster) fence(n *simNode) {
	c.t.Helper()
	n.storeCut = true
	for _, o := range c.live() {
		if o != n {
			c.cut(n.place, o.place)
			c.cut(o.place, n.place)
		}
	}
}

func (c *cluster) unfence(n *simNode) {
	n.storeCut = false
	clear(c.severed)
	c.runFor(20 * time.Second)
}

func sealing0(c *Config) { c.SealEpochs, c.TailBytes, c.IdleTime = 1, 10, time.Hour }

// sealAll has everything of a slot that is gone sealed: epochs above the limit are needed, so a few processes come and go.
func (c *cluster) sealAll(name string, before int) {
	c.t.Helper()
	for i := range 6 {
		n := c.begin(10 + i)
		c.runFor(time.Second)
		st := c.open(n, name)
		if name[:3] == "set" {
			c.write(st, add(fmt.Sprint("filler", i)), replica.Majority)
		} else {
			c.write(st, plus(1000), replica.Majority)
		}
		c.runFor(500 * time.Millisecond)
		n.die()
		c.runFor(5 * time.Second)
	}
	if c.sealings == before {
		c.t.Fatal("nothing has been sealed")
	}
}

// A process loses its slot with increments that nobody has, and its epoch is sealed without them. When it comes back, it
// adds exactly what was missing.
func TestZombieProcessRehomesExactlyDifference(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, sealing0)
	a, b := c.open(c.nodes[0], "count"), c.open(c.nodes[1], "count")
	c.open(c.nodes[2], "count")
	c.sure2(c.write(a, plus(3), replica.All))
	was := c.nodes[0].standing.Self
	c.fence(c.nodes[0])
	c.write(a, plus(20), replica.Local)
	c.runFor(2 * seatTTL)
	c.sealAll("count", c.sealings)
	if !sealedFor(b, was.Slot, was.Epoch) {
		t.Fatalf("%v is not sealed: %v", was, b.resident().state.Epochs())
	}
	if got := b.value().Increment % 1000; got != 3 {
		t.Fatalf("the others have %d", got)
	}
	c.unfence(c.nodes[0])
	c.equal(a, b)
	if got := b.value().Increment % 1000; got != 23 {
		t.Errorf("it is %d, want 23", got)
	}
}

func sealedFor(st *simStream, s crdt.Slot, e crdt.Epoch) bool {
	for _, m := range st.resident().state.Epochs() {
		if m.Slot == s && m.Epoch <= e {
			return false
		}
	}
	return true
}

// It happens twice: what was handed on once is not handed on again.
func TestReceiptMakesRehomeExact(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, sealing0)
	a, b := c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x")
	c.open(c.nodes[2], "set-x")
	c.sure2(c.write(a, add("known"), replica.All))
	for round := range 2 {
		was := c.nodes[0].standing.Self
		c.fence(c.nodes[0])
		c.write(a, add(fmt.Sprint("own", round)), replica.Local)
		c.runFor(2 * seatTTL)
		c.sealAll("set-x", c.sealings)
		if !sealedFor(b, was.Slot, was.Epoch) {
			t.Fatalf("%v is not sealed: %v", was, b.resident().state.Epochs())
		}
		c.unfence(c.nodes[0])
		c.equal(a, b)
	}
	want := map[string]bool{"known": true, "own0": true, "own1": true}
	for _, e := range b.elements() {
		delete(want, e)
	}
	if len(want) > 0 {
		t.Errorf("%v are missing in %q", want, b.elements())
	}
}

// A local write that only its dead writer and one living member knew must be in the journal before the writer is sealed.
func TestSealBarrierKeepsLiveKnowledge(t *testing.T) {
	t.Parallel()
	byAnother := 0
	for i := range 8 {
		name := fmt.Sprint("count-", i)
		c := newCluster(t, 3, func(c *Config) {
			sealing0(c)
			c.DepartureSpread, c.Round, c.Heartbeats = time.Hour, time.Hour, 0
		})
		a, b, z := c.open(c.nodes[0], name), c.open(c.nodes[1], name), c.open(c.nodes[2], name)
		c.sure2(c.write(a, plus(3), replica.All))
		was := c.nodes[0].standing.Self
		// Only node 1 hears of it, the journal does not, and nobody compares anything.
		c.cut(0, 2)
		c.nodes[0].storeCut = true
		c.write(a, plus(20), replica.Local)
		c.runFor(200 * time.Millisecond)
		if x, y := b.value().Increment, z.value().Increment; x != 23 || y != 3 {
			t.Fatalf("node 1 has %d, node 2 has %d", x, y)
		}
		c.nodes[0].die()
		clear(c.severed)
		c.muted = map[requestKind]bool{askCompare: true, askDigest: true, askGive: true, askPull: true}
		c.sealAll(name, c.sealings)
		if !sealedFor(z, was.Slot, was.Epoch) {
			t.Fatalf("%v is not sealed: %v", was, z.resident().state.Epochs())
		}
		if c.sealedBy[identityOf(was)] != 1 {
			byAnother++
		}
		if got := z.value().Increment % 1000; got != 23 {
			t.Errorf("%s: it is %d", name, got)
		}
	}
	if byAnother == 0 {
		t.Error("it was always sealed by the one who knew")
	}
}

// A process comes back under another name, with an element that had been sealed out. Its user function, which is told of no
// change, removes the element; nobody else has touched it, so it must go.
func TestRemovalFollowsMovedDot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, sealing0)
	a, b := c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x")
	c.open(c.nodes[2], "set-x")
	c.sure2(c.write(a, add("known"), replica.All))
	was := c.nodes[0].standing.Self
	c.fence(c.nodes[0])
	c.write(a, add("own"), replica.Local)
	c.runFor(2 * seatTTL)
	c.sealAll("set-x", c.sealings)
	if !sealedFor(b, was.Slot, was.Epoch) {
		t.Fatalf("%v is not sealed: %v", was, b.resident().state.Epochs())
	}
	a.flushing = true // it is busy and told nothing
	c.unfence(c.nodes[0])
	c.equal(a, b)
	if !slices.Contains(b.elements(), "own") {
		t.Fatalf("what was written last has not come back: %q", b.elements())
	}
	c.sure2(c.write(a, remove("known", "own"), replica.All))
	c.equal(a, b)
	if es := b.elements(); slices.Contains(es, "own") || slices.Contains(es, "known") {
		t.Errorf("%q, although they were removed", es)
	}
}

// So it is with a process that had heard of the element from its writer, and comes back after it.
func TestRemovalByAnotherFollowsMovedDot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, sealing0)
	a, b, z := c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x"), c.open(c.nodes[2], "set-x")
	c.sure2(c.write(a, add("known"), replica.All))
	was := c.nodes[0].standing.Self
	c.fence(c.nodes[0])
	c.fence(c.nodes[1])
	delete(c.severed, [2]int{0, 1})
	c.write(a, add("own"), replica.Local)
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
	for _, n := range []*simNode{c.nodes[0], c.nodes[1]} {
		n.storeCut = false
		for to := range 20 {
			delete(c.severed, [2]int{n.place, to})
			delete(c.severed, [2]int{to, n.place})
		}
		c.runFor(20 * time.Second)
		c.equal(a, z)
		if !slices.Contains(z.elements(), "own") {
			t.Fatalf("what was written last has not come back: %q", z.elements())
		}
	}
	c.sure2(c.write(b, remove("own"), replica.All))
	c.equal(a, b, z)
	if es := z.elements(); slices.Contains(es, "own") {
		t.Errorf("%q, although it was removed", es)
	}
}
