package value

import (
	"fmt"
	"reflect"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Turn is one command being handled. It belongs to the handler's goroutine and ends with the handler: using it later
// panics.
type Turn[S any] struct {
	kind    *kind[S] // nil once the handler has returned
	id      string
	value   *anypb.Any // nil for none
	changed bool
	command def.Command
	sent    turn.Sent
	refused error // the first value, effect or forward that could not be recorded
}

// ID of the entity.
func (t *Turn[S]) ID() string {
	t.live()
	return t.id
}

// Get returns the value, with what this turn did to it, and whether there is one. If there is none, it is the zero S or
// an empty message. The value is a copy: only Set changes what the entity has.
func (t *Turn[S]) Get() (state S, exists bool) {
	state, err := t.live().decode(t.value)
	t.refuse(err)
	return state, t.value != nil
}

// Set replaces the value. It is durable before the caller gets the reply. The value is copied at once; what the handler
// does to its own one afterwards is lost. A value that cannot be encoded, and a nil message, end the turn: the caller
// gets Internal and nothing is changed.
func (t *Turn[S]) Set(state S) {
	value, err := t.live().encode(state)
	t.refuse(err)
	t.value, t.changed = value, true
}

// Delete takes the value away. The entity goes on without one and may be Set again.
func (t *Turn[S]) Delete() {
	t.live()
	t.value, t.changed = nil, true
}

// Sequence is how often the entity's value had been replaced or deleted before this turn; 0 if the proxy does not say.
func (t *Turn[S]) Sequence() int64 {
	t.live()
	return t.command.Sequence
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

// Effect asks for a command to somebody else, besides answering this one: to any entity or action of the same program.
// The target's answer is not waited for, and never changes this turn's. What an effect asks for is stored with the
// turn's value and carried out at least once after it, those of one entity in their order; entities take each but once.
// An effect of a turn that fails is dropped with it.
//
// A call that cannot be encoded, or options that contradict each other, end the turn: the caller gets Internal.
func Effect[S, In, Out any](t *Turn[S], call sdk.Call[In, Out], options ...sdk.EffectOption) {
	t.live()
	t.refuse(turn.Effect(&t.sent, call, options))
}

// Cancel takes back the effect of this entity that was asked for with sdk.Named(key), if it has not been carried out
// yet. If there is none, nothing happens.
func Cancel[S any](t *Turn[S], key string) {
	t.live()
	t.refuse(turn.Cancel(&t.sent, key))
}

// Forward hands the command on: the target's answer is the caller's answer. What the turn did to the value, and its
// effects, are recorded all the same, and before the target hears of the command. A handler returns what Forward
// returns,
//
//	return value.Forward(t, Place.On(id, order))
//
// which compiles only if the target replies what this command does. A handler that returns an error after all forwards
// nothing. A turn is forwarded once; a second time, or a call that cannot be encoded, ends it as Effect says.
func Forward[S, In, Out any](t *Turn[S], call sdk.Call[In, Out], options ...sdk.ForwardOption) (Out, error) {
	t.live()
	t.refuse(turn.Forward(&t.sent, call, options))
	var none Out
	return none, nil
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

func (t *Turn[S]) live() *kind[S] {
	if t.kind == nil {
		panic("value: the Turn was used after its handler had returned")
	}
	return t.kind
}

// nothing says that a message is nil.
func nothing(state any) error {
	if v := reflect.ValueOf(state); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("the value is a nil %T: Delete takes a value away", state)
	}
	return nil
}
