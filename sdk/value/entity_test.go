package value_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/valueentity"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
	"github.com/dapr-entities/entities/sdk/sdktest"
	"github.com/dapr-entities/entities/sdk/value"
)

const service = "test.Profile"

type (
	profile struct {
		Name string
		Tags []string
		Any  any
	}
	turn = value.Turn[profile]
)

const (
	set     sdk.Method[string, int]        = service + "/Set"
	get     sdk.Method[struct{}, profile]  = service + "/Get"
	do      sdk.Method[string, struct{}]   = service + "/Do"
	missing sdk.Method[struct{}, struct{}] = service + "/Missing"
	remote  sdk.Method[string, struct{}]   = "test.Remote/Take"
	nowhere sdk.Method[string, struct{}]   = "Take"
)

// entity is a profile; the command Do runs what the test wants.
func entity(f func(*turn) error) value.Entity[profile] {
	return value.Entity[profile]{
		Service: service,
		Commands: []value.Command[profile]{
			value.Handle(set, func(_ context.Context, t *turn, name string) (int, error) {
				t.Set(profile{Name: name})
				return len(name), nil
			}),
			value.Read(get, func(_ context.Context, p profile, _ struct{}) (profile, error) { return p, nil }),
			value.Handle(do, func(_ context.Context, t *turn, _ string) (struct{}, error) { return struct{}{}, f(t) }),
		},
	}
}

func TestTurn(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(func(tn *turn) error {
		p, exists := tn.Get()
		if tn.ID() != "p-1" || tn.Sequence() != 2 || p.Name != "Bob" || !exists {
			t.Errorf("%s at %d has %v %v", tn.ID(), tn.Sequence(), p, exists)
		}
		p.Name, p.Tags = "changed, but not set", append(p.Tags, "x")
		if p, _ := tn.Get(); p.Name != "Bob" || len(p.Tags) != 0 {
			t.Errorf("without Set: %v", p)
		}
		p = profile{Name: "Cy", Tags: []string{"a"}}
		tn.Set(p)
		p.Tags[0] = "changed after Set"
		if p, _ := tn.Get(); p.Name != "Cy" || !slices.Equal(p.Tags, []string{"a"}) {
			t.Errorf("after Set: %v", p)
		}
		tn.Delete()
		if p, exists := tn.Get(); exists || p.Name != "" {
			t.Errorf("after Delete: %v", p)
		}
		tn.Set(p)
		return nil
	}), "p-1")
	if p, exists := sdktest.Value[profile](h); exists || p.Name != "" {
		t.Errorf("at first: %v", p)
	}
	h.Given(profile{Name: "Ada"}, profile{Name: "Bob"})
	got := sdktest.Do(h, do, "")
	if got.Err != nil || !slices.Equal(got.Events, []string{"updated"}) {
		t.Errorf("got %+v", got)
	}
	h.Reopen()
	if p := sdktest.Do(h, get, struct{}{}).Reply; p.Name != "Cy" || p.Tags[0] != "changed after Set" {
		t.Errorf("stored is %v", p)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	const neutral = "Do of test.Profile failed inside its handler; the log of the service has the details"
	tests := []struct {
		name string
		f    func(*turn) error
		code sdk.Code
		text string
	}{
		{"coded", func(*turn) error { return sdk.Errorf(sdk.CodeNotFound, "no %s", "tea") }, sdk.CodeNotFound, "no tea"},
		{"plain", func(*turn) error { return errors.New("no") }, sdk.CodeUnknown, "no"},
		{"after Set", func(t *turn) error { t.Set(profile{}); return errors.New("no") }, sdk.CodeUnknown, "no"},
		{"after Delete", func(t *turn) error { t.Delete(); return errors.New("no") }, sdk.CodeUnknown, "no"},
		{"after an effect", func(t *turn) error { value.Effect(t, remote.On("r", "")); return errors.New("no") }, sdk.CodeUnknown, "no"},
		{"panic", func(t *turn) error { t.Set(profile{}); panic("secret") }, sdk.CodeInternal, neutral},
		{"value that JSON refuses", func(t *turn) error { t.Set(profile{Any: make(chan int)}); return nil }, sdk.CodeInternal, neutral},
		{"refused value, recovered", func(t *turn) error {
			defer func() { _ = recover() }()
			t.Set(profile{Any: make(chan int)})
			return nil
		}, sdk.CodeInternal, neutral},
		{"bad effect", func(t *turn) error { value.Effect(t, nowhere.On("r", "")); return nil }, sdk.CodeInternal, neutral},
		{"bad name", func(t *turn) error { value.Cancel(t, ""); return nil }, sdk.CodeInternal, neutral},
		{"forwarded twice", func(t *turn) error {
			_, _ = value.Forward(t, remote.On("r", ""))
			_, err := value.Forward(t, remote.On("r", ""))
			return err
		}, sdk.CodeInternal, neutral},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, entity(test.f), "c")
			h.Given(profile{Name: "Ada"})
			got := sdktest.Do(h, do, "")
			if sdk.CodeOf(got.Err) != test.code || got.Err.Error() != test.text || got.Restarted || got.Effects != nil || got.Forward != nil {
				t.Errorf("got %v %v: %+v", sdk.CodeOf(got.Err), got.Err, got)
			}
			if len(got.Events) != 0 || len(h.Journal()) != 1 {
				t.Errorf("events %v, journal %v", got.Events, h.Journal())
			}
			if after := sdktest.Do(h, get, struct{}{}); after.Reply.Name != "Ada" || after.Err != nil {
				t.Errorf("afterwards %+v", after)
			}
		})
	}
}

