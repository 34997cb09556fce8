// Package turn is what the turns of all kinds share.
package turn

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Sent is what a turn sends besides its reply. The zero value is empty. One goroutine uses it.
type Sent struct {
	Effects []def.Effect
	Forward *def.Call
	// Metadata of the reply; may be nil.
	Metadata *cloudstate.Metadata
}

// Effect adds an effect, in encoded form.
func Effect[In, Out any](s *Sent, call sdk.Call[In, Out], options []sdk.EffectOption) error {
	c, err := encode(call)
	if err != nil {
		return fmt.Errorf("effect %s: %w", call.Method, err)
	}
	e := def.Effect{Call: c}
	for _, o := range options {
		if err := o.Effect(&e); err != nil {
			return fmt.Errorf("effect %s: %w", call.Method, err)
		}
	}
	switch {
	case e.Delay > 0 && !e.Due.IsZero():
		return fmt.Errorf("effect %s: it has both After and At", call.Method)
	case e.Synchronous && e.Delayed():
		return fmt.Errorf("effect %s: a synchronous effect has neither a name nor a time", call.Method)
	}
	s.Effects = append(s.Effects, e)
	return nil
}

// Cancel takes back the effect with that key.
func Cancel(s *Sent, key string) error {
	e := def.Effect{Cancel: true}
	if err := sdk.Named(key).Effect(&e); err != nil {
		return fmt.Errorf("cancel an effect: %w", err)
	}
	s.Effects = append(s.Effects, e)
	return nil
}

// Forward makes the call's answer that of the turn.
func Forward[In, Out any](s *Sent, call sdk.Call[In, Out], options []sdk.ForwardOption) error {
	if s.Forward != nil {
		return fmt.Errorf("forward to %s: the turn has been forwarded to %s/%s before", call.Method, s.Forward.Service, s.Forward.Method)
	}
	c, err := encode(call)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", call.Method, err)
	}
	for _, o := range options {
		if err := o.Forward(&c); err != nil {
			return fmt.Errorf("forward to %s: %w", call.Method, err)
		}
	}
	s.Forward = &c
	return nil
}

func encode[In, Out any](call sdk.Call[In, Out]) (def.Call, error) {
	c := def.Call{Service: call.Method.Service(), Method: call.Method.Name(), ID: call.ID}
	switch {
	case c.Service == "" || c.Method == "":
		return c, errors.New("a method has the form package.Service/Method")
	case !utf8.ValidString(c.ID):
		return c, errors.New("the entity id is not valid UTF-8")
	}
	inputs, err := codec.For[In](c.Method + ".in")
	if err == nil {
		c.Payload, err = inputs.Pack(call.Input)
	}
	if err != nil {
		return c, fmt.Errorf("encode the input: %w", err)
	}
	return c, nil
}
