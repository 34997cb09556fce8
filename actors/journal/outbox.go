package journal

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Lanes is the number of lanes that an outbox has. A source is in one lane for ever, so whoever carries out all effects
// of a lane, one after the other for each source, keeps the order of every source.
const Lanes = 16

// Lane of a source.
func Lane(source actors.Ref) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(source.Service)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(source.ID))
	return int(h.Sum32() % Lanes)
}

// Outbox keeps effects until they have been carried out. Those of an append become visible with it.
//
// A source has at most one kept effect with a Key: a later one with the same Key replaces it, one with Cancel takes it
// away, whether the two stand in the same append, in the same batch or apart, and also if the older one is parked. An ID
// that is or was kept is not to be used again: one whose ID is kept already is taken for a repetition, and left out.
//
// An effect is pending until it is settled as Done or parked. Unless it is delayed, it stands in the order of its source
// for as long as it is kept, wherever Settle and Release put it off to.
type Outbox interface {
	// Enqueue keeps effects that belong to no append, all or none, as if they were those of one append of source. One
	// whose ID is kept already is left out. An error leaves in doubt whether they are kept, unless they are not valid;
	// doing it again is safe.
	Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error
	// Due returns up to limit effects of the lanes that are due; limit 0 is no limit. Those of one source that are not
	// delayed come in the order of their appends, none of them is left out before one that comes, and none of them comes
	// while an earlier one of that source has been put off by Settle. Delayed ones hold nothing up and are not held up.
	// Parked ones are not among them and hold nothing up. Fewer than limit may come, but none only if none is due. It does
	// not mark them: they come again until they are settled.
	Due(ctx context.Context, lanes []int, limit int) ([]Pending, error)
	// Settle says what became of effects, in order, all or none. Unknown IDs are ignored: an effect may have been replaced
	// or taken back meanwhile. Of a parked one nothing but Done is heard. It may be repeated; a try may then count twice.
	Settle(ctx context.Context, settlements []Settlement) error
	// Parked returns up to limit effects that were given up, with IDs greater than after, in the order of their bytes;
	// limit 0 is no limit.
	Parked(ctx context.Context, after string, limit int) ([]Pending, error)
	// Release makes parked effects pending again, due at once and with no tries and no problem. IDs that are unknown or
	// not parked are ignored.
	Release(ctx context.Context, ids []string) error
	// Discard forgets parked effects. IDs that are unknown or not parked are ignored.
	Discard(ctx context.Context, ids []string) error
}

// Pending is an effect that is kept. A Delay has become the Due that it came to, and Due moves with Settle and Release;
// that of an effect that is not delayed is always zero. If what is stored of an effect cannot be read any more, only its
// ID, Key and Due are there, with a Problem that says so: all that can be done with it is to park and to discard it.
type Pending struct {
	actors.Effect
	// Source is the stream whose append decided it, or what was given to Enqueue.
	Source actors.Ref
	// Tries that have failed, and what was wrong with the last one.
	Tries   int
	Problem string
	// Since is when it was kept, by the journal's clock.
	Since time.Time
}

// Settlement of one effect.
type Settlement struct {
	ID      string
	Verdict Verdict
	// Again is how long to wait before the next try of one that is Postponed. Not negative.
	Again time.Duration
	// Problem is for people, of one that is Postponed or Parked. At most MaxProblemBytes of it are kept, cut between two
	// characters; what is not UTF-8 text without zero bytes is replaced.
	Problem string
}

// MaxProblemBytes is how much is kept of why an effect could not be carried out.
const MaxProblemBytes = 2048

// MaxEffectIDBytes is the longest id, and the longest key, of an effect.
const MaxEffectIDBytes = 512

// Verdict on an effect.
type Verdict uint8

const (
	// Done: it is forgotten.
	Done Verdict = iota + 1
	// Postponed: it is tried again. Counts as a try.
	Postponed
	// Parked: it is tried no more until somebody releases it. Counts as a try.
	Parked
)
