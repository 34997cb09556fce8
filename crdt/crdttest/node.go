package crdttest

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
)

// T is what the suite reports to: a *testing.T or a *rapid.T.
type T = rapid.TB

// Node is one copy of a replicated entity, with the streams of user functions that are open on it. All it says and hears
// goes through the encoding. It is not safe for concurrent use.
type Node struct {
	Entity *crdt.Entity
	Writer *crdt.Writer
	// Now is the node's time, in milliseconds.
	Now int64
	// Live are the members that are there, for Votes. By default the node itself.
	Live []crdt.Member

	t       T
	kind    crdt.Kind
	given   *crdt.Members
	streams []*Stream
}

// NewNode returns a copy of an entity without a value, which writes in the slot and the epoch.
func NewNode(t T, k crdt.Kind, slot crdt.Slot, epoch crdt.Epoch) *Node {
	n := &Node{Entity: crdt.New(0), t: t, kind: k, Now: 1000}
	n.Writer = &crdt.Writer{Slot: slot, Epoch: epoch, Now: func() int64 { return n.Now }}

	return n
}

// Origin is who writes here.
func (n *Node) Origin() crdt.Member { return crdt.Member{Slot: n.Writer.Slot, Epoch: n.Writer.Epoch} }

func (n *Node) members() *crdt.Members {
	live := n.Live
	if live == nil {
		live = []crdt.Member{n.Origin()}
	}

	// Members are given away once and for all: new ones only if they have changed.
	if n.given == nil || n.given.Self != n.Origin() || !slices.Equal(n.given.Live, live) {
		n.given = &crdt.Members{Self: n.Origin(), Live: slices.Clone(live)}
	}

	return n.given
}

// Seen is what a stream that has been told everything has seen.
func (n *Node) Seen() *crdt.Ctx {
	seen := n.Entity.Ctx().Snapshot()

	return &seen
}

// Apply is the entity's, for a stream that has seen so much. Other streams hear of it.
func (n *Node) Apply(u *crdt.Update, seen *crdt.Ctx) (d *crdt.Delta, lost bool, err error) {
	return n.apply(u, seen, nil)
}

func (n *Node) apply(u *crdt.Update, seen *crdt.Ctx, own *Stream) (d *crdt.Delta, lost bool, err error) {
	var changes crdt.Changes
	d, lost, err = n.Entity.Apply(n.Writer, u, seen, &changes)
	if err != nil {
		return nil, false, err
	}
	for _, s := range n.streams {
		if s == own {
			s.view.Own(n.Entity, u, d)
		} else {
			s.view.Note(&changes)
		}
	}

	return d, lost, nil
}

// Say applies an update of somebody who has seen everything, and returns what to tell the others.
func (n *Node) Say(u *crdt.Update) *crdt.Delta {
	n.t.Helper()

	return n.SaySeen(u, n.Seen())
}

// SaySeen is Say of somebody who has seen so much.
func (n *Node) SaySeen(u *crdt.Update, seen *crdt.Ctx) *crdt.Delta {
	n.t.Helper()

	d, _, err := n.Apply(u, seen)
	if err != nil {
		n.t.Fatalf("slot %d: %s: %v", n.Writer.Slot, Format(u), err)
	}

	return d
}

// Tell lets others hear a delta.
func (n *Node) Tell(d *crdt.Delta, others ...*Node) {
	n.t.Helper()

	for _, other := range others {
		other.Hear(d)
	}
}

// Hear joins a delta that was encoded and decoded, and returns whether it was news. A nil delta is none.
func (n *Node) Hear(d *crdt.Delta) (inflated bool) {
	n.t.Helper()

	if d == nil {
		return false
	}

	var changes crdt.Changes
	inflated, err := n.Entity.Join(Recode(n.t, d), &changes)
	if err != nil {
		n.t.Fatalf("slot %d: joining: %v", n.Writer.Slot, err)
	}
	for _, s := range n.streams {
		s.view.Note(&changes)
	}

	return inflated
}

