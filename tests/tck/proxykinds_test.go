package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

func (p *proxy) replayed(t *testing.T, sequence int64, value string) proto.Message {
	t.Helper()
	return &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
		Sequence: sequence, Payload: p.persisted(t, modelES, value),
	}}}
}

func (p *proxy) testValue(t *testing.T) {
	const process, second = "/" + valueFirst + "/Process", "/" + valueTwo + "/Call"
	do := func(t *testing.T, id, text string, steps ...step) {
		t.Helper()
		p.replies(t, process, p.processRequest(t, modelV, id, steps...), modelV, text)
	}
	seen := func(t *testing.T, x *exchange, id string, n int64, want answer, steps ...step) {
		t.Helper()
		x.given(t, valueCommand(p.command(t, modelV, id, n, steps)))
		x.answered(t, p.valueReply(t, n, want))
	}
	begin := func(t *testing.T, service, id string) *exchange {
		t.Helper()
		x := p.next(t, valuePath)
		x.given(t, p.valueInit(service, id))
		return x
	}
	t.Run("V-P01 state changes", func(t *testing.T) {
		id := fresh()
		var x *exchange
		for i, turn := range []struct {
			want  answer
			steps []step
		}{
			{answer{}, nil},
			{answer{text: "one", update: "one"}, []step{"update one"}},
			{answer{text: "two", update: "two"}, []step{"update two"}},
			{answer{text: "two"}, nil},
			{answer{delete: true}, []step{"delete"}},
			{answer{}, nil},
			{answer{text: "foo", update: "foo"}, []step{"update foo"}},
			{answer{delete: true}, []step{"delete"}},
		} {
			do(t, id, turn.want.text, turn.steps...)
			if x == nil {
				x = begin(t, valueFirst, id)
			}
			seen(t, x, id, int64(i+1), turn.want, turn.steps...)
		}
		p.quiet(t, x)
	})
	t.Run("V-P02 forwards and side effects", func(t *testing.T) {
		id := fresh()
		do(t, id, "one", "update one")
		x := begin(t, valueFirst, id)
		seen(t, x, id, 1, answer{text: "one", update: "one"}, "update one")
		do(t, id, "", step("forward "+id))
		seen(t, x, id, 2, answer{forward: id}, step("forward "+id))
		y := begin(t, valueTwo, id)
		y.given(t, valueCommand(p.second(t, modelV, id, 1)))
		y.answered(t, p.valueReply(t, 1, answer{}))
		do(t, id, "one", step("effect "+id))
		seen(t, x, id, 3, answer{text: "one", effects: []step{step("effect " + id)}}, step("effect "+id))
		y.given(t, valueCommand(p.second(t, modelV, id, 2)))
		y.answered(t, p.valueReply(t, 2, answer{}))
		do(t, id, "one")
		seen(t, x, id, 4, answer{text: "one"})
		p.quiet(t, x, y)
	})
	t.Run("V-P03 failures", func(t *testing.T) {
		id := fresh()
		do(t, id, "one", "update one")
		x := begin(t, valueFirst, id)
		seen(t, x, id, 1, answer{text: "one", update: "one"}, "update one")
		p.fails(t, process, p.processRequest(t, modelV, id, "fail expected failure"), "expected failure")
		seen(t, x, id, 2, answer{fail: "expected failure"}, "fail expected failure")
		do(t, id, "one")
		seen(t, x, id, 3, answer{text: "one"})
		p.quiet(t, x)
	})
	t.Run("V-P04 HTTP API", func(t *testing.T) {
		id := fresh()
		path := "/tck/model/entity/" + id
		p.post(t, path, `{}`, 200, `{"message":""}`)
		x := begin(t, valueFirst, id)
		seen(t, x, id, 1, answer{})
		p.post(t, second, fmt.Sprintf(`{"id": %q}`, id), 200, `{"message":""}`)
		y := begin(t, valueTwo, id)
		y.given(t, valueCommand(p.second(t, modelV, id, 1)))
		y.answered(t, p.valueReply(t, 1, answer{}))
		p.post(t, path, `{"actions": [{"update": {"value": "one"}}]}`, 200, `{"message":"one"}`)
		seen(t, x, id, 2, answer{text: "one", update: "one"}, "update one")
		p.post(t, path, `{"actions": [{"fail": {"message": "expected failure"}}]}`, 500, "expected failure")
		seen(t, x, id, 3, answer{fail: "expected failure"}, "fail expected failure")
		p.post(t, path, `{"actions": [{"update": {"value": "two"}}]}`, 200, `{"message":"two"}`)
		seen(t, x, id, 4, answer{text: "two", update: "two"}, "update two")
		p.post(t, path, `{}`, 200, `{"message":"two"}`)
		seen(t, x, id, 5, answer{text: "two"})
		p.quiet(t, x, y)
	})
	t.Run("V-P05 passivation timeout", func(t *testing.T) {
		id := fresh()
		p.replies(t, "/"+valueConf+"/Call", p.any(t, modelV+"Request", fmt.Sprintf(`{"id":%q}`, id)), modelV, "")
		x := begin(t, valueConf, id)
		x.given(t, valueCommand(p.second(t, modelV, id, 1)))
		x.answered(t, p.valueReply(t, 1, answer{}))
		x.closes(t, 2*time.Second)
		p.quiet(t, x)
	})
}

