package crdt

import (
	"fmt"
	"math"
)

// dotted makes the change b of a value at a depth. s is what is there and was not removed just before, nil if nothing.
func (a *apply) dotted(s store, u *Update, b *body, depth int) error {
	switch u.Kind {
	case GSet, ORSet:
		mine, _ := s.(*set)
		return a.set(mine, u, b, depth > 0)
	case ORMap:
		mine, _ := s.(*omap)
		return a.omap(mine, u, b, depth)
	}
	mine, _ := s.(*leaf)
	if mine == nil {
		mine = &leaf{k: u.Kind}
	}
	return a.leaf(mine, u, b)
}

// remove makes the body that kills what was seen of a value, nil if nothing was.
func (a *apply) remove(s store) *body {
	b := &body{kind: s.kind()}
	if l, ok := s.(*leaf); ok {
		for i := range l.items {
			if a.saw(l.items[i].dot) {
				b.kill = append(b.kill, kill{l.items[i].dot, l.items[i].from})
			}
		}
	} else {
		b.sweep = *a.seenLive(s)
	}
	if b.empty() {
		return nil
	}
	return b
}

// seenLive are the live dots of a value that were seen.
func (a *apply) seenLive(s store) *Ctx {
	c, seen := &Ctx{}, a.seen
	s.dots(func(d Dot) {
		if seen == nil || seen.Has(d) {
			c.Add(d)
		}
	})
	return c
}

// clear makes what kills all that was seen. At the top that is all that was ever seen, which takes no more than a few
// bytes for each slot; below the top others' dots are in between, so it is only what lives there.
func (a *apply) clear(s store, nested bool) Ctx {
	switch {
	case nested:
		return *a.seenLive(s)
	case a.seen == nil:
		return a.e.ctx.Snapshot()
	default:
		// Only what this entity has seen too can be said to be dead.
		return *a.seen.Intersect(&a.e.ctx)
	}
}

func (a *apply) set(s *set, u *Update, b *body, nested bool) error {
	if s == nil {
		s = &set{k: u.Kind}
	}
	cleared, removed := u.Cleared && u.Kind == ORSet, u.Removed
	if u.Kind == GSet || cleared {
		removed = nil
	}
	if cleared && s.n > 0 {
		b.sweep = a.clear(s, nested)
	}
	if n := s.n + len(u.Added); n > a.limits.Elements && !cleared {
		return fmt.Errorf("adding %d elements to %d where %d are allowed: %w", len(u.Added), s.n, a.limits.Elements, ErrTooLarge)
	}
	if n := len(removed) + len(u.Added); cap(b.elems) < n {
		b.elems = make([]elem, 0, n)
	}
	for _, k := range u.Added {
		if err := a.key(k); err != nil {
			return err
		}
		pos, ok := s.pos(k)
		if ok && u.Kind == GSet && !a.goneAt(s, pos) || len(u.Added) > 1 && b.elem(k) >= 0 {
			continue
		}
		e := elem{key: k, keep: a.next()}
		for i := 0; ok && s.dotAt(pos, i) != 0; i++ {
			e.addKill(s.dotAt(pos, i))
		}
		b.addElem(e)
	}
	for _, k := range removed {
		pos, ok := s.pos(k)
		if !ok || b.elem(k) >= 0 {
			continue
		}
		e := elem{key: k}
		for i := 0; s.dotAt(pos, i) != 0; i++ {
			if d := s.dotAt(pos, i); a.saw(d) {
				e.addKill(d)
			}
		}
		if e.kill != 0 {
			b.addElem(e)
		}
	}
	return nil
}

// gone says that an event may yet be sealed out.
func (w *Writer) gone(e *Entity, d Dot) bool {
	if w.Gone == nil || !w.Gone(d.Slot(), d.Epoch()) {
		return false
	}
	through, ok := e.ctx.Closed(d.Slot())
	return !ok || through < d.Epoch()
}

// goneAt says that an element rests on nothing but events that may be sealed out.
func (a *apply) goneAt(s *set, pos uint32) bool {
	if a.w.Gone == nil {
		return false
	}
	gone := true
	for i := 0; s.dotAt(pos, i) != 0; i++ {
		gone = gone && a.w.gone(a.e, s.dotAt(pos, i))
	}
	return gone
}

