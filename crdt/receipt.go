package crdt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const receiptMagic = 'R'

// AppendBinary appends the canonical encoding.
func (r *Receipt) AppendBinary(b []byte) []byte {
	start := len(b)
	e := encoder{b: append(b, receiptMagic, encVersion)}
	e.uvarint(uint64(r.Slot))
	e.uvarint(uint64(r.Through))
	e.ctx(&r.seen)
	e.counts(PNCounter, r.counts)
	e.uvarint(uint64(len(r.moved)))
	last := ^Dot(0)
	for _, m := range r.moved {
		e.dot(last, m.old)
		e.firstDot(m.new)
		last = m.old
	}
	e.ctx(&r.killed)
	if r.had.empty() {
		e.b = append(e.b, 0)
	} else {
		e.b = append(e.b, 1)
		e.body(r.had)
	}
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b[start:], castagnoli))
}

// DecodeReceipt is strict: what it accepts, AppendBinary writes again.
func DecodeReceipt(b []byte) (*Receipt, error) {
	d := decoder{b: b, limits: Limits{}.withDefaults()}
	r := d.receipt()
	if d.err != nil {
		return nil, fmt.Errorf("decoding a receipt, at byte %d of %d: %w", d.at, len(b), d.err)
	}
	return r, nil
}

func (d *decoder) receipt() *Receipt {
	switch {
	case len(d.b) < 11:
		d.bad("too short")
	case d.b[0] != receiptMagic:
		d.bad("not a receipt")
	case d.b[1] != encVersion:
		d.err = fmt.Errorf("%w: form %d", ErrVersion, d.b[1])
	case crc32.Checksum(d.b[:len(d.b)-4], castagnoli) != binary.LittleEndian.Uint32(d.b[len(d.b)-4:]):
		d.bad("wrong checksum")
	}
	if d.err != nil {
		return nil
	}
	d.b, d.at = d.b[:len(d.b)-4], 2
	slot, through := d.uvarint(), d.uvarint()
	if slot >= MaxSlots || through >= MaxEpochs {
		d.bad("a slot or an epoch out of range")
	}
	r := &Receipt{Slot: Slot(slot), Through: Epoch(through), seen: d.ctx(), counts: d.counts(PNCounter)}
	n := d.count(4)
	last := ^Dot(0)
	for i := 0; i < n && d.err == nil; i++ {
		m := moved{old: d.liveDot(last)}
		m.new = d.liveDot(^Dot(0))
		r.moved = append(r.moved, m)
		last = m.old
	}
	r.killed = d.ctx()
	switch d.byte() {
	case 0:
	case 1:
		if r.had = d.body(ORMap, 0); r.had.empty() {
			d.bad("a body of nothing")
		}
	default:
		d.bad("neither a body nor none")
	}
	if d.err == nil && d.at != len(d.b) {
		d.bad("bytes after the end")
	}
	return r
}
