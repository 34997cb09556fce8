package crdt

import (
	"cmp"
	"slices"
)

func findItem(items []item, d Dot) (int, bool) {
	if n := len(items); n == 0 || items[n-1].dot < d {
		return n, false
	}
	return slices.BinarySearchFunc(items, d, func(i item, d Dot) int { return cmp.Compare(i.dot, d) })
}

func hasDot(dots []Dot, d Dot) bool {
	_, ok := slices.BinarySearch(dots, d)
	return ok
}

func insertDot(dots []Dot, d Dot) []Dot {
	i, ok := slices.BinarySearch(dots, d)
	if ok {
		return dots
	}
	return slices.Insert(dots, i, d)
}

func removeDot(dots []Dot, d Dot) ([]Dot, bool) {
	i, ok := slices.BinarySearch(dots, d)
	if !ok {
		return dots, false
	}
	return slices.Delete(dots, i, i+1), true
}

// leaf is a nested counter, register, flag or vote: the events that live, sorted by dot.
type leaf struct {
	k     Kind
	items []item
}

func (l *leaf) kind() Kind  { return l.k }
func (l *leaf) empty() bool { return len(l.items) == 0 }

func (l *leaf) dots(yield func(Dot)) {
	for i := range l.items {
		yield(l.items[i].dot)
	}
}

func (l *leaf) join(j *join, b *body, ch *change) {
	l.record(ch)
	if b != nil {
		for _, k := range b.kill {
			l.kill(j, k, b)
		}
	}
	if len(j.sweeps) > 0 {
		l.items = slices.DeleteFunc(l.items, func(i item) bool {
			if !j.swept(i.dot) || b.keeps(i.dot) || l.sealedIn(j, i, b) {
				return false
			}
			j.lose(i.hash(), i.size())
			return true
		})
	}
	if b == nil {
		return
	}
	for i := range b.keep {
		l.keep(j, &b.keep[i])
	}
}

func (l *leaf) kill(j *join, k kill, b *body) {
	l.items = slices.DeleteFunc(l.items, func(i item) bool {
		if i.dot != k.dot && (i.dot.Slot() != k.dot.Slot() || i.dot < k.from || k.dot < i.dot) || l.sealedIn(j, i, b) {
			return false
		}
		j.lose(i.hash(), i.size())
		return true
	})
	j.see(k.dot)
}

// sealedIn says whether b takes i away only because its owner folded it, after the epoch had been sealed, into an event
// that came too late. It is in the sealed state, and stays there.
func (l *leaf) sealedIn(j *join, i item, b *body) bool {
	if b == nil || l.k != GCounter && l.k != PNCounter {
		return false
	}
	for at := range b.keep {
		if k := &b.keep[at]; k.from <= i.dot && i.dot < k.dot {
			if through, ok := j.ctx.Closed(k.dot.Slot()); ok && k.dot.Epoch() <= through {
				_, live := findItem(l.items, k.dot)
				return !live
			}
		}
	}
	return false
}

func (l *leaf) keep(j *join, k *item) {
	at, ok := findItem(l.items, k.dot)
	switch {
	case ok:
		mine := &l.items[at]
		if old := *mine; mine.merge(k) {
			j.lose(old.hash(), 0)
			j.gain(mine.hash(), 0)
		}
	case !j.ctx.Has(k.dot):
		l.items = slices.Insert(l.items, at, *k)
		j.gain(k.hash(), k.size())
		j.see(k.dot)
	}
}

// merge what another knows of the same event. Only its owner changes it, by adding to it before anybody saw it, and by
// folding earlier events into it.
func (i *item) merge(o *item) (changed bool) {
	if o.from < i.from || o.from == i.from && (o.a > i.a || o.b > i.b) {
		*i = *o
		return true
	}
	return false
}

func (i *item) size() int { return 12 + len(i.value.s) }

// part are the items whose dots are in which, or all if it is nil.
func (l *leaf) part(which *Ctx) *body {
	b := &body{kind: l.k}
	for i := range l.items {
		if which == nil || which.Has(l.items[i].dot) {
			b.keep = append(b.keep, l.items[i])
		}
	}
	return b
}

// folded are the items into which events were folded that are in dead.
func (l *leaf) folded(dead *Ctx) *body {
	if l.k != GCounter && l.k != PNCounter {
		return nil
	}
	b := &body{kind: l.k}
	for i := range l.items {
		if it := &l.items[i]; it.from < it.dot && dead.overlaps(&Ctx{ranges: []Range{{it.from, it.dot - 1}}}) {
			b.keep = append(b.keep, *it)
		}
	}
	return b
}

// sums of a counter.
func (l *leaf) sums() (p, n u128) {
	for i := range l.items {
		p.add(l.items[i].a)
		n.add(l.items[i].b)
	}
	return p, n
}

// shown is the item that a register shows, nil if it has none.
func (l *leaf) shown() *item {
	var top *item
	for i := range l.items {
		if top == nil || l.items[i].after(top) {
			top = &l.items[i]
		}
	}
	return top
}

func (l *leaf) tally(m *Members) tally {
	return countVotes(m, func(who Member) bool {
		for i := range l.items {
			if d := l.items[i].dot; d.Slot() == who.Slot && d.Epoch() == who.Epoch {
				return true
			}
		}
		return false
	})
}

func (l *leaf) update(m *Members) *Update {
	u := &Update{Kind: l.k}
	switch l.k {
	case GCounter:
		p, _ := l.sums()
		u.Increment = p.uint64()
	case PNCounter:
		u.Change = difference(l.sums())
	case LWWRegister:
		if top := l.shown(); top != nil {
			u.Value = top.value
		}
	case Flag:
		u.On = !l.empty()
	case Vote:
		l.tally(m).tell(u)
	}
	return u
}

// record what the value is before it changes.
func (l *leaf) record(ch *change) {
	if ch == nil || ch.known {
		return
	}
	ch.known = true
	switch l.k {
	case GCounter:
		p, _ := l.sums()
		ch.count = p.uint64()
	case PNCounter:
		ch.count = uint64(difference(l.sums()))
	case LWWRegister:
		if top := l.shown(); top != nil {
			ch.value, ch.on = top.value, true
		}
	case Flag:
		ch.on = !l.empty()
	case Vote:
		for i := range l.items {
			ch.voters = append(ch.voters, Member{l.items[i].dot.Slot(), l.items[i].dot.Epoch()})
		}
	}
}
