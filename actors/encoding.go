package actors

import (
	"encoding/binary"
	"errors"
	"math"
)

// The encoding of an Outcome: what one component tells another about a turn, and what the journal keeps for a command
// with a key. It is private to this project and versioned by its first byte.
//
//	version   1 byte, outcomeV2; outcomeV1 had neither the key of a forward nor the ids of effects
//	flags     1 byte: which of reply, failure, forward is there
//	sequence  uvarint
//	reply     payload            payload:  type URL, content type, data (each a uvarint length and the bytes)
//	failure   code byte, text
//	forward   call, key          call:     service, id, method, payload, metadata
//	metadata  count, entries     entry:    key, text, bytes
//	effects   count, (synchronous byte, call, id) each
const (
	outcomeV1 = 1
	outcomeV2 = 2
)

// The encoding of an effect that is kept is its version and its call. What else there is to it, its keeper orders and
// finds it by.
const effectV1 = 1

const (
	hasReply = 1 << iota
	hasFailure
	hasForward
)

var (
	errOutcome = errors.New("malformed outcome")
	errEffect  = errors.New("malformed effect")
)

// MarshalOutcome encodes o.
func MarshalOutcome(o Outcome) []byte {
	var flags byte
	if o.Reply != nil {
		flags |= hasReply
	}
	if o.Failure != nil {
		flags |= hasFailure
	}
	if o.Forward != nil {
		flags |= hasForward
	}
	b := make([]byte, 0, 64+payloadSize(o.Reply))
	b = append(b, outcomeV2, flags)
	b = binary.AppendUvarint(b, uint64(o.Sequence))
	if o.Reply != nil {
		b = appendPayload(b, *o.Reply)
	}
	if o.Failure != nil {
		b = append(b, byte(o.Failure.Code))
		b = appendString(b, o.Failure.Message)
	}
	if f := o.Forward; f != nil {
		b = appendCall(b, f.Ref, f.Method, f.Payload, f.Metadata)
		b = appendString(b, f.Key)
	}
	b = appendMetadata(b, o.Metadata)
	b = binary.AppendUvarint(b, uint64(len(o.Effects)))
	for _, e := range o.Effects {
		sync := byte(0)
		if e.Synchronous {
			sync = 1
		}
		b = append(b, sync)
		b = appendCall(b, e.Ref, e.Method, e.Payload, e.Metadata)
		b = appendString(b, e.ID)
	}
	return b
}

// UnmarshalOutcome decodes what MarshalOutcome made. The outcome shares data's memory.
func UnmarshalOutcome(data []byte) (Outcome, error) {
	d := decoder{data: data}
	version := d.byte()
	if version != outcomeV1 && version != outcomeV2 {
		return Outcome{}, errOutcome
	}
	flags := d.byte()
	var o Outcome
	seq := d.uvarint()
	if seq > math.MaxInt64 {
		return Outcome{}, errOutcome
	}
	o.Sequence = int64(seq)
	if flags&hasReply != 0 {
		p := d.payload()
		o.Reply = &p
	}
	if flags&hasFailure != 0 {
		o.Failure = &Error{Code: Code(d.byte()), Message: string(d.bytes())}
	}
	if flags&hasForward != 0 {
		f := Forward{}
		f.Ref, f.Method, f.Payload, f.Metadata = d.call()
		if version > outcomeV1 {
			f.Key = string(d.bytes())
		}
		o.Forward = &f
	}
	o.Metadata = d.metadata()
	for range d.count() {
		e := Effect{Synchronous: d.byte() == 1}
		e.Ref, e.Method, e.Payload, e.Metadata = d.call()
		if version > outcomeV1 {
			e.ID = string(d.bytes())
		}
		o.Effects = append(o.Effects, e)
	}
	if d.bad || len(d.data) != 0 || flags > hasReply|hasFailure|hasForward {
		return Outcome{}, errOutcome
	}
	return o, nil
}

// MarshalEffect encodes what is to be carried out: entity, method, payload and metadata.
func MarshalEffect(e *Effect) []byte {
	b := make([]byte, 0, 64+payloadSize(&e.Payload))
	return appendCall(append(b, effectV1), e.Ref, e.Method, e.Payload, e.Metadata)
}

// UnmarshalEffect decodes what MarshalEffect made. The effect shares data's memory.
func UnmarshalEffect(data []byte) (Effect, error) {
	d := decoder{data: data}
	if d.byte() != effectV1 {
		return Effect{}, errEffect
	}
	var e Effect
	e.Ref, e.Method, e.Payload, e.Metadata = d.call()
	if d.bad || len(d.data) != 0 {
		return Effect{}, errEffect
	}
	return e, nil
}

func payloadSize(p *Payload) int {
	if p == nil {
		return 0
	}
	return len(p.TypeURL) + len(p.ContentType) + len(p.Data)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendPayload(b []byte, p Payload) []byte {
	b = appendString(b, p.TypeURL)
	b = appendString(b, p.ContentType)
	b = binary.AppendUvarint(b, uint64(len(p.Data)))
	return append(b, p.Data...)
}

func appendCall(b []byte, r Ref, method string, p Payload, m Metadata) []byte {
	b = appendString(b, r.Service)
	b = appendString(b, r.ID)
	b = appendString(b, method)
	b = appendPayload(b, p)
	return appendMetadata(b, m)
}

func appendMetadata(b []byte, m Metadata) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	for _, e := range m {
		b = appendString(b, e.Key)
		b = appendString(b, e.Text)
		b = binary.AppendUvarint(b, uint64(len(e.Bytes)))
		b = append(b, e.Bytes...)
	}
	return b
}

// decoder reads the encoding. After a mistake it returns zero values and stays bad.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.bad = true
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return nil
	}
	if n == 0 {
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

// count reads the number of things that follow. Each takes a byte at least, which bounds the loops over it.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) payload() Payload {
	return Payload{TypeURL: string(d.bytes()), ContentType: string(d.bytes()), Data: d.bytes()}
}

func (d *decoder) call() (Ref, string, Payload, Metadata) {
	r := Ref{Service: string(d.bytes()), ID: string(d.bytes())}
	method := string(d.bytes())
	p := d.payload()
	return r, method, p, d.metadata()
}

func (d *decoder) metadata() Metadata {
	var m Metadata
	for range d.count() {
		m = append(m, Entry{Key: string(d.bytes()), Text: string(d.bytes()), Bytes: d.bytes()})
	}
	return m
}
