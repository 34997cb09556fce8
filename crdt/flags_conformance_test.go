package crdt_test

import (
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

func TestFlagFalseRaceIsNoOp(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.Flag)
	s := crdttest.NewStream(t, a)
	// It is switched on elsewhere while the user function, which does not know, says that it is off.
	s.Hear(b.Say(on()))
	s.Say(&crdt.Update{Kind: crdt.Flag})
	wantAll(t, "on true", a, b)
	s.Flush()
	if !s.Plain.On {
		t.Error("the user function is not told that the flag is on")
	}
	if u := s.Flush(); u != nil {
		t.Errorf("told twice: %s", crdttest.Format(u))
	}
}

func TestVoteDropsWithLease(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.Vote)
	for _, n := range []*crdttest.Node{a, b, c} {
		n.Live = []crdt.Member{a.Origin(), b.Origin(), c.Origin()}
		n.Tell(n.Say(vote(true)), a, b, c)
	}
	wantAll(t, "self true, 3 of 3", a, b, c)
	a.Live = []crdt.Member{a.Origin(), b.Origin()}
	wantAll(t, "self true, 2 of 2", a)
	// It comes back in the same epoch: it was never gone.
	a.Live = c.Live
	wantAll(t, "self true, 3 of 3", a)
}

func TestVoteSuccessorInSlotStartsFalse(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.Vote)
	b.Tell(b.Say(vote(true)), a)
	successor := crdttest.NewNode(t, crdt.Vote, 1, 2)
	successor.Hear(a.Entity.Full())
	live := []crdt.Member{a.Origin(), successor.Origin()}
	a.Live, successor.Live = live, live
	wantAll(t, "self false, 0 of 2", a, successor)
	successor.Tell(successor.Say(vote(true)), a)
	wantAll(t, "self false, 1 of 2", a)
	wantAll(t, "self true, 1 of 2", successor)
}

func TestVoteMembershipChangePushed(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.Vote)
	live := []crdt.Member{a.Origin(), b.Origin()}
	a.Live, b.Live = live, live
	s := crdttest.NewStream(t, a)
	s.Hear(b.Say(vote(true)))
	s.Flush()
	if got := s.Plain.String(); got != "self false, 1 of 2" {
		t.Errorf("told %s", got)
	}
	if u := s.Flush(); u != nil {
		t.Errorf("told although nothing changed: %s", crdttest.Format(u))
	}
	a.Live = []crdt.Member{a.Origin()} // no delta comes with that
	if u := s.Flush(); u == nil {
		t.Error("not told that a member left")
	}
	if got := s.Plain.String(); got != "self false, 0 of 1" {
		t.Errorf("told %s", got)
	}
}

func TestVoteSelfFencedReportsFalse(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.Vote)
	live := []crdt.Member{a.Origin(), b.Origin()}
	a.Live, b.Live = live, live
	s := crdttest.NewStream(t, a)
	b.Hear(s.Node.Say(vote(true)))
	s.Flush()
	wantAll(t, "self true, 1 of 2", a)
	a.Live = []crdt.Member{b.Origin()} // its own lease is gone
	s.Flush()
	if got := s.Plain.String(); got != "self false, 0 of 1" {
		t.Errorf("told %s", got)
	}
	// It comes again with an epoch of its own and votes again.
	a.Writer.Epoch, a.Writer.Last = 2, 0
	a.Live = []crdt.Member{a.Origin(), b.Origin()}
	b.Live = a.Live
	b.Hear(a.Say(vote(true)))
	s.Flush()
	if got := s.Plain.String(); got != "self true, 1 of 2" {
		t.Errorf("told %s", got)
	}
	wantAll(t, "self false, 1 of 2", b)
}

// However often the holders of slots change, and in whatever order it is heard of them, one vote is kept for each slot: that of
// the last one, since the others are gone.
func TestVotesBoundedBySlots(t *testing.T) {
	t.Parallel()

	const slots, epochs = 3, 200
	var said []*crdt.Delta
	for slot := range crdt.Slot(slots) {
		for epoch := range crdt.Epoch(epochs) {
			said = append(said, crdttest.NewNode(t, crdt.Vote, slot, epoch+1).Say(vote(true)))
		}
	}
	a, b := crdttest.NewNode(t, crdt.Vote, slots, 1), crdttest.NewNode(t, crdt.Vote, slots, 1)
	joined := said[0].Clone()
	for i := range said {
		a.Hear(said[i])
		b.Hear(said[len(said)-1-i])
		joinTo(t, joined, said[(i*7)%len(said)])
	}
	c := crdttest.NewNode(t, crdt.Vote, slots, 1)
	c.Hear(joined)
	if encoded(a.Entity) != encoded(b.Entity) || encoded(a.Entity) != encoded(c.Entity) {
		t.Error("the order makes a difference")
	}
	if n := len(encoded(a.Entity)); n > 40 {
		t.Errorf("%d bytes for %d slots", n, slots)
	}
	a.Live = []crdt.Member{{Slot: 0, Epoch: epochs}, {Slot: 1, Epoch: epochs}, {Slot: 2, Epoch: epochs + 1}}
	wantAll(t, "self false, 2 of 3", a)
}

// In a map, votes of members that are gone go when their epochs are sealed.
func TestNestedVotesGoWithTheirEpochs(t *testing.T) {
	t.Parallel()

	own, other, store := three(t, crdt.ORMap)
	store.Hear(own.Say(put("k", vote(true))))
	store.Hear(other.Say(put("k", vote(true))))
	other.Hear(store.Entity.Full())
	before := other.Entity.LiveDots()
	_, sealed, err := store.Entity.Seal(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	other.Hear(sealed)
	if encoded(store.Entity) != encoded(other.Entity) {
		t.Error("states differ")
	}
	gone := other.Entity.LiveDots().Missing(before)
	if len(gone.Ranges()) == 0 {
		t.Error("the vote of the one who is gone is still there")
	}
	other.Live = []crdt.Member{{Slot: 1, Epoch: 1}, {Slot: 2, Epoch: 1}}
	if got := other.Plain().String(); got != "{"+k+": self true, 1 of 2}" {
		t.Error(got)
	}
}
