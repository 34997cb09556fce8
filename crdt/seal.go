package crdt

import (
	"fmt"
	"math"
)

// Receipt says what of a slot's epochs was in the state that was sealed. It is stored with that state, and kept for as long
// as a process that held the slot may come back.
type Receipt struct {
	Slot    Slot
	Through Epoch
	// seen are the dots, and counts the counts, that the state had.
	seen   Ctx
	counts []count
	// had are the events of nested counters that lived in the state, nil if there were none: their owner may have folded
	// them into later ones, which then are missed only in part.
	had *body
	// moved are the dots that their owner wrote again, sorted by old; killed are those he may not.
	moved  []moved
	killed Ctx
}

type moved struct{ old, new Dot }

func slotRange(s Slot, through Epoch) Range {
	return Range{MakeDot(s, 0, 0), MakeDot(s, through, math.MaxUint32)}
}

// Seal closes the epochs of a slot up to one. It is for the state in the store after the barrier. The delta carries what
// others must know of it, the receipt what the slot's owner needs if he still lives. Both are nil if the epochs are sealed
// already, if there is no value yet, or if its kind needs no sealing: then what their owner wrote may come at any time.
func (e *Entity) Seal(s Slot, through Epoch) (*Receipt, *Delta, error) {
	switch e.kind {
	case GCounter, PNCounter:
		return e.sealCounts(s, through)
	case GSet, ORSet, ORMap:
	default:
		return nil, nil, nil
	}
	closed := &Ctx{ranges: []Range{slotRange(s, through)}}
	r := &Receipt{Slot: s, Through: through, seen: *closed.Intersect(&e.ctx)}
	if was, ok := e.ctx.Closed(s); ok && was >= through {
		return nil, nil, nil
	}
	r.had = counted(e.root, closed)
	// The owners are gone, so the sealer folds what they counted, and drops what they voted.
	b := foldAll(e.root, closed)
	if b != nil {
		e.merge(&Delta{kind: e.kind, gen: e.gen, body: b}, nil)
	}
	e.ctx.Union(closed)
	d := &Delta{kind: e.kind, gen: e.gen, body: e.root.part(closed)}
	d.body.sweep = *closed
	return r, d, nil
}

// Killed are the dots that the sealed state never had and that must not be moved, because they were removed. It must not be
// changed; Snapshot it to keep it.
func (r *Receipt) Killed() *Ctx { return &r.killed }

// Seals says whether the delta closes a slot's epoch. Who writes under that epoch has lost his slot and must not join the
// delta, by which he would forget what only he has: he sets his entity aside for Rehome and loads the entity anew.
func (d *Delta) Seals(s Slot, e Epoch) bool {
	for _, c := range d.counts {
		if c.sealed && c.slot == s && c.epoch >= e {
			return true
		}
	}
	if d.body == nil {
		return false
	}
	through, ok := d.body.sweep.Closed(s)
	return ok && through >= e
}

func (e *Entity) sealCounts(s Slot, through Epoch) (*Receipt, *Delta, error) {
	if c := e.counts.sealed(s); c != nil && c.epoch >= through {
		return nil, nil, nil
	}
	sum := count{slot: s, epoch: through, sealed: true}
	r := &Receipt{Slot: s, Through: through}
	for _, c := range e.counts.list {
		if c.slot != s || c.epoch > through {
			continue
		}
		if sum.p > math.MaxUint64-c.p || sum.n > math.MaxUint64-c.n {
			return nil, nil, fmt.Errorf("sealing slot %d up to epoch %d: %w", s, through, ErrOverflow)
		}
		sum.p += c.p
		sum.n += c.n
		if !c.sealed {
			r.counts = append(r.counts, c)
		}
	}
	e.counts.join(sum)
	return r, &Delta{kind: e.kind, gen: e.gen, counts: []count{sum}}, nil
}

// counted are the events of nested counters that are in closed, nil if there are none.
func counted(s store, closed *Ctx) *body {
	b := &body{kind: s.kind()}
	switch s := s.(type) {
	case *leaf:
		if s.k == GCounter || s.k == PNCounter {
			b = s.part(closed)
		}
	case *omap:
		s.each(func(id entryID, e *mapEntry) {
			if below := counted(e.value, closed); below != nil {
				b.entries = append(b.entries, entryBody{id: id, body: below})
			}
		})
	}
	if b.empty() {
		return nil
	}
	return b
}

// foldAll folds the events of nested counters that are in closed, and kills those of nested votes.
func foldAll(s store, closed *Ctx) *body {
	b := &body{kind: s.kind()}
	switch s := s.(type) {
	case *leaf:
		if s.k == GCounter || s.k == PNCounter {
			foldWhere(s, b, closed.Has)
		}
		for _, i := range s.items {
			if s.k == Vote && closed.Has(i.dot) {
				b.kill = append(b.kill, kill{i.dot, i.dot})
			}
		}
	case *omap:
		s.each(func(id entryID, e *mapEntry) {
			if below := foldAll(e.value, closed); below != nil {
				b.entries = append(b.entries, entryBody{id: id, body: below})
			}
		})
	}
	if b.empty() {
		return nil
	}
	return b
}

// Follow looks in a delta for removals of dots that the sealed state never had: those that were moved are removed
// where they are now, by the delta returned (nil if none); the others are recorded, so that they are not moved any more.
func (r *Receipt) Follow(d *Delta) *Delta {
	if d.body == nil {
		return nil
	}
	var kept, dead Ctx
	d.body.fates(func(dot Dot) { kept.Add(dot) }, func(c *Ctx) {
		for _, g := range c.ranges {
			// What others sealed says nothing of single dots.
			if g.First.Epoch() == g.Last.Epoch() {
				dead.AddRange(g)
			}
		}
	})
	all := &Ctx{ranges: []Range{slotRange(r.Slot, r.Through)}}
	dead = *r.seen.Missing(kept.Missing(all.Intersect(&dead)))
	if dead.Empty() {
		return nil
	}
	out := &Delta{kind: d.kind, gen: d.gen, body: &body{kind: d.kind}}
	seen := d.Ctx()
	for _, m := range r.moved {
		// Who has seen the new dot says himself what became of it: for him the old one is dead because it was moved.
		if dead.Has(m.old) && !seen.Has(m.new) {
			out.body.sweep.Add(m.new)
		}
	}
	r.killed.Union(&dead)
	if out.body.sweep.Empty() {
		return nil
	}
	return out
}

// fates yields the dots that are kept, and those that are dead unless they are kept.
func (b *body) fates(kept func(Dot), dead func(*Ctx)) {
	if b == nil {
		return
	}
	dead(&b.sweep)
	var killed Ctx
	for i := range b.keep {
		kept(b.keep[i].dot)
	}
	for _, k := range b.kill {
		killed.Add(k.dot)
	}
	for i := range b.elems {
		for d := range b.elems[i].kept {
			kept(d)
		}
		for d := range b.elems[i].killed {
			killed.Add(d)
		}
	}
	for i := range b.entries {
		for _, d := range b.entries[i].keep {
			kept(d)
		}
		for _, d := range b.entries[i].kill {
			killed.Add(d)
		}
		b.entries[i].body.fates(kept, dead)
	}
	dead(&killed)
}
