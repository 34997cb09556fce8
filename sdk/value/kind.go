package value

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// kind is what all entities of a service share. It is their def.Value.
type kind[S any] struct {
	service  string
	commands map[string]*Command[S]
	states   codec.Codec[S]
}

func (k *kind[S]) Decode(value *anypb.Any) (state any, err error) {
	if fault := def.Contain(func() { state, err = k.decode(value) }); fault != nil {
		return nil, fault
	}
	return state, err
}

func (k *kind[S]) Encode(state any) (value *anypb.Any, err error) {
	s, ok := state.(S)
	if !ok {
		return nil, fmt.Errorf("the value of %s is %T, not %T", k.service, s, state)
	}
	if fault := def.Contain(func() { value, err = k.encode(s) }); fault != nil {
		return nil, fault
	}
	return value, err
}

func (k *kind[S]) Handle(ctx context.Context, id string, value *anypb.Any, command def.Command) def.Result {
	c, ok := k.commands[command.Name]
	if !ok {
		return def.Result{Failure: turn.Unknown(k.service, command.Name, turn.Names(k.commands))}
	}
	t := &Turn[S]{kind: k, id: id, value: value, command: command}
	var (
		reply *anypb.Any
		err   error
	)
	fault := def.Contain(func() { reply, err = c.run(ctx, t, command.Payload) })
	t.kind = nil
	switch {
	case t.refused != nil:
		return def.Result{Failure: turn.Broken(k.service, command.Name, t.refused)}
	case fault != nil:
		return def.Result{Failure: turn.Broken(k.service, command.Name, fault)}
	case err != nil:
		return def.Result{Failure: turn.Refused(err)}
	}
	result := def.Result{Reply: reply, Metadata: t.sent.Metadata, Forward: t.sent.Forward, Effects: t.sent.Effects}
	if t.changed {
		result.Change = &def.Change{Value: t.value}
	}
	return result
}

func (k *kind[S]) decode(value *anypb.Any) (S, error) {
	if value == nil && !k.states.IsMessage() {
		var none S
		return none, nil
	}
	state, err := k.states.Unpack(value)
	if err != nil {
		return state, fmt.Errorf("decode the value: %w", err)
	}
	return state, nil
}

func (k *kind[S]) encode(state S) (*anypb.Any, error) {
	if k.states.IsMessage() {
		if err := nothing(state); err != nil {
			return nil, err
		}
	}
	value, err := k.states.Pack(state)
	if err != nil {
		return nil, fmt.Errorf("encode the value: %w", err)
	}
	return value, nil
}
