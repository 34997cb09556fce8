package action_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const service = "test.v1.Echo"

const (
	one    sdk.Method[string, string]    = service + "/One"
	in     sdk.StreamIn[string, string]  = service + "/In"
	out    sdk.StreamOut[string, string] = service + "/Out"
	duplex sdk.Duplex[string, string]    = service + "/Duplex"
	other  sdk.Method[string, string]    = "test.v1.Other/Do"
	number sdk.Method[string, int]       = "test.v1.Other/Count"
)

type (
	turn  = action.Turn
	texts = iter.Seq2[string, error]
)

func unary(f func(ctx context.Context, t *turn, in string) (string, error)) action.Service {
	return action.Service{Service: service, Methods: []action.Method{action.Handle(one, f)}}
}

func streamedIn(f func(ctx context.Context, t *turn, in texts) (string, error)) action.Service {
	return action.Service{Service: service, Methods: []action.Method{action.HandleIn(in, f)}}
}

func streamedOut(f func(ctx context.Context, t *turn, in string, send func(string) error) error) action.Service {
	return action.Service{Service: service, Methods: []action.Method{action.HandleOut(out, f)}}
}

func streamed(f func(ctx context.Context, t *turn, in texts, send func(string) error) error) action.Service {
	return action.Service{Service: service, Methods: []action.Method{action.HandleDuplex(duplex, f)}}
}

