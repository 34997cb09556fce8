package userfunction

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

type valueReply = valueentity.ValueEntityReply

// nowhere is a stream that can be ended.
type nowhere struct{ grpc.ClientStream }

func (nowhere) CloseSend() error { return nil }

func followValue(steps ...valueStep) func(l *valueWire) error { return following(steps) }

func valueAnswer(f func(r *valueReply)) valueStep {
	return func(l *valueWire, c *cloudstate.Command) error {
		r := &valueReply{CommandId: c.GetId()}
		f(r)
		return l.send(&valueOut{Message: &valueentity.ValueEntityStreamOut_Reply{Reply: r}})
	}
}

func valueFailure(f *cloudstate.Failure) valueStep {
	return func(l *valueWire, _ *cloudstate.Command) error {
		return l.send(&valueOut{Message: &valueentity.ValueEntityStreamOut_Failure{Failure: f}})
	}
}

func updates(product string) *valueentity.ValueEntityAction {
	return updatesTo(toAny(payload(product)))
}

func updatesTo(a *anypb.Any) *valueentity.ValueEntityAction {
	return &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Update{Update: &valueentity.ValueEntityUpdate{Value: a}}}
}

func deletes() *valueentity.ValueEntityAction {
	return &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Delete{Delete: &valueentity.ValueEntityDelete{}}}
}