func TestSending(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(func(tn *turn) error {
		tn.Delete()
		value.Effect(tn, remote.On("r", "now"), sdk.Synchronous())
		value.Effect(tn, remote.On("r", "later"), sdk.After(time.Minute), sdk.Named("k"))
		value.Cancel(tn, "other")
		_, err := value.Forward(tn, remote.On("r", "forward"))
		return err
	}), "c")
	h.Given(profile{Name: "Ada"})
	got := sdktest.Do(h, do, "")
	forward := sdktest.CallOf(t, remote.On("r", "forward"))
	want := sdktest.Result[struct{}]{Events: []string{"deleted"}, Forward: &forward, Effects: []sdktest.Effect{
		{Call: sdktest.CallOf(t, remote.On("r", "now")), Synchronous: true},
		{Call: sdktest.CallOf(t, remote.On("r", "later")), After: time.Minute, Name: "k"},
		{Name: "other", Cancelled: true},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, exists := sdktest.Value[profile](h); exists {
		t.Error("it still has a value")
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	type turn = value.Turn[*wrapperspb.StringValue]
	const (
		touch sdk.Method[string, bool]     = "test.Text/Touch"
		unset sdk.Method[string, struct{}] = "test.Text/Unset"
	)
	texts := value.Entity[*wrapperspb.StringValue]{Service: "test.Text", Commands: []value.Command[*wrapperspb.StringValue]{
		value.Handle(touch, func(_ context.Context, t *turn, in string) (bool, error) {
			s, exists := t.Get()
			s.Value += in // of nobody, too
			t.Set(s)
			return exists, nil
		}),
		value.Handle(unset, func(_ context.Context, t *turn, _ string) (struct{}, error) { t.Set(nil); return struct{}{}, nil }),
	}}
	h := sdktest.New(t, texts, "t")
	if got := sdktest.Do(h, touch, "a"); got.Reply || got.Err != nil {
		t.Errorf("at first %+v", got)
	}
	if got := sdktest.Do(h, touch, "b"); !got.Reply || got.Err != nil {
		t.Errorf("then %+v", got)
	}
	if got := sdktest.Do(h, unset, ""); sdk.CodeOf(got.Err) != sdk.CodeInternal {
		t.Errorf("a nil message: %+v", got)
	}
	if got := sdktest.Do(h, touch, "\xff"); sdk.CodeOf(got.Err) != sdk.CodeOK {
		t.Errorf("JSON makes text valid: %+v", got)
	}
	if v, _ := sdktest.Value[*wrapperspb.StringValue](h); !proto.Equal(v, wrapperspb.String("ab\uFFFD")) {
		t.Errorf("the value is %v", v)
	}
}

func TestUnknownCommandAndBadInput(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(nil), "c")
	if got := sdktest.Do(h, missing, struct{}{}); sdk.CodeOf(got.Err) != sdk.CodeUnimplemented || !strings.Contains(got.Err.Error(), "it has Do, Get, Set") {
		t.Errorf("got %+v", got)
	}
	const other sdk.Method[int, int] = service + "/Set"
	if got := sdktest.Do(h, other, 2); sdk.CodeOf(got.Err) != sdk.CodeInvalidArgument || len(got.Events) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTurnEndsWithItsHandler(t *testing.T) {
	t.Parallel()
	var kept *turn
	h := sdktest.New(t, entity(func(t *turn) error { kept = t; return nil }), "c")
	sdktest.Do(h, do, "")
	for name, use := range map[string]func(){
		"ID": func() { kept.ID() }, "Get": func() { kept.Get() }, "Set": func() { kept.Set(profile{}) }, "Delete": func() { kept.Delete() },
		"Sequence": func() { kept.Sequence() }, "Metadata": func() { kept.Metadata() }, "IdempotencyKey": func() { kept.IdempotencyKey() },
		"Effect": func() { value.Effect(kept, remote.On("", "")) }, "Cancel": func() { value.Cancel(kept, "k") },
		"Forward": func() { _, _ = value.Forward(kept, remote.On("", "")) },
	} {
		func() {
			defer func() {
				if v := recover(); v != "value: the Turn was used after its handler had returned" {
					t.Errorf("%s: %v", name, v)
				}
			}()
			use()
		}()
	}
}

// What comes beside a command reaches the handler over a real connection.
func TestWhatComesBeside(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	conn := sdktest.Serve(t, entity(func(t *turn) error {
		seen <- t.IdempotencyKey() + t.Metadata().Get("A")
		return nil
	}))
	stream, err := pb.NewValueEntityClient(conn).Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []*pb.ValueEntityStreamIn{
		{Message: &pb.ValueEntityStreamIn_Init{Init: &pb.ValueEntityInit{ServiceName: service, EntityId: "c"}}},
		{Message: &pb.ValueEntityStreamIn_Command{Command: &cloudstate.Command{EntityId: "c", Id: 1, Name: "Do", IdempotencyKey: "key",
			Metadata: &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{{Key: "a", Value: &cloudstate.MetadataEntry_StringValue{StringValue: "b"}}}}}}},
	} {
		if err := stream.Send(in); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := stream.Recv(); err != nil || out.GetReply().GetCommandId() != 1 {
		t.Fatal(out, err)
	}
	if got := <-seen; got != "keyb" {
		t.Errorf("the handler saw %q", got)
	}
}

func TestProblemsAreReportedTogether(t *testing.T) {
	t.Parallel()
	type closed struct{ n int }
	const elsewhere sdk.Method[struct{}, struct{}] = "test.Other/Do"
	const nowhere sdk.Method[struct{}, closed] = "Do"
	handler := func(context.Context, *turn, struct{}) (struct{}, error) { return struct{}{}, nil }
	bad := value.Entity[profile]{
		Service:       service,
		PersistenceID: "a\nb",
		Idle:          -1,
		Commands: []value.Command[profile]{
			{},
			value.Handle(elsewhere, handler),
			value.Handle(missing, handler),
			value.Read(missing, func(context.Context, profile, struct{}) (struct{}, error) { return struct{}{}, nil }),
			value.Handle[profile](nowhere, nil),
			value.Read[profile](get, nil),
		},
	}
	lossy := value.Entity[closed]{Service: "test.Lossy"}
	pointer := value.Entity[*profile]{Service: "test.Pointer"}
	iface := value.Entity[any]{Service: "test.Interface"}
	message := value.Entity[wrapperspb.StringValue]{Service: "test.Message"}
	half := valueentity.Two
	half.Commands = nil
	err := sdk.NewServer(sdk.Config{}).Register(bad, lossy, pointer, iface, message, half, entity(nil))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`test.Profile: PersistenceID "a\nb" contains a control character`,
		`test.Profile: Idle is -1ns, want a positive number of milliseconds`,
		`test.Profile: command 0 was made neither by Handle nor by Read`,
		`test.Profile: command test.Other/Do belongs to another service`,
		`test.Profile: command Missing is listed twice`,
		`test.Profile: command /Do belongs to another service`,
		`test.Profile: command Get: the handler is nil`,
		`test.Lossy: the value cannot be stored: value_test.closed.n is unexported`,
		`test.Lossy: there are no Commands`,
		`test.Pointer: the value is *value_test.profile: use a type that is neither a pointer nor an interface`,
		`test.Interface: the value is interface {}`,
		`test.Message: the value cannot be stored: wrapperspb.StringValue is a protobuf message: use *wrapperspb.StringValue`,
		`ValueEntityTwo: the protobuf method Call has no handler`,
		`test.Profile: registered twice`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}