func TestUnary(t *testing.T) {
	t.Parallel()
	effect := sdktest.Effect{Call: sdktest.Call{Service: "test.v1.Other", Method: "Do", ID: "o", Input: `"x"`}}
	synchronous := effect
	synchronous.Synchronous = true
	delayed := effect
	delayed.After = 1500 * time.Millisecond
	forward := sdktest.Call{Service: "test.v1.Other", Method: "Do", Input: `"x"`, Metadata: sdk.Metadata{{Key: "k", Text: "v"}}}
	type response = sdktest.Response[string]
	broken := &sdk.Error{Code: sdk.CodeInternal, Message: "One of test.v1.Echo failed inside its handler; the log of the service has the details"}
	tests := map[string]struct {
		handler func(ctx context.Context, t *turn, in string) (string, error)
		want    response
	}{
		"reply": {func(_ context.Context, _ *turn, in string) (string, error) { return in + "!", nil }, response{Reply: "x!", Replied: true}},
		"effects": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Effect(t, other.On("o", in))
			action.Effect(t, other.On("o", in), sdk.Synchronous())
			action.Effect(t, other.On("o", in), sdk.After(1500*time.Millisecond))
			return in, nil
		}, response{Reply: "x", Replied: true, Effects: []sdktest.Effect{effect, synchronous, delayed}}},
		"no reply": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Effect(t, other.On("o", in))
			return "dropped", fmt.Errorf("that is all: %w", action.ErrNoReply)
		}, response{Effects: []sdktest.Effect{effect}}},
		"forward": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Effect(t, other.On("o", in))
			return action.Forward(t, other.With(in), sdk.WithMetadata(sdk.Metadata{{Key: "k", Text: "v"}}))
		}, response{Forward: &forward, Effects: []sdktest.Effect{effect}}},
		"forward and fail": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Forward(t, other.With(in))
			return "", errors.New("no")
		}, response{Err: &sdk.Error{Code: sdk.CodeUnknown, Message: "no"}}},
		"forward and no reply": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Forward(t, other.With(in))
			return "", action.ErrNoReply
		}, response{}},
		"failure keeps effects": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Effect(t, other.On("o", in))
			return "dropped", sdk.Errorf(sdk.CodeNotFound, "no %s", in)
		}, response{Err: &sdk.Error{Code: sdk.CodeNotFound, Message: "no x"}, Effects: []sdktest.Effect{effect}}},
		"failure without a code": {func(context.Context, *turn, string) (string, error) { return "", errors.New("no") },
			response{Err: &sdk.Error{Code: sdk.CodeUnknown, Message: "no"}}},
		"metadata": {func(_ context.Context, t *turn, in string) (string, error) {
			t.SetMetadata("ce-type", "first")
			t.SetMetadata("b", "2")
			t.SetMetadata("CE-Type", "tea")
			return in, nil
		}, response{Reply: "x", Replied: true, Metadata: sdk.Metadata{{Key: "CE-Type", Text: "tea"}, {Key: "b", Text: "2"}}}},
		"panic": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Effect(t, other.On("o", in))
			panic("secret")
		}, response{Err: broken}},
		"forwarded twice": {func(_ context.Context, t *turn, in string) (string, error) {
			action.Forward(t, other.With(in))
			return action.Forward(t, other.With(in))
		}, response{Err: broken}},
		"a named effect": {func(_ context.Context, t *turn, in string) (string, error) {
			defer func() { recover() }()
			action.Effect(t, other.On("o", in), sdk.Named("n"))
			return in, nil
		}, response{Err: broken}},
		"bad metadata": {func(_ context.Context, t *turn, in string) (string, error) {
			t.SetMetadata("k", "\xff")
			return in, nil
		}, response{Err: broken}},
		"sends though it replies once": {func(_ context.Context, t *turn, in string) (string, error) {
			return "", errors.Join(t.Flush(), t.SendFailure(errors.New("no")), action.SendForward(t, other.With(in)))
		}, response{Err: &sdk.Error{Code: sdk.CodeInternal, Message: "One replies once: its handler returns what it has to say\n" +
			"One replies once: its handler returns what it has to say\nsend a forward: the method replies once; return Forward"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sdktest.Invoke(t, unary(test.handler), one, "x")
			if d := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(sdk.Error{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatComesBeside(t *testing.T) {
	t.Parallel()
	s := unary(func(_ context.Context, t *turn, _ string) (string, error) {
		_, event := t.Event()
		return fmt.Sprintf("%s %s %s %v", t.IdempotencyKey(), t.Metadata().Get("TRACE"), t.Metadata().Get("none"), event), nil
	})
	got := sdktest.Invoke(t, s, one, "", sdktest.WithKey("k-1"), sdktest.WithMetadata(sdk.Metadata{{Key: "trace", Text: "00"}}))
	if got.Reply != "k-1 00  false" {
		t.Error(got)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)
	sent := action.Event{ID: "17", Source: "carts", Type: "com.example.added", Subject: "cart-42", ContentType: "application/json",
		Schema: "https://example.com", Time: at}
	var got action.Event
	method := action.Handle(one, func(_ context.Context, t *turn, in string) (string, error) {
		got, _ = t.Event()
		return in, action.ErrNoReply
	}, sdk.FromLog("carts"), sdk.Event("added"))
	s := action.Service{Service: service, Methods: []action.Method{method}}
	if r := sdktest.Invoke(t, s, one, "tea", sdktest.Deliver(sent)); r.Err != nil || r.Replied {
		t.Error(r)
	}
	if d := cmp.Diff(sent, got); d != "" {
		t.Error(d)
	}
	sdktest.Invoke(t, s, one, "tea", sdktest.Deliver(action.Event{Subject: "cart-42"}))
	want := action.Event{ID: "1", Type: "json.cloudstate.io/added", Subject: "cart-42", ContentType: "application/vnd.cloudstate.protobuf.any"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAnyEvent(t *testing.T) {
	t.Parallel()
	const whatever sdk.Method[*anypb.Any, string] = service + "/Any"
	s := action.Service{Service: service, Methods: []action.Method{
		action.Handle(whatever, func(_ context.Context, _ *turn, in *anypb.Any) (string, error) {
			text, err := sdk.Unpack[string](in)
			return in.GetTypeUrl() + " " + text, err
		}, sdk.FromLog("all")),
	}}
	if got := sdktest.Invoke(t, s, whatever, sdktest.Any(t, "said", "hello"), sdktest.Deliver(action.Event{})); got.Reply != "json.cloudstate.io/said hello" {
		t.Error(got)
	}
	if got := sdktest.Invoke(t, s, whatever, sdktest.Any(t, "said", 5)); got.Err == nil || !strings.Contains(got.Err.Error(), "unpack") {
		t.Error(got)
	}
	// A call, not an event: the input is an Any within the payload.
	if got := sdktest.Invoke(t, s, whatever, sdktest.Any(t, "said", "hi")); got.Reply != "json.cloudstate.io/said hi" {
		t.Error(got)
	}
}

func TestStreamedIn(t *testing.T) {
	t.Parallel()
	joined := streamedIn(func(_ context.Context, t *turn, in texts) (string, error) {
		var all []string
		for range 2 { // breaking off and going on loses nothing
			for text, err := range in {
				if err != nil {
					return "", err
				}
				event, _ := t.Event()
				action.Effect(t, other.On(text, event.Subject))
				if all = append(all, text); len(all) == 1 {
					break
				}
			}
		}
		return strings.Join(all, " "), nil
	})
	got := sdktest.InvokeIn(t, joined, in, []string{"a", "b", "c"}, sdktest.Deliver(action.Event{Subject: "s"}))
	if got.Reply != "a b c" || len(got.Effects) != 3 || got.Effects[2].ID != "c" || got.Effects[2].Input != `"s"` {
		t.Errorf("got %+v", got)
	}
	if got := sdktest.InvokeIn(t, joined, in, nil); got.Reply != "" || !got.Replied || got.Err != nil {
		t.Errorf("nothing came in: %+v", got)
	}
	early := streamedIn(func(context.Context, *turn, texts) (string, error) { return "enough", nil })
	if got := sdktest.InvokeIn(t, early, in, []string{"a"}); got.Reply != "enough" {
		t.Errorf("got %+v", got)
	}
}

func TestStreamedOut(t *testing.T) {
	t.Parallel()
	s := streamedOut(func(_ context.Context, t *turn, in string, send func(string) error) error {
		action.Effect(t, other.On("1", in))
		t.SetMetadata("m", "1")
		if err := send("one"); err != nil {
			return err
		}
		action.Effect(t, other.On("2", in))
		t.SetMetadata("m", "kept for the next reply")
		if err := action.SendForward(t, other.With("two")); err != nil {
			return err
		}
		if err := t.SendFailure(sdk.Errorf(sdk.CodeNotFound, "three")); err != nil {
			return err
		}
		action.Effect(t, other.On("4", in))
		if err := t.Flush(); err != nil {
			return err
		}
		if err := send("five"); err != nil {
			return err
		}
		action.Effect(t, other.On("6", in))
		return nil
	})
	to := func(id string) []sdktest.Effect {
		return []sdktest.Effect{{Call: sdktest.CallOf(t, other.On(id, "x"))}}
	}
	forward := sdktest.CallOf(t, other.With("two"))
	want := []sdktest.Response[string]{
		{Reply: "one", Replied: true, Effects: to("1"), Metadata: sdk.Metadata{{Key: "m", Text: "1"}}},
		{Forward: &forward, Effects: to("2")},
		{Err: &sdk.Error{Code: sdk.CodeNotFound, Message: "three"}},
		{Effects: to("4")},
		{Reply: "five", Replied: true, Metadata: sdk.Metadata{{Key: "m", Text: "kept for the next reply"}}},
		{Effects: to("6")},
	}
	if d := cmp.Diff(want, sdktest.InvokeOut(t, s, out, "x"), cmpopts.IgnoreUnexported(sdk.Error{})); d != "" {
		t.Error(d)
	}
}

func TestEndsOfStreams(t *testing.T) {
	t.Parallel()
	failing := streamedOut(func(_ context.Context, t *turn, in string, send func(string) error) error {
		action.Effect(t, other.On("1", in))
		return errors.New("over")
	})
	got := sdktest.InvokeOut(t, failing, out, "x")
	if len(got) != 1 || got[0].Err == nil || len(got[0].Effects) != 1 {
		t.Errorf("failure: %+v", got)
	}
	silent := streamedOut(func(context.Context, *turn, string, func(string) error) error { return action.ErrNoReply })
	if got := sdktest.InvokeOut(t, silent, out, "x"); len(got) != 0 {
		t.Errorf("silence: %+v", got)
	}
	for name, f := range map[string]func(*turn) error{
		"forwards like a unary one":       func(t *turn) error { _, err := action.Forward(t, other.With("")); return err },
		"forwards to another type":        func(t *turn) error { return action.SendForward(t, number.With("")) },
		"forwards to no method":           func(t *turn) error { return action.SendForward(t, sdk.Method[string, string]("x").With("")) },
		"an effect with a time too early": func(t *turn) error { action.Effect(t, other.With(""), sdk.At(time.Time{})); return nil },
	} {
		wrong := streamedOut(func(_ context.Context, t *turn, _ string, send func(string) error) error { return f(t) })
		if got := sdktest.InvokeOut(t, wrong, out, "x"); len(got) != 1 || sdk.CodeOf(got[0].Err) != sdk.CodeInternal {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := sdktest.InvokeOut(t, streamedOut(func(_ context.Context, t *turn, _ string, _ func(string) error) error {
		return t.SendFailure(nil)
	}), out, "x"); len(got) != 1 || got[0].Err.Error() != "send a failure: the error is nil" {
		t.Errorf("a failure that is none: %+v", got)
	}
}

func TestTheCallerGoes(t *testing.T) {
	t.Parallel()
	var ended, after error
	endless := streamedOut(func(ctx context.Context, t *turn, in string, send func(string) error) error {
		for {
			if after = send(in); after != nil {
				ended = ctx.Err()
				return after
			}
		}
	})
	if got := sdktest.InvokeOut(t, endless, out, "x", sdktest.Take(3)); len(got) != 3 {
		t.Errorf("%d replies", len(got))
	}
	if sdk.CodeOf(after) != sdk.CodeCanceled || !errors.Is(ended, context.Canceled) {
		t.Errorf("the handler saw %v, %v", after, ended)
	}
	var received error
	echo := streamed(func(_ context.Context, _ *turn, in texts, send func(string) error) error {
		for text, err := range in {
			if received = err; err != nil {
				return err
			}
			if err := send(text); err != nil {
				return err
			}
		}
		return nil
	})
	if got := sdktest.InvokeDuplex(t, echo, duplex, []string{"a", "b", "c"}, sdktest.Take(2)); len(got) != 2 || got[1].Reply != "b" {
		t.Errorf("got %+v", got)
	}
	if sdk.CodeOf(received) != sdk.CodeCanceled {
		t.Errorf("the handler received %v", received)
	}
}

func TestATurnEndsWithItsHandler(t *testing.T) {
	t.Parallel()
	var kept *turn
	var send func(string) error
	s := streamedOut(func(_ context.Context, t *turn, _ string, s func(string) error) error { kept, send = t, s; return nil })
	sdktest.InvokeOut(t, s, out, "x")
	if err := send("late"); err == nil || !strings.Contains(err.Error(), "has returned") {
		t.Error(err)
	}
	for name, use := range map[string]func(){
		"Metadata": func() { kept.Metadata() }, "Event": func() { kept.Event() }, "Key": func() { kept.IdempotencyKey() },
		"SetMetadata": func() { kept.SetMetadata("a", "b") }, "Stopping": func() { kept.Stopping() },
		"Effect":  func() { action.Effect(kept, other.With("")) },
		"Forward": func() { action.Forward(kept, other.With("")) }, "SendForward": func() { action.SendForward(kept, other.With("")) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, "after its handler had returned") {
					t.Errorf("%s: %s", name, text)
				}
			}()
			use()
		}()
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	ok := func(context.Context, *turn, string) (string, error) { return "", nil }
	empty := func(context.Context, *turn, *emptypb.Empty) (*emptypb.Empty, error) { return nil, nil }
	protobuf := sdk.Method[*emptypb.Empty, *emptypb.Empty](service + "/P")
	handle := func(options ...sdk.MethodOption) []action.Method {
		return []action.Method{action.Handle(one, ok, options...)}
	}
	tests := []struct {
		name    string
		service action.Service
		want    string
	}{
		{"name", action.Service{Service: "1", Methods: []action.Method{action.Handle(sdk.Method[string, string]("1/A"), ok)}}, `Service "1" is not a full name`},
		{"empty", action.Service{Service: service}, "there are no Methods"},
		{"zero", action.Service{Service: service, Methods: make([]action.Method, 1)}, "method 0 was not made by a Handle function"},
		{"other service", action.Service{Service: "test.v1.Two", Methods: handle()}, "method test.v1.Echo/One belongs to another service"},
		{"twice", action.Service{Service: service, Methods: append(handle(), handle()...)}, "method One is listed twice"},
		{"nil", action.Service{Service: service, Methods: []action.Method{action.HandleIn(in, nil)}}, "method In: the handler is nil"},
		{"type", action.Service{Service: service, Methods: []action.Method{action.HandleOut(sdk.StreamOut[chan int, string](service+"/C"),
			func(context.Context, *turn, chan int, func(string) error) error { return nil })}}, "method C: input: chan int"},
		{"two sources", action.Service{Service: service, Methods: handle(sdk.FromLog("a"), sdk.FromTopic("b"), sdk.Event("e"))}, `FromTopic("b"): the method has another source`},
		{"two topics", action.Service{Service: service, Methods: handle(sdk.ToTopic("a"), sdk.ToTopic("b"))}, `ToTopic("b"): the replies go to another topic`},
		{"circle", action.Service{Service: service, Methods: handle(sdk.FromTopic("a"), sdk.Event("e"), sdk.ToTopic("a"))}, `takes from the topic "a" and publishes to it`},
		{"group alone", action.Service{Service: service, Methods: handle(sdk.InGroup("g"))}, `InGroup("g") without`},
		{"event alone", action.Service{Service: service, Methods: handle(sdk.Event("e"))}, `Event("e") without`},
		{"no event", action.Service{Service: service, Methods: handle(sdk.FromLog("a"))}, "say with Event which events it takes"},
		{"no name", action.Service{Service: service, Methods: handle(sdk.FromLog(""), sdk.Event("e"))}, `FromLog(""): the name is empty`},
		{"bad name", action.Service{Service: service, Methods: handle(sdk.FromTopic("a\n"), sdk.Event("e"))}, `FromTopic("a\n"): the name is`},
		{"nil option", action.Service{Service: service, Methods: handle(nil)}, "an option is nil"},
		{"event of protobuf", action.Service{Service: service, Methods: []action.Method{action.Handle(protobuf, empty, sdk.FromLog("a"), sdk.Event("e"))}},
			`Event("e"): the input is the protobuf message google.protobuf.Empty`},
	}
	for _, test := range tests {
		if _, err := test.service.Definition(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
