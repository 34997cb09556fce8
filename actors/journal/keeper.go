package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Keeper changes what is kept of streams: for retention, for erasure, and to bring in what another journal held. Sequences
// stay what they are, whatever is forgotten: a stream never begins at 1 again, so nobody can take a new event for an old one.
//
//	Floor   the sequence up to which events were forgotten; Read after less than it is a *ForgottenError
//	Origin  the sequence at which the stream's present life began, with the state of an entity that does not exist
//
// 0 <= Origin <= Floor <= Head.Sequence. Both are 0 in a stream of which nothing was forgotten. Where Floor is
// Head.Sequence, nothing is left that could say what came before, and so is Origin, unless a Restore is under way. Events
// that are forgotten do not come in Tail any more.
type Keeper interface {
	// Services returns the services that have streams, in the order of their bytes.
	Services(ctx context.Context) ([]string, error)
	// Records returns up to limit records of a stream whose command ids are greater than after, in the order of their
	// bytes; limit 0 is no limit. Fewer may come if they are big, but none only at the end.
	Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]CommandRecord, error)
	// Span returns what is kept of a stream; of one that does not exist, the zero Span.
	Span(ctx context.Context, ref actors.Ref) (Span, error)
	// Forget removes the events of a stream up to and including a sequence, and raises its floor. The newest event stays,
	// as does every event after the newest intact snapshot, or after Origin: a sequence beyond that is an error, and
	// nothing is removed. With wholeValues, which says that each event carries all there is to know, every event may go;
	// if the newest one does, the stream begins anew at its head, and its snapshot goes, too. Records and effects stay, as
	// do the stream's epoch and, unless it begins anew, its snapshot and its time of change. What was forgotten already is
	// no error. Events are removed a bounded number at a time; after an error, or the end of ctx, as many as were removed
	// lie below the floor.
	Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error
	// ForgetRecords removes the records of commands that were carried out up to and including a sequence, a bounded number at
	// a time; a few of them may stay until there are more. Those commands are not known any more. All else stays.
	ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error
	// Erase removes everything about a stream but its head: events, snapshot, records, effects, parked ones included. It
	// raises the epoch, so whoever has the stream open notices, and Origin and Floor to the head. The stream can be
	// appended to, as one of an entity that does not exist. Erasing one that has nothing any more does nothing. Much is
	// removed a bounded amount at a time; after an error, or the end of ctx, some may still be there: Erase again.
	Erase(ctx context.Context, ref actors.Ref) error
	// Restore adds to a stream what was read from another journal, in order: the events of one call follow those of the
	// one before it, with the times, commands and contexts that they have. Of events that are there already, from a call
	// that was interrupted, only that they are the same is checked; an error that matches ErrConflict says that the stream
	// holds something else. All or nothing of one call is done. Restored events come in Tail like all others.
	Restore(ctx context.Context, r Restored) error
}

// ManyForgetter is implemented by back ends that forget of many streams in one commit.
type ManyForgetter interface {
	// ForgetEach is Forget with wholeValues for each part, all or none of them. Parts that go beyond the head of their
	// stream are left out. Each stream is named once, and the parts are not so many, nor so big, that they could not be
	// removed at once.
	ForgetEach(ctx context.Context, parts []Forgetting) error
}

// Forgetting is a part of a ForgetEach.
type Forgetting struct {
	Ref     actors.Ref
	Through int64
}

// CommandRecord is a Record and the command that it is of.
type CommandRecord struct {
	Command string
	Record
}

// Span is what is kept of a stream.
type Span struct {
	Head
	Origin, Floor int64
	Updated       time.Time
}

// Restored is a part of a stream, or all of it.
type Restored struct {
	Ref actors.Ref
	// Span that the stream has in the end, at the least: those of all calls for a stream but the last may be ahead of their
	// events. A stream that is not there yet, or of which nothing is kept, begins at its Floor; of one that has events,
	// those up to the Floor are removed.
	Span Span
	// Events with their Ref, Sequence, Time, Command and Context, in order and without a gap. Positions are given anew.
	Events []Event
	// Records, with the Sequence that they have.
	Records []CommandRecord
	// Snapshot replaces the stream's, if it is newer.
	Snapshot *Snapshot
}

