package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/dapr-entities/entities/crdt"
)

// Everything that this package sends or stores is framed alike: a byte that says what it is, a byte that says in which
// version, a body, and a checksum of all that. Numbers are unsigned varints, byte strings have their length before them.

const (
	frameBatch   = 'B'
	frameRequest = 'Q'
	frameAnswer  = 'A'
	frameTail    = 'T'
	frameBase    = 'H'
	wireVersion  = 1
	frameBytes   = 2 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errTorn    = errors.New("it is damaged")
	errVersion = errors.New("it is of a version that this node does not know; upgrade the node")
)

func beginFrame(b []byte, what byte) []byte { return append(b, what, wireVersion) }

// endFrame closes the frame that begins at start.
func endFrame(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// openFrame checks a frame and returns a reader of its body.
func openFrame(b []byte, what byte) (*reader, error) {
	if len(b) < frameBytes || b[0] != what {
		return nil, errTorn
	}
	if b[1] != wireVersion {
		return nil, errVersion
	}
	body := b[:len(b)-4]
	if binary.LittleEndian.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return nil, errTorn
	}
	return &reader{b: body[2:]}, nil
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendText(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendIdentity(b []byte, id identity) []byte {
	b = binary.AppendUvarint(b, uint64(id.slot))
	return binary.AppendUvarint(b, uint64(id.epoch))
}

// reader takes a body apart. After the first fault it returns zeros, and keeps the fault.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errTorn
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// below reads a number that must be less than limit.
func (r *reader) below(limit uint64) uint64 {
	v := r.uvarint()
	if v >= limit {
		r.fail()
		return 0
	}
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes shares the memory of what is read.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) identity() identity {
	s := r.below(crdt.MaxSlots)
	return identity{crdt.Slot(s), crdt.Epoch(r.below(crdt.MaxEpochs))}
}

// count reads how many items of at least that many bytes follow.
func (r *reader) count(least int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

// end returns the fault, if there was one or if something is left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}

// encodeCtx writes ranges as the distance from the one before and the length.
func encodeCtx(c *crdt.Ctx) []byte {
	var b []byte
	var at crdt.Dot
	for _, r := range c.Ranges() {
		b = binary.AppendUvarint(b, uint64(r.First-at))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		at = r.Last
	}
	return b
}

func decodeCtx(b []byte) (*crdt.Ctx, error) {
	r, c := &reader{b: b}, &crdt.Ctx{}
	var at crdt.Dot
	for first := true; len(r.b) > 0; first = false {
		from := at + crdt.Dot(r.uvarint())
		to := from + crdt.Dot(r.uvarint())
		closed := from.Epoch() == 0 && from.N() == 0
		switch {
		case r.err != nil, !first && from <= at, to < from, from.Slot() != to.Slot():
			return nil, torn("a causal context", errTorn)
		case closed && to.N() != math.MaxUint32, !closed && (from.Epoch() != to.Epoch() || from.N() == 0):
			return nil, torn("a causal context", errTorn)
		}
		c.AddRange(crdt.Range{First: from, Last: to})
		at = to
	}
	return c, nil
}

// torn says what could not be read.
func torn(what string, err error) error { return fmt.Errorf("reading %s: %w", what, err) }
