package eventsourced

import (
	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Effect asks for a command to somebody else, besides answering this one: to any entity or action of the same program.
// The target's answer is not waited for, and never changes this turn's. What an effect asks for is stored with the
// events of the turn and carried out at least once after it, those of one entity in their order; entities take each but
// once. An effect of a turn that fails is dropped with it.
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

// Forward hands the command on: the target's answer is the caller's answer. Events and effects of the turn are recorded
// all the same, and before the target hears of the command. A handler returns what Forward returns,
//
//	return eventsourced.Forward(t, Place.On(id, order))
//
// which compiles only if the target replies what this command does. A handler that returns an error after all forwards
// nothing. A turn is forwarded once; a second time, or a call that cannot be encoded, ends it as Effect says.
func Forward[S, In, Out any](t *Turn[S], call sdk.Call[In, Out], options ...sdk.ForwardOption) (Out, error) {
	t.live()
	t.refuse(turn.Forward(&t.sent, call, options))
	var none Out
	return none, nil
}
