package replica

import "github.com/dapr-entities/entities/crdt"

// joined is the join of two deltas of one generation, either of which may be nil. It may change a, and share the memory of
// b.
func joined(a, b *crdt.Delta) *crdt.Delta {
	switch {
	case b == nil:
		return a
	case a == nil:
		return b
	}
	if err := a.Join(b); err != nil {
		// Both come from one entity, which would not have taken them.
		panic("replica: joining deltas of one entity: " + err.Error())
	}
	return a
}

// clone shares nothing.
func clone(d *crdt.Delta) *crdt.Delta {
	if d == nil {
		return nil
	}
	c, err := crdt.DecodeDelta(d.AppendBinary(nil), crdt.Limits{Bytes: 1 << 40, Key: 1 << 40, Elements: 1 << 40})
	if err != nil {
		panic("replica: reading a delta of this process: " + err.Error())
	}
	return c
}
