package replicated

import (
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Vote counts the nodes of the cluster that say yes. Each has one vote, whatever entity's turn casts it there, and it
// goes when the node does.
type Vote struct {
	node
	self, before bool
	votes        int32
	voters       int32 // 0 until somebody said how many
}

// Cast is this node's vote from now on.
func (v *Vote) Cast(yes bool) {
	if v.self == yes {
		return
	}
	v.change()
	v.set(yes)
}

// Self is this node's vote.
func (v *Vote) Self() bool { return v.self }

// Votes is how many nodes say yes.
func (v *Vote) Votes() int { return int(v.votes) }

// Voters is how many nodes there are.
func (v *Vote) Voters() int { return max(int(v.voters), 1) }

func (v *Vote) set(yes bool) {
	if v.self != yes {
		v.votes--
		if yes {
			v.votes += 2
		}
	}
	v.self = yes
}

func (*Vote) fresh() Data            { return new(Vote) }
func (*Vote) problems(int) []error   { return nil }
func (v *Vote) empty() *pb.CrdtDelta { return voteDelta(new(pb.VoteDelta)) }

func (v *Vote) delta() *pb.CrdtDelta {
	if v.self == v.before {
		return nil
	}
	return voteDelta(&pb.VoteDelta{SelfVote: v.self})
}

func (v *Vote) value() *pb.CrdtDelta {
	return voteDelta(&pb.VoteDelta{SelfVote: v.self, VotesFor: v.votes, TotalVoters: int32(v.Voters())})
}

func (v *Vote) apply(d *pb.CrdtDelta) error {
	x, ok := d.GetDelta().(*pb.CrdtDelta_Vote)
	if !ok {
		return otherKind(d, "Vote")
	}
	v.self, v.votes, v.voters = x.Vote.GetSelfVote(), x.Vote.GetVotesFor(), x.Vote.GetTotalVoters()
	v.settle()
	return nil
}

func (v *Vote) settle() { v.before, v.dirty = v.self, false }

func (v *Vote) revert() {
	v.set(v.before)
	v.settle()
}

func voteDelta(d *pb.VoteDelta) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Vote{Vote: d}}
}