// Validate checks what no back end could store. Restore calls it first.
func (r *Restored) Validate() error {
	if err := ValidateRef(r.Ref); err != nil {
		return err
	}
	s := &r.Span
	switch {
	case s.Origin < 0 || s.Floor < s.Origin || s.Sequence < s.Floor || s.Epoch < 0:
		return fmt.Errorf("the span %d, %d to %d in epoch %d cannot be", s.Origin, s.Floor, s.Sequence, s.Epoch)
	case s.Floor == s.Sequence && s.Origin < s.Floor:
		return fmt.Errorf("the span has no events, but does not begin anew at its end %d", s.Sequence)
	case !storable(s.Updated):
		return fmt.Errorf("it was changed in the year %d", s.Updated.Year())
	}
	for i := range r.Events {
		e := &r.Events[i]
		switch {
		case e.Ref != r.Ref:
			return fmt.Errorf("event %d is of %s", e.Sequence, e.Ref)
		case e.Sequence <= s.Floor || e.Sequence > s.Sequence:
			return fmt.Errorf("event %d is outside of the span %d to %d", e.Sequence, s.Floor, s.Sequence)
		case i > 0 && e.Sequence != r.Events[i-1].Sequence+1:
			return fmt.Errorf("event %d comes behind event %d", e.Sequence, r.Events[i-1].Sequence)
		case e.Command == "" || len(e.Command) > MaxCommandBytes || !text(e.Command):
			return fmt.Errorf("the command id of event %d is not a text of 1 to %d bytes", e.Sequence, MaxCommandBytes)
		case !text(e.Name) || !payloadText(&e.Payload) || !contextText(&e.Context):
			return fmt.Errorf("name, type or context of event %d is not UTF-8 text without zero bytes", e.Sequence)
		case !storable(e.Time):
			return fmt.Errorf("event %d is of the year %d", e.Sequence, e.Time.Year())
		}
	}
	for i := range r.Records {
		c := &r.Records[i]
		if c.Command == "" || len(c.Command) > MaxCommandBytes || !text(c.Command) || c.Sequence < 0 || c.Sequence > s.Sequence {
			return fmt.Errorf("record %d has a command id of %d bytes and the sequence %d", i, len(c.Command), c.Sequence)
		}
	}
	if p := r.Snapshot; p != nil && (p.Sequence <= s.Origin || p.Sequence > s.Sequence || !payloadText(&p.Payload)) {
		return fmt.Errorf("the snapshot at %d does not fit the span", p.Sequence)
	}
	return nil
}

// storable is a time that every database takes.
func storable(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

// DifferentError says that a stream holds something else than what was to be restored. It matches ErrConflict.
type DifferentError struct {
	Ref    actors.Ref
	Reason string
}

func (e *DifferentError) Error() string {
	return fmt.Sprintf("%s holds something else than what is to be restored (%s); restore it into a journal without that stream", e.Ref, e.Reason)
}

// Is makes it match ErrConflict.
func (e *DifferentError) Is(target error) bool { return target == ErrConflict }

// ErrForgotten is matched by a *ForgottenError.
var ErrForgotten = errors.New("no longer kept")

// ForgottenError says that events were asked for of which some are no longer kept.
type ForgottenError struct {
	Ref actors.Ref
	// Floor is the sequence after which events are kept.
	Floor int64
}

func (e *ForgottenError) Error() string {
	return fmt.Sprintf("the events of %s up to %d are no longer kept; the first one that may be asked for is %d", e.Ref, e.Floor, e.Floor+1)
}

// Is makes it match ErrForgotten.
func (e *ForgottenError) Is(target error) bool { return target == ErrForgotten }
