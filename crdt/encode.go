package crdt

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
)

// The encoding of a delta:
//
//	'C' version flags kind generation content crc32c
//
// One state has one encoding: numbers are minimal uvarints, dots are sorted and coded as differences, type URLs are
// written where they are used first and numbered from there on, elements go in the order of their dots and entries in that
// of their keys. There is no context but what is swept, because the rest of it is the dots in the content.
const (
	encMagic   = 'C'
	encVersion = 1

	encDeleted = 1 << 0
	encBody    = 1 << 1
	encOn      = 1 << 2
	encReg     = 1 << 3
	encFlags   = encDeleted | encBody | encOn | encReg
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBinary appends the canonical encoding.
func (d *Delta) AppendBinary(b []byte) []byte {
	start := len(b)
	var flags byte
	if d.tomb != nil {
		flags |= encDeleted
	}
	if d.body != nil {
		flags |= encBody
	}
	if d.on {
		flags |= encOn
	}
	if d.reg != nil {
		flags |= encReg
	}
	b = append(b, encMagic, encVersion, flags, byte(d.kind))
	e := encoder{b: binary.AppendUvarint(b, uint64(d.gen))}
	switch {
	case d.tomb != nil:
		e.firstDot(d.tomb.by)
		e.varint(d.tomb.at)
	case d.kind == GCounter, d.kind == PNCounter, d.kind == Vote:
		e.counts(d.kind, d.counts)
	case d.reg != nil:
		e.firstDot(d.reg.dot)
		e.payload(d.kind, d.reg)
	case d.body != nil:
		e.body(d.body)
	}
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b[start:], castagnoli))
}

type encoder struct {
	b []byte
	// urls are numbered in the order of their first use. There is an index once there are many.
	urls  []string
	byURL map[string]int
	// last is the number of the one that was used last.
	last int
}

func (e *encoder) uvarint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }
func (e *encoder) varint(n int64)   { e.b = binary.AppendVarint(e.b, n) }

func (e *encoder) key(k Key) {
	url, value := k.Split()
	if e.last >= len(e.urls) || e.urls[e.last] != url {
		e.last = e.url(url)
	}
	e.uvarint(uint64(e.last))
	if e.last == len(e.urls) {
		e.uvarint(uint64(len(url)))
		e.b = append(e.b, url...)
		e.urls = append(e.urls, url)
	}
	e.uvarint(uint64(len(value)))
	e.b = append(e.b, value...)
}

// url is the number of a type URL, the next one if it has none.
func (e *encoder) url(url string) int {
	if len(e.urls) < many {
		if i := slices.Index(e.urls, url); i >= 0 {
			return i
		}
		return len(e.urls)
	}
	if e.byURL == nil {
		e.byURL = map[string]int{}
	}
	for i := len(e.byURL); i < len(e.urls); i++ {
		e.byURL[e.urls[i]] = i
	}
	if i, ok := e.byURL[url]; ok {
		return i
	}
	return len(e.urls)
}

func (e *encoder) firstDot(d Dot) { e.dot(^Dot(0), d) }

// dot after last, which is greater than all dots if there is none.
func (e *encoder) dot(last, d Dot) {
	if last != ^Dot(0) && last>>32 == d>>32 {
		e.uvarint(uint64(d.N()-last.N()) << 1)
		return
	}
	slot, epoch := d.Slot(), d.Epoch()
	if last != ^Dot(0) {
		slot -= last.Slot()
		if slot == 0 {
			epoch -= last.Epoch()
		}
	}
	e.uvarint(uint64(slot)<<1 | 1)
	e.uvarint(uint64(epoch))
	e.uvarint(uint64(d.N()))
}

func (e *encoder) dots(dots []Dot) {
	last := ^Dot(0)
	for _, d := range dots {
		e.dot(last, d)
		last = d
	}
}

func (e *encoder) ctx(c *Ctx) {
	e.uvarint(uint64(len(c.ranges)))
	last := ^Dot(0)
	for _, r := range c.ranges {
		e.dot(last, r.First)
		e.uvarint(uint64(r.Last - r.First))
		last = r.Last
	}
}

func (e *encoder) counts(k Kind, list []count) {
	e.uvarint(uint64(len(list)))
	last := ^Dot(0)
	for _, c := range list {
		// The number in the dot says whether it is sealed.
		d := MakeDot(c.slot, c.epoch, 1)
		if c.sealed {
			d++
		}
		e.dot(last, d)
		e.uvarint(c.p)
		if k == PNCounter {
			e.uvarint(c.n)
		}
		last = d
	}
}

