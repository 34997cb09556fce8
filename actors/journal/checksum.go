package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/dapr-entities/entities/actors"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum covers what identifies an event and what it says, so that neither a changed byte nor an exchanged row goes
// unnoticed. Back ends store it with the event and compare it when they read.
func (e *Event) Checksum() uint32 {
	sum := checksum(0, e.Ref, e.Sequence, e.Payload)
	sum = crcString(sum, e.Name)
	return crcString(sum, e.Command)
}

// Checksum of a snapshot of ref.
func (s *Snapshot) Checksum(ref actors.Ref) uint32 {
	return checksum(1, ref, s.Sequence, s.Payload)
}

func checksum(sort byte, ref actors.Ref, sequence int64, p actors.Payload) uint32 {
	var b [9]byte
	b[0] = sort
	binary.LittleEndian.PutUint64(b[1:], uint64(sequence))
	sum := crc32.Update(0, castagnoli, b[:])
	for _, s := range []string{ref.Service, ref.ID, p.TypeURL, p.ContentType} {
		sum = crcString(sum, s)
	}
	sum = crcLen(sum, len(p.Data))
	return crc32.Update(sum, castagnoli, p.Data)
}

func crcString(sum uint32, s string) uint32 {
	return crc32.Update(crcLen(sum, len(s)), castagnoli, []byte(s))
}

func crcLen(sum uint32, n int) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	return crc32.Update(sum, castagnoli, b[:])
}
