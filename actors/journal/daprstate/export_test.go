package daprstate

import (
	"context"
	"errors"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

// Spoil alters what is stored of a stream whose events are all in its head.
func (j *Journal) Spoil(ctx context.Context, ref actors.Ref, d journaltest.Damage, sequence int64) error {
	return j.update(ctx, j.headKey(ref), func(r record) ([]byte, error) {
		h, err := decodeHead(r, ref)
		if err != nil {
			return nil, err
		}
		if d == journaltest.FlipSnapshot {
			h.snapshot.data.inline[0] ^= 1
			return h.encode(), nil
		}
		for i := range h.events {
			e := &h.events[i]
			if e.Sequence != sequence {
				continue
			}
			switch d {
			case journaltest.FlipEvent:
				e.data.inline[0] ^= 1
			case journaltest.RenameEvent:
				e.Name += "x"
			case journaltest.RemoveEvent:
				h.events = append(h.events[:i:i], h.events[i+1:]...)
			}
			return h.encode(), nil
		}
		return nil, errors.New("the head has no such event")
	})
}
