package crdt

// Epochs are the holders of slots whose writes to a counter, a set or a map have left a trace that Seal would take away, in
// order.
func (e *Entity) Epochs() []Member {
	var found []Member
	if e.kind == GCounter || e.kind == PNCounter {
		for _, c := range e.counts.list {
			if !c.sealed {
				found = append(found, Member{c.slot, c.epoch})
			}
		}
		return found
	}
	for _, r := range e.ctx.ranges {
		if r.First.Epoch() == 0 && r.First.N() == 0 {
			continue // sealed
		}
		m := Member{r.First.Slot(), r.First.Epoch()}
		if n := len(found); n == 0 || found[n-1] != m {
			found = append(found, m)
		}
	}
	return found
}