var (
	streamDesc = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	rawCodec   = grpc.ForceCodec(raw{})
)

// stream opens a streamed call of the action at the gateway.
func (p *proxy) stream(t *testing.T, method string) (grpc.ClientStream, context.CancelFunc) {
	t.Helper()
	return p.open(t, "/"+actionFirst+"/"+method)
}

func (p *proxy) open(t *testing.T, method string) (grpc.ClientStream, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	s, err := p.gateway.NewStream(ctx, streamDesc, method, rawCodec)
	if err != nil {
		t.Fatal(err)
	}
	return s, cancel
}

func give(t *testing.T, s grpc.ClientStream, m *anypb.Any) {
	t.Helper()
	data := m.GetValue()
	if err := s.SendMsg(&data); err != nil {
		t.Fatal(err)
	}
}

func (p *proxy) got(t *testing.T, s grpc.ClientStream, text string) {
	t.Helper()
	var data []byte
	if err := s.RecvMsg(&data); err != nil {
		t.Fatalf("receive: %v", err)
	}
	equal(t, "what the caller gets", p.message(t, modelA+"Response", fmt.Sprintf(`{"message":%q}`, text)), p.decode(t, modelA+"Response", data))
}

func ends(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	var data []byte
	if err := s.RecvMsg(&data); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func finish(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func (p *proxy) testAction(t *testing.T) {
	const unary = "/" + actionFirst + "/ProcessUnary"
	other := func(t *testing.T, id string) *action.ActionCommand {
		t.Helper()
		return &action.ActionCommand{ServiceName: actionTwo, Name: "Call", Payload: p.any(t, modelA+"OtherRequest", fmt.Sprintf(`{"id":%q}`, id))}
	}
	t.Run("A-P01 unary command processing", func(t *testing.T) {
		p.replies(t, unary, p.request(t, []step{"reply one"}), modelA, "one")
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"reply one"})))
		x.answeredAction(t, p.response(t, "reply one"))
		p.quiet(t, x)
	})
	t.Run("A-P02 streamed-in command processing", func(t *testing.T) {
		s, _ := p.stream(t, "ProcessStreamedIn")
		give(t, s, p.request(t, []step{"reply two"}))
		finish(t, s)
		p.got(t, s, "two")
		ends(t, s)
		x := p.next(t, streamedInPath)
		x.givenAction(t, actionCommand("ProcessStreamedIn", nil))
		x.givenAction(t, &action.ActionCommand{Payload: p.request(t, []step{"reply two"})})
		x.answeredAction(t, p.response(t, "reply two"))
		x.closes(t, patience)
		p.quiet(t, x)
	})
	t.Run("A-P03 streamed-out command processing", func(t *testing.T) {
		groups := [][]step{{"reply A"}, {"reply B"}, {"reply C"}}
		s, _ := p.stream(t, "ProcessStreamedOut")
		give(t, s, p.request(t, groups...))
		finish(t, s)
		x := p.next(t, streamedOutPath)
		x.givenAction(t, actionCommand("ProcessStreamedOut", p.request(t, groups...)))
		for i, text := range []string{"A", "B", "C"} {
			p.got(t, s, text)
			x.answeredAction(t, p.response(t, groups[i]...))
		}
		ends(t, s)
		x.closes(t, patience)
		p.quiet(t, x)
	})
	t.Run("A-P04 streamed command processing", func(t *testing.T) {
		s, _ := p.stream(t, "ProcessStreamed")
		give(t, s, p.request(t, []step{"reply X"}))
		x := p.next(t, streamedPath)
		x.givenAction(t, actionCommand("ProcessStreamed", nil))
		for _, text := range []string{"X", "Y", "Z"} {
			if text != "X" {
				give(t, s, p.request(t, []step{step("reply " + text)}))
			}
			p.got(t, s, text)
			x.givenAction(t, &action.ActionCommand{Payload: p.request(t, []step{step("reply " + text)})})
			x.answeredAction(t, p.response(t, step("reply "+text)))
		}
		finish(t, s)
		ends(t, s)
		x.closes(t, patience)
		p.quiet(t, x)
	})
	t.Run("A-P05 unary forwards and side effects", func(t *testing.T) {
		p.replies(t, unary, p.request(t, []step{"forward other"}), modelA, "")
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"forward other"})))
		x.answeredAction(t, p.response(t, "forward other"))
		y := p.next(t, unaryPath)
		y.givenAction(t, other(t, "other"))
		y.answeredAction(t, p.response(t, "reply "))
		p.replies(t, unary, p.request(t, []step{"reply ", "effect another"}), modelA, "")
		x = p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"reply ", "effect another"})))
		x.answeredAction(t, p.response(t, "reply ", "effect another"))
		y = p.next(t, unaryPath)
		y.givenAction(t, other(t, "another"))
		y.answeredAction(t, p.response(t, "reply "))
		p.quiet(t, x, y)
	})
	t.Run("A-P06 streamed forwards and side effects", func(t *testing.T) {
		s, _ := p.stream(t, "ProcessStreamed")
		give(t, s, p.request(t, []step{"forward one"}))
		p.got(t, s, "")
		x := p.next(t, streamedPath)
		x.givenAction(t, actionCommand("ProcessStreamed", nil))
		x.givenAction(t, &action.ActionCommand{Payload: p.request(t, []step{"forward one"})})
		x.answeredAction(t, p.response(t, "forward one"))
		y := p.next(t, unaryPath)
		y.givenAction(t, other(t, "one"))
		y.answeredAction(t, p.response(t, "reply "))
		give(t, s, p.request(t, []step{"effect two"}))
		x.givenAction(t, &action.ActionCommand{Payload: p.request(t, []step{"effect two"})})
		x.answeredAction(t, p.response(t, "effect two"))
		y = p.next(t, unaryPath)
		y.givenAction(t, other(t, "two"))
		y.answeredAction(t, p.response(t, "reply "))
		finish(t, s)
		ends(t, s)
		x.closes(t, patience)
		p.quiet(t, x, y)
	})
	t.Run("A-P07 unary failures", func(t *testing.T) {
		p.fails(t, unary, p.request(t, []step{"fail expected failure"}), "expected failure")
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"fail expected failure"})))
		x.answeredAction(t, p.response(t, "fail expected failure"))
		p.quiet(t, x)
	})
	t.Run("A-P08 streamed failures", func(t *testing.T) {
		s, _ := p.stream(t, "ProcessStreamed")
		give(t, s, p.request(t, []step{"fail expected failure"}))
		var data []byte
		if err := s.RecvMsg(&data); err == nil || status.Convert(err).Message() != "expected failure" {
			t.Errorf("got %v, %v", data, err)
		}
		x := p.next(t, streamedPath)
		x.givenAction(t, actionCommand("ProcessStreamed", nil))
		x.givenAction(t, &action.ActionCommand{Payload: p.request(t, []step{"fail expected failure"})})
		x.answeredAction(t, p.response(t, "fail expected failure"))
		x.interrupted(t)
		if err := s.SendMsg(&data); err == nil {
			t.Error("the caller may go on sending")
		}
		p.quiet(t, x)
	})
	t.Run("A-P09 unary HTTP API", func(t *testing.T) {
		p.post(t, "/tck/model/action/unary", `{"groups":[{"steps":[{"reply":{"message":"foo"}}]}]}`, 200, `{"message":"foo"}`)
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"reply foo"})))
		x.answeredAction(t, p.response(t, "reply foo"))
		p.post(t, "/tck/model/action/unary", `{"groups":[{"steps":[{"fail":{"message":"boom"}}]}]}`, 500, "boom")
		y := p.next(t, unaryPath)
		y.givenAction(t, actionCommand("ProcessUnary", p.request(t, []step{"fail boom"})))
		y.answeredAction(t, p.response(t, "fail boom"))
		p.quiet(t, x, y)
	})
}

