package replica

import (
	"context"

	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// Membership says who takes part in replication, and as whom this node does.
type Membership interface {
	// Standing returns what is known now. It does not wait.
	Standing() Standing
	// Changed returns a channel that is closed when Standing has changed since the call.
	Changed() <-chan struct{}
	// Refresh reads the members from where they are kept. When it returns nil, Standing knows of everybody who joined
	// before the call.
	Refresh(ctx context.Context) error
	// Confirm returns nil if this node still held its slot, in the epoch of self, at some time after the call.
	Confirm(ctx context.Context, self slot.Member) error
}

// Standing is what a node knows of the members.
type Standing struct {
	// Cluster tells clusters, and the times before and after a restored backup, apart.
	Cluster uint64
	// Self is who this node is, and Valid says, by the node's own clock, whether it may still write under that name. A nil
	// Valid means that it is no member. Valid does not wait, and stays false once it is.
	Self  slot.Member
	Valid func() bool
	// View is the number of the view, which grows whenever Members changes.
	View uint64
	// Members in the order of their slots, this node included while it is one.
	Members []slot.Member
}

// identity names a member for ever.
type identity struct {
	slot  crdt.Slot
	epoch crdt.Epoch
}

func identityOf(m slot.Member) identity { return identity{m.Slot, m.Epoch} }

// writable reports whether this node may write now.
func (s *Standing) writable() bool { return s.Valid != nil && s.Valid() }

// fenced reports whether somebody else holds the slot by now, so that what comes under that name is not to be taken any
// more.
func (s *Standing) fenced(id identity) bool {
	for _, m := range s.Members {
		if m.Slot == id.slot {
			return m.Epoch > id.epoch
		}
	}
	return false
}

// member returns the one with that name.
func (s *Standing) member(id identity) (slot.Member, bool) {
	for _, m := range s.Members {
		if identityOf(m) == id {
			return m, true
		}
	}
	return slot.Member{}, false
}

// others are the members without this node.
func (s *Standing) others() []slot.Member {
	self := identityOf(s.Self)
	var others []slot.Member
	for _, m := range s.Members {
		if identityOf(m) != self {
			others = append(others, m)
		}
	}
	return others
}
