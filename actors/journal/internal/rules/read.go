package rules

import (
	"fmt"
	"iter"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Intact checks an event that was read for a place in a stream against the checksum stored with it.
func Intact(e *journal.Event, ref actors.Ref, sequence int64, sum uint32) error {
	switch {
	case e.Sequence > sequence:
		return Missing(ref, sequence)
	case e.Sequence != sequence:
		return &journal.CorruptError{Ref: ref, Sequence: sequence, Reason: fmt.Sprintf("event %d is in its place", e.Sequence)}
	case e.Checksum() != sum:
		return &journal.CorruptError{Ref: ref, Sequence: sequence, Reason: "its checksum does not match"}
	}
	return nil
}

// Missing is the error for an event that should be there.
func Missing(ref actors.Ref, sequence int64) error {
	return &journal.CorruptError{Ref: ref, Sequence: sequence, Reason: "it is missing"}
}

// Dense passes on the events after a sequence and up to the last, and yields an error if fewer came. The events
// themselves are checked already.
func Dense(ref actors.Ref, after, last int64, events iter.Seq2[journal.Event, error]) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		if after >= last {
			return
		}
		at := after
		for e, err := range events {
			if err == nil {
				at = e.Sequence
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if at < last {
			yield(journal.Event{}, Missing(ref, at+1))
		}
	}
}
