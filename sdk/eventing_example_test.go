package sdk_test

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

// A service takes events from an entity's journal and from a topic, and publishes what it makes of them.
func ExampleFromLog() {
	const (
		Welcome sdk.Method[greeted, string] = "example.v1.Desk/Welcome"
		Tick    sdk.Method[int, string]     = "example.v1.Desk/Tick"
	)
	service := action.Service{Service: "example.v1.Desk", Methods: []action.Method{
		action.Handle(Welcome, func(_ context.Context, t *action.Turn, in greeted) (string, error) {
			return "welcome " + in.Name, nil
		}, sdk.FromLog("example.v1.Greeter"), sdk.Event("greeted"), sdk.InGroup("welcomes"), sdk.ToTopic("letters")),
		action.Handle(Tick, func(context.Context, *action.Turn, int) (string, error) {
			return "", action.ErrNoReply
		}, sdk.FromTopic("clock"), sdk.Event("com.example.tick")),
	}}
	fmt.Println(sdk.NewServer(sdk.Config{Logger: slog.New(slog.DiscardHandler)}).Register(Greeter, service))
	// Output: <nil>
}

// The replies of an entity's command are published too: they are certain to be once the command has taken effect.
func ExampleToTopic() {
	noisy := Greeter
	noisy.Commands = []eventsourced.Command[greeter]{
		eventsourced.Handle(Greet, func(_ context.Context, t *eventsourced.Turn[greeter], name string) (string, error) {
			t.Emit(greeted{name})
			return "Hello, " + name, nil
		}, sdk.ToTopic("greetings")),
	}
	fmt.Println(sdk.NewServer(sdk.Config{}).Register(noisy))
	// Output: <nil>
}

// An event of any type is unpacked once its type is known.
func ExampleUnpack() {
	event := &anypb.Any{TypeUrl: "json.cloudstate.io/greeted", Value: []byte("\x0a\x0e" + `{"name":"Ada"}`)}
	fmt.Println(sdk.Unpack[greeted](event))
	// Output: {Ada} <nil>
}

// An action has no id to address.
func ExampleMethod_With() {
	const Place sdk.Method[string, int] = "example.v1.Orders/Place"
	call := Place.With("tea")
	fmt.Printf("%s %q %s\n", call.Method, call.ID, call.Input)
	// Output: example.v1.Orders/Place "" tea
}
