package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/crdt"
)

// cluster is a simulated one for a test that says itself what happens.
type cluster struct {
	*sim
	t *testing.T
	h *history
}

// newCluster has that many members, who know each other.
func newCluster(t *testing.T, nodes int, change func(c *NodeConfig)) *cluster {
	t.Helper()
	c := &cluster{newSim(1), t, newHistory()}
	c.config.IdleTime = time.Hour
	if change != nil {
		change(&c.config)
	}
	for place := range nodes {
		c.begin(place)
	}
	c.runFor(2 * time.Second)
	t.Cleanup(func() {
		c.end()
		for _, p := range c.h.problems {
			t.Error(p)
		}
	})
	return c
}

// begin starts a process.
func (c *cluster) begin(place int) *simNode {
	n := c.start(place)
	c.user(n, c.h)
	return n
}

// open opens an entity.
func (c *cluster) open(n *simNode, name string) *simStream {
	c.t.Helper()
	n.user.open(name)
	st := n.user.streams[name]
	for range 200 {
		if st.replica != nil || n.user.streams[name] == nil {
			break
		}
		c.runFor(5 * time.Millisecond)
	}
	if st.replica == nil {
		c.t.Fatalf("%s does not open on node %d", name, n.place)
	}
	return st
}

// promise is what becomes of a write.
type promise struct {
	done bool
	err  error
}

// write updates an entity.
func (c *cluster) write(st *simStream, u *crdt.Update, level Level) *promise {
	c.t.Helper()
	p := &promise{}
	if err := st.replica.Update(u, level, func(err error) { p.done, p.err = true, err }); err != nil {
		c.t.Fatal(err)
	}
	st.user.n.serve(st.part())
	return p
}

// sure fails the test unless the write has been confirmed.
func (c *cluster) sure(p *promise) {
	c.t.Helper()
	if !p.done || p.err != nil {
		c.t.Fatalf("the write is not confirmed: answered %v, %v", p.done, p.err)
	}
}

func (st *simStream) value() *crdt.Update {
	if v := st.replica.Value(); v != nil {
		return v
	}
	return &crdt.Update{}
}

func (st *simStream) elements() []string {
	var es []string
	for _, k := range st.value().Added {
		es = append(es, keyText(k))
	}
	slices.Sort(es)
	return es
}

func (st *simStream) resident() *resident { return st.replica.r }

func plus(n uint64) *crdt.Update { return &crdt.Update{Kind: crdt.GCounter, Increment: n} }

func add(es ...string) *crdt.Update {
	u := &crdt.Update{Kind: crdt.ORSet}
	for _, e := range es {
		u.Added = append(u.Added, keyOf(e))
	}
	return u
}

func remove(es ...string) *crdt.Update {
	u := &crdt.Update{Kind: crdt.ORSet}
	for _, e := range es {
		u.Removed = append(u.Removed, keyOf(e))
	}
	return u
}

// equal fails the test unless all copies of an entity are alike.
func (c *cluster) equal(sts ...*simStream) {
	c.t.Helper()
	for _, st := range sts[1:] {
		a, b := sts[0].resident().state, st.resident().state
		if a.Digest() != b.Digest() {
			c.t.Fatalf("%s differs between node %d and %d: %s, %s", st.name, sts[0].user.n.place, st.user.n.place, describe(a), describe(b))
		}
	}
}

func (c *cluster) cut(a, b int) { c.severed[[2]int{a, b}] = true }

// isUnconfirmed fails the test unless the write has been given up.
func (c *cluster) isUnconfirmed(p *promise) {
	c.t.Helper()
	if !p.done || !errors.Is(p.err, ErrUnconfirmed) {
		c.t.Fatalf("the write was answered: %v, with %v", p.done, p.err)
	}
}
