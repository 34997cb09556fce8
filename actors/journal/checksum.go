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
	sum, b := checksum(0, e.Ref, e.Sequence, &e.Payload)
	b = appendText(b[:0], e.Name)
	b = appendText(b, e.Command)
	return crc32.Update(sum, castagnoli, b)
}

// Checksum of a snapshot of ref.
func (s *Snapshot) Checksum(ref actors.Ref) uint32 {
	sum, _ := checksum(1, ref, s.Sequence, &s.Payload)
	return sum
}

// checksum also returns its buffer, for what follows.
func checksum(sort byte, ref actors.Ref, sequence int64, p *actors.Payload) (uint32, []byte) {
	b := make([]byte, 0, 256)
	b = append(b, sort)
	b = binary.LittleEndian.AppendUint64(b, uint64(sequence))
	b = appendText(b, ref.Service)
	b = appendText(b, ref.ID)
	b = appendText(b, p.TypeURL)
	b = appendText(b, p.ContentType)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	return crc32.Update(crc32.Update(0, castagnoli, b), castagnoli, p.Data), b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}
