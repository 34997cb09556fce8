package sdktest

import (
	"slices"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/replicated"
)

// Nodes is one replicated entity on all nodes of a cluster. Time stands still but for one millisecond for each change. It
// belongs to its test's goroutine.
type Nodes struct {
	t     testing.TB
	nodes []*node
	now   int64
}

// Cluster opens a replicated entity without data on a number of nodes, which hear of each other's changes at once, unless
// they are kept apart:
//
//	c := sdktest.Cluster(t, presence.Rooms, "room-1", 3)
//	c.Partition(0)
//	sdktest.Do(c.Node(0), presence.Enter, "ada")
//	sdktest.Do(c.Node(1), presence.Enter, "bob")
//	c.Heal()
//	c.Converge()
//
// It ends the test if the definition has problems.
func Cluster(t testing.TB, definition sdk.Definition, id string, nodes int) *Nodes {
	t.Helper()
	entity, err := definition.Definition()
	if err != nil {
		t.Fatalf("%s: %v", entity.Service, err)
	}
	if entity.Type != def.Replicated || nodes < 1 {
		t.Fatalf("%s is no replicated entity, or %d is no number of nodes", entity.Service, nodes)
	}
	c := &Nodes{t: t}
	members := make([]crdt.Member, nodes)
	for i := range members {
		members[i] = crdt.Member{Slot: crdt.Slot(i), Epoch: 1}
	}
	for i := range nodes {
		h := &Harness{t: t, entity: entity, id: id}
		n := &node{harness: h, cluster: c, entity: crdt.New(0), members: &crdt.Members{Self: members[i], Live: members}}
		n.writer = crdt.Writer{Slot: crdt.Slot(i), Epoch: 1, Now: func() int64 { return c.now }}
		h.subject = n
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.harness.Reopen()
	}
	return c
}

// Node is the entity on one node, from 0 on: for Do, Watch, Data and Reopen.
func (c *Nodes) Node(i int) *Harness {
	c.t.Helper()
	if i < 0 || i >= len(c.nodes) {
		c.t.Fatalf("there is no node %d among %d", i, len(c.nodes))
	}
	return c.nodes[i].harness
}

// Partition keeps these nodes apart from the others, until Heal. Among themselves each side goes on as before. Another
// call keeps more apart. Changes that ask for more nodes than are left are made all the same; their Err is
// DeadlineExceeded.
func (c *Nodes) Partition(nodes ...int) {
	c.t.Helper()
	side := 1 + slices.MaxFunc(c.nodes, func(a, b *node) int { return a.side - b.side }).side
	for _, i := range nodes {
		c.Node(i)
		c.nodes[i].side = side
	}
}

// Heal ends all partitions, and lets all nodes hear what they have missed.
func (c *Nodes) Heal() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.side = 0
	}
	c.exchange()
}

// Converge checks that all nodes which are not kept apart have the same data. They have, unless the entity's types break
// on the way: their elements do not come back from their encodings as they were.
func (c *Nodes) Converge() {
	c.t.Helper()
	c.exchange()
	for _, n := range c.nodes {
		n.check("convergence")
		for _, o := range c.nodes {
			if o.side == n.side && o.entity.Digest() != n.entity.Digest() {
				c.t.Errorf("nodes %d and %d differ: %v, %v", n.members.Self.Slot, o.members.Self.Slot,
					n.entity.Value(nil), o.entity.Value(nil))
			}
		}
	}
}

// exchange lets every node hear of the others. Twice, because what one learns late another has not heard.
func (c *Nodes) exchange() {
	c.t.Helper()
	for range 2 {
		for _, from := range c.nodes {
			for _, to := range c.nodes {
				if from != to && from.side == to.side {
					to.join(from.entity)
				}
			}
			from.writer.Pending = from.writer.Last + 1
		}
	}
	for _, n := range c.nodes {
		n.tell()
	}
}

// reached says whether so many nodes can be reached as the level wants.
func (c *Nodes) reached(from *node, level replicated.Level) bool {
	n := 0
	for _, to := range c.nodes {
		if to.side == from.side {
			n++
		}
	}
	switch level {
	case replicated.Majority:
		return 2*n > len(c.nodes)
	case replicated.All:
		return n == len(c.nodes)
	default:
		return true
	}
}

// Data is the live data of a replicated entity on a node, for reading.
func Data[D replicated.Data](h *Harness) D {
	h.t.Helper()
	n, ok := h.subject.(*node)
	if !ok {
		h.t.Fatalf("%s is not replicated: use State or Value", h.entity.Service)
	}
	data, ok := n.live.Data().(D)
	if !ok {
		h.t.Fatalf("the data is %T, want %T", n.live.Data(), data)
	}
	return data
}
