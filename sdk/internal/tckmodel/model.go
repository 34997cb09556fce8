// Package tckmodel holds the event-sourced services of Cloudstate's conformance tests, built with this SDK. The other
// kinds are in packages of their own below it, because their messages have the same names; the command in cmd serves all
// of them.
package tckmodel

//go:generate sh -c "cd ../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/tckmodel.proto"

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const pkg = "cloudstate.tck.model."

// The methods of the three services.
const (
	Process        sdk.Method[*Request, *Response] = pkg + "EventSourcedTckModel/Process"
	CallTwo        sdk.Method[*Request, *Response] = pkg + "EventSourcedTwo/Call"
	CallConfigured sdk.Method[*Request, *Response] = pkg + "EventSourcedConfigured/Call"
)

type turn = eventsourced.Turn[Persisted]

var events = []eventsourced.Event[Persisted]{
	eventsourced.On("persisted", func(s *Persisted, e *Persisted) { s.Value += e.GetValue() }),
}

// Model is the service that most cases speak to.
var Model = eventsourced.Entity[Persisted]{
	Service:       pkg + "EventSourcedTckModel",
	PersistenceID: "event-sourced-tck-model",
	Commands:      []eventsourced.Command[Persisted]{eventsourced.Handle(Process, process)},
	Events:        events,
	SnapshotEvery: 5,
}

// Two is the target of forwards and effects.
var Two = eventsourced.Entity[Persisted]{
	Service:  pkg + "EventSourcedTwo",
	Commands: []eventsourced.Command[Persisted]{eventsourced.Handle(CallTwo, process)},
	Events:   events,
}

// Configured has settings of its own.
var Configured = eventsourced.Entity[Persisted]{
	Service:       pkg + "EventSourcedConfigured",
	PersistenceID: "event-sourced-configured",
	Commands:      []eventsourced.Command[Persisted]{eventsourced.Handle(CallConfigured, process)},
	Events:        events,
	Idle:          100 * time.Millisecond,
}

func process(_ context.Context, t *turn, in *Request) (*Response, error) {
	forward := ""
	for _, a := range in.GetActions() {
		switch a := a.GetAction().(type) {
		case *RequestAction_Emit:
			t.Emit(&Persisted{Value: a.Emit.GetValue()})
		case *RequestAction_Forward:
			forward = a.Forward.GetId()
		case *RequestAction_Effect:
			var options []sdk.EffectOption
			if a.Effect.GetSynchronous() {
				options = append(options, sdk.Synchronous())
			}
			eventsourced.Effect(t, CallTwo.On(a.Effect.GetId(), &Request{Id: a.Effect.GetId()}), options...)
		case *RequestAction_Fail:
			return nil, sdk.Errorf(sdk.CodeUnknown, "%s", a.Fail.GetMessage())
		}
	}
	if forward != "" {
		return eventsourced.Forward(t, CallTwo.On(forward, &Request{Id: forward}))
	}
	return &Response{Message: t.State().GetValue()}, nil
}