// restsOnGone says that an entry rests on nothing but events that may be sealed out.
func (a *apply) restsOnGone(e *mapEntry) bool {
	if a.w.Gone == nil {
		return false
	}
	// A closure over a would move it to the heap, for every update there is.
	gone, w, of := true, a.w, a.e
	for _, d := range e.keep {
		gone = gone && w.gone(of, d)
	}
	e.value.dots(func(d Dot) { gone = gone && w.gone(of, d) })
	return gone
}

// foldAt is how many events of one owner a nested counter has at most.
const foldAt = 64

func (a *apply) leaf(l *leaf, u *Update, b *body) error {
	switch u.Kind {
	case GCounter:
		if p, _ := l.sums(); p.hi > 0 || p.lo+u.Increment < p.lo {
			return fmt.Errorf("incrementing by %d: %w", u.Increment, ErrOverflow)
		}
		a.counter(l, u.Increment, 0, b)
	case PNCounter:
		p, n := split(u.Change)
		up, down := l.sums()
		up.add(p)
		down.add(n)
		if !fits(up, down) {
			return fmt.Errorf("changing by %d: %w", u.Change, ErrOverflow)
		}
		a.counter(l, p, n, b)
	case LWWRegister:
		return a.nestedRegister(l, u, b)
	case Flag:
		if u.On {
			a.toggle(l, b, true, false)
		}
	case Vote:
		a.toggle(l, b, u.Self, true)
	}
	return nil
}

// toggle kills all dots, or the writer's own, for a fresh one if on.
func (a *apply) toggle(l *leaf, b *body, on, own bool) {
	for i := range l.items {
		if !own || a.own(l.items[i].dot) {
			b.kill = append(b.kill, kill{l.items[i].dot, l.items[i].from})
		}
	}
	if on {
		d := a.next()
		b.keep = append(b.keep, item{dot: d, from: d})
	}
}

// pending says that nobody else has seen the event.
func (a *apply) pending(d Dot) bool {
	e := a.e
	return a.w.Pending > 0 && d.N() >= a.w.Pending && !e.others.Has(d) &&
		(e.last == nil || a.seen == &e.last.seen || !e.told.Has(d))
}

func (a *apply) counter(l *leaf, p, n uint64, b *body) {
	if p == 0 && n == 0 {
		return
	}
	var mine []item
	for i := range l.items {
		if a.own(l.items[i].dot) {
			mine = append(mine, l.items[i])
		}
	}
	if k := len(mine); k > 0 {
		// An event of which nobody has heard takes more.
		last := mine[k-1]
		if a.pending(last.dot) && last.a <= math.MaxUint64-p && last.b <= math.MaxUint64-n {
			last.a += p
			last.b += n
			b.keep = append(b.keep, last)
			return
		}
	}
	d := a.next()
	it := item{dot: d, from: d, a: p, b: n}
	if len(mine) >= foldAt {
		if folded, ok := fold(append(mine, it)); ok {
			a.forced++
			for _, i := range mine {
				b.kill = append(b.kill, kill{i.dot, i.dot})
			}
			it = folded
		}
	}
	b.keep = append(b.keep, it)
}

// fold the events of one owner into the last one; ok is false if that cannot hold them.
func fold(items []item) (folded item, ok bool) {
	folded = items[len(items)-1]
	for _, i := range items[:len(items)-1] {
		if folded.a > math.MaxUint64-i.a || folded.b > math.MaxUint64-i.b {
			return folded, false
		}
		folded.from = min(folded.from, i.from)
		folded.a += i.a
		folded.b += i.b
	}
	return folded, true
}

func (a *apply) nestedRegister(l *leaf, u *Update, b *body) error {
	if err := a.key(u.Value); err != nil {
		return err
	}
	shown := l.shown()
	clock, err := a.clock(u, shown)
	if err != nil {
		return err
	}
	d := a.next()
	it := item{dot: d, from: d, a: uint64(clock), value: u.Value}
	// A write that loses must not take away what it loses against. It stays, in case that is removed, but only the last one
	// of each writer.
	for i := range l.items {
		if o := &l.items[i]; it.after(o) || o != shown && a.own(o.dot) {
			b.kill = append(b.kill, kill{o.dot, o.from})
		}
	}
	b.keep = append(b.keep, it)
	if shown != nil && !it.after(shown) {
		a.lost = true
	}
	return nil
}
