package crdt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

// DecodeDelta is strict: what it accepts, AppendBinary writes again. The Delta does not share b's memory.
func DecodeDelta(b []byte, limits Limits) (*Delta, error) {
	limits = limits.withDefaults()
	if len(b) > limits.Bytes {
		return nil, fmt.Errorf("decoding a delta of %d bytes where %d are allowed: %w", len(b), limits.Bytes, ErrTooLarge)
	}
	dec := decoder{b: b, limits: limits}
	d, err := dec.delta()
	if err != nil {
		return nil, fmt.Errorf("decoding a delta, at byte %d of %d: %w", dec.at, len(b), err)
	}
	return d, nil
}

// DecodeCtx is strict: what it accepts, AppendBinary writes again.
func DecodeCtx(b []byte) (*Ctx, error) {
	dec := decoder{b: b}
	c := dec.ctx()
	if dec.err == nil && dec.at != len(b) {
		dec.bad("bytes after the end")
	}
	if dec.err != nil {
		return nil, fmt.Errorf("decoding a context, at byte %d of %d: %w", dec.at, len(b), dec.err)
	}
	return &c, nil
}

// decoder stops at the first error; what it returns after one means nothing.
type decoder struct {
	b      []byte
	at     int
	err    error
	limits Limits
	urls   []string
	// keys are cut out of chunks, so that there is no allocation for each.
	chunk *strings.Builder
}

func (d *decoder) bad(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrNotCanonical, what)
	}
}

func (d *decoder) delta() (*Delta, error) {
	if len(d.b) < 9 {
		d.bad("too short")
		return nil, d.err
	}
	switch {
	case d.b[0] != encMagic:
		d.bad("not a delta")
	case d.b[1] != encVersion || d.b[2]&^encFlags != 0:
		d.err = fmt.Errorf("%w: form %d, flags %#x", ErrVersion, d.b[1], d.b[2])
	case crc32.Checksum(d.b[:len(d.b)-4], castagnoli) != binary.LittleEndian.Uint32(d.b[len(d.b)-4:]):
		d.bad("wrong checksum")
	case Kind(d.b[3]) > Vote:
		d.err = fmt.Errorf("%w: kind %d", ErrVersion, d.b[3])
	}
	if d.err != nil {
		return nil, d.err
	}
	flags := d.b[2]
	delta := &Delta{kind: Kind(d.b[3]), on: flags&encOn != 0}
	d.b, d.at = d.b[:len(d.b)-4], 4
	gen := d.uvarint()
	if gen > 1<<32-1 {
		d.bad("generation out of range")
	}
	delta.gen = uint32(gen)
	d.content(delta, flags)
	if d.err == nil && d.at != len(d.b) {
		d.bad("bytes after the end")
	}
	return delta, d.err
}

func (d *decoder) content(delta *Delta, flags byte) {
	var want byte
	switch delta.kind {
	case 0:
		want = encDeleted
	case LWWRegister:
		want = encReg
	case Flag:
		want = encOn
	case GSet, ORSet, ORMap:
		want = encBody
	}
	if flags&^want != 0 {
		d.bad("flags that do not belong to the kind")
		return
	}
	switch {
	case flags&encDeleted != 0:
		delta.tomb = &tombstone{by: d.dot(^Dot(0)), at: d.varint()}
	case delta.kind == GCounter, delta.kind == PNCounter, delta.kind == Vote:
		delta.counts = d.counts(delta.kind)
	case flags&encReg != 0:
		delta.reg = &item{dot: d.liveDot(^Dot(0))}
		d.payload(delta.kind, delta.reg)
	case flags&encBody != 0:
		delta.body = d.body(delta.kind, 0)
	}
}

func (d *decoder) byte() byte {
	if d.at >= len(d.b) {
		d.bad("too short")
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

func (d *decoder) uvarint() uint64 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 {
		d.at++
		return uint64(d.b[d.at-1])
	}
	n, used := binary.Uvarint(d.b[d.at:])
	if used <= 0 || used > 1 && d.b[d.at+used-1] == 0 {
		d.bad("not a minimal number")
		d.at = len(d.b)
		return 0
	}
	d.at += used
	return n
}

func (d *decoder) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count of things that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64((len(d.b)-d.at)/size) {
		d.bad("more things than bytes")
		return 0
	}
	return int(n)
}

func (d *decoder) string(n uint64) string {
	if n > uint64(len(d.b)-d.at) {
		d.bad("longer than the rest")
		return ""
	}
	d.at += int(n)
	return string(d.b[d.at-int(n) : d.at])
}

// chunkSize bounds how much memory a key that is kept can keep with it.
const chunkSize = 32 << 10

