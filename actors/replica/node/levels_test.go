package node

import (
	"errors"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
)

func TestMajorityNeedsStoreAndAcks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	c.open(c.nodes[2], "count")

	// Without the journal nothing is confirmed, and nothing is even sent.
	c.faults.putError = 1
	p := c.write(a, plus(1), replica.Majority)
	before := c.published
	c.runFor(2 * time.Second)
	if p.done || c.published != before {
		t.Errorf("without the journal: answered %v, sent %d", p.done, c.published-before)
	}
	c.faults.putError = 0
	c.sure2(p)

	// Without the others neither; one of them is enough.
	c.cut(0, 1)
	c.cut(0, 2)
	p = c.write(a, plus(1), replica.Majority)
	c.runFor(2 * time.Second)
	if p.done {
		t.Error("nobody else has it, and it was confirmed")
	}
	delete(c.severed, [2]int{0, 2})
	c.sure2(p)
}

func TestAllWaitsForExpiry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) { c.Timeout = 30 * time.Second })
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	c.nodes[2].die()
	began := c.now
	p := c.write(a, plus(1), replica.All)
	for !p.done {
		c.runFor(10 * time.Millisecond)
	}
	c.sure(p)
	if took := c.now.Sub(began); took < seatTTL/2 {
		t.Errorf("all confirmed after %v, when the dead member might have lived", took)
	}
}

// Who joins while a write waits may have loaded the entity before the journal had it.
func TestJoinDuringAllIsRechecked(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Timeout = 30 * time.Second })
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	// The write waits for the other member. Node 0 does not hear of anybody new by itself.
	c.cut(0, 1)
	p := c.write(a, plus(1), replica.All)
	c.cut(0, 2)
	late := c.begin(2)
	c.runFor(200 * time.Millisecond)
	view := len(c.nodes[0].standing.Members)
	delete(c.severed, [2]int{0, 1})
	c.runFor(200 * time.Millisecond)
	if p.done {
		t.Fatalf("confirmed by all without the one who joined; the view was %d members", view)
	}
	clear(c.severed)
	c.open(late, "count")
	c.sure2(p)
}

func TestTimeoutKeepsWriteAndStream(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	a, b := c.open(c.nodes[0], "count"), c.open(c.nodes[1], "count")
	c.cut(0, 1)
	p := c.write(a, plus(1), replica.All)
	c.runFor(6 * time.Second)
	c.isUnconfirmed(p)
	if got := a.value().Increment; got != 1 {
		t.Errorf("the write is gone: %d", got)
	}
	c.sure2(c.write(a, plus(1), replica.Local))
	clear(c.severed)
	c.sure2(c.write(a, plus(1), replica.All))
	if x, y := a.value().Increment, b.value().Increment; x != 3 || y != 3 {
		t.Errorf("%d and %d, want 3", x, y)
	}
}

func TestNonHostAcksTrivially(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a := c.open(c.nodes[0], "count")
	c.sure2(c.write(a, plus(1), replica.All))
	for _, n := range c.nodes[1:] {
		for _, p := range n.parts {
			if p.all.len() > 0 {
				t.Fatal("somebody else has the entity in memory")
			}
		}
	}
	// Who opens it afterwards has it from the journal alone.
	c.cut(1, 0)
	c.cut(1, 2)
	if got := c.open(c.nodes[1], "count").value().Increment; got != 1 {
		t.Errorf("it is %d", got)
	}
}

func TestDeleteBeatsConcurrentUpdate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	a, b := c.open(c.nodes[0], "count"), c.open(c.nodes[1], "count")
	c.write(a, plus(1), replica.Local)
	c.runFor(time.Second)
	c.cut(0, 1)
	c.cut(1, 0)
	if err := a.replica.Delete(replica.Local, nil); err != nil {
		t.Fatal(err)
	}
	c.write(b, plus(1), replica.Local)
	c.runFor(time.Second)
	clear(c.severed)
	c.runFor(10 * time.Second)
	for _, st := range []*simStream{a, b} {
		if _, err := st.replica.Flush(); !errors.Is(err, replica.ErrDeleted) {
			t.Errorf("on node %d it is not deleted", st.user.n.place)
		}
		if err := st.replica.Update(plus(1), replica.Local, nil); !errors.Is(err, replica.ErrDeleted) {
			t.Errorf("writing to it: %v", err)
		}
	}
}

