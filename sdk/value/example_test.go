package value_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
	"github.com/dapr-entities/entities/sdk/value"
)

// Profile is what is stored of a user.
type Profile struct {
	Name    string `json:"name"`
	Renamed int    `json:"renamed,omitempty"`
}

const (
	Rename sdk.Method[string, Profile]    = "chat.v1.Profile/Rename"
	Close  sdk.Method[struct{}, struct{}] = "chat.v1.Profile/Close"
	Reopen sdk.Method[struct{}, struct{}] = "chat.v1.Profile/Reopen"
	Move   sdk.Method[string, Profile]    = "chat.v1.Profile/Move"
	Show   sdk.Method[struct{}, Profile]  = "chat.v1.Profile/Show"
	Log    sdk.Method[string, struct{}]   = "chat.v1.Audit/Log"
	Purge  sdk.Method[struct{}, struct{}] = "chat.v1.Profile/Purge"
)

var Profiles = value.Entity[Profile]{
	Service: "chat.v1.Profile",
	Commands: []value.Command[Profile]{
		value.Handle(Rename, rename),
		value.Handle(Close, closeProfile),
		value.Handle(Reopen, reopen),
		value.Handle(Move, move),
		value.Handle(Purge, purge),
		value.Read(Show, func(_ context.Context, p Profile, _ struct{}) (Profile, error) { return p, nil }),
	},
	Idle: time.Minute,
}

func rename(_ context.Context, t *value.Turn[Profile], name string) (Profile, error) {
	if name == "" {
		return Profile{}, sdk.Errorf(sdk.CodeInvalidArgument, "a profile has a name")
	}
	p, exists := t.Get()
	if exists {
		p.Renamed++
	}
	p.Name = name
	t.Set(p)
	return p, nil
}

// A closed profile is deleted a week later, unless it is opened again before.
func closeProfile(_ context.Context, t *value.Turn[Profile], _ struct{}) (struct{}, error) {
	value.Effect(t, Log.On("profiles", "closed "+t.ID()))
	value.Effect(t, Purge.On(t.ID(), struct{}{}), sdk.After(7*24*time.Hour), sdk.Named("purge"))
	return struct{}{}, nil
}

func reopen(_ context.Context, t *value.Turn[Profile], _ struct{}) (struct{}, error) {
	value.Cancel(t, "purge")
	return struct{}{}, nil
}

func purge(_ context.Context, t *value.Turn[Profile], _ struct{}) (struct{}, error) {
	t.Delete()
	return struct{}{}, nil
}

// A profile that moves gives its name to the one at the new address, which answers the caller.
func move(_ context.Context, t *value.Turn[Profile], to string) (Profile, error) {
	p, _ := t.Get()
	t.Delete()
	return value.Forward(t, Rename.On(to, p.Name))
}

// Plain structs travel and are stored as JSON.
func Example() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Profiles, "p-1")
		fmt.Println(sdktest.Do(h, Rename, "Ada").Reply)
		fmt.Println(sdktest.Do(h, Rename, "").Err)
		fmt.Println(sdktest.Do(h, Rename, "Countess").Events, sdktest.Do(h, Show, struct{}{}).Reply)
		fmt.Println(sdktest.Do(h, Purge, struct{}{}).Events)
		fmt.Println(sdktest.Value[Profile](h))
	})
	// Output:
	// {Ada 0}
	// a profile has a name
	// [updated] {Countess 1}
	// [deleted]
	// { 0} false
}

// Generated protobuf messages travel and are stored as protobuf. S is the pointer to the message.
func Example_protobuf() {
	const Append sdk.Method[*wrapperspb.StringValue, *emptypb.Empty] = "example.v1.Note/Append"
	type note = *wrapperspb.StringValue
	notes := value.Entity[note]{
		Service: "example.v1.Note",
		Commands: []value.Command[note]{
			value.Handle(Append, func(_ context.Context, t *value.Turn[note], in note) (*emptypb.Empty, error) {
				n, _ := t.Get() // an empty message, if there is none
				n.Value += in.GetValue() + ";"
				t.Set(n)
				return new(emptypb.Empty), nil
			}),
		},
	}
	example(func(t testing.TB) {
		h := sdktest.New(t, notes, "n-1")
		h.Given(wrapperspb.String("one;"))
		sdktest.Do(h, Append, wrapperspb.String("two"))
		n, _ := sdktest.Value[note](h)
		fmt.Println(n.GetValue())
	})
	// Output: one;two;
}

// A handler without a Turn cannot write.
func ExampleRead() {
	const Length sdk.Method[struct{}, int] = "chat.v1.Profile/Length"
	e := Profiles
	e.Commands = append(e.Commands, value.Read(Length,
		func(_ context.Context, p Profile, _ struct{}) (int, error) { return len(p.Name), nil }))
	example(func(t testing.TB) {
		h := sdktest.New(t, e, "p-1")
		h.Given(Profile{Name: "Ada"})
		fmt.Println(sdktest.Do(h, Length, struct{}{}).Reply)
	})
	// Output: 3
}

// A turn knows the entity and what came beside the command.
func ExampleTurn() {
	const About sdk.Method[struct{}, string] = "chat.v1.Profile/About"
	e := Profiles
	e.Commands = append(e.Commands, value.Handle(About,
		func(_ context.Context, t *value.Turn[Profile], _ struct{}) (string, error) {
			p, exists := t.Get()
			return fmt.Sprintf("%s at %d: %v %v, key %q, metadata %v", t.ID(), t.Sequence(), p.Name, exists, t.IdempotencyKey(), t.Metadata()), nil
		}))
	example(func(t testing.TB) {
		h := sdktest.New(t, e, "p-1")
		h.Given(Profile{Name: "Ada"}, nil, Profile{Name: "Bob"})
		fmt.Println(sdktest.Do(h, About, struct{}{}).Reply)
		fmt.Println(h.Journal())
	})
	// Output:
	// p-1 at 3: Bob true, key "", metadata []
	// [updated deleted updated]
}

// Effects are commands to others: at once, or later.
func ExampleEffect() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Profiles, "p-1")
		for _, e := range sdktest.Do(h, Close, struct{}{}).Effects {
			fmt.Println(e.Service, e.ID, e.Method, e.Input, "after", e.After)
		}
	})
	// Output:
	// chat.v1.Audit profiles Log "closed p-1" after 0s
	// chat.v1.Profile p-1 Purge {} after 168h0m0s
}

// An effect that has a name can be taken back.
func ExampleCancel() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Profiles, "p-1")
		e := sdktest.Do(h, Reopen, struct{}{}).Effects[0]
		fmt.Println(e.Name, e.Cancelled)
	})
	// Output: purge true
}

// The target of a forward answers the caller.
func ExampleForward() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Profiles, "p-1")
		h.Given(Profile{Name: "Ada"})
		got := sdktest.Do(h, Move, "p-2")
		fmt.Println(got.Forward.Service, got.Forward.ID, got.Forward.Method, got.Forward.Input, got.Events)
	})
	// Output: chat.v1.Profile p-2 Rename "Ada" [deleted]
}
