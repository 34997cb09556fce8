package sdktest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Call is a command that a turn sends to somebody else, in a form that tests can print and compare.
type Call struct {
	Service, Method string
	// ID of the entity; empty for an action.
	ID string
	// Input as JSON text without spaces, also that of a protobuf message.
	Input string
	// Metadata that the turn sends along.
	Metadata sdk.Metadata
}

// Effect is a command that a turn asks for besides answering.
type Effect struct {
	Call
	Synchronous bool
	// After is how long it is put off, in whole milliseconds, and At until when (UTC). Both are zero if it is not.
	After time.Duration
	At    time.Time
	// Name is what sdk.Named gave it.
	Name string
	// Cancelled says that the effect with that Name is taken back. Nothing else is set.
	Cancelled bool
}

// CallOf is what a turn that sends the call shows in its Result.
//
//	if d := cmp.Diff(sdktest.CallOf(t, orders.Place.On("o-1", order)), *got.Forward); d != "" {
func CallOf[In, Out any](t testing.TB, call sdk.Call[In, Out]) Call {
	t.Helper()
	inputs, err := codec.For[In](call.Method.Name() + ".in")
	var payload *anypb.Any
	if err == nil {
		payload, err = inputs.Pack(call.Input)
	}
	if err != nil {
		t.Fatalf("%s: encode the input: %v", call.Method, err)
	}
	return callOf(t, call.Method.Service(), call.Method.Name(), call.ID, payload, nil)
}

// Input decodes the input of a call to that method.
func Input[In, Out any](t testing.TB, method sdk.Method[In, Out], call Call) In {
	t.Helper()
	if call.Service != method.Service() || call.Method != method.Name() {
		t.Fatalf("the call is one of %s/%s, not of %s", call.Service, call.Method, method)
	}
	inputs, err := codec.For[In](method.Name() + ".in")
	var in In
	if err == nil {
		in, err = inputs.Unmarshal([]byte(call.Input), codec.ContentJSON)
	}
	if err != nil {
		t.Fatalf("%s: decode the input: %v", method, err)
	}
	return in
}

func callOf(t testing.TB, service, method, id string, payload *anypb.Any, metadata *cloudstate.Metadata) Call {
	t.Helper()
	text, err := codec.Text(payload)
	if err != nil {
		t.Fatalf("%s/%s: decode the input: %v", service, method, err)
	}
	return Call{Service: service, Method: method, ID: id, Input: string(text), Metadata: turn.Metadata(metadata)}
}

func effectsOf(t testing.TB, sent []*cloudstate.SideEffect) (effects []Effect) {
	t.Helper()
	for _, e := range sent {
		if e.GetCancel() {
			effects = append(effects, Effect{Name: e.GetKey(), Cancelled: true})
			continue
		}
		effect := Effect{
			Call:        callOf(t, e.GetServiceName(), e.GetCommandName(), e.GetEntityId(), e.GetPayload(), e.GetMetadata()),
			Synchronous: e.GetSynchronous(),
			After:       time.Duration(e.GetDelayMillis()) * time.Millisecond,
			Name:        e.GetKey(),
		}
		if e.GetDueMillis() != 0 {
			effect.At = time.UnixMilli(e.GetDueMillis()).UTC()
		}
		effects = append(effects, effect)
	}
	return effects
}
