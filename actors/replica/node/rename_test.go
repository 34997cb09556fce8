package node

import (
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
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