func TestRecreateNewGenerationIgnoresOldDeltas(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a, late := c.open(c.nodes[0], "count"), c.open(c.nodes[2], "count")
	c.write(a, plus(4), replica.Local)
	c.runFor(time.Second)
	// Node 2 goes on writing in the old generation.
	for other := range 2 {
		c.cut(2, other)
		c.cut(other, 2)
	}
	for range 3 {
		c.write(late, plus(100), replica.Local)
		c.runFor(100 * time.Millisecond)
	}
	if err := a.replica.Delete(replica.Majority, nil); err != nil {
		t.Fatal(err)
	}
	a.close()
	c.runFor(3 * time.Second)
	a = c.open(c.nodes[0], "count")
	if g := a.resident().state.Generation(); g != 1 {
		t.Fatalf("generation %d", g)
	}
	c.write(a, plus(1), replica.Local)
	b := c.open(c.nodes[1], "count")
	clear(c.severed)
	c.runFor(15 * time.Second)
	c.equal(a, b)
	if x, y := a.value().Increment, b.value().Increment; x != 1 || y != 1 {
		t.Errorf("%d and %d, want 1", x, y)
	}
	if _, err := late.replica.Flush(); !errors.Is(err, replica.ErrDeleted) {
		t.Error("who was away is not told that what it had is deleted")
	}
	late.close()
	c.runFor(time.Second)
	if got := c.open(c.nodes[2], "count").value().Increment; got != 1 {
		t.Errorf("who was away has %d", got)
	}
}

// The deletion stands in the journal for good, so nothing that comes late can bring the entity back.
func TestTombstoneOutlivesRetention(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Recreate, c.IdleTime = RecreateNever, time.Second })
	a := c.open(c.nodes[0], "count")
	c.write(a, plus(4), replica.Local)
	if err := a.replica.Delete(replica.Majority, nil); err != nil {
		t.Fatal(err)
	}
	a.close()
	c.runFor(24 * time.Hour)
	for _, n := range c.nodes {
		for _, p := range n.parts {
			if p.all.len() > 0 {
				t.Fatal("the entity is still in memory")
			}
		}
	}
	for _, n := range c.nodes {
		n.user.open("count")
		c.runFor(time.Second)
		if st := n.user.streams["count"]; st != nil {
			t.Errorf("node %d finds it alive", n.place)
		}
	}
}

func TestTornTailFailsEntityNotProcess(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.IdleTime = time.Second })
	a := c.open(c.nodes[0], "set")
	c.sure2(c.write(a, add("x", "y"), replica.Majority))
	a.close()
	c.runFor(5 * time.Second)
	for key, cell := range c.cells {
		cell.Value[len(cell.Value)/2] ^= 1
		c.cells[key] = cell
	}
	var failure error
	for _, n := range c.nodes {
		n.input(a.part(), func(p *partition) {
			p.open(refOf("set"), &opener{nil, func(_ *handle, err error) { failure = err }})
		})
		c.runFor(time.Second)
		if actors.CodeOf(failure) != actors.DataLoss {
			t.Errorf("opening it on node %d: %v", n.place, failure)
		}
		failure = nil
		// All else goes on.
		c.sure2(c.write(c.open(n, "count"), plus(1), replica.All))
	}
}

// A write that somebody's deletion has overtaken while its process was away is confirmed by all when all know of the
// deletion, and not before: who does not would show a value without the write.
func TestOvertakenByDeletionWhileAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) { c.Timeout, c.Poll, c.DepartureSpread = time.Minute, time.Hour, time.Hour })
	a, b, z := c.open(c.nodes[0], "set-x"), c.open(c.nodes[1], "set-x"), c.open(c.nodes[2], "set-x")
	c.sure2(c.write(b, add("known"), replica.All))
	for _, other := range []int{0, 2} {
		c.cut(1, other)
		c.cut(other, 1)
	}
	c.runFor(5 * time.Second) // node 1 reads the journal once, as it hears of nobody
	p := c.write(a, add("x"), replica.All)
	c.runFor(300 * time.Millisecond)
	if err := z.replica.Delete(replica.Local, func(error) {}); err != nil {
		t.Fatal(err)
	}
	z.user.n.serve(z.part())
	c.nodes[0].storeCut = true
	c.runFor(2 * seatTTL)
	c.nodes[0].storeCut = false
	c.runFor(10 * time.Second)
	if !c.nodes[0].lost || !a.resident().state.Deleted() || b.resident().state.Deleted() {
		t.Fatal("the deletion is not where it should be")
	}
	if p.done {
		t.Fatalf("the write is confirmed by all, with %v, but one has neither it nor the deletion", p.err)
	}
	clear(c.severed)
	c.sure2(p)
	if !b.resident().state.Deleted() {
		t.Error("it is confirmed by all, but not everybody knows of the deletion")
	}
}
