package node

import "github.com/dapr-entities/entities/crdt"

// joined is the join of two deltas of one generation, either of which may be nil. It may change a, and does not change when
// b does.
func joined(a, b *crdt.Delta) *crdt.Delta {
	switch {
	case b == nil:
		return a
	case a == nil:
		return b.Clone()
	}
	if err := a.Join(b); err != nil {
		// Both come from one entity, which would not have taken them.
		panic("replica: joining deltas of one entity: " + err.Error())
	}
	return a
}

// own is what this member wrote that is in no base for certain, nil if nothing. It must not be changed.
func (r *resident) own() *crdt.Delta {
	if r.covered == nil {
		return r.tail
	}
	return joined(r.covered.Clone(), r.tail)
}
