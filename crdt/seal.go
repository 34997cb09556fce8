package crdt

import (
	"fmt"
	"math"
	"slices"
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

// Rehome writes again, as w, what own has of an epoch of the receipt's slot and the receipt does not: own is the state of
// the process that held the slot in that epoch and lost it. It is done once, by that process; the receipt gets what moved
// where, and must be stored with the delta. e is what was loaded after the sealing. Nil if nothing was missed.
func (e *Entity) Rehome(own *Entity, was Epoch, r *Receipt, w *Writer, ch *Changes) (*Delta, error) {
	switch {
	case e.tomb != nil || own.kind == 0 || own.gen < e.gen:
		return nil, nil
	case own.kind != e.kind:
		return nil, fmt.Errorf("moving what a %v has into a %v: %w", own.kind, e.kind, ErrKindMismatch)
	case was > r.Through:
		return nil, fmt.Errorf("moving what epoch %d wrote by a receipt up to %d: %w", was, r.Through, ErrSealed)
	}
	if e.kind == GCounter || e.kind == PNCounter {
		return e.rehomeCounts(own, was, r, w, ch)
	}
	if e.root == nil {
		return nil, nil
	}
	h := rehoming{r: r, w: w, was: was, last: w.Last}
	b := h.store(own.root, r.had)
	if b == nil {
		return nil, h.err
	}
	if h.err != nil {
		return nil, fmt.Errorf("moving what epoch %d wrote: %w", was, h.err)
	}
	w.Last = h.last
	r.moved = append(r.moved, h.moved...)
	slices.SortFunc(r.moved, func(a, b moved) int {
		if a.old < b.old {
			return -1
		}
		return 1
	})
	d := &Delta{kind: e.kind, gen: e.gen, body: b}
	e.merge(d, ch)
	return d, nil
}

func (e *Entity) rehomeCounts(own *Entity, was Epoch, r *Receipt, w *Writer, ch *Changes) (*Delta, error) {
	i, ok := own.counts.find(r.Slot, was)
	if !ok || own.counts.list[i].sealed {
		return nil, nil
	}
	missed := own.counts.list[i]
	for at := range r.counts {
		if c := &r.counts[at]; c.epoch == was {
			missed.p -= min(missed.p, c.p)
			missed.n -= min(missed.n, c.n)
			// So that it is not moved twice.
			c.p = max(c.p, own.counts.list[i].p)
			c.n = max(c.n, own.counts.list[i].n)
			ok = false
		}
	}
	if ok {
		r.counts = append(r.counts, own.counts.list[i])
		slices.SortFunc(r.counts, func(a, b count) int { return int(a.epoch) - int(b.epoch) })
	}
	if missed.p == 0 && missed.n == 0 {
		return nil, nil
	}
	mine := count{slot: w.Slot, epoch: w.Epoch}
	if i, ok := e.counts.find(w.Slot, w.Epoch); ok {
		mine = e.counts.list[i]
	}
	if mine.p > math.MaxUint64-missed.p || mine.n > math.MaxUint64-missed.n {
		return nil, fmt.Errorf("moving what epoch %d counted: %w", was, ErrOverflow)
	}
	mine.p += missed.p
	mine.n += missed.n
	d := &Delta{kind: e.kind, gen: e.gen}
	// Who learns of what was moved must learn that the rest is sealed, or he counts it twice.
	var both counts
	if s := e.counts.sealed(r.Slot); s != nil {
		both.join(*s)
	}
	both.join(mine)
	d.counts = both.list
	e.merge(d, ch)
	return d, nil
}

// rehoming makes the delta that moves the dots of a lost epoch.
type rehoming struct {
	r     *Receipt
	w     *Writer
	was   Epoch
	last  uint32
	moved []moved
	err   error
}

func (h *rehoming) missed(d Dot) bool {
	if d.Slot() != h.r.Slot || d.Epoch() != h.was || h.r.seen.Has(d) || h.r.killed.Has(d) {
		return false
	}
	_, ok := h.r.successor(d)
	return !ok
}

func (r *Receipt) successor(d Dot) (Dot, bool) {
	i, ok := slices.BinarySearchFunc(r.moved, d, func(m moved, d Dot) int {
		if m.old < d {
			return -1
		} else if m.old > d {
			return 1
		}
		return 0
	})
	if !ok {
		return 0, false
	}
	return r.moved[i].new, true
}

func (h *rehoming) move(d Dot) Dot {
	if h.last >= math.MaxUint32-1 {
		h.err = ErrEpochExhausted
		return d
	}
	h.last++
	to := MakeDot(h.w.Slot, h.w.Epoch, h.last)
	h.moved = append(h.moved, moved{d, to})
	return to
}

// store makes what moves of a value; had is of the same value.
func (h *rehoming) store(s store, had *body) *body {
	b := &body{kind: s.kind()}
	switch s := s.(type) {
	case *set:
		s.runs.in(slotRange(h.r.Slot, h.was), func(d Dot, pos uint32) {
			if h.missed(d) {
				b.elems = append(b.elems, elem{key: s.entries[pos].key, keep: h.move(d), kill: d})
			}
		})
		if len(s.more) > 0 {
			b.elems = joinElems(b.elems)
		}
	case *leaf:
		for _, i := range s.items {
			if h.missed(i.dot) {
				if i.from < i.dot && i.less(had) {
					continue
				}
				b.addKill(kill{i.dot, i.dot})
				i.dot = h.move(i.dot)
				i.from = i.dot
				b.keep = append(b.keep, i)
			}
		}
		slices.SortFunc(b.keep, func(a, b item) int {
			if a.dot < b.dot {
				return -1
			}
			return 1
		})
	case *omap:
		s.each(func(id entryID, e *mapEntry) {
			at := entryBody{id: id, body: h.store(e.value, had.below(id))}
			for _, d := range e.keep {
				if h.missed(d) {
					at.keep = append(at.keep, h.move(d))
					at.kill = append(at.kill, d)
				}
			}
			if !at.empty() {
				b.entries = append(b.entries, at)
			}
		})
	}
	if b.empty() {
		return nil
	}
	return b
}

// less takes from a folded event what the sealed state had of those that were folded into it; nothing is left if gone.
func (i *item) less(had *body) (gone bool) {
	if had == nil {
		return false
	}
	for _, o := range had.keep {
		if i.from <= o.dot && o.dot <= i.dot {
			i.a -= min(i.a, o.a)
			i.b -= min(i.b, o.b)
		}
	}
	return i.a == 0 && i.b == 0
}

// below is what a map's body has of the value of an entry, nil if nothing.
func (b *body) below(id entryID) *body {
	if b == nil {
		return nil
	}
	if i := b.entry(id); i >= 0 {
		return b.entries[i].body
	}
	return nil
}

// joinElems joins what is said of the same element.
func joinElems(elems []elem) []elem {
	b := &body{}
	for i := range elems {
		at := b.elem(elems[i].key)
		if at < 0 {
			b.addElem(elems[i])
			continue
		}
		b.elems[at].addKeep(elems[i].keep)
		b.elems[at].addKill(elems[i].kill)
	}
	return b.elems
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
