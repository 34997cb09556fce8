package crdttest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
)

// Delivery is what a network may do.
type Delivery uint8

const (
	// Causal delivers everything once, and nothing before what it depends on. The oracle is asked after every step.
	Causal Delivery = iota
	// AnyOrder loses, repeats and reorders. The oracle is asked when all is delivered.
	AnyOrder
)

// Run says how Check runs a cluster. The zero Run is one of a GCounter.
type Run struct {
	// Kind of the entity. Defaults to GCounter.
	Kind crdt.Kind
	// Delivery of deltas. Defaults to Causal.
	Delivery Delivery
	// Streams on each replica. Defaults to 1.
	Streams int
	// Replicas there are. Defaults to 3.
	Replicas int
	// Steps is the most there are. Defaults to 60.
	Steps int
	// After is called after each step. Defaults to nothing.
	After func(T, *Cluster)
	// AtEnd is called in the end, before what is under way arrives. Defaults to nothing.
	AtEnd func(*rapid.T, *Cluster)
}

// Cluster is the replicas of one entity and the network between them, driven by what rapid draws.
type Cluster struct {
	Replicas []*Replica
	// Deltas are all that were ever sent, in their order.
	Deltas []*crdt.Delta
	// Folds counts what was folded.
	Folds int

	t      *rapid.T
	run    Run
	oracle *Oracle
	mail   []letter
}

// Replica is a node of a Cluster.
type Replica struct {
	*Node
	// Visible are the operations that it knows.
	Visible Ops
	// Most is for After to remember something in.
	Most uint64
	// Users are the user functions.
	Users []*User

	pending *letter                 // what waits to be joined with more before it is sent
	heard   map[crdt.Slot]*crdt.Ctx // what others had seen when their whole state came
}

// User is a stream that knows which operations it has seen.
type User struct {
	*Stream
	seen Ops
}

type letter struct {
	to          int // -1: not addressed yet
	delta       *crdt.Delta
	ops, depend Ops
}

// Check runs clusters, 100 of them unless -rapid.checks says otherwise. Each ends with everything delivered, when all
// replicas must have equal states, and the value that the oracle says.
func Check(t *testing.T, run Run) {
	t.Helper()

	if run.Kind == 0 {
		run.Kind = crdt.GCounter
	}
	if run.Streams == 0 {
		run.Streams = 1
	}
	if run.Replicas == 0 {
		run.Replicas = 3
	}
	if run.Steps == 0 {
		run.Steps = 60
	}

	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t, run)
		for range rapid.IntRange(1, run.Steps).Draw(t, "steps") {
			c.step()
			if run.Delivery == Causal {
				c.compare()
			}
			if run.After != nil {
				run.After(t, c)
			}
		}
		if run.AtEnd != nil {
			run.AtEnd(t, c)
		}
		c.settle()
	})
}

func newCluster(t *rapid.T, run Run) *Cluster {
	c := &Cluster{t: t, run: run, oracle: NewOracle(run.Kind)}

	var live []crdt.Member
	for i := range run.Replicas {
		r := &Replica{Node: NewNode(t, run.Kind, crdt.Slot(i), 1), heard: make(map[crdt.Slot]*crdt.Ctx)}
		live = append(live, r.Origin())
		c.Replicas = append(c.Replicas, r)
	}
	for _, r := range c.Replicas {
		r.Live = live
		r.Writer.Pending = 1 // nothing has left yet
		for range run.Streams {
			r.Users = append(r.Users, &User{Stream: NewStream(t, r.Node)})
		}
	}

	return c
}

func (c *Cluster) step() {
	r := c.Replicas[rapid.IntRange(0, len(c.Replicas)-1).Draw(c.t, "replica")]

	switch action := rapid.IntRange(0, 20).Draw(c.t, "action"); {
	case action < 7:
		c.say(r, r.Users[rapid.IntRange(0, len(r.Users)-1).Draw(c.t, "user")])
	case action < 15:
		c.deliver()
	case action < 17:
		c.flush(r.Users[rapid.IntRange(0, len(r.Users)-1).Draw(c.t, "user")], r)
	case action < 18:
		c.send(r)
	case action < 19:
		c.repair(c.another(r), r)
	case action < 20:
		c.fold(r)
	default:
		c.snapshot(c.another(r), r)
	}
}

