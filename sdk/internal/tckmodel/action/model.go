// Package action holds the actions of Cloudstate's conformance tests, built with this SDK.
package action

//go:generate sh -c "cd ../../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/action"

import (
	"context"
	"errors"
	"iter"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
)

const (
	model = "cloudstate.tck.model.action.ActionTckModel"
	two   = "cloudstate.tck.model.action.ActionTwo"
)

// The methods of both services.
const (
	ProcessUnary       sdk.Method[*Request, *Response]      = model + "/ProcessUnary"
	ProcessStreamedIn  sdk.StreamIn[*Request, *Response]    = model + "/ProcessStreamedIn"
	ProcessStreamedOut sdk.StreamOut[*Request, *Response]   = model + "/ProcessStreamedOut"
	ProcessStreamed    sdk.Duplex[*Request, *Response]      = model + "/ProcessStreamed"
	CallTwo            sdk.Method[*OtherRequest, *Response] = two + "/Call"
)

// Definitions are the services of the model.
func Definitions() []sdk.Definition { return []sdk.Definition{Model, Two} }

// Model is the service that the cases speak to. The steps of a request say what it does.
var Model = action.Service{
	Service: model,
	Methods: []action.Method{
		action.Handle(ProcessUnary, processUnary),
		action.HandleIn(ProcessStreamedIn, processStreamedIn),
		action.HandleOut(ProcessStreamedOut, processStreamedOut),
		action.HandleDuplex(ProcessStreamed, processStreamed),
	},
}

// Two is the target of forwards and effects.
var Two = action.Service{
	Service: two,
	Methods: []action.Method{
		action.Handle(CallTwo, func(context.Context, *action.Turn, *OtherRequest) (*Response, error) {
			return new(Response), nil
		}),
	},
}

func processUnary(_ context.Context, t *action.Turn, in *Request) (*Response, error) {
	return answer(t, last(t, in.GetGroups(), nil))
}

func processStreamedIn(_ context.Context, t *action.Turn, in iter.Seq2[*Request, error]) (*Response, error) {
	var said *ProcessStep
	for request, err := range in {
		if err != nil {
			return nil, err
		}
		said = last(t, request.GetGroups(), said)
	}
	return answer(t, said)
}

func processStreamedOut(_ context.Context, t *action.Turn, in *Request, send func(*Response) error) error {
	for _, group := range in.GetGroups() {
		if err := respond(t, group, send); err != nil {
			return err
		}
	}
	return nil
}

func processStreamed(_ context.Context, t *action.Turn, in iter.Seq2[*Request, error], send func(*Response) error) error {
	for request, err := range in {
		if err != nil {
			return err
		}
		for _, group := range request.GetGroups() {
			if err := respond(t, group, send); err != nil {
				return err
			}
		}
	}
	return nil
}

// last carries out the effects and returns the last step that says what to answer, or said if there is none.
func last(t *action.Turn, groups []*ProcessGroup, said *ProcessStep) *ProcessStep {
	for _, group := range groups {
		for _, step := range group.GetSteps() {
			effect := step.GetEffect()
			switch {
			case effect == nil:
				said = step
			case effect.GetSynchronous():
				action.Effect(t, call(effect.GetId()), sdk.Synchronous())
			default:
				action.Effect(t, call(effect.GetId()))
			}
		}
	}
	return said
}

// answer is that of a method that replies once.
func answer(t *action.Turn, step *ProcessStep) (*Response, error) {
	switch step := step.GetStep().(type) {
	case *ProcessStep_Reply:
		return &Response{Message: step.Reply.GetMessage()}, nil
	case *ProcessStep_Forward:
		return action.Forward(t, call(step.Forward.GetId()))
	case *ProcessStep_Fail:
		return nil, errors.New(step.Fail.GetMessage())
	default:
		return nil, action.ErrNoReply
	}
}

// respond sends the one response to a group, whatever it is.
func respond(t *action.Turn, group *ProcessGroup, send func(*Response) error) error {
	switch step := last(t, []*ProcessGroup{group}, nil).GetStep().(type) {
	case *ProcessStep_Reply:
		return send(&Response{Message: step.Reply.GetMessage()})
	case *ProcessStep_Forward:
		return action.SendForward(t, call(step.Forward.GetId()))
	case *ProcessStep_Fail:
		return t.SendFailure(errors.New(step.Fail.GetMessage()))
	default:
		return t.Flush()
	}
}

func call(id string) sdk.Call[*OtherRequest, *Response] { return CallTwo.With(&OtherRequest{Id: id}) }
