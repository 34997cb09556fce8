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
// 0 <= Origin, Floor <= Head.Sequence, and Origin <= Floor. Both are 0 in a stream of which nothing was forgotten.
type Keeper interface {
	// Services returns the services that have streams, in the order of their bytes.
	Services(ctx context.Context) ([]string, error)
	// Records returns up to limit records of a stream whose command ids are greater than after, in the order of their
	// bytes; limit 0 is no limit.
	Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]CommandRecord, error)
	// Span returns what is kept of a stream; of one that does not exist, the zero Span.
	Span(ctx context.Context, ref actors.Ref) (Span, error)
	// Forget removes the events of a stream up to and including a sequence, and raises its floor. The newest event stays,
	// as does every event after the newest snapshot, unless wholeValues says that each event carries all there is to know:
	// a sequence beyond that is an error, and nothing is removed. Records, snapshot and effects stay. Events are removed
	// a bounded number at a time; after an error, or the end of ctx, as many as were removed lie below the floor.
	Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error
	// Erase removes everything about a stream but its head: events, snapshot, records, effects, parked ones included. It
	// raises the epoch, so whoever has the stream open notices, and Origin and Floor to the head. The stream can be
	// appended to, as one of an entity that does not exist. Erasing one that has nothing any more does nothing.
	Erase(ctx context.Context, ref actors.Ref) error
	// Restore adds to a stream what was read from another journal, in order: the events of one call follow those of the
	// one before it, with the times, commands and contexts that they have. Of events that are there already, from a call
	// that was interrupted, only that they are the same is checked; an error that matches ErrConflict says that the stream
	// holds something else. All or nothing of one call is done. Restored events come in Tail like all others.
	Restore(ctx context.Context, r Restored) error
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
	// events.
	Span Span
	// Events with their Ref, Sequence, Time, Command and Context. Positions are given anew.
	Events []Event
	// Records, with the Sequence that they have.
	Records []CommandRecord
	// Snapshot replaces the stream's, if it is newer.
	Snapshot *Snapshot
}

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
