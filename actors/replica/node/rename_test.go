package node

import (
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// renamedCluster has members who learn of each other's writes by what is published and asked for after that, and by nothing
// else: neither by rounds nor from the journal.
func renamedCluster(t *testing.T) (c *cluster, a, b *simStream) {
	t.Helper()
	c = newCluster(t, 2, func(c *Config) {
		c.Timeout, c.Poll, c.DepartureSpread, c.Round, c.SealEpochs = time.Minute, time.Hour, time.Hour, time.Hour, 1000
	})
	a, b = c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x")
	c.sure2(c.write(a, add("known"), replica.All))
	c.runFor(30 * time.Second) // all heartbeats are over
	c.muted = map[requestKind]bool{askDigest: true}
	return c, a, b
}

// loseSlot has a process lose its slot and take another name.
func (c *cluster) loseSlot(n *simNode) {
	c.t.Helper()
	was := n.standing.Self
	n.storeCut = true
	c.runFor(2 * seatTTL)
	n.storeCut = false
	c.runFor(2 * time.Second)
	if n.standing.Self == was || !n.standing.writable() {
		c.t.Fatalf("it is %v, and was %v", n.standing.Self, was)
	}
}

// What a process wrote and may have told nobody, it tells under its new name: nobody can ask for its old batches any more.
func TestRenamedTellsAgain(t *testing.T) {
	t.Parallel()
	c, a, b := renamedCluster(t)
	c.cut(0, 1)
	c.write(a, add("x"), replica.Local)
	c.runFor(200 * time.Millisecond)
	if a.resident().pending != nil {
		t.Fatal("it has not been published")
	}
	c.loseSlot(c.nodes[0])
	clear(c.severed)
	c.runFor(5 * time.Second)
	if !slices.Contains(b.elements(), "x") {
		t.Errorf("the other one has %q", b.elements())
	}
	c.equal(a, b)
}

// Nor is a write confirmed by all because it was published under the old name.
func TestRenamedConfirmsWhatItToldAgain(t *testing.T) {
	t.Parallel()
	c, a, b := renamedCluster(t)
	c.cut(0, 1)
	c.cut(1, 0)
	c.runFor(5 * time.Second)
	p := c.write(a, add("x"), replica.All)
	c.runFor(200 * time.Millisecond)
	if r := a.resident(); r.pending != nil || r.stored < r.version {
		t.Fatal("it has not been stored and published")
	}
	c.loseSlot(c.nodes[0])
	if p.done || slices.Contains(b.elements(), "x") {
		t.Fatalf("answered: %v, %v; the other one has %q", p.done, p.err, b.elements())
	}
	clear(c.severed)
	c.runFor(5 * time.Second)
	c.sure(p)
	if !slices.Contains(b.elements(), "x") {
		t.Errorf("it is confirmed by all; the other one has %q", b.elements())
	}
}

// A write that was under way when the slot went is confirmed only when the base has it: somebody may seal us just now, having
// read the journal before we were a member again, and what is in a tail does not keep him from it.
func TestRenamedMakesSealersReadAgain(t *testing.T) {
	t.Parallel()
	c, a, _ := renamedCluster(t)
	c.nodes[0].storeCut = true
	p := c.write(a, add("x"), replica.Majority)
	c.loseSlot(c.nodes[0])
	c.runFor(20 * time.Second)
	c.sure(p)
	key := baseKey(refOf("set-x"))
	st, err := (&store{cells: &simCells{n: c.nodes[0], sure: true}}).load(t.Context(), refOf("set-x"))
	if err != nil || st.base == nil {
		t.Fatalf("base version %d, error %v: whoever read the journal before would find it as it was", c.cells[key].Version, err)
	}
	base := crdt.New(0)
	if _, err := base.Join(st.base, nil); err != nil {
		t.Fatal(err)
	}
	if missing := c.h.missing(base, add("x")); missing != "" {
		t.Errorf("the base does not have %s", missing)
	}
}

// An answer of the journal that comes when the slot is gone does not say that the write is safe.
func TestTailStoredWithoutASlot(t *testing.T) {
	t.Parallel()
	c, a, _ := renamedCluster(t)
	n, r := c.nodes[0], a.resident()
	part := n.parts[a.part()]
	n.storeCut = true
	if err := a.replica.Update(add("x"), replica.Majority, nil); err != nil {
		t.Fatal(err)
	}
	leave := part.enter()
	puts := part.tails(nil, 10)
	leave()
	if len(puts) != 1 || puts[0].version != r.version {
		t.Fatalf("%d tails are put", len(puts))
	}
	for _, writable := range []bool{false, true} {
		leave := part.enter()
		at := part.at
		at.Valid = func() bool { return writable }
		part.at = at
		r.flushing = true
		part.tailStored(&puts[0], puts[0].cell.Version+1, nil)
		stored := r.stored
		leave()
		if (stored == r.version) != writable {
			t.Errorf("with a slot: %v; %d of %d writes are stored", writable, stored, r.version)
		}
	}
}
