// Package crdt holds the replicated entities of Cloudstate's conformance tests, built with this SDK.
package crdt

//go:generate sh -c "cd ../../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/crdt"

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
)

const pkg = "cloudstate.tck.model.crdt."

// The methods of the three services.
const (
	Process         sdk.Method[*Request, *Response]            = pkg + "CrdtTckModel/Process"
	ProcessStreamed sdk.StreamOut[*StreamedRequest, *Response] = pkg + "CrdtTckModel/ProcessStreamed"
	CallTwo         sdk.Method[*Request, *Response]            = pkg + "CrdtTwo/Call"
	CallConfigured  sdk.Method[*Request, *Response]            = pkg + "CrdtConfigured/Call"
)

type (
	data    = replicated.Data
	turn    = replicated.Turn[data]
	command = replicated.Command[data]
	counter = *replicated.GCounter
)

// Model is the service that most cases speak to. An entity's id says what it is.
var Model = replicated.Entity[data]{
	Service:       pkg + "CrdtTckModel",
	PersistenceID: "crdt-tck-model",
	New:           newData,
	Commands: []command{
		replicated.Handle(Process, process),
		replicated.Stream(ProcessStreamed, replicated.Watch[data, *StreamedRequest, *Response]{
			Open: func(_ context.Context, t *turn, in *StreamedRequest) error {
				return update(t, in.GetInitialUpdate())
			},
			Next: func(d data, in *StreamedRequest) (out *Response, send, more bool) {
				state := stateOf(d)
				more = in.GetEndState() == nil || !proto.Equal(state, in.GetEndState())
				return &Response{State: state}, !in.GetEmpty(), more
			},
			Effects: func(e *replicated.Effects, _ data, in *StreamedRequest) {
				for _, effect := range in.GetEffects() {
					ask(e, effect)
				}
			},
			Done: func(_ context.Context, t *turn, in *StreamedRequest) {
				if err := update(t, in.GetCancelUpdate()); err != nil {
					panic(err)
				}
			},
		}),
	},
}

// Two is the target of forwards and effects.
var Two = replicated.Entity[counter]{
	Service:  pkg + "CrdtTwo",
	Commands: []replicated.Command[counter]{replicated.Handle(CallTwo, second)},
}

// Configured has settings of its own.
var Configured = replicated.Entity[counter]{
	Service:       pkg + "CrdtConfigured",
	PersistenceID: "crdt-configured",
	Commands:      []replicated.Command[counter]{replicated.Read(CallConfigured, nothing)},
	Idle:          100 * time.Millisecond,
}

func process(_ context.Context, t *turn, in *Request) (*Response, error) {
	forward := ""
	for _, a := range in.GetActions() {
		switch a := a.GetAction().(type) {
		case *RequestAction_Update:
			if err := update(t, a.Update); err != nil {
				return nil, err
			}
		case *RequestAction_Delete:
			t.Delete()
		case *RequestAction_Forward:
			forward = a.Forward.GetId()
		case *RequestAction_Effect:
			ask(t, a.Effect)
		case *RequestAction_Fail:
			return nil, sdk.Errorf(sdk.CodeUnknown, "%s", a.Fail.GetMessage())
		}
	}
	// The cases want a register to have a value as soon as somebody looks at it.
	if r, ok := t.Data().(*replicated.Register[string]); ok && !r.Exists() {
		r.Set("")
	}
	if forward != "" {
		return replicated.Forward(t, CallTwo.On(forward, &Request{Id: forward}))
	}
	return &Response{State: stateOf(t.Data())}, nil
}

func ask(s replicated.Sender, e *Effect) {
	var options []sdk.EffectOption
	if e.GetSynchronous() {
		options = append(options, sdk.Synchronous())
	}
	replicated.Effect(s, CallTwo.On(e.GetId(), &Request{Id: e.GetId()}), options...)
}

func second(_ context.Context, t *replicated.Turn[counter], in *Request) (*Response, error) {
	for _, a := range in.GetActions() {
		if a.GetDelete() != nil {
			t.Delete()
		}
	}
	return new(Response), nil
}

func nothing(context.Context, counter, *Request) (*Response, error) { return new(Response), nil }
