package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

func TestMajorityNeedsStoreAndAcks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	c.open(c.nodes[2], "count")

	// Without the journal nothing is confirmed, and nothing is even sent.
	c.faults.putError = 1
	p := c.write(a, plus(1), Majority)
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
	p = c.write(a, plus(1), Majority)
	c.runFor(2 * time.Second)
	if p.done {
		t.Error("nobody else has it, and it was confirmed")
	}
	delete(c.severed, [2]int{0, 2})
	c.sure2(p)
}

func TestAllWaitsForExpiry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *NodeConfig) { c.Timeout = 30 * time.Second })
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	c.nodes[2].die()
	began := c.now
	p := c.write(a, plus(1), All)
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
	c := newCluster(t, 2, func(c *NodeConfig) { c.Timeout = 30 * time.Second })
	a := c.open(c.nodes[0], "count")
	c.open(c.nodes[1], "count")
	// The write waits for the other member. Node 0 does not hear of anybody new by itself.
	c.cut(0, 1)
	p := c.write(a, plus(1), All)
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
	p := c.write(a, plus(1), All)
	c.runFor(6 * time.Second)
	c.isUnconfirmed(p)
	if got := a.value().Increment; got != 1 {
		t.Errorf("the write is gone: %d", got)
	}
	c.sure2(c.write(a, plus(1), Local))
	clear(c.severed)
	c.sure2(c.write(a, plus(1), All))
	if x, y := a.value().Increment, b.value().Increment; x != 3 || y != 3 {
		t.Errorf("%d and %d, want 3", x, y)
	}
}

func TestNonHostAcksTrivially(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a := c.open(c.nodes[0], "count")
	c.sure2(c.write(a, plus(1), All))
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
	c.write(a, plus(1), Local)
	c.runFor(time.Second)
	c.cut(0, 1)
	c.cut(1, 0)
	if err := a.replica.Delete(Local, nil); err != nil {
		t.Fatal(err)
	}
	c.write(b, plus(1), Local)
	c.runFor(time.Second)
	clear(c.severed)
	c.runFor(10 * time.Second)
	for _, st := range []*simStream{a, b} {
		if _, deleted := st.replica.Flush(); !deleted {
			t.Errorf("on node %d it is not deleted", st.user.n.place)
		}
		if err := st.replica.Update(plus(1), Local, nil); !errors.Is(err, ErrDeleted) {
			t.Errorf("writing to it: %v", err)
		}
	}
}

func TestRecreateNewGenerationIgnoresOldDeltas(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	a, late := c.open(c.nodes[0], "count"), c.open(c.nodes[2], "count")
	c.write(a, plus(4), Local)
	c.runFor(time.Second)
	// Node 2 goes on writing in the old generation.
	for other := range 2 {
		c.cut(2, other)
		c.cut(other, 2)
	}
	for range 3 {
		c.write(late, plus(100), Local)
		c.runFor(100 * time.Millisecond)
	}
	if err := a.replica.Delete(Majority, nil); err != nil {
		t.Fatal(err)
	}
	a.close()
	c.runFor(3 * time.Second)
	a = c.open(c.nodes[0], "count")
	if g := a.resident().state.Generation(); g != 1 {
		t.Fatalf("generation %d", g)
	}
	c.write(a, plus(1), Local)
	b := c.open(c.nodes[1], "count")
	clear(c.severed)
	c.runFor(15 * time.Second)
	c.equal(a, b)
	if x, y := a.value().Increment, b.value().Increment; x != 1 || y != 1 {
		t.Errorf("%d and %d, want 1", x, y)
	}
	if _, deleted := late.replica.Flush(); !deleted {
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
	c := newCluster(t, 2, func(c *NodeConfig) { c.Recreate, c.IdleTime = RecreateNever, time.Second })
	a := c.open(c.nodes[0], "count")
	c.write(a, plus(4), Local)
	if err := a.replica.Delete(Majority, nil); err != nil {
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
	c := newCluster(t, 2, func(c *NodeConfig) { c.IdleTime = time.Second })
	a := c.open(c.nodes[0], "set")
	c.sure2(c.write(a, add("x", "y"), Majority))
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
		c.sure2(c.write(c.open(n, "count"), plus(1), All))
	}
}