// Plain is the value.
func (n *Node) Plain() *Plain {
	n.t.Helper()

	value := n.Entity.Value(n.members())
	if value == nil {
		return n.nothing()
	}
	p, err := PlainOf(value)
	if err != nil {
		n.t.Fatalf("slot %d: its value: %v", n.Writer.Slot, err)
	}

	return p
}

// nothing is the value of an entity that has none.
func (n *Node) nothing() *Plain {
	p := NewPlain(n.kind)
	if n.kind == crdt.Vote {
		p.Voters = uint32(len(n.members().Live))
	}

	return p
}

// Recode encodes and decodes a delta, and wants the same bytes of both.
func Recode(t T, d *crdt.Delta) *crdt.Delta {
	t.Helper()

	b := d.AppendBinary(nil)
	decoded, err := crdt.DecodeDelta(b, crdt.Limits{})
	if err != nil {
		t.Fatalf("decoding what was encoded, %x: %v", b, err)
	}
	if again := decoded.AppendBinary(nil); string(again) != string(b) {
		t.Fatalf("encoded as %x, and after decoding as %x", b, again)
	}

	return decoded
}

// Stream is a user function with a plain value, which works on a Node.
type Stream struct {
	*Node
	// Plain is the user function's value.
	Plain *Plain
	// Begun counts how often it had to begin again.
	Begun int

	view *crdt.View
}

// NewStream opens a stream on a node: the user function is told the whole value.
func NewStream(t T, n *Node) *Stream {
	t.Helper()

	s := &Stream{Node: n, view: new(crdt.View)}
	var err error
	if s.Plain, err = PlainOf(s.view.Begin(n.Entity, n.members())); err != nil {
		t.Fatalf("slot %d: beginning: %v", n.Writer.Slot, err)
	}
	n.streams = append(n.streams, s)

	return s
}

// Say is what the user function says, which goes by what it has been told. It returns whether a write was lost.
func (s *Stream) Say(u *crdt.Update) (lost bool) {
	s.t.Helper()

	_, lost = s.say(u)

	return lost
}

func (s *Stream) say(u *crdt.Update) (*crdt.Delta, bool) {
	s.t.Helper()

	d, lost, err := s.apply(u, s.view.Seen(), s)
	if err != nil {
		s.t.Fatalf("slot %d: %s: %v", s.Writer.Slot, Format(u), err)
	}
	s.Plain.Said(u)

	return d, lost
}

// Refuse is what the user function says and what is not applied: it believes it all the same.
func (s *Stream) Refuse(u *crdt.Update) {
	s.view.Refuse(s.Entity, u)
	s.Plain.Said(u)
}

// Flush tells the user function what it does not know, and wants it to be able to do that, and to have the node's value
// then. It returns what it was told. A user function that has diverged begins again.
func (s *Stream) Flush() *crdt.Update {
	s.t.Helper()

	u := s.view.Flush(s.Entity, s.members())
	if s.view.Diverged() {
		s.Begun++
		var err error
		if s.Plain, err = PlainOf(s.view.Begin(s.Entity, s.members())); err != nil {
			s.t.Fatalf("slot %d: beginning again: %v", s.Writer.Slot, err)
		}

		return nil
	}
	before := s.Plain.String()
	if u != nil {
		if err := s.Plain.Told(u); err != nil {
			s.t.Fatalf("slot %d: a user function with %s is told %s: %v", s.Writer.Slot, before, Format(u), err)
		}
	}
	has := s.Plain
	if has.Kind == 0 {
		has = s.nothing() // as nobody can tell the difference
	}
	if got, want := has.String(), s.Node.Plain().String(); got != want {
		s.t.Fatalf("slot %d: a user function with %s that is told %s has %s, but the value is %s",
			s.Writer.Slot, before, Format(u), got, want)
	}

	return u
}
