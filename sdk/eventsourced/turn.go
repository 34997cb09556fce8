package eventsourced

import (
	"fmt"
	"reflect"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Turn is one command being handled. It belongs to the handler's goroutine and ends with the handler: using it later
// panics.
type Turn[S any] struct {
	entity  *instance[S]
	command def.Command
	events  []def.Event
	sent    turn.Sent
	refused error // the first event, effect or forward that could not be recorded
}

// ID of the entity.
func (t *Turn[S]) ID() string { return t.live().id }

// State is the entity's, with the events emitted so far. It is for reading; appliers change it.
func (t *Turn[S]) State() *S { return t.live().state }

// Emit records an event and applies it at once. It is durable before the caller gets the reply. An event of a type that
// the Entity does not list, or that cannot be encoded, ends the turn: the caller gets Internal and nothing is recorded.
func (t *Turn[S]) Emit(event any) {
	e := t.live()
	v, ok := e.kind.byType[reflect.TypeOf(event)]
	if !ok {
		t.refuse(fmt.Errorf("the Events of %s do not list %T", e.kind.service, event))
	}
	payload, err := v.pack(event)
	if err != nil {
		t.refuse(fmt.Errorf("encode event %q: %w", v.name, err))
	}
	t.events = append(t.events, def.Event{Name: v.name, Payload: payload})
	v.apply(e.state, event)
}

// refuse ends the turn by a panic if there is an error, and keeps the reason in case that the handler recovers from it.
func (t *Turn[S]) refuse(err error) {
	if err == nil {
		return
	}
	if t.refused == nil {
		t.refused = err
	}
	panic(err)
}

// Sequence is the number of the entity's events, those emitted in this turn included.
func (t *Turn[S]) Sequence() int64 {
	t.live()
	return t.command.Sequence + int64(len(t.events))
}

// IdempotencyKey is the caller's key of this command, empty if it sent none or the proxy does not say.
func (t *Turn[S]) IdempotencyKey() string {
	t.live()
	return t.command.Key
}

// Metadata that came with the command; empty if the proxy does not pass any.
func (t *Turn[S]) Metadata() sdk.Metadata {
	t.live()
	return turn.Metadata(t.command.Metadata)
}

// SetMetadata sends a text along with the reply, in place of an earlier one with the same key. Callers get it as a header.
// Where the method's replies are published (sdk.ToTopic), the keys ce-id, ce-type, ce-source, ce-subject, ce-time and
// ce-dataschema make the event's attributes. Failures and forwards take no metadata.
func (t *Turn[S]) SetMetadata(key, text string) {
	t.live()
	t.refuse(turn.SetMetadata(&t.sent, key, text))
}

func (t *Turn[S]) live() *instance[S] {
	if t.entity == nil {
		panic("eventsourced: the Turn was used after its handler had returned")
	}
	return t.entity
}