func (c *Cluster) another(r *Replica) *Replica {
	i := rapid.IntRange(1, len(c.Replicas)-1).Draw(c.t, "other")

	return c.Replicas[(int(r.Writer.Slot)+i)%len(c.Replicas)]
}

// say lets a user function say something. The delta is sent now, or joined with later ones.
func (c *Cluster) say(r *Replica, u *User) {
	if c.run.Delivery == AnyOrder && c.run.Kind == crdt.ORMap && !c.agrees(r) {
		// A removal of a folded event came before what was folded: for a while the replica shows a part of a counter that
		// is gone. What somebody says of that, the oracle cannot know.
		return
	}
	r.Now += rapid.Int64Range(-1, 2).Draw(c.t, "time")
	update := DrawUpdate(c.t, c.run.Kind, u.Plain)

	// What is there already is written again if nobody who still lives has written it. In a map that is an update, which
	// wins over a removal, and no business of the oracle's.
	if r.Writer.Gone = nil; c.run.Kind == crdt.GSet && rapid.IntRange(0, 3).Draw(c.t, "gone") == 0 {
		r.Writer.Gone = func(crdt.Slot, crdt.Epoch) bool { return true }
	}

	depend := r.Visible.Clone()
	d, _ := u.say(update)
	id, happened := c.oracle.Apply(r.Origin(), update, r.Visible, u.seen, r.Now)
	r.Visible.Add(id)
	u.seen.Add(id)
	if d == nil {
		if happened && c.run.Kind == crdt.ORMap {
			c.t.Fatalf("slot %d: %s says nothing to the others", r.Writer.Slot, Format(update))
		}
		// Nothing happened. The operation is nowhere but here, and nobody misses it.
		for _, other := range c.Replicas {
			other.Visible.Add(id)
		}
		return
	}

	c.post(r, d, depend)
	r.pending.ops.Add(id)
	if rapid.IntRange(0, 3).Draw(c.t, "wait") > 0 {
		c.send(r)
	}
}

// post joins a delta with what waits to be sent.
func (c *Cluster) post(r *Replica, d *crdt.Delta, depend Ops) {
	if r.pending == nil {
		r.pending = &letter{delta: d, depend: depend.Clone()}
		return
	}
	if err := r.pending.delta.Join(d); err != nil {
		c.t.Fatalf("slot %d: joining deltas: %v", r.Writer.Slot, err)
	}
	r.pending.depend.Union(depend)
}

func (c *Cluster) send(r *Replica) {
	r.Writer.Pending = r.Writer.Last + 1
	if r.pending == nil {
		return
	}
	for i, other := range c.Replicas {
		if other != r {
			l := *r.pending
			l.to = i
			c.mail = append(c.mail, l)
		}
	}
	c.Deltas = append(c.Deltas, r.pending.delta)
	r.pending = nil
}

