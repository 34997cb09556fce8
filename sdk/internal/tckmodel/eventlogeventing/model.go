// Package eventlogeventing holds the services of Cloudstate's conformance tests that emit events and consume them from
// the log, built with this SDK.
package eventlogeventing

//go:generate sh -c "cd ../../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/eventlogeventing"

import (
	"context"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const (
	pkg        = "cloudstate.tck.model.eventlogeventing."
	subscriber = pkg + "EventLogSubscriberModel"
)

// The methods of the three services.
const (
	ProcessEventOne sdk.Method[*EventOne, *Response]              = subscriber + "/ProcessEventOne"
	ProcessEventTwo sdk.StreamOut[*EventTwo, *Response]           = subscriber + "/ProcessEventTwo"
	Effect          sdk.Method[*EffectRequest, *Response]         = subscriber + "/Effect"
	ProcessAnyEvent sdk.Method[*anypb.Any, *Response]             = subscriber + "/ProcessAnyEvent"
	EmitEvent       sdk.Method[*EmitEventRequest, *emptypb.Empty] = pkg + "EventSourcedEntityOne/EmitEvent"
	EmitJSONEvent   sdk.Method[*JsonEvent, *emptypb.Empty]        = pkg + "EventSourcedEntityTwo/EmitJsonEvent"
)

// Definitions are the services of the model.
func Definitions() []sdk.Definition { return []sdk.Definition{Subscriber, One, Two} }

// Subscriber consumes the events of both entities. Where they come from stands in the .proto file.
var Subscriber = action.Service{
	Service: subscriber,
	Methods: []action.Method{
		action.Handle(ProcessEventOne, processEventOne),
		action.HandleOut(ProcessEventTwo, processEventTwo),
		action.Handle(Effect, func(_ context.Context, _ *action.Turn, in *EffectRequest) (*Response, error) {
			return &Response{Id: in.GetId(), Message: in.GetMessage()}, nil
		}),
		action.Handle(ProcessAnyEvent, processAnyEvent),
	},
}

// One emits protobuf events, Two emits JSON.
var (
	One = eventsourced.Entity[struct{}]{
		Service:       pkg + "EventSourcedEntityOne",
		PersistenceID: "eventlogeventing-one",
		Commands:      []eventsourced.Command[struct{}]{eventsourced.Handle(EmitEvent, emitEvent)},
		Events: []eventsourced.Event[struct{}]{
			eventsourced.On("event-one", func(*struct{}, *EventOne) {}),
			eventsourced.On("event-two", func(*struct{}, *EventTwo) {}),
		},
	}
	Two = eventsourced.Entity[struct{}]{
		Service:       pkg + "EventSourcedEntityTwo",
		PersistenceID: "eventlogeventing-two",
		Commands:      []eventsourced.Command[struct{}]{eventsourced.Handle(EmitJSONEvent, emitJSONEvent)},
		Events:        []eventsourced.Event[struct{}]{eventsourced.On("said", func(*struct{}, said) {})},
	}
)

// said is the JSON event.
type said struct {
	Message string `json:"message"`
}

func emitEvent(_ context.Context, t *eventsourced.Turn[struct{}], in *EmitEventRequest) (*emptypb.Empty, error) {
	switch event := in.GetEvent().(type) {
	case *EmitEventRequest_EventOne:
		t.Emit(event.EventOne)
	case *EmitEventRequest_EventTwo:
		t.Emit(event.EventTwo)
	default:
		return nil, sdk.Errorf(sdk.CodeInvalidArgument, "the request has no event")
	}
	return new(emptypb.Empty), nil
}

func emitJSONEvent(_ context.Context, t *eventsourced.Turn[struct{}], in *JsonEvent) (*emptypb.Empty, error) {
	t.Emit(said{Message: in.GetMessage()})
	return new(emptypb.Empty), nil
}

func processEventOne(_ context.Context, t *action.Turn, in *EventOne) (*Response, error) {
	id, err := origin(t)
	if err != nil {
		return nil, err
	}
	switch step := in.GetStep().GetStep().(type) {
	case *ProcessStep_Reply:
		return &Response{Id: id, Message: step.Reply.GetMessage()}, nil
	case *ProcessStep_Forward:
		return action.Forward(t, Effect.With(&EffectRequest{Id: id, Message: step.Forward.GetMessage()}))
	default:
		return nil, action.ErrNoReply
	}
}

func processEventTwo(_ context.Context, t *action.Turn, in *EventTwo, send func(*Response) error) error {
	id, err := origin(t)
	if err != nil {
		return err
	}
	for _, step := range in.GetStep() {
		switch step := step.GetStep().(type) {
		case *ProcessStep_Reply:
			err = send(&Response{Id: id, Message: step.Reply.GetMessage()})
		case *ProcessStep_Forward:
			err = action.SendForward(t, Effect.With(&EffectRequest{Id: id, Message: step.Forward.GetMessage()}))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func processAnyEvent(_ context.Context, t *action.Turn, in *anypb.Any) (*Response, error) {
	id, err := origin(t)
	if err != nil {
		return nil, err
	}
	event, err := sdk.Unpack[said](in)
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalidArgument, "%w", err)
	}
	return &Response{Id: id, Message: event.Message}, nil
}

// origin is the entity that emitted the event.
func origin(t *action.Turn) (string, error) {
	event, ok := t.Event()
	if !ok {
		return "", sdk.Errorf(sdk.CodeFailedPrecondition, "this method handles events, and was called without one")
	}
	return event.Subject, nil
}
