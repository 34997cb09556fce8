package building

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/crdt"
)

// Runtime is what the building blocks stand on. Whoever starts it attaches it, as a rule within OnInit.
type Runtime struct {
	// Entities carries out the commands of the binding. It follows forwards.
	Entities actors.Handler
	// Journal holds the state keys and is what the binding reads. Nil while there is none: a pure client has none.
	Journal Journal
	// Values are those of the replicated keys, by the refs of state keys. Needed if settings name such keys. Errors are
	// *actors.Error.
	Values Values
	// Catalog returns the services that are known now, or nil if there is no user function. It may be nil itself.
	Catalog func() *catalog.Catalog
	// Outcomes finds the outcome of the command of an entity that had the key. Needed if there is a Journal. Errors are
	// *actors.Error.
	Outcomes func(ctx context.Context, ref actors.Ref, key string) (actors.Outcome, bool, error)
}

// Journal is the part of journal.Journal that is needed here.
type Journal interface {
	journal.Appender
	journal.Reader
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
	Span(ctx context.Context, ref actors.Ref) (journal.Span, error)
}

// Values are replicated values, as replica.Values has them.
type Values interface {
	// Get returns what this node knows the value to be, nil if there is none.
	Get(ctx context.Context, ref actors.Ref) (*crdt.Update, error)
	// Update applies u as of what this node knows, and returns when the write is as safe as level says. What does not fit the
	// kinds that are there matches crdt.ErrKindMismatch.
	Update(ctx context.Context, ref actors.Ref, u *crdt.Update, level replica.Level) error
	// Delete deletes the value, if there is one.
	Delete(ctx context.Context, ref actors.Ref, level replica.Level) error
}

// StateService is the Service of the refs of state keys. No service can be called that, and no persistence id may be.
const StateService = catalog.StatePersistence

func (r *Runtime) catalog() *catalog.Catalog {
	if r.Catalog == nil {
		return nil
	}
	return r.Catalog()
}
