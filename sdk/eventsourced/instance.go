package eventsourced

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
)

// kind is what all instances of an entity share.
type kind[S any] struct {
	service  string
	commands map[string]*Command[S]
	byName   map[string]*Event[S]
	byURL    map[string]*Event[S]
	byType   map[reflect.Type]*Event[S]
	states   codec.Codec[*S]
	fresh    func() *S
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
	v, ok := e.kind.byName[stored.Name]
	if !ok {
		// The name may be missing, or be one that another SDK's journal took from the type.
		if v, ok = e.kind.byURL[stored.Payload.GetTypeUrl()]; !ok {
			return fmt.Errorf("the event %q of type %s is not among the Events of %s (%s)", stored.Name,
				stored.Payload.GetTypeUrl(), e.kind.service, known(e.kind.byName))
		}
	}
	var err error
	fault := def.Contain(func() {
		var event any
		if event, err = v.unpack(stored.Payload); err == nil {
			v.apply(e.state, event)
		}
	})
	if fault != nil {
		err = fault
	}
	if err != nil {
		return fmt.Errorf("apply event %q: %w", v.name, err)
	}
	return nil
}

func (e *instance[S]) Handle(ctx context.Context, command def.Command) def.Result {
	if e.fault != nil {
		return e.broken("make the state", e.fault)
	}
	c, ok := e.kind.commands[command.Name]
	if !ok {
		return def.Result{Failure: &def.Failure{
			Code:      int32(sdk.CodeUnimplemented),
			Text:      fmt.Sprintf("%s has no command %q; it has %s", e.kind.service, command.Name, known(e.kind.commands)),
			Exception: true,
		}}
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
		return def.Result{Failure: failure(err, len(t.events) > 0), Events: t.events}
	default:
		return def.Result{Reply: reply, Events: t.events}
	}
}

// broken is the answer to a command whose handler did not come to an end. Why is not for the caller, who can do nothing
// about it and need not see the inside of the program.
func (e *instance[S]) broken(command string, cause error) def.Result {
	return def.Result{Failure: &def.Failure{
		Code:      int32(sdk.CodeInternal),
		Text:      fmt.Sprintf("%s of %s failed inside its handler; the log of the service has the details", command, e.kind.service),
		Exception: true,
		Spoilt:    true,
		Cause:     cause,
	}}
}

func failure(err error, spoilt bool) *def.Failure {
	code := sdk.CodeOf(err)
	if _, coded := errors.AsType[*sdk.Error](err); code == sdk.CodeOK || !coded && code == sdk.CodeUnknown {
		code = 0
	}
	text := err.Error()
	if text == "" {
		text = code.String()
	}
	return &def.Failure{Code: int32(code), Text: strings.ToValidUTF8(text, "\uFFFD"), Spoilt: spoilt}
}

func known[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
