package action

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Effect asks for a command to somebody else, besides answering: to any entity or action of the same program. The
// target's answer is not waited for, and never changes this one. An effect is stored before the reply goes back and
// carried out at least once, whether the handler succeeds or returns an error; entities take each but once. In a stream
// it goes with the next response. With sdk.Synchronous it is carried out before the reply goes back instead.
//
// A call that cannot be encoded, or options that contradict each other, end the turn: the caller gets Internal. So does
// sdk.Named, because there is no entity whose effects could be told apart by their names.
func Effect[In, Out any](t *Turn, call sdk.Call[In, Out], options ...sdk.EffectOption) {
	defer t.live().Unlock()
	err := turn.Effect(&t.sent, call, options)
	if n := len(t.sent.Effects); err == nil && t.sent.Effects[n-1].Key != "" {
		err = fmt.Errorf("effect %s: it is named; only an entity can name its effects", call.Method)
	}
	t.refuse(err)
}

// Forward hands the call on: the target's answer is the caller's answer. Effects are carried out before the target hears
// of it. A handler returns what Forward returns,
//
//	return action.Forward(t, cart.Add.On(in.Cart, item))
//
// which compiles only if the target replies what this method does. A handler that returns an error after all forwards
// nothing. A turn is forwarded once; a second time, or a call that cannot be encoded, ends it as Effect says. Handlers
// with streamed replies use SendForward.
func Forward[In, Out any](t *Turn, call sdk.Call[In, Out], options ...sdk.ForwardOption) (Out, error) {
	defer t.live().Unlock()
	if t.replies != nil {
		t.refuse(fmt.Errorf("forward to %s: the replies are streamed; use SendForward", call.Method))
	}
	t.refuse(turn.Forward(&t.sent, call, options))
	var none Out
	return none, nil
}

// SendForward sends a forward as one of several responses: the caller gets the target's reply in its place. It takes
// along the effects since the response before it. A target that replies another type than the method ends the turn as
// Effect says.
func SendForward[In, Out any](t *Turn, call sdk.Call[In, Out], options ...sdk.ForwardOption) error {
	forward, err := encodeForward(t, call, options)
	if err != nil {
		return err
	}
	return t.send(func(r *def.Response) { r.Forward = forward })
}

func encodeForward[In, Out any](t *Turn, call sdk.Call[In, Out], options []sdk.ForwardOption) (*def.Call, error) {
	defer t.live().Unlock()
	if t.replies == nil {
		return nil, errors.New("send a forward: the method replies once; return Forward")
	}
	var s turn.Sent
	t.refuse(turn.Forward(&s, call, options))
	if replies := reflect.TypeFor[Out](); replies != t.replies {
		t.refuse(fmt.Errorf("forward to %s: it replies %v, want %v", call.Method, replies, t.replies))
	}
	return s.Forward, nil
}
