package building

import (
	"context"
	"time"

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
	// Consume takes part in a subscription until ctx ends: handle is given events, those of one entity one at a time.
	// handle's error delivers the event again, feed.ErrGone to somebody else. When ctx has ended, Consume waits for
	// handle to return, but for what is in progress no longer than the drain timeout: then it ends the contexts. An error
	// before ctx has ended says that this runtime stops. Needed if there is a Journal.
	Consume func(ctx context.Context, s Subscription, handle func(ctx context.Context, e journal.Event) error) error
	// CloudEvent makes the message that tells of an event of a service, in CloudEvents' JSON. Needed if there is a
	// Journal.
	CloudEvent func(e journal.Event, topic, pubsub string) ([]byte, error)
	// Present shows an event to apps. Needed if there is a Journal.
	Present func(e journal.Event) (Shown, error)
	// Landed is told that messages were published. May be nil.
	Landed func()
}

// Subscription is what consumers share who have the same Group; the others' rest counts in the first of them.
type Subscription struct {
	// Group names them, and their cursors: 1 to feed.MaxGroupBytes bytes.
	Group string
	// Sources of the events, as Resolve knows them: each of 1 to feed.MaxGroupBytes bytes.
	Sources []string
	// Resolve returns the services that a source means now.
	Resolve func(ctx context.Context, source string) ([]string, error)
	// FromNow begins with what comes after the group's first subscription, not with what is there.
	FromNow bool
	// MaxTries after which an event is parked.
	MaxTries int
	// Timeout of a try.
	Timeout time.Duration
	// Concurrency is how many entities' events a consumer is given side by side.
	Concurrency int
}

// Journal is the part of journal.Journal that is needed here.
type Journal interface {
	journal.Appender
	journal.Reader
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
	Services(ctx context.Context) ([]string, error)
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
