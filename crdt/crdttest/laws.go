package crdttest

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
)

// Law is something that is true of all states that replicas can reach. It looks at a cluster while deltas are still under
// way, and changes nothing in it.
type Law func(*rapid.T, *Cluster)

// Hold wants a law to be true of every kind, at the top and, as entries of maps in maps, below.
func Hold(t *testing.T, law Law) {
	t.Helper()

	for _, kind := range Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			Check(t, Run{Kind: kind, Delivery: AnyOrder, Steps: 40, AtEnd: law})
		})
	}
}

// bytes of a state: equal states have equal bytes.
func bytes(e *crdt.Entity) string { return string(e.Full().AppendBinary(nil)) }

// clone is another copy of a replica's state.
func (c *Cluster) clone(e *crdt.Entity) *crdt.Entity {
	clone := crdt.New(0)
	c.join(clone, e.Full())
	if bytes(clone) != bytes(e) {
		c.t.Fatalf("a copy of\n%x differs:\n%x", bytes(e), bytes(clone))
	}

	return clone
}

func (c *Cluster) join(e *crdt.Entity, d *crdt.Delta) (inflated bool) {
	if d == nil {
		return false
	}
	inflated, err := e.Join(Recode(c.t, d), new(crdt.Changes))
	if err != nil {
		c.t.Fatalf("joining: %v", err)
	}

	return inflated
}

// joined is a new state of all the deltas, in their order.
func (c *Cluster) joined(ds ...*crdt.Delta) *crdt.Entity {
	e := crdt.New(0)
	for _, d := range ds {
		c.join(e, d)
	}

	return e
}

// some draws n of all that can be joined: states of replicas, and deltas that were ever sent.
func (c *Cluster) some(n int) []*crdt.Delta {
	var all []*crdt.Delta
	for _, r := range c.Replicas {
		all = append(all, r.Entity.Full())
	}
	all = append(all, c.Deltas...)

	some := make([]*crdt.Delta, n)
	for i := range some {
		some[i] = all[rapid.IntRange(0, len(all)-1).Draw(c.t, "which")]
	}

	return some
}

func (c *Cluster) same(what string, a, b *crdt.Entity) {
	c.t.Helper()

	if x, y := bytes(a), bytes(b); x != y {
		c.t.Fatalf("%s:\n%x\n%x", what, x, y)
	}
	if a.Digest() != b.Digest() {
		c.t.Fatalf("%s: equal states with digests %x and %x", what, a.Digest(), b.Digest())
	}
}

// JoinCommutes is the law that of two states, either may come first.
func JoinCommutes(t *rapid.T, c *Cluster) {
	d := c.some(2)
	c.same("a and b, b and a", c.joined(d[0], d[1]), c.joined(d[1], d[0]))
}

// JoinAssociates is the law that two states may be joined before they are joined with a third one, as entities and as
// deltas.
func JoinAssociates(t *rapid.T, c *Cluster) {
	d := c.some(3)
	all := c.joined(d...)
	c.same("(a and b) and c, a and (b and c)", all, c.joined(d[0], c.joined(d[1], d[2]).Full()))

	left, right := Recode(t, d[0]), Recode(t, d[1])
	if err := errors.Join(left.Join(d[1]), left.Join(d[2]), right.Join(d[2])); err != nil {
		t.Fatal(err)
	}
	c.same("a and b and c one by one, and as one delta", all, c.joined(left))
	c.same("a and b and c one by one, and b and c as one delta", all, c.joined(d[0], right))
}

// JoinIdempotent is the law that what came once is no news.
func JoinIdempotent(t *rapid.T, c *Cluster) {
	for _, d := range append(c.some(2), c.Replicas[0].Entity.Full()) {
		once, twice := c.joined(d), c.joined(d)
		if c.join(twice, d) {
			t.Fatal("the second time is news")
		}
		c.same("once, twice", once, twice)
	}
}

// JoinInflates is the law that a join loses nothing: what was joined is no news afterwards.
func JoinInflates(t *rapid.T, c *Cluster) {
	d := c.some(2)
	both := c.joined(d[0], d[1])
	before := bytes(both)
	for _, d := range d {
		if c.join(both, d) || bytes(both) != before {
			t.Fatalf("what was joined is news:\n%x\n%x", before, bytes(both))
		}
	}
}