func (c *Cluster) deliver() {
	var ready []int
	for i, l := range c.mail {
		to := c.Replicas[l.to]
		if c.run.Delivery == AnyOrder || l.needs().Subset(to.Visible) {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return
	}

	i := ready[rapid.IntRange(0, len(ready)-1).Draw(c.t, "letter")]
	l := c.mail[i]
	fate := 0
	if c.run.Delivery == AnyOrder {
		fate = rapid.IntRange(0, 9).Draw(c.t, "fate")
	}
	if fate != 9 { // otherwise it comes again
		c.mail = append(c.mail[:i:i], c.mail[i+1:]...)
	}
	if fate != 8 { // otherwise it is lost
		c.Replicas[l.to].receive(l.delta, l.ops)
	}
}

// needs is what a letter depends on, other than itself.
func (l letter) needs() Ops {
	needs := l.depend.Clone()
	needs.remove(l.ops)

	return needs
}

func (r *Replica) receive(d *crdt.Delta, ops Ops) {
	known := ops.Subset(r.Visible)
	if inflated := r.Hear(d); inflated && known {
		r.t.Fatalf("slot %d: what it knew already is news", r.Writer.Slot)
	}
	r.Visible.Union(ops)
}

// repair lets a replica have what it misses of another one.
func (c *Cluster) repair(from, to *Replica) {
	from.Writer.Pending = from.Writer.Last + 1
	since, kills := from.Entity.Since(to.Entity.Ctx()), from.Entity.Kills(to.Entity.LiveDots())
	to.Hear(since)
	to.Hear(kills)
	to.knows(from)
}

// snapshot lets a replica have the whole state of another one.
func (c *Cluster) snapshot(from, to *Replica) {
	from.Writer.Pending = from.Writer.Last + 1
	to.Hear(from.Entity.Full())
	to.knows(from)
}

// knows takes note that a replica has everything that another one has now.
func (r *Replica) knows(other *Replica) {
	r.Visible.Union(other.Visible)
	seen := other.Entity.Ctx().Snapshot()
	r.heard[other.Writer.Slot] = &seen
}

// fold lets a replica fold what all others are known to have seen at once.
func (c *Cluster) fold(r *Replica) {
	upto := r.Entity.Ctx()
	for _, other := range c.Replicas {
		if other == r {
			continue
		}
		heard := r.heard[other.Writer.Slot]
		if heard == nil {
			return
		}
		upto = upto.Intersect(heard)
	}
	before := r.Plain().String()
	d := r.Entity.Stable(r.Writer, upto)
	if after := r.Plain().String(); after != before {
		c.t.Fatalf("slot %d: folding made %s of %s", r.Writer.Slot, after, before)
	}
	if d != nil {
		c.Folds++
		c.post(r, d, r.Visible)
	}
}

func (c *Cluster) flush(u *User, r *Replica) {
	u.Flush()
	u.seen = r.Visible.Clone()
}

func (c *Cluster) agrees(r *Replica) bool {
	return r.Plain().String() == c.oracle.Value(r.Visible, r.Origin(), r.Live).String()
}

// compare wants every replica to have the value of the operations that it knows.
func (c *Cluster) compare() {
	for _, r := range c.Replicas {
		got, want := r.Plain().String(), c.oracle.Value(r.Visible, r.Origin(), r.Live).String()
		if got != want {
			c.t.Fatalf("slot %d: %s, want %s", r.Writer.Slot, got, want)
		}
	}
}

// settle lets everybody know everything and wants them to agree, on the value, on the bytes and on the digest.
func (c *Cluster) settle() {
	whole := rapid.Bool().Draw(c.t, "by snapshots")
	for range 2 {
		for i, from := range c.Replicas {
			to := c.Replicas[(i+1)%len(c.Replicas)]
			if whole {
				c.snapshot(from, to)
			} else {
				c.repair(from, to)
			}
		}
	}

	c.compare()
	first := c.Replicas[0]
	for _, r := range c.Replicas {
		if got, want := r.Entity.Full().AppendBinary(nil), first.Entity.Full().AppendBinary(nil); string(got) != string(want) {
			c.t.Fatalf("slots 0 and %d know the same and differ:\n%x\n%x", r.Writer.Slot, want, got)
		}
		if got, want := r.Entity.Digest(), first.Entity.Digest(); got != want {
			c.t.Fatalf("slots 0 and %d have the same state and digests %x and %x", r.Writer.Slot, want, got)
		}
		for _, u := range r.Users {
			c.flush(u, r)
			if again := u.Flush(); again != nil {
				c.t.Fatalf("slot %d: told twice: %s", r.Writer.Slot, Format(again))
			}
		}
	}
}
