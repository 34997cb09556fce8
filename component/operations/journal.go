package operations

import (
	"context"
	"encoding/json"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

// Journal is what the operations need of a journal. Lists come in pages: fewer than limit may come because they are big,
// but none only at the end; limit 0 is for the journal to choose. All methods may be called from many goroutines at once.
type Journal interface {
	Readable
	Source
	Target
}

// Readable is what is shown.
type Readable interface {
	// About says what journal it is.
	About(ctx context.Context) (About, error)
	// Services that have streams, in the order of their bytes.
	Services(ctx context.Context) ([]string, error)
	// List is that of journal.Journal.
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
	// Span is that of journal.Keeper.
	Span(ctx context.Context, ref actors.Ref) (journal.Span, error)
	// Snapshot is the newest one, nil if there is none.
	Snapshot(ctx context.Context, ref actors.Ref) (*journal.Snapshot, error)
	// Events of a stream after a sequence. The error may come with events before it.
	Events(ctx context.Context, ref actors.Ref, after int64, limit int) ([]journal.Event, error)
	// Tail is that of journal.Tailer.
	Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error)
	// Blocked names what holds Tail up, for an operator; empty if nothing does.
	Blocked(ctx context.Context) (string, error)
	// Render makes JSON of payloads, for people: what the descriptors know as its JSON form, JSON as it is, and everything
	// else as {"@type": …, "base64": …}.
	Render(ctx context.Context, payloads []actors.Payload) ([]json.RawMessage, error)
}

// Source is what an export needs besides.
type Source interface {
	// Records is that of journal.Keeper.
	Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error)
	// Kept is that of journal.Inventory.
	Kept(ctx context.Context, mark string, limit int) (list []journal.Kept, next string, err error)
	// Cells is that of journal.Cells.
	Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error)
}

// Target is what an import and an erasure need.
type Target interface {
	// Restore is that of journal.Keeper.
	Restore(ctx context.Context, r journal.Restored) error
	// Forget is that of journal.Keeper, of all events up to a sequence.
	Forget(ctx context.Context, ref actors.Ref, through int64) error
	// Keep keeps effects, in order, and parks those that were parked. Those that are kept already are left as they are.
	Keep(ctx context.Context, effects []journal.Kept) error
	// Put is that of journal.Cells.
	Put(ctx context.Context, c journal.Cell) (version int64, err error)
	// Erase is that of journal.Keeper.
	Erase(ctx context.Context, ref actors.Ref) error
}

// About is what is known of a journal beside what is in it.
type About struct {
	// ID of the journal.
	ID string `json:"id"`
	// Scheme is sqlite, postgres, memory or dapr.
	Scheme string `json:"scheme"`
	// Kinds of services, as far as they are known: event-sourced, value or state.
	Kinds map[string]string `json:"kinds,omitempty"`
}

// positionsInTailOnly reports whether the journals of a scheme know the positions of events in Tail only.
func positionsInTailOnly(scheme string) bool { return scheme == "dapr" }

// The kinds of About.
const (
	EventSourced = "event-sourced"
	Value        = "value"
	StateKeys    = "state"
)

// StateService is the service whose streams are the keys of state.entities.
const StateService = catalog.StatePersistence
