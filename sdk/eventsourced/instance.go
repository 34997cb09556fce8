package eventsourced

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// kind is what all instances of an entity share.
type kind[S any] struct {
	service  string
	commands map[string]*Command[S]
	byName   map[string]*Event[S]
	byType   map[reflect.Type]*Event[S]
	// stored are the sources by name; one name has more only if the types of the payloads differ.
	stored map[string][]*source[S]
	byURL  map[string]*source[S]
	states codec.Codec[*S]
	fresh  func() *S
}

func (k *kind[S]) open(id string) def.Instance {
	e := &instance[S]{kind: k, id: id}
	if k.fresh != nil {
		e.fault = def.Contain(func() { e.state = k.fresh() })
	}
	if e.state == nil {
		e.state = new(S)
	}
	return e
}

// instance is one live entity.
type instance[S any] struct {
	kind  *kind[S]
	id    string
	state *S
	fault *def.Fault // of Entity.New, reported by whatever comes first
}

func (e *instance[S]) State() any { return e.state }

func (e *instance[S]) Encode(event any) (def.Event, error) {
	v, ok := e.kind.byType[reflect.TypeOf(event)]
	if !ok {
		return def.Event{}, fmt.Errorf("the Events of %s do not list %T", e.kind.service, event)
	}
	payload, err := v.pack(event)
	return def.Event{Name: v.name, Payload: payload}, err
}

func (e *instance[S]) Restore(snapshot *anypb.Any) (err error) {
	if e.fault != nil {
		return e.fault
	}
	fault := def.Contain(func() {
		var s *S
		if s, err = e.kind.states.Unpack(snapshot); err == nil && s != nil {
			e.state = s
		}
	})
	if fault != nil {
		err = fault
	}
	if err != nil {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	return nil
}

func (e *instance[S]) Snapshot() (p *anypb.Any, err error) {
	if fault := def.Contain(func() { p, err = e.kind.states.Pack(e.state) }); fault != nil {
		err = fault
	}
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	return p, nil
}

func (e *instance[S]) Apply(stored def.Event) error {
	if e.fault != nil {
		return e.fault
	}
	from, ok := e.kind.find(stored.Name, stored.Payload.GetTypeUrl())
	if !ok {
		return fmt.Errorf("the event %q of type %s is not among the Events and Upcasters of %s (%s)", stored.Name,
			stored.Payload.GetTypeUrl(), e.kind.service, turn.Names(e.kind.stored))
	}
	var err error
	fault := def.Contain(func() {
		var event any
		if event, err = from.shape.unpack(stored.Payload); err != nil {
			return
		}
		for _, step := range from.steps {
			event = step(event)
		}
		from.event.apply(e.state, event)
	})
	if fault != nil {
		err = fault
	}
	if err != nil {
		return fmt.Errorf("apply event %q: %w", from.name, err)
	}
	return nil
}

func (e *instance[S]) Handle(ctx context.Context, command def.Command) def.Result {
	if e.fault != nil {
		return e.broken("make the state", e.fault)
	}
	c, ok := e.kind.commands[command.Name]
	if !ok {
		return def.Result{Failure: turn.Unknown(e.kind.service, command.Name, turn.Names(e.kind.commands))}
	}
	t := &Turn[S]{entity: e, command: command}
	var (
		reply *anypb.Any
		err   error
	)
	fault := def.Contain(func() { reply, err = c.run(ctx, t, command.Payload) })
	t.entity = nil
	switch {
	case t.refused != nil:
		return e.broken(command.Name, t.refused)
	case fault != nil:
		return e.broken(command.Name, fault)
	case err != nil:
		f := turn.Refused(err)
		f.Spoilt = len(t.events) > 0
		return def.Result{Failure: f}
	default:
		return def.Result{
			Reply:    reply,
			Metadata: t.sent.Metadata,
			Forward:  t.sent.Forward,
			Events:   t.events,
			Effects:  t.sent.Effects,
		}
	}
}

// broken is the answer to a command whose handler did not come to an end.
func (e *instance[S]) broken(command string, cause error) def.Result {
	f := turn.Broken(e.kind.service, command, cause)
	f.Spoilt = true
	return def.Result{Failure: f}
}