func (e *encoder) payload(k Kind, i *item) {
	switch k {
	case GCounter, PNCounter:
		e.uvarint(uint64(i.dot - i.from))
		e.uvarint(i.a)
		if k == PNCounter {
			e.uvarint(i.b)
		}
	case LWWRegister:
		e.varint(i.clock())
		e.key(i.value)
	}
}

func (e *encoder) body(b *body) {
	switch b.kind {
	case GSet, ORSet:
		e.ctx(&b.sweep)
		e.elems(b.elems)
	case ORMap:
		e.ctx(&b.sweep)
		e.entries(b.entries)
	default:
		e.leaf(b)
	}
}

func (e *encoder) leaf(b *body) {
	e.uvarint(uint64(len(b.keep)))
	last := ^Dot(0)
	for i := range b.keep {
		e.dot(last, b.keep[i].dot)
		e.payload(b.kind, &b.keep[i])
		last = b.keep[i].dot
	}
	e.uvarint(uint64(len(b.kill)))
	last = ^Dot(0)
	for _, k := range b.kill {
		e.dot(last, k.dot)
		if b.kind == GCounter || b.kind == PNCounter {
			e.uvarint(uint64(k.dot - k.from))
		}
		last = k.dot
	}
}

func (e *elem) plain() bool { return e.keep != 0 && e.kill == 0 && e.more == nil }

// first is the dot by which elements are sorted.
func (e *elem) first() Dot {
	if e.keep != 0 {
		return e.keep
	}
	return e.kill
}

// elems are first those that have one dot and nothing else, then the others.
func (e *encoder) elems(elems []elem) {
	sorted, plain := true, 0
	var last Dot
	for i := range elems {
		if !elems[i].plain() || elems[i].keep < last {
			sorted = false
		}
		if elems[i].plain() {
			plain++
		}
		last = elems[i].keep
	}
	var place [few]int32
	var order []int32
	if !sorted {
		order = numbers(place[:0], len(elems))
		slices.SortFunc(order, func(i, j int32) int {
			a, b := &elems[i], &elems[j]
			if p, q := a.plain(), b.plain(); p != q {
				if p {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.first(), b.first())
		})
	}
	e.uvarint(uint64(plain))
	prev := ^Dot(0)
	for i := range plain {
		at := &elems[in(order, i)]
		e.dot(prev, at.keep)
		e.key(at.key)
		prev = at.keep
	}
	e.uvarint(uint64(len(elems) - plain))
	for i := plain; i < len(elems); i++ {
		at := &elems[in(order, i)]
		more := at.more
		if more == nil {
			more = &moreDots{}
		}
		e.dotList(at.keep, more.keep)
		e.dotList(at.kill, more.kill)
		e.key(at.key)
	}
}

// dotList of a first dot, 0 if there is none at all, and those after it.
func (e *encoder) dotList(first Dot, more []Dot) {
	if first == 0 {
		e.uvarint(0)
		return
	}
	e.uvarint(1 + uint64(len(more)))
	e.firstDot(first)
	last := first
	for _, d := range more {
		e.dot(last, d)
		last = d
	}
}

func (e *encoder) entries(entries []entryBody) {
	var place [few]int32
	var order []int32
	for i := 1; i < len(entries); i++ {
		if compareEntries(&entries[i-1], &entries[i]) > 0 {
			order = numbers(place[:0], len(entries))
			slices.SortFunc(order, func(i, j int32) int { return compareEntries(&entries[i], &entries[j]) })
			break
		}
	}
	e.uvarint(uint64(len(entries)))
	for i := range entries {
		at := &entries[in(order, i)]
		e.key(at.id.key)
		e.b = append(e.b, byte(at.id.kind))
		e.uvarint(uint64(len(at.keep)))
		e.dots(at.keep)
		e.uvarint(uint64(len(at.kill)))
		e.dots(at.kill)
		if at.body.empty() {
			e.b = append(e.b, 0)
			continue
		}
		e.b = append(e.b, 1)
		e.body(at.body)
	}
}

func compareEntries(a, b *entryBody) int {
	return cmp.Or(strings.Compare(a.id.key.s, b.id.key.s), cmp.Compare(a.id.kind, b.id.kind))
}

// few is how many elements or entries are put into order without memory of the heap. It is their numbers that are sorted: they
// themselves are big, and stay where they are.
const few = 64

func numbers(order []int32, n int) []int32 {
	for i := range n {
		order = append(order, int32(i))
	}
	return order
}

// in is the place of the i-th in order, which is nil if all are in it already.
func in(order []int32, i int) int {
	if order == nil {
		return i
	}
	return int(order[i])
}

// AppendBinary appends the canonical encoding.
func (c *Ctx) AppendBinary(b []byte) []byte {
	e := encoder{b: b}
	e.ctx(c)
	return e.b
}
