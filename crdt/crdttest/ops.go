package crdttest

import "math/bits"

// Ops is a set of operations of an Oracle. The zero Ops is empty.
type Ops struct {
	words []uint64
}

// Has tells whether the operation is in it.
func (o Ops) Has(id int) bool {
	return id/64 < len(o.words) && o.words[id/64]>>(id%64)&1 == 1
}

// Add puts an operation into it.
func (o *Ops) Add(id int) {
	for id/64 >= len(o.words) {
		o.words = append(o.words, 0)
	}
	o.words[id/64] |= 1 << (id % 64)
}

// Union puts all of p into it.
func (o *Ops) Union(p Ops) {
	for len(o.words) < len(p.words) {
		o.words = append(o.words, 0)
	}
	for i, word := range p.words {
		o.words[i] |= word
	}
}

// Clone returns a set of its own.
func (o Ops) Clone() Ops {
	return Ops{append([]uint64(nil), o.words...)}
}

// Subset tells whether all of it is in p.
func (o Ops) Subset(p Ops) bool {
	for i, word := range o.words {
		var other uint64
		if i < len(p.words) {
			other = p.words[i]
		}
		if word&^other != 0 {
			return false
		}
	}

	return true
}

// Len is the number of operations.
func (o Ops) Len() int {
	n := 0
	for _, word := range o.words {
		n += bits.OnesCount64(word)
	}

	return n
}

func (o Ops) remove(p Ops) {
	for i := range min(len(o.words), len(p.words)) {
		o.words[i] &^= p.words[i]
	}
}

func (o Ops) intersects(p Ops) bool {
	for i := range min(len(o.words), len(p.words)) {
		if o.words[i]&p.words[i] != 0 {
			return true
		}
	}

	return false
}
