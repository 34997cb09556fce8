package crdt

import "fmt"

func (d *decoder) payload(k Kind, i *item) {
	i.from = i.dot
	switch k {
	case GCounter, PNCounter:
		i.from = d.from(i.dot)
		i.a = d.uvarint()
		if k == PNCounter {
			i.b = d.uvarint()
		}
		if i.a == 0 && i.b == 0 {
			d.bad("an event of nothing")
		}
	case LWWRegister:
		i.a = uint64(d.varint())
		i.value = d.key()
	}
}

// from is the first event that was folded into one.
func (d *decoder) from(dot Dot) Dot {
	back := d.uvarint()
	if back >= uint64(dot-MakeDot(dot.Slot(), 0, 0)) {
		d.bad("a folded event out of its slot")
		return dot
	}
	return dot - Dot(back)
}

func (d *decoder) body(k Kind, depth int) *body {
	b := &body{kind: k}
	switch k {
	case GSet, ORSet:
		b.sweep = d.ctx()
		d.elems(b)
	case ORMap:
		if depth >= MaxDepth {
			d.bad("maps nested too deeply")
			return b
		}
		b.sweep = d.ctx()
		d.entries(b, depth)
	default:
		d.leaf(b)
	}
	return b
}

func (d *decoder) leaf(b *body) {
	n := d.count(1)
	last := ^Dot(0)
	b.keep = makeSlice[item](n, 64)
	for i := 0; i < n && d.err == nil; i++ {
		it := item{dot: d.liveDot(last)}
		d.payload(b.kind, &it)
		b.keep = append(b.keep, it)
		last = it.dot
	}
	n = d.count(1)
	last = ^Dot(0)
	b.kill = makeSlice[kill](n, 64)
	for i := 0; i < n && d.err == nil; i++ {
		k := kill{dot: d.liveDot(last)}
		k.from = k.dot
		if b.kind == GCounter || b.kind == PNCounter {
			k.from = d.from(k.dot)
		}
		if b.keeps(k.dot) {
			d.bad("a dot both alive and dead")
		}
		b.kill = append(b.kill, k)
		last = k.dot
	}
}

// makeSlice for n things, or for a first few if n is not to be trusted with memory.
func makeSlice[T any](n, few int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, 0, min(n, few))
}

func (d *decoder) elements(n int) int {
	if n > d.limits.Elements {
		if d.err == nil {
			d.err = fmt.Errorf("%w: %d elements where %d are allowed", ErrTooLarge, n, d.limits.Elements)
		}
		return 0
	}
	return n
}

func (d *decoder) elems(b *body) {
	n := d.elements(d.count(3))
	if n > 0 {
		// An element takes at least 3 bytes and 40 in memory, which is as much as a decoder may trust a count.
		b.elems = make([]elem, 0, n)
	}
	last := ^Dot(0)
	for i := 0; i < n && d.err == nil; i++ {
		e := elem{keep: d.liveDot(last)}
		e.key = d.key()
		b.elems = append(b.elems, e)
		last = e.keep
	}
	n = d.elements(len(b.elems)+d.count(4)) - len(b.elems)
	var first Dot
	for i := 0; i < n && d.err == nil; i++ {
		e := d.elem()
		if e.first() <= first {
			d.bad("elements out of order")
		}
		first = e.first()
		b.elems = append(b.elems, e)
	}
	if d.err == nil && twice(b.elems) {
		d.bad("an element twice")
	}
}

func (d *decoder) elem() elem {
	var e elem
	d.dotList(func(dot Dot) { e.addKeep(dot) })
	d.dotList(func(dot Dot) {
		if e.keeps(dot) {
			d.bad("a dot both alive and dead")
		}
		e.addKill(dot)
	})
	e.key = d.key()
	if e.plain() || e.keep == 0 && e.kill == 0 {
		d.bad("an element in the wrong place")
	}
	return e
}

func (d *decoder) dotList(yield func(Dot)) {
	n := d.count(1)
	last := ^Dot(0)
	for i := 0; i < n && d.err == nil; i++ {
		last = d.liveDot(last)
		yield(last)
	}
}

func (d *decoder) dots() (dots []Dot) {
	d.dotList(func(dot Dot) { dots = append(dots, dot) })
	return dots
}

// twice says whether there is a key twice.
func twice(elems []elem) bool {
	if len(elems) < 2 {
		return false
	}
	size := 8
	for len(elems)*4 > size*3 {
		size *= 2
	}
	cells := make([]uint32, size)
	mask := uint64(size - 1)
	for i := range elems {
		hash := hashKey(elems[i].key)
		tag := uint32(hash>>56) << cellBits
		at := hash & mask
		for ; cells[at] != cellFree; at = (at + 1) & mask {
			if c := cells[at]; c&^cellMask == tag && elems[c&cellMask-1].key == elems[i].key {
				return true
			}
		}
		cells[at] = tag | uint32(i+1)
	}
	return false
}

func (d *decoder) entries(b *body, depth int) {
	n := d.elements(d.count(6))
	b.entries = makeSlice[entryBody](n, 1024)
	for i := 0; i < n && d.err == nil; i++ {
		e := entryBody{id: entryID{d.key(), Kind(d.byte())}}
		if e.id.kind < GCounter || e.id.kind > Vote {
			if d.err == nil {
				d.err = fmt.Errorf("%w: kind %d", ErrVersion, e.id.kind)
			}
			return
		}
		e.keep, e.kill = d.dots(), d.dots()
		for _, dot := range e.kill {
			if hasDot(e.keep, dot) {
				d.bad("a dot both alive and dead")
			}
		}
		switch d.byte() {
		case 0:
		case 1:
			if e.body = d.body(e.id.kind, depth+1); e.body.empty() {
				d.bad("a change of nothing")
			}
		default:
			d.bad("neither a change nor none")
		}
		if e.empty() {
			d.bad("an entry of nothing")
		}
		if i > 0 && compareEntries(&b.entries[i-1], &e) >= 0 {
			d.bad("entries out of order")
		}
		b.entries = append(b.entries, e)
	}
}