// DeltaEqualsFull is the law that the delta of an update makes of the state before what the update made of it.
func DeltaEqualsFull(t *rapid.T, c *Cluster) {
	r := c.Replicas[0]
	before := c.clone(r.Entity)
	update := DrawUpdate(t, c.run.Kind, r.Plain())
	d, _, err := r.Apply(update, r.Seen())
	if err != nil {
		t.Fatalf("%s: %v", Format(update), err)
	}
	inflated := c.join(before, d)
	c.same("delta joined, update applied", before, r.Entity)
	if d != nil && !inflated {
		t.Fatalf("the delta of %s is no news", Format(update))
	}
	id, _ := c.oracle.Apply(r.Origin(), update, r.Visible, r.Visible, r.Now)
	r.Visible.Add(id)
}

// DeltaGroupEqualsSequence is the law that deltas joined with each other make of any state what they make of it one by one.
func DeltaGroupEqualsSequence(t *rapid.T, c *Cluster) {
	if len(c.Deltas) == 0 {
		return
	}
	first := rapid.IntRange(0, len(c.Deltas)-1).Draw(t, "first")
	last := rapid.IntRange(first, len(c.Deltas)-1).Draw(t, "last")

	group := Recode(t, c.Deltas[first])
	for _, d := range c.Deltas[first+1 : last+1] {
		if err := group.Join(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range c.Replicas {
		one, other := c.clone(r.Entity), c.clone(r.Entity)
		c.join(one, group)
		for _, d := range c.Deltas[first : last+1] {
			c.join(other, d)
		}
		c.same("as a group, one by one", one, other)
	}
}

// SinceIsSufficientAndMinimal is the law that what a replica sends to one that lacks something is all that it lacks, and
// nothing when it lacks nothing.
func SinceIsSufficientAndMinimal(t *rapid.T, c *Cluster) {
	from, to := c.Replicas[0].Entity, c.Replicas[1].Entity

	whole, part := c.clone(to), c.clone(to)
	c.join(whole, from.Full())
	since, kills := from.Since(to.Ctx()), from.Kills(to.LiveDots())
	c.join(part, since)
	c.join(part, kills)
	c.same("the whole state joined, what was missing joined", whole, part)

	if to.Ctx().Empty() || from.Ctx().Empty() {
		return // as the kind has no context, and then what is sent is the whole state
	}
	if since != nil && !to.Ctx().Missing(since.Ctx()).Equal(since.Ctx()) {
		t.Fatalf("sent what is known: %v to one that has seen %v", since.Ctx().Ranges(), to.Ctx().Ranges())
	}
	if again := from.Since(whole.Ctx()); again != nil {
		t.Fatalf("sent to one that has seen everything: %x", again.AppendBinary(nil))
	}
	if again := from.Kills(whole.LiveDots()); again != nil {
		t.Fatalf("sent to one that has lost everything: %x", again.AppendBinary(nil))
	}
}

// EncodeCanonical is the law that one state has one encoding, whatever way it was reached.
func EncodeCanonical(t *rapid.T, c *Cluster) {
	d := c.some(4)
	for _, r := range c.Replicas {
		d = append(d, r.Entity.Full())
	}
	one := c.joined(d...)
	other := c.joined(rapid.Permutation(d).Draw(t, "order")...)
	c.same("in one order, in another one", one, other)
}

// DecodeEncodeRoundTrip is the law that decoding gives what was encoded, of states and of deltas.
func DecodeEncodeRoundTrip(t *rapid.T, c *Cluster) {
	for _, d := range c.Deltas {
		Recode(t, d)
	}
	for _, r := range c.Replicas {
		c.same("encoded, decoded", r.Entity, c.clone(r.Entity))
	}
}

// DigestMatchesRecompute is the law that the digest, which is kept up to date, is that of the state as it is.
func DigestMatchesRecompute(t *rapid.T, c *Cluster) {
	for _, r := range c.Replicas {
		if kept, anew := r.Entity.Digest(), c.clone(r.Entity).Digest(); kept != anew {
			t.Fatalf("slot %d: digest %x, computed anew %x", r.Writer.Slot, kept, anew)
		}
	}
	digests := make(map[uint64]string)
	for _, d := range c.some(5) {
		e := c.joined(d)
		if state, ok := digests[e.Digest()]; ok && state != bytes(e) {
			t.Fatalf("two states with the digest %x:\n%x\n%x", e.Digest(), state, bytes(e))
		}
		digests[e.Digest()] = bytes(e)
	}
}