// TestValueTranscripts is TestTranscripts for value entities.
func TestValueTranscripts(t *testing.T) {
	t.Parallel()
	ok := valueAnswer(func(r *valueReply) { r.ClientAction = replies("ok") })
	state := func(a *valueentity.ValueEntityAction) valueStep {
		return valueAnswer(func(r *valueReply) { r.ClientAction = replies("ok"); r.StateAction = a })
	}
	json := actors.Payload{TypeURL: "json.cloudstate.io/Cart", ContentType: actors.ContentJSON, Data: []byte(`{"n":1}`)}
	rich := turn("Add", "tea")
	rich.Command.Key = "key-1"
	rich.Command.Metadata = actors.Metadata{{Key: "User", Text: "ann"}}
	two := []engine.Turn{turn("Add", "a"), turn("Add", "b")}
	for _, tt := range []struct {
		name       string
		extensions []string
		events     []engine.Event
		turns      []engine.Turn
		timeout    time.Duration
		steps      []valueStep
		logs       string
	}{
		{name: "read", steps: []valueStep{ok}},
		{name: "lifecycle", turns: []engine.Turn{turn("Get", ""), turn("Add", "a"), turn("Add", "b"), turn("Get", ""), turn("Get", ""), turn("Add", "c")},
			steps: []valueStep{ok, state(updates("a")), state(updatesTo(toAny(json))), state(deletes()), ok, state(updates("c"))}},
		{name: "begin_with_state", events: []engine.Event{{Sequence: 4, Name: "updated", Payload: payload("state")}}, steps: []valueStep{ok}},
		{name: "begin_with_json", events: []engine.Event{{Sequence: 4, Name: "updated", Payload: json}}, steps: []valueStep{ok}},
		{name: "begin_deleted", events: []engine.Event{{Sequence: 5, Name: "deleted", Payload: deleted}}, steps: []valueStep{ok}},
		{name: "extensions_announced", extensions: catalog.Extensions, turns: []engine.Turn{rich}, steps: []valueStep{valueAnswer(func(r *valueReply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "no tea", Code: 5})
		})}},
		{name: "extensions_not_announced", turns: []engine.Turn{rich}, steps: []valueStep{ok}},
		{name: "failure_with_state", turns: two, steps: []valueStep{valueAnswer(func(r *valueReply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "description", Restart: true})
			r.StateAction = updates("a")
		}), ok}},
		{name: "forward_with_state_and_effect", steps: []valueStep{valueAnswer(func(r *valueReply) {
			r.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
				ServiceName: "shop.Cart1", CommandName: "Get", Payload: effect(nil).Payload}}}
			r.StateAction = updates("a")
			r.SideEffects = []*cloudstate.SideEffect{effect(nil), effect(func(e *cloudstate.SideEffect) { e.Synchronous = true })}
		})}},
		{name: "effect_to_nowhere", turns: two, steps: []valueStep{valueAnswer(func(r *valueReply) {
			r.StateAction = updates("a")
			r.SideEffects = []*cloudstate.SideEffect{effect(func(e *cloudstate.SideEffect) { e.ServiceName = "shop.Nowhere" })}
		})}, logs: "side effect of shop.Cart1.Add"},
		{name: "update_without_value", turns: two, steps: []valueStep{state(updatesTo(nil))}},
		{name: "update_without_type", steps: []valueStep{state(updatesTo(&anypb.Any{Value: []byte("s3cret")}))}},
		{name: "empty_state_action", steps: []valueStep{state(&valueentity.ValueEntityAction{})}},
		{name: "wrong_command_id", steps: []valueStep{valueAnswer(func(r *valueReply) { r.CommandId = 9 })}, logs: "a reply to command 9"},
		{name: "top_level_failure", steps: []valueStep{valueFailure(&cloudstate.Failure{CommandId: 1, Description: "s3cret"})}, logs: "failure of command 1: s3cret"},
		{name: "top_level_failure_with_codes", extensions: []string{"codes"}, steps: []valueStep{valueFailure(&cloudstate.Failure{CommandId: 1, Description: "not found", Code: 5})}},
		{name: "empty_message", steps: []valueStep{func(l *valueWire, _ *cloudstate.Command) error { return l.send(&valueOut{}) }}, logs: "neither a reply nor a failure"},
		{name: "stream_aborted", turns: two, steps: []valueStep{func(*valueWire, *cloudstate.Command) error { return status.Error(codes.Internal, "s3cret") }}, logs: "s3cret"},
		{name: "stream_ended", steps: []valueStep{func(*valueWire, *cloudstate.Command) error { return errHalt }}},
		{name: "hang", timeout: 100 * time.Millisecond, steps: []valueStep{func(l *valueWire, _ *cloudstate.Command) error { return l.hang() }}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{spec: ofKind(spec(tt.extensions, "Cart1"), actors.Value, "Cart1"), value: followValue(tt.steps...)}
			r := run(t, Config{Address: f.start(t, "")})
			s := r.open(t, engine.Start{Ref: ref("c1"), Events: events(tt.events...)})
			if tt.turns == nil {
				tt.turns = []engine.Turn{turn("Add", "tea")}
			}
			if tt.timeout == 0 {
				tt.timeout = 5 * time.Second
			}
			var caller strings.Builder
			for _, turn := range tt.turns {
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				got, err := s.Handle(ctx, turn)
				cancel()
				describe(&caller, turn.Command.Method, got, err)
			}
			s.Close()
			eventually(t, "the stream is seen", func() bool { return f.opened() == 1 })
			if strings.Contains(caller.String(), "s3cret") {
				t.Errorf("the caller reads what is for the log:\n%s", caller.String())
			}
			if !strings.Contains(r.log.String(), tt.logs) {
				t.Errorf("the log does not say %q:\n%s", tt.logs, r.log)
			}
			golden(t, "value_"+tt.name, f.transcript(t)+"engine\n"+caller.String())
		})
	}
}

// A stored state that cannot be read is told, and the user function sees no beginning.
func TestValueThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1"), actors.Value, "Cart1"), value: followValue()}
	r := run(t, Config{Address: f.start(t, "")})
	broken := errors.New("the journal broke")
	_, err := r.next(t).function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c1"), Events: func(yield func(engine.Event, error) bool) {
		yield(engine.Event{}, broken)
	}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	f.wait(t)
	if text := f.transcript(t); strings.Contains(text, "init") {
		t.Errorf("got\n%s", text)
	}
}

