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

// Outbox keeps effects until they have been carried out. Those of an append become visible with it. An effect whose Key
// another pending one of the same source has replaces that one, whether it came later in the same batch or in another;
// one with Cancel takes it away. An ID that is or was kept is not to be used again.
type Outbox interface {
	// Enqueue keeps effects that belong to no append, all or none. One whose ID is kept already is left out. An error
	// leaves in doubt whether they are kept; doing it again is safe.
	Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error
	// Due returns up to limit effects of the lanes that are due. Those of one source that are not delayed come in the
	// order of their appends, and none of them while an earlier one of that source has been put off by Settle. Parked
	// ones are not among them and hold nothing up.
	Due(ctx context.Context, lanes []int, limit int) ([]Pending, error)
	// Settle says what became of effects. Unknown IDs are ignored: an effect may have been replaced or taken back
	// meanwhile. It may be repeated.
	Settle(ctx context.Context, settlements []Settlement) error
	// Parked returns up to limit effects that were given up, with IDs greater than after, in the order of their bytes.
	Parked(ctx context.Context, after string, limit int) ([]Pending, error)
	// Release makes parked effects pending again, due at once and with no tries. Unknown IDs are ignored.
	Release(ctx context.Context, ids []string) error
	// Discard forgets parked effects. Unknown IDs are ignored.
	Discard(ctx context.Context, ids []string) error
}

// Pending is an effect that is kept.
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
	// Again is how long to wait before the next try.
	Again time.Duration
	// Problem is for people. At most MaxProblemBytes of it are kept.
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
