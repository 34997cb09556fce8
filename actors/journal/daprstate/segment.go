package daprstate

import (
	"hash/crc32"

	"github.com/dapr-entities/entities/actors"
)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// summed takes off the checksum behind some bytes.
func summed(b []byte) ([]byte, bool) {
	n := len(b) - 4
	if n < 0 {
		return nil, false
	}
	d := decoder{data: b[n:]}
	return b[:n:n], d.fixed() == crcOf(b[:n])
}

// decodeSegment returns the events that can be read; none of a damaged one, which is noticed where they are missing.
func decodeSegment(value []byte) []event {
	b, ok := summed(value)
	if !ok {
		return nil
	}
	d := decoder{data: b}
	events := d.events()
	if d.end() != nil {
		return nil
	}
	return events
}

// decodeCommand is of a record with a key of its own.
func decodeCommand(value []byte, ref actors.Ref, id string) (command, error) {
	b, ok := summed(value)
	d := decoder{data: b}
	owner, c := d.ref(), d.command()
	if !ok || d.end() != nil || owner != ref || c.id != id {
		return command{}, errDamaged
	}
	return c, nil
}
