package memory

import (
	"slices"

	"github.com/dapr-entities/entities/actors"
)

// Streams lets a test spoil what is stored.
func (j *Journal) Flip(ref actors.Ref, sequence int64) {
	p := &j.streams[ref].events[sequence-1].Payload
	p.Data = append([]byte{p.Data[0] ^ 1}, p.Data[1:]...)
}

func (j *Journal) Rename(ref actors.Ref, sequence int64) {
	j.streams[ref].events[sequence-1].Name += "x"
}

func (j *Journal) Lose(ref actors.Ref, sequence int64) {
	s := j.streams[ref]
	s.events = slices.Delete(s.events, int(sequence-1), int(sequence))
}

func (j *Journal) FlipSnapshot(ref actors.Ref) {
	p := &j.streams[ref].snapshot.Payload
	p.Data = append([]byte{p.Data[0] ^ 1}, p.Data[1:]...)
}
