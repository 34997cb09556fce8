package rules

import (
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// The bounds of what a Keeper removes at once, and of what it reads.
const (
	ForgetEvents  = 500
	EraseRecords  = 500
	RecordsInPage = 1000
)

// Kept is what there is of a stream.
type Kept struct {
	Exists bool
	Span   journal.Span
	// Snapshot is the sequence of the newest one that is intact and not ahead of its events, 0 if there is none.
	Snapshot int64
}

// Forgettable reports whether the events of a stream up to a sequence may be forgotten.
func (k *Kept) Forgettable(through int64, whole bool) error {
	most := k.Span.Sequence
	if !whole {
		most = min(most-1, max(k.Snapshot, k.Span.Origin))
	}
	if most = max(most, k.Span.Floor); through > most {
		return fmt.Errorf("only the events up to %d can be forgotten: the newest one, and those after the newest snapshot, are needed", most)
	}
	return nil
}

// Restoring is what a Restore writes.
type Restoring struct {
	// Span of the stream from now on. Events up to its floor go.
	Span     journal.Span
	Events   []journal.Event
	Records  []journal.CommandRecord
	Snapshot *journal.Snapshot
}

// Restore decides what a Restore, which is valid, comes to. Event and record return what the stream has, nil if nothing.
func (k *Kept) Restore(
	r *journal.Restored, event func(sequence int64) *journal.Event, record func(command string) *journal.Record,
) (*Restoring, error) {
	different := func(format string, args ...any) error {
		return &journal.DifferentError{Ref: r.Ref, Reason: fmt.Sprintf(format, args...)}
	}
	to := &Restoring{Span: k.Span}
	s := &to.Span
	switch {
	case r.Span.Origin < s.Origin:
		return nil, different("it begins anew behind event %d, and behind event %d there", s.Origin, r.Span.Origin)
	case s.Floor == s.Sequence && r.Span.Floor >= s.Sequence: // nothing is kept
		s.Sequence = r.Span.Floor
	case r.Span.Floor > s.Sequence:
		return nil, different("it ends at event %d, and begins behind event %d there", s.Sequence, r.Span.Floor)
	}
	s.Epoch = max(s.Epoch, r.Span.Epoch)
	s.Floor = max(s.Floor, r.Span.Floor)
	s.Origin = max(s.Origin, r.Span.Origin)
	if t := Micros(r.Span.Updated); t.After(s.Updated) {
		s.Updated = t
	}
	for i := range r.Events {
		e := r.Events[i]
		e.Time = Micros(e.Time)
		switch {
		case e.Sequence > s.Sequence+1:
			return nil, fmt.Errorf("event %d cannot follow event %d", e.Sequence, s.Sequence)
		case e.Sequence == s.Sequence+1:
			to.Events = append(to.Events, e)
			s.Sequence++
		case e.Sequence <= s.Floor: // not kept here
		default:
			old := event(e.Sequence)
			if old == nil {
				return nil, Missing(r.Ref, e.Sequence)
			}
			if old.Checksum() != e.Checksum() || !old.Time.Equal(e.Time) || old.Context != e.Context {
				return nil, different("event %d is another one", e.Sequence)
			}
		}
	}
	seen := map[string]*journal.Record{}
	for _, c := range r.Records {
		old := seen[c.Command]
		if old == nil {
			old = record(c.Command)
		}
		if old == nil {
			to.Records = append(to.Records, c)
			seen[c.Command] = &c.Record
		} else if old.Hash != c.Hash || string(old.Outcome) != string(c.Outcome) || old.Sequence != c.Sequence {
			return nil, different("the record of the command %q is another one", c.Command)
		}
	}
	if p := r.Snapshot; p != nil && p.Sequence > max(k.Snapshot, s.Origin) {
		to.Snapshot = p
	}
	return to, nil
}

// Micros is a time as journals keep it.
func Micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
