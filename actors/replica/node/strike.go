package node

import (
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// An element whose writer was sealed before the journal had it may yet come back: its writer brings it again under another
// name. Until then a member that had heard of it can neither see nor remove it, but its user function may know it, and
// remove it. Such a removal, and those in the tails of others, go into the receipt of the sealing, from where they keep the
// writer from bringing it again, or find it where it is by then. Whoever replaces a base replaces the receipts, too, so
// either the writer sees the removal or the removal sees what was moved.

// strike takes what a user function removed of what has been sealed out. To be safe it must be in the base.
func (p *partition) strike(r *resident, d *crdt.Delta) {
	r.struck = joined(r.struck, d)
	p.needLoad(r, 0)
}

// strikes reports whether there are removals that have to go into the base.
func (r *resident) strikes() bool { return r.struck != nil || r.striking != nil }

// heed has the receipts that were just read take up the removals in the tails and those made here, and returns what those
// lead to that is in another place by now, nil if nothing.
func (p *partition) heed(r *resident, st *stored) *crdt.Delta {
	var moved *crdt.Delta
	for _, t := range st.tails {
		if t.delta != nil && t.generation == r.state.Generation() {
			at, _ := removals(r.receipts, t.delta)
			moved = joined(moved, at)
		}
	}
	// With the tails of others goes who folds them; what is only here must not go before a receipt has it.
	for _, d := range [...]*crdt.Delta{r.own(), r.struck} {
		at, news := removals(r.receipts, d)
		moved = joined(moved, at)
		r.followed = r.followed || news
	}
	return moved
}

// removals has receipts follow what d removes. news reports whether they lacked anything.
func removals(receipts []receipt, d *crdt.Delta) (moved *crdt.Delta, news bool) {
	if d == nil {
		return nil, false
	}
	for todo := []*crdt.Delta{d}; len(todo) > 0; todo = todo[1:] {
		for _, x := range receipts {
			if x.of == nil {
				continue
			}
			before := x.of.Killed().Snapshot()
			if at := x.of.Follow(todo[0]); at != nil {
				moved = joined(moved, at)
				todo = append(todo, at) // it may have moved again
			}
			news = news || !before.Equal(x.of.Killed())
		}
	}
	return moved, news
}

// strikeMoved removes what heed found. Whoever waits for the removal waits for this, too.
func (p *partition) strikeMoved(r *resident, moved *crdt.Delta) error {
	if moved == nil || r.phase != phaseLive || r.behind || !p.at.writable() {
		return nil
	}
	news, err := p.join(r, moved)
	if err != nil {
		return damaged(r.ref, "a receipt", err)
	}
	if !news {
		return nil
	}
	p.wrote(r, moved, replica.Local)
	for _, w := range r.waits {
		w.version, w.seq, w.published = r.version, 0, p.told(r)
		r.waited, r.holdUntil = r.version, r.version
	}
	return nil
}
