package node

import (
	"errors"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// seats are the slots of a simulated cluster, with the promises of package slot: a lease is taken over only after its
// holder has stopped writing by its own clock.
type seats struct {
	sim   *sim
	seats []*seat
	view  uint64
}

type seat struct {
	member  slot.Member
	node    *simNode
	expires time.Time
}

const (
	seatTTL   = 3 * time.Second
	seatRenew = seatTTL / 6
)

// begin has a process take part for as long as it lives.
func (s *seats) begin(n *simNode) {
	s.sim.after(s.sim.some(50*time.Millisecond), n, func() { s.round(n) })
}

// round is what a process does for its lease.
func (s *seats) round(n *simNode) {
	defer s.sim.after(seatRenew+s.sim.some(seatRenew/4), n, func() { s.round(n) })
	if n.storeCut {
		return
	}
	s.expire()
	switch {
	case n.seat != nil && n.seat.node == n:
		n.seat.expires = s.sim.now.Add(seatTTL)
		n.until = s.sim.now.Add(seatTTL / 2)
	case n.seat != nil:
		s.sim.trace("%v: node %d has lost slot %s", s.sim.stamp(), n.place, memberName(n.standing.Self))
		n.seat = nil
		n.lost = true
		n.stand(Standing{Cluster: 1, View: s.view, Members: s.members()})
		return
	default:
		s.take(n)
	}
	s.learn(n)
}

func (s *seats) take(n *simNode) {
	i := slices.IndexFunc(s.seats, func(x *seat) bool { return x.node == nil })
	if i < 0 {
		i = len(s.seats)
		s.seats = append(s.seats, &seat{})
	}
	// Each holder has a record of its own, so that who held it before keeps his.
	x := &seat{node: n, expires: s.sim.now.Add(seatTTL)}
	x.member = slot.Member{Slot: crdt.Slot(i), Epoch: s.seats[i].member.Epoch + 1}
	s.seats[i] = x
	n.seat, n.until = x, s.sim.now.Add(seatTTL/2)
	s.view++
	s.sim.trace("%v: node %d takes slot %s", s.sim.stamp(), n.place, memberName(x.member))
}

func (s *seats) expire() {
	for _, x := range s.seats {
		if x.node != nil && s.sim.now.After(x.expires) {
			x.node = nil
			s.view++
		}
	}
}

func (s *seats) members() []slot.Member {
	var members []slot.Member
	for _, x := range s.seats {
		if x.node != nil {
			members = append(members, x.member)
		}
	}
	return members
}

// learn tells a process the view.
func (s *seats) learn(n *simNode) {
	at := Standing{Cluster: 1, View: s.view, Members: s.members()}
	if x := n.seat; x != nil {
		at.Self = x.member
		at.Valid = func() bool { return n.seat == x && s.sim.now.Before(n.until) }
	}
	n.stand(at)
}

func (n *simNode) stand(at Standing) {
	n.standing = at
	for i := range n.parts {
		n.input(i, func(p *partition) { p.stand(at) })
	}
}

func (s *seats) refresh(n *simNode) error {
	if n.storeCut {
		return errors.New("the journal is away")
	}
	s.expire()
	at := n.standing
	at.View, at.Members = s.view, s.members()
	n.standing = at
	return nil
}

func (s *seats) holder(m slot.Member) *simNode {
	for _, n := range s.sim.nodes {
		if !n.dead && n.seat != nil && identityOf(n.seat.member) == identityOf(m) {
			return n
		}
	}
	return nil
}

func (s *seats) holds(n *simNode, m slot.Member) bool {
	x := s.seats[m.Slot]
	return x.node == n && x.member == m
}
