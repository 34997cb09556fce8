package daprstate

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// encoder writes fields one behind the other.
type encoder struct{ data []byte }

func (e *encoder) number(n int64)   { e.data = binary.AppendVarint(e.data, n) }
func (e *encoder) count(n int)      { e.data = binary.AppendUvarint(e.data, uint64(n)) }
func (e *encoder) text(s string)    { e.count(len(s)); e.data = append(e.data, s...) }
func (e *encoder) bytes(b []byte)   { e.count(len(b)); e.data = append(e.data, b...) }
func (e *encoder) raw(b []byte)     { e.data = append(e.data, b...) }
func (e *encoder) fixed(n uint32)   { e.data = binary.LittleEndian.AppendUint32(e.data, n) }
func (e *encoder) ref(r actors.Ref) { e.text(r.Service); e.text(r.ID) }

func (e *encoder) flag(b bool) {
	if b {
		e.data = append(e.data, 1)
		return
	}
	e.data = append(e.data, 0)
}

// time is kept in microseconds; the zero time as 0.
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.flag(false)
		return
	}
	e.flag(true)
	e.number(t.UnixMicro())
}

func (e *encoder) payload(p *actors.Payload) {
	e.text(p.TypeURL)
	e.text(p.ContentType)
}

// errDamaged is the error of a record that cannot be what was written.
var errDamaged = errors.New("a record in the state store is damaged")

// decoder reads what encoder wrote. Once something is wrong, everything it reads is zero, and bad is set. What it returns
// shares memory with data.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.data)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[size:]
	return n
}

// count is of things that take a byte each, at the least.
func (d *decoder) count() int {
	n, size := binary.Uvarint(d.data)
	if size <= 0 || n > uint64(len(d.data)-size) {
		d.fail()
		return 0
	}
	d.data = d.data[size:]
	return int(n)
}

func (d *decoder) take(n int) []byte {
	if n > len(d.data) {
		d.fail()
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) bytes() []byte {
	if b := d.take(d.count()); len(b) > 0 {
		return b
	}
	return nil
}

func (d *decoder) text() string { return string(d.take(d.count())) }

func (d *decoder) fixed() uint32 {
	b := d.take(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (d *decoder) flag() bool {
	b := d.take(1)
	if b == nil {
		return false
	}
	if b[0] > 1 {
		d.fail()
	}
	return b[0] == 1
}

func (d *decoder) time() time.Time {
	if !d.flag() {
		return time.Time{}
	}
	return time.UnixMicro(d.number()).UTC()
}

func (d *decoder) ref() actors.Ref { return actors.Ref{Service: d.text(), ID: d.text()} }

func (d *decoder) payload() actors.Payload {
	return actors.Payload{TypeURL: d.text(), ContentType: d.text()}
}

func (d *decoder) fail() { d.bad, d.data = true, nil }

// end reports whether all was read, and nothing was wrong.
func (d *decoder) end() error {
	if d.bad || len(d.data) > 0 {
		return errDamaged
	}
	return nil
}
