package journal

import (
	"context"
	"time"
)

// Deltas passes deltas on between those who share a journal: what one writes, the others read a moment later. They are kept
// for a short time only, and those of the last moments may be lost when the database crashes: what has to last is in cells.
//
// An origin is one who writes, under a number of its own: random, positive, and not used by anybody else ever. It numbers its
// deltas from 1 without a gap, and writes one call at a time. So whoever has read one of an origin's has read all before it
// that are still kept, however many write at the same time.
type Deltas interface {
	// PutDeltas writes deltas of an origin in a group, the first of them with number first. The same once more does nothing.
	// After an error it is in doubt whether they were written, and may still be, all or none: either the same call is
	// repeated until it succeeds, or the origin is given up.
	PutDeltas(ctx context.Context, group string, origin, first int64, deltas [][]byte) error
	// Deltas returns what the origins of a group have written behind the numbers in after, or all that is kept of origins
	// that are not in it: each origin's in its order, and only so much at once; none only if there is nothing more.
	Deltas(ctx context.Context, group string, after map[int64]int64) ([]Delta, error)
	// LastDeltas returns the number of the last one of each origin.
	LastDeltas(ctx context.Context, group string) (map[int64]int64, error)
	// TrimDeltas removes deltas of all groups that are older than age.
	TrimDeltas(ctx context.Context, age time.Duration) error
	// RingDeltas wakes those who listen to the group. Bells may get lost, and cost all who use the database: a few in a
	// second are enough.
	RingDeltas(ctx context.Context, group string) error
	// ListenDeltas calls rang after bells of the group, and when some may have been lost, until ctx ends; then it returns
	// nil. It goes on when the connection is lost.
	ListenDeltas(ctx context.Context, group string, rang func()) error
}

// Delta is one that was read.
type Delta struct {
	Origin, Number int64
	Body           []byte
}

// The limits of Deltas.
const (
	// MaxDeltaBytes is how big one may be.
	MaxDeltaBytes = 8 << 20
	// MaxDeltaGroupBytes is how long the name of a group may be, which has no zero bytes.
	MaxDeltaGroupBytes = 200
)
