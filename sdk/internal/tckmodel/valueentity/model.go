// Package valueentity holds the value entities of Cloudstate's conformance tests, built with this SDK.
package valueentity

//go:generate sh -c "cd ../../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/valueentity"

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/value"
)

const pkg = "cloudstate.tck.model.valueentity."

// The methods of the three services.
const (
	Process        sdk.Method[*Request, *Response] = pkg + "ValueEntityTckModel/Process"
	CallTwo        sdk.Method[*Request, *Response] = pkg + "ValueEntityTwo/Call"
	CallConfigured sdk.Method[*Request, *Response] = pkg + "ValueEntityConfigured/Call"
)

type (
	turn    = value.Turn[*Persisted]
	command = value.Command[*Persisted]
)

// Model is the service that most cases speak to.
var Model = value.Entity[*Persisted]{
	Service:       pkg + "ValueEntityTckModel",
	PersistenceID: "value-entity-tck-model",
	Commands:      []command{value.Handle(Process, process)},
}

// Two is the target of forwards and effects.
var Two = value.Entity[*Persisted]{
	Service:       pkg + "ValueEntityTwo",
	PersistenceID: "value-entity-tck-model-two",
	Commands:      []command{value.Handle(CallTwo, process)},
}

// Configured has settings of its own.
var Configured = value.Entity[*Persisted]{
	Service:       pkg + "ValueEntityConfigured",
	PersistenceID: "value-entity-configured",
	Commands:      []command{value.Handle(CallConfigured, process)},
	Idle:          100 * time.Millisecond,
}

func process(_ context.Context, t *turn, in *Request) (*Response, error) {
	forward := ""
	for _, a := range in.GetActions() {
		switch a := a.GetAction().(type) {
		case *RequestAction_Update:
			t.Set(&Persisted{Value: a.Update.GetValue()})
		case *RequestAction_Delete:
			t.Delete()
		case *RequestAction_Forward:
			forward = a.Forward.GetId()
		case *RequestAction_Effect:
			var options []sdk.EffectOption
			if a.Effect.GetSynchronous() {
				options = append(options, sdk.Synchronous())
			}
			value.Effect(t, CallTwo.On(a.Effect.GetId(), &Request{Id: a.Effect.GetId()}), options...)
		case *RequestAction_Fail:
			return nil, sdk.Errorf(sdk.CodeUnknown, "%s", a.Fail.GetMessage())
		}
	}
	if forward != "" {
		return value.Forward(t, CallTwo.On(forward, &Request{Id: forward}))
	}
	state, _ := t.Get()
	return &Response{Message: state.GetValue()}, nil
}