// The events of an event-sourced entity are not taken for the state of a value entity.
func TestValueOverAnotherKind(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1"), actors.Value, "Cart1"), value: followValue()}
	r := run(t, Config{Address: f.start(t, "")})
	_, err := r.next(t).function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c1"), Events: events(engine.Event{Sequence: 1, Name: "added", Payload: payload("a")})})
	if actors.CodeOf(err) != actors.FailedPrecondition || !strings.Contains(err.Error(), `the event "added"`) || !strings.Contains(err.Error(), "persistence id") {
		t.Errorf("got %v", err)
	}
}

// A stream that failed costs its session and nothing else.
func TestValueAfterAFailedStream(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1"), actors.Value, "Cart1")}
	f.value = followValue(func(*valueWire, *cloudstate.Command) error { return status.Error(codes.Internal, "boom") },
		valueAnswer(func(r *valueReply) { r.ClientAction = replies("ok") }))
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	for i := range 2 {
		s, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Handle(t.Context(), turn("Add", "a")); (err == nil) != (i == 1) {
			t.Errorf("session %d: %v", i+1, err)
		}
		s.Close()
	}
}

func TestValuePipeline(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec([]string{"pipeline"}, "Cart1"), actors.Value, "Cart1"),
		value: followValue(valueAnswer(func(r *valueReply) { r.StateAction = updates("a") }))}
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	turns := []engine.Turn{turn("Add", "a"), turn("Add", "b")}
	s.(engine.Ahead).Ahead(t.Context(), turns)
	for _, x := range turns {
		if got, err := s.Handle(t.Context(), x); err != nil || len(got.Events) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// TestKindChanges has a user function announce one service as one kind after the other.
func TestKindChanges(t *testing.T) {
	t.Parallel()
	f := &scripted{handle: follow(ok), value: followValue(valueAnswer(func(r *valueReply) { r.ClientAction = replies("ok") })),
		action: answering(actReply("ok"))}
	f.spec = spec(nil, "Cart1")
	r := run(t, Config{Address: f.start(t, ""), Rediscover: 5 * time.Millisecond})
	for _, k := range []actors.Kind{actors.EventSourced, actors.Value, actors.Action, actors.EventSourced} {
		f.announce(ofKind(spec(nil, "Cart1"), k, "Cart1"))
		c := r.next(t)
		before := f.opened()
		if k == actors.Action {
			if c.function("shop.Cart1") != nil {
				t.Error("an action has a function")
			}
			if _, err := r.Handle(t.Context(), actors.Command{Ref: ref(""), Method: "Add", Payload: payload("a")}); err != nil {
				t.Error(err)
			}
		} else {
			s, err := c.function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c1")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
				t.Errorf("%s: %v", k, err)
			}
			s.Close()
			if _, err := r.Handle(t.Context(), actors.Command{Ref: ref(""), Method: "Add"}); actors.CodeOf(err) != actors.Unimplemented {
				t.Errorf("%s as an action: %v", k, err)
			}
		}
		if f.opened() != before+1 {
			t.Errorf("%s: %d streams", k, f.opened()-before)
		}
	}
}

// TestCheck has another part of the component refuse what the catalog takes.
func TestCheck(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow()}
	checks := make(chan int, 100)
	r := run(t, Config{Address: f.start(t, ""), Rediscover: 5 * time.Millisecond, Check: func(c *catalog.Catalog) error {
		checks <- len(c.Services())
		if len(c.Services()) > 1 {
			return errors.New("one service is enough")
		}
		return nil
	}})
	r.next(t)
	eventually(t, "ready", func() bool { return r.Ready() == nil })
	f.announce(spec(nil, "Cart1", "Cart2"))
	eventually(t, "reported", func() bool { return len(f.reports()) == 1 })
	for _, text := range []string{f.reports()[0], r.Ready().Error()} {
		if !strings.Contains(text, "one service is enough") {
			t.Errorf("got %q", text)
		}
	}
	f.announce(spec(nil, "Cart1"))
	eventually(t, "ready again", func() bool { return r.Ready() == nil })
	if len(r.changes) != 0 || len(checks) != 2 {
		t.Errorf("%d changes, %d checks", len(r.changes), len(checks))
	}
}
