package replica

import (
	"context"

	"github.com/dapr-entities/entities/actors/replica/slot"
)

// MembersOf is a group of slots as the Membership of a Node.
func MembersOf(g *slot.Group) Membership { return members{g} }

type members struct{ group *slot.Group }

func (m members) Standing() Standing {
	s, _ := m.group.State()
	at := Standing{Cluster: s.View.ClusterUID, View: s.View.ID, Members: s.View.Members}
	if l := s.Lease; l != nil {
		at.Self, at.Valid, at.Cluster = l.Member(), l.Valid, l.ClusterUID()
	}
	return at
}

func (m members) Changed() <-chan struct{} {
	_, changed := m.group.State()
	return changed
}

func (m members) Refresh(ctx context.Context) error {
	_, err := m.group.Current(ctx)
	return err
}

func (m members) Confirm(ctx context.Context, self slot.Member) error {
	s, _ := m.group.State()
	if s.Lease == nil || s.Lease.Member() != self {
		return slot.ErrLost
	}
	return s.Lease.Check(ctx)
}
