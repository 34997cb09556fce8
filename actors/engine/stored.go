package engine

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Stored returns the outcome of the command of an entity that had an idempotency key, whenever it was and whoever carried it
// out, and false if there was none. persistence is under what the entity's service keeps its events.
func Stored(ctx context.Context, j journal.Reader, persistence string, ref actors.Ref, key string) (actors.Outcome, bool, error) {
	stream := actors.Ref{Service: persistence, ID: ref.ID}
	checked, err := j.Heads(ctx, []journal.Check{{Ref: stream, Command: CommandID(key), After: -1}})
	if err != nil {
		return actors.Outcome{}, false, &actors.Error{Code: actors.Unavailable, Cause: err, Message: "look up a command of " + ref.String() + ": the journal cannot be read; try again"}
	}
	record := checked[0].Record
	if record == nil {
		return actors.Outcome{}, false, nil
	}
	o, err := actors.UnmarshalOutcome(record.Outcome)
	if err != nil {
		return actors.Outcome{}, false, actors.Errorf(actors.DataLoss, "the stored outcome of a command of %s cannot be read: %w", ref, err)
	}
	o.Sequence, o.Repeated = record.Sequence, true
	return o, true, nil
}
