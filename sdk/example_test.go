package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const Greet sdk.Method[string, string] = "example.v1.Greeter/Greet"

type (
	greeter struct{ Greeted int }
	greeted struct {
		Name string `json:"name"`
	}
)

var Greeter = eventsourced.Entity[greeter]{
	Service: "example.v1.Greeter",
	Commands: []eventsourced.Command[greeter]{
		eventsourced.Handle(Greet, func(_ context.Context, t *eventsourced.Turn[greeter], name string) (string, error) {
			if name == "" {
				return "", sdk.Errorf(sdk.CodeInvalidArgument, "whom shall %s greet?", t.ID())
			}
			t.Emit(greeted{name})
			return fmt.Sprintf("Hello, %s! You are number %d.", name, t.State().Greeted), nil
		}),
	},
	Events: []eventsourced.Event[greeter]{
		eventsourced.On("greeted", func(g *greeter, _ greeted) { g.Greeted++ }),
	},
}

// A program registers its definitions and serves them until it is told to stop.
func ExampleServer() {
	// In a program: signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()

	server := sdk.NewServer(sdk.Config{Name: "greeter", Version: "1.0.0", Logger: slog.New(slog.DiscardHandler)})
	if err := server.Register(Greeter); err != nil {
		fmt.Println(err) // every problem of every definition
		return
	}
	fmt.Println(server.ListenAndServe(ctx, "127.0.0.1:0"))
	// Output: <nil>
}

// Serve takes a listener of the program's own.
func ExampleServer_Serve() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	server := sdk.NewServer(sdk.Config{Logger: slog.New(slog.DiscardHandler)})
	server.Register(Greeter)
	fmt.Println(server.Serve(ctx, lis))
	// Output: <nil>
}

// Register says everything that is wrong, at once.
func ExampleServer_Register() {
	broken := Greeter
	broken.Service = "example.v1.Goodbye"
	broken.Events = append(broken.Events, eventsourced.On("greeted", func(*greeter, struct{ Twice bool }) {}))

	fmt.Println(sdk.NewServer(sdk.Config{}).Register(broken))
	// Output:
	// example.v1.Goodbye: command example.v1.Greeter/Greet belongs to another service
	// example.v1.Goodbye: event name "greeted" is listed twice
}

// echo is a caller for the example; package client has the real ones.
type echo struct{}

func (echo) Call(_ context.Context, r sdk.Request) (sdk.Response, error) {
	if string(r.Input) == `""` {
		return sdk.Response{}, &sdk.Error{Code: sdk.CodeInvalidArgument, Message: "whom shall I greet?", Entity: r.Service + "/" + r.ID}
	}
	fmt.Println(r.Service, r.ID, r.Method, string(r.Input), r.Key)
	return sdk.Response{Output: []byte(`"Hello!"`), ContentType: "application/json"}, nil
}

// The constant of the method is the typed client.
func ExampleInvoke() {
	var caller sdk.Caller = echo{}
	ctx := context.Background()

	reply, err := sdk.Invoke(ctx, caller, Greet.On("door-1", "Ada"), sdk.WithKey("request-17"))
	fmt.Println(reply, err)

	_, err = sdk.Invoke(ctx, caller, Greet.On("door-1", ""))
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		fmt.Println(e.Code, e, "from", e.Entity)
	}
	// Output:
	// example.v1.Greeter door-1 Greet "Ada" request-17
	// Hello! <nil>
	// INVALID_ARGUMENT whom shall I greet? from example.v1.Greeter/door-1
}

func ExampleErrorf() {
	err := sdk.Errorf(sdk.CodeDataLoss, "read the order: %w", io.ErrUnexpectedEOF)
	fmt.Println(sdk.CodeOf(err), err, errors.Is(err, io.ErrUnexpectedEOF))
	fmt.Println(sdk.CodeOf(fmt.Errorf("ship: %w", err)), sdk.CodeOf(io.EOF), sdk.CodeOf(nil))
	// Output:
	// DATA_LOSS read the order: unexpected EOF true
	// DATA_LOSS UNKNOWN OK
}

func ExampleMetadata_Get() {
	m := sdk.Metadata{{Key: "Traceparent", Text: "00-4bf9"}}
	fmt.Println(m.Get("traceparent"))
	// Output: 00-4bf9
}
