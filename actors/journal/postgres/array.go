package postgres

import "encoding/binary"

// array builds a one-dimensional PostgreSQL array in its binary form: lib/pq sends []byte as it is when
// binary_parameters is on, and its own arrays are text that doubles every byte of a payload.
type array struct {
	kind  uint32 // oid of the elements
	n     uint32
	nulls bool
	data  []byte
}

// The element types in use.
const (
	oidBytea = 17
	oidInt8  = 20
	oidInt4  = 23
	oidText  = 25
)

// The header: dimensions, flag of nulls, oid, length, lower bound.
const arrayHeader = 20

func newArray(kind uint32, capacity int) array {
	return array{kind: kind, data: make([]byte, arrayHeader, arrayHeader+capacity)}
}

func (a *array) text(s string) {
	a.n++
	a.data = binary.BigEndian.AppendUint32(a.data, uint32(len(s)))
	a.data = append(a.data, s...)
}

func (a *array) bytes(b []byte) {
	a.n++
	a.data = binary.BigEndian.AppendUint32(a.data, uint32(len(b)))
	a.data = append(a.data, b...)
}

func (a *array) null() {
	a.n++
	a.nulls = true
	a.data = binary.BigEndian.AppendUint32(a.data, 0xffffffff)
}

func (a *array) int8(v int64) {
	a.n++
	a.data = binary.BigEndian.AppendUint32(a.data, 8)
	a.data = binary.BigEndian.AppendUint64(a.data, uint64(v))
}

func (a *array) int4(v int) {
	a.n++
	a.data = binary.BigEndian.AppendUint32(a.data, 4)
	a.data = binary.BigEndian.AppendUint32(a.data, uint32(v))
}

func (a *array) encode() []byte {
	h := a.data[:arrayHeader]
	binary.BigEndian.PutUint32(h[0:], min(a.n, 1))
	if a.nulls {
		binary.BigEndian.PutUint32(h[4:], 1)
	}
	binary.BigEndian.PutUint32(h[8:], a.kind)
	if a.n == 0 {
		return h[:12]
	}
	binary.BigEndian.PutUint32(h[12:], a.n)
	binary.BigEndian.PutUint32(h[16:], 1)
	return a.data
}
