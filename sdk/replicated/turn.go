package replicated

import (
	"fmt"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Turn is one command being handled. It belongs to the handler's goroutine and ends with the handler: using it later
// panics.
type Turn[D Data] struct {
	replica  *replica[D] // nil once the handler has returned
	command  def.Command
	level    Level
	deleted  bool
	streamed bool
	sent     turn.Sent
	refused  error // the first effect, forward or metadata that could not be recorded
}

// ID of the entity.
func (t *Turn[D]) ID() string { return t.live().id }

// Data of the entity as this node knows it, with what this turn did to it. All that the turn does to it becomes one
// change: others see it whole or not at all, and the caller gets the reply when it is made. A turn that fails takes it
// back.
func (t *Turn[D]) Data() D { return t.live().data }

// Write says when this turn's change counts as made, in place of Entity.Write. A change that does not reach enough nodes
// in time stays made where it was, and the caller hears that it is not confirmed.
func (t *Turn[D]) Write(level Level) {
	t.live()
	if level > All {
		t.refuse(fmt.Errorf("the level is %d, want Local, Majority or All", level))
	}
	t.level = level
}

// Delete deletes the entity on all nodes, in place of what the turn did to its data. Those who watch it see their streams
// end. It begins anew with the next command that comes later.
func (t *Turn[D]) Delete() {
	t.live()
	t.deleted = true
}

// IdempotencyKey is the caller's key of this command, empty if it sent none or the proxy does not say.
func (t *Turn[D]) IdempotencyKey() string {
	t.live()
	return t.command.Key
}

// Metadata that came with the command; empty if the proxy does not pass any.
func (t *Turn[D]) Metadata() sdk.Metadata {
	t.live()
	return turn.Metadata(t.command.Metadata)
}

// SetMetadata sends a text along with the reply, in place of an earlier one with the same key. Callers get it as a header.
// Where the method's replies are published (sdk.ToTopic), the keys ce-id, ce-type, ce-source, ce-subject, ce-time and
// ce-dataschema make the event's attributes. Failures and forwards take no metadata.
func (t *Turn[D]) SetMetadata(key, text string) {
	t.live()
	t.refuse(turn.SetMetadata(&t.sent, key, text))
}

// Sender sends effects: a *Turn, or the *Effects of a Watch. Nothing else implements it.
type Sender interface {
	// sending is where effects are kept, and what is done with those that cannot be.
	sending() (*turn.Sent, func(error))
}

// Effects are those that go along with what Watch.Next sends.
type Effects struct {
	sent    turn.Sent
	refused error
	over    bool
}

// Effect asks for a command to somebody else, besides answering: to any entity or action of the same program. The
// target's answer is not waited for, and never changes this turn's. An effect is carried out after the change has been
// made on this node; one of a turn that fails is dropped with it.
//
// A call that cannot be encoded, options that contradict each other, and sdk.Named end the turn: the caller gets
// Internal. A replicated entity is on many nodes, so there is nobody who could tell its effects apart by their names.
func Effect[In, Out any](s Sender, call sdk.Call[In, Out], options ...sdk.EffectOption) {
	sent, refuse := s.sending()
	err := turn.Effect(sent, call, options)
	if n := len(sent.Effects); err == nil && sent.Effects[n-1].Key != "" {
		err = fmt.Errorf("effect %s: it is named, and the entity is replicated", call.Method)
	}
	refuse(err)
}

// Forward hands the command on: the target's answer is the caller's answer. What the turn did to the data, and its
// effects, come before the target hears of the command. A handler returns what Forward returns,
//
//	return replicated.Forward(t, Place.On(id, order))
//
// which compiles only if the target replies what this command does. A handler that returns an error after all forwards
// nothing. A turn is forwarded once; a second time, a call that cannot be encoded, or one by a Watch ends it as Effect
// says.
func Forward[D Data, In, Out any](t *Turn[D], call sdk.Call[In, Out], options ...sdk.ForwardOption) (Out, error) {
	t.live()
	if t.streamed {
		t.refuse(fmt.Errorf("forward to %s: a streamed command cannot be forwarded", call.Method))
	}
	t.refuse(turn.Forward(&t.sent, call, options))
	var none Out
	return none, nil
}

func (t *Turn[D]) sending() (*turn.Sent, func(error)) {
	t.live()
	return &t.sent, t.refuse
}

func (e *Effects) sending() (*turn.Sent, func(error)) {
	if e.over {
		panic("replicated: the Effects were used after the function had returned")
	}
	return &e.sent, func(err error) {
		if err != nil {
			if e.refused == nil {
				e.refused = err
			}
			panic(err)
		}
	}
}

// refuse ends the turn by a panic if there is an error, and keeps the reason in case that the handler recovers from it.
func (t *Turn[D]) refuse(err error) {
	if err == nil {
		return
	}
	if t.refused == nil {
		t.refused = err
	}
	panic(err)
}

func (t *Turn[D]) live() *replica[D] {
	if t.replica == nil {
		panic("replicated: the Turn was used after its handler had returned")
	}
	return t.replica
}
