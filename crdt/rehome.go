package crdt

import (
	"fmt"
	"math"
	"slices"
)

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