func (d *decoder) key() Key {
	n := d.uvarint()
	switch {
	case n == uint64(len(d.urls)) && d.err == nil:
		url := d.string(d.uvarint())
		for _, u := range d.urls {
			if u == url {
				d.bad("a type URL twice")
			}
		}
		if len(d.urls) >= 1<<16 {
			d.bad("too many type URLs")
		}
		d.urls = append(d.urls, url)
	case n > uint64(len(d.urls)):
		d.bad("an unknown type URL")
	}
	size := d.uvarint()
	if size > uint64(len(d.b)-d.at) {
		d.bad("longer than the rest")
	}
	if d.err != nil {
		return Key{}
	}
	url := d.urls[n]
	if len(url)+int(size) > d.limits.Key {
		d.err = fmt.Errorf("%w: a value of %d bytes where %d are allowed", ErrTooLarge, len(url)+int(size), d.limits.Key)
		return Key{}
	}
	value := d.b[d.at : d.at+int(size)]
	d.at += int(size)
	if url == "" && size == 0 {
		return Key{}
	}
	need := binary.MaxVarintLen32 + len(url) + len(value)
	if d.chunk == nil || d.chunk.Cap()-d.chunk.Len() < need {
		d.chunk = new(strings.Builder)
		d.chunk.Grow(max(need, min(chunkSize, len(d.b)-d.at+need)))
	}
	start := d.chunk.Len()
	l := uint64(len(url))
	for ; l >= 0x80; l >>= 7 {
		d.chunk.WriteByte(byte(l) | 0x80)
	}
	d.chunk.WriteByte(byte(l))
	d.chunk.WriteString(url)
	d.chunk.Write(value)
	return Key{d.chunk.String()[start:]}
}

// dot after last, which is greater than all dots if there is none.
func (d *decoder) dot(last Dot) Dot {
	n := d.uvarint()
	if n&1 == 0 {
		if last == ^Dot(0) || n == 0 || n>>1 > uint64(^uint32(0)-last.N()) {
			d.bad("dots out of order")
			return 1
		}
		return last + Dot(n>>1)
	}
	slot, epoch, number := n>>1, d.uvarint(), d.uvarint()
	if last != ^Dot(0) {
		if slot == 0 {
			if epoch == 0 {
				d.bad("dots out of order")
			}
			epoch += uint64(last.Epoch())
		}
		slot += uint64(last.Slot())
	}
	if slot >= MaxSlots || epoch >= MaxEpochs || number > uint64(^uint32(0)) {
		d.bad("a dot out of range")
		return 1
	}
	return MakeDot(Slot(slot), Epoch(epoch), uint32(number))
}

// liveDot is that of an event, which is numbered from 1.
func (d *decoder) liveDot(last Dot) Dot {
	dot := d.dot(last)
	if dot.N() == 0 {
		d.bad("an event without a number")
	}
	return dot
}

func (d *decoder) ctx() Ctx {
	n := d.count(2)
	if n == 0 {
		return Ctx{}
	}
	c := Ctx{ranges: make([]Range, 0, n)}
	last := ^Dot(0)
	for i := 0; i < n && d.err == nil; i++ {
		first := d.dot(last)
		length := d.uvarint()
		if i > 0 && first == last+1 && first.Slot() == last.Slot() {
			d.bad("ranges that are one")
		}
		if length > uint64(MakeDot(first.Slot(), MaxEpochs-1, ^uint32(0))-first) {
			d.bad("a range out of its slot")
			break
		}
		last = first + Dot(length)
		c.ranges = append(c.ranges, Range{first, last})
	}
	return c
}

func (d *decoder) counts(k Kind) []count {
	n := d.count(2)
	list := make([]count, 0, n)
	last := ^Dot(0)
	for i := 0; i < n && d.err == nil; i++ {
		dot := d.dot(last)
		c := count{slot: dot.Slot(), epoch: dot.Epoch(), sealed: dot.N() == 2, p: d.uvarint()}
		if k == PNCounter {
			c.n = d.uvarint()
		}
		switch {
		case dot.N() != 1 && dot.N() != 2 || c.sealed && k == Vote:
			d.bad("neither open nor sealed")
		case i > 0 && c.slot == list[i-1].slot && (c.sealed || c.epoch == list[i-1].epoch):
			d.bad("a sealed count after an open one")
		case !c.sealed && c.p == 0 && c.n == 0:
			d.bad("a count of nothing")
		case k == Vote && c.p > uint64(^uint32(0)):
			d.bad("a vote out of range")
		}
		list = append(list, c)
		last = dot
	}
	return list
}