const (
	modelEV    = "cloudstate.tck.model.eventlogeventing."
	subscriber = modelEV + "EventLogSubscriberModel"
	emitterOne = modelEV + "EventSourcedEntityOne"
	emitterTwo = modelEV + "EventSourcedEntityTwo"
)

func (p *proxy) testEventing(t *testing.T) {
	emit := func(t *testing.T, service, method, request, json string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		in, out := p.any(t, modelEV+request, json).GetValue(), []byte(nil)
		if err := p.gateway.Invoke(ctx, "/"+service+"/"+method, &in, &out, grpc.ForceCodec(raw{})); err != nil {
			t.Fatal(err)
		}
	}
	// emitted is the turn of the emitting entity. It returns the event.
	emitted := func(t *testing.T, service, id string) *anypb.Any {
		t.Helper()
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(service, id))
		if c := x.take(t, &x.in, "to").(*eventsourced.EventSourcedStreamIn).GetCommand(); c.GetEntityId() != id || c.GetId() != 1 {
			t.Errorf("got the command %v", c)
		}
		events := x.take(t, &x.out, "of").(*eventsourced.EventSourcedStreamOut).GetReply().GetEvents()
		if len(events) != 1 {
			t.Fatalf("got the events %v", events)
		}
		p.quiet(t, x)
		return events[0]
	}
	consumed := func(t *testing.T, x *exchange, method string, event *anypb.Any) *action.ActionCommand {
		t.Helper()
		got := x.take(t, &x.in, "to").(*action.ActionCommand)
		if got.GetServiceName() != subscriber || got.GetName() != method {
			t.Errorf("got %v, want a call of %s", got, method)
		}
		if event != nil {
			equal(t, "the event", event, got.GetPayload())
		}
		return got
	}
	response := func(t *testing.T, id, message string) *action.ActionResponse {
		t.Helper()
		r := p.response(t, "reply x")
		r.GetReply().Payload = p.any(t, modelEV+"Response", fmt.Sprintf(`{"id":%q,"message":%q}`, id, message))
		return r
	}
	t.Run("EV-P01 consume an event", func(t *testing.T) {
		const id = "eventlogeventing:1"
		emit(t, emitterOne, "EmitEvent", "EmitEventRequest", `{"id":"`+id+`","eventOne":{"step":{"reply":{"message":"some message"}}}}`)
		// The call may come before the answer to the caller is looked at, so this one looks first.
		x := p.next(t, unaryPath)
		event := emitted(t, emitterOne, id)
		command := consumed(t, x, "ProcessEventOne", event)
		entries := map[string]string{}
		for _, e := range command.GetMetadata().GetEntries() {
			entries[e.GetKey()] = e.GetStringValue()
		}
		if entries["ce-subject"] != id || entries["ce-specversion"] != "1.0" || entries["ce-type"] != event.GetTypeUrl() || entries["ce-id"] == "" ||
			entries["ce-source"] != "eventlogeventing-one" || entries["Content-Type"] != "application/vnd.cloudstate.protobuf.any" {
			t.Errorf("got the metadata %v", entries)
		}
		x.answeredAction(t, response(t, id, "some message"))
		p.quiet(t, x)
	})
	t.Run("EV-P02 forward a consumed event", func(t *testing.T) {
		const id = "eventlogeventing:2"
		emit(t, emitterOne, "EmitEvent", "EmitEventRequest", `{"id":"`+id+`","eventOne":{"step":{"forward":{"message":"some message"}}}}`)
		x := p.next(t, unaryPath)
		y := p.next(t, unaryPath)
		consumed(t, x, "ProcessEventOne", emitted(t, emitterOne, id))
		if got := x.take(t, &x.out, "of").(*action.ActionResponse).GetForward(); got.GetServiceName() != subscriber || got.GetCommandName() != "Effect" {
			t.Errorf("got the forward %v", got)
		}
		consumed(t, y, "Effect", nil)
		y.answeredAction(t, response(t, id, "some message"))
		p.quiet(t, x, y)
	})
	// The original has a model for it, and no case.
	t.Run("X-P03 consume an event by a streamed handler", func(t *testing.T) {
		const id = "eventlogeventing:x3"
		emit(t, emitterOne, "EmitEvent", "EmitEventRequest", `{"id":"`+id+`","eventTwo":{"step":[{"reply":{"message":"one"}},{"reply":{"message":"two"}}]}}`)
		x := p.next(t, streamedOutPath)
		consumed(t, x, "ProcessEventTwo", emitted(t, emitterOne, id))
		for _, message := range []string{"one", "two"} {
			x.answeredAction(t, response(t, id, message))
		}
		x.closes(t, patience)
		p.quiet(t, x)
	})
	t.Run("EV-P03 process json events", func(t *testing.T) {
		const id = "eventlogeventing:3"
		emit(t, emitterTwo, "EmitJsonEvent", "JsonEvent", `{"id":"`+id+`","message":"some json message"}`)
		x := p.next(t, unaryPath)
		event := emitted(t, emitterTwo, id)
		if !strings.HasPrefix(event.GetTypeUrl(), "json.cloudstate.io/") {
			t.Errorf("got the event %v", event)
		}
		consumed(t, x, "ProcessAnyEvent", event)
		x.answeredAction(t, response(t, id, "some json message"))
		p.quiet(t, x)
	})
}
