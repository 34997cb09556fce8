package tck

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// silent is what the gateway says for a user function that says nothing to a method.
const silent = "the user function answered nothing to %s, which promises a reply; its handler has to return one"

// dropped breaks an entity's stream off, so that the next one shows what was stored.
func (p *theatre) dropped(t *testing.T, k *kindOfEntity, x *exchange, id string, n int64) {
	t.Helper()
	c := p.ask(t, k, id, "")
	x.given(t, k.command(p.command(t, k.model, id, n, nil)))
	x.end(status.Error(codes.Internal, secret))
	<-c.done
	if status.Code(c.err) != codes.Unknown {
		t.Errorf("got %v, %v", c.reply, c.err)
	}
	x.closes(t, patience)
}

// testOddAnswers are answers that break no rule, or that Cloudstate's proxy took all the same.
func (p *theatre) testOddAnswers(t *testing.T) {
	es, v := p.eventSourcedKind(), p.valueKind()
	// begun is an entity with one text stored, after its first command.
	begun := func(t *testing.T, k *kindOfEntity) (string, *exchange) {
		t.Helper()
		id := fresh()
		c := p.ask(t, k, id, "A")
		x := p.begins(t, k, id)
		p.turn(t, k, x, c, id, 1, "A", "A")
		return id, x
	}
	// stored holds if the next stream begins with the texts.
	stored := func(t *testing.T, k *kindOfEntity, id string, texts ...string) {
		t.Helper()
		c := p.ask(t, k, id, "")
		x := p.begins(t, k, id, texts...)
		p.turn(t, k, x, c, id, 1, "", "well")
		p.quiet(t, x)
	}
	given := func(t *testing.T, k *kindOfEntity, x *exchange, id string, text string) *called {
		t.Helper()
		c := p.ask(t, k, id, text)
		x.given(t, k.command(p.command(t, k.model, id, 2, k.steps(text))))
		return c
	}
	for name, k := range map[string]*kindOfEntity{"event sourced": es, "value": v} {
		t.Run("X-P06 a reply given twice, "+name, func(t *testing.T) {
			id := fresh()
			c := p.ask(t, k, id, "A")
			x := p.begins(t, k, id)
			x.given(t, k.command(p.command(t, k.model, id, 1, k.steps("A"))))
			x.say(k.reply(t, 1, "A", true))
			x.say(k.reply(t, 1, "again", true))
			p.replied(t, c, k.model, "A")
			// It is found with the next command, which goes to another stream.
			c = p.ask(t, k, id, "B")
			x.given(t, k.command(p.command(t, k.model, id, 2, k.steps("B"))))
			y := p.begins(t, k, id, "A")
			p.turn(t, k, y, c, id, 1, "B", "AB")
			p.reported(t, k, violation{report: always("a reply to command 1")}, id, 2)
			x.closes(t, patience)
			p.quiet(t, x, y)
		})
		t.Run("X-P07 a reply before there is a command, "+name, func(t *testing.T) {
			id := fresh()
			c := p.ask(t, k, id, "A")
			x := p.next(t, k.path)
			x.say(k.reply(t, 0, "early", true))
			for _, m := range k.begins(t, id) {
				x.given(t, m)
			}
			x.given(t, k.command(p.command(t, k.model, id, 1, k.steps("A"))))
			<-c.done
			if s := status.Convert(c.err); s.Code() != codes.Unknown || s.Message() != map[bool]string{true: "Unexpected entity reply", false: "Unexpected Value entity reply"}[k == es] {
				t.Errorf("got %v", c.err)
			}
			p.reported(t, k, violation{report: always("a reply to command 0")}, id, 1)
			x.closes(t, patience)
			p.quiet(t, x)
			stored(t, k, id)
		})
		t.Run("X-P08 a forward to a service that is not there, "+name, func(t *testing.T) {
			id, x := begun(t, k)
			c := given(t, k, x, id, "B")
			m := k.reply(t, 2, "B", true)
			forward := &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{ServiceName: "tck.Nowhere", CommandName: "Call"}}}
			switch m := m.(type) {
			case *eventsourced.EventSourcedStreamOut:
				m.GetReply().ClientAction = forward
			case *valueentity.ValueEntityStreamOut:
				m.GetReply().ClientAction = forward
			}
			x.say(m)
			c.failed(t, codes.Unimplemented, fmt.Sprintf(
				`what %s.Process answered cannot be carried out, and came to nothing: the user function serves no service "tck.Nowhere"`, k.service))
			p.next(t, reportPath).given(t, &cloudstate.UserFunctionError{Message: fmt.Sprintf(
				`the user function serves no service "tck.Nowhere" (tck.Nowhere.Call, forwarded from %s.Process)`, k.service)})
			x.closes(t, patience)
			p.quiet(t, x)
			stored(t, k, id, "A")
		})
		t.Run("X-P09 a failure that writes, "+name, func(t *testing.T) {
			id, x := begun(t, k)
			c := given(t, k, x, id, "B")
			m := k.reply(t, 2, "B", true)
			no := &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{Failure: &cloudstate.Failure{CommandId: 2, Description: "no"}}}
			switch m := m.(type) {
			case *eventsourced.EventSourcedStreamOut:
				m.GetReply().ClientAction = no
			case *valueentity.ValueEntityStreamOut:
				m.GetReply().ClientAction = no
			}
			x.say(m)
			c.failed(t, codes.Unknown, "no")
			p.dropped(t, k, x, id, 3)
			stored(t, k, id, "A", "B")
		})
		t.Run("X-P10 an answer without a reply, "+name, func(t *testing.T) {
			id, x := begun(t, k)
			c := given(t, k, x, id, "B")
			m := k.reply(t, 2, "B", true)
			switch m := m.(type) {
			case *eventsourced.EventSourcedStreamOut:
				m.GetReply().ClientAction = nil
			case *valueentity.ValueEntityStreamOut:
				m.GetReply().ClientAction = nil
			}
			x.say(m)
			c.failed(t, codes.Internal, fmt.Sprintf(silent, k.service+".Process"))
			p.dropped(t, k, x, id, 3)
			stored(t, k, id, "A", "B")
		})
		t.Run("X-P11 a reply of another type, "+name, func(t *testing.T) {
			id, x := begun(t, k)
			for n := range int64(2) {
				c := p.ask(t, k, id, "")
				x.given(t, k.command(p.command(t, k.model, id, n+2, nil)))
				m := k.reply(t, n+2, "", false)
				other := p.persisted(t, k.model, "other")
				switch m := m.(type) {
				case *eventsourced.EventSourcedStreamOut:
					m.GetReply().GetClientAction().GetReply().Payload = other
				case *valueentity.ValueEntityStreamOut:
					m.GetReply().GetClientAction().GetReply().Payload = other
				}
				x.say(m)
				<-c.done
				if c.err != nil || string(c.reply) != string(other.GetValue()) {
					t.Errorf("got %q, %v", c.reply, c.err)
				}
				if n == 0 { // said once
					p.next(t, reportPath).given(t, &cloudstate.UserFunctionError{Message: fmt.Sprintf(
						`Warning: %s.Process replied with the type "type.googleapis.com/%sPersisted", but declares "type.googleapis.com/%sResponse"`,
						k.service, k.model, k.model)})
				}
			}
			p.quiet(t, x)
		})
	}
	t.Run("X-P12 a failure with a restart writes nothing", func(t *testing.T) {
		id, x := begun(t, es)
		c := given(t, es, x, id, "B")
		m := p.eventReply(t, 2, answer{fail: "no", restart: true, events: []string{"B"}, snapshot: "AB"})
		x.say(m)
		c.failed(t, codes.Unknown, "no")
		x.closes(t, patience)
		y := p.begins(t, es, id, "A") // before anybody calls
		c = p.ask(t, es, id, "")
		p.turn(t, es, y, c, id, 1, "", "A")
		p.quiet(t, x, y)
	})
	t.Run("X-P13 a snapshot without events is ignored", func(t *testing.T) {
		id, x := begun(t, es)
		c := given(t, es, x, id, "")
		x.say(p.eventReply(t, 2, answer{text: "A", snapshot: "not this"}))
		p.replied(t, c, modelES, "A")
		p.dropped(t, es, x, id, 3)
		stored(t, es, id, "A")
	})
	t.Run("X-P14 restart means nothing to a value", func(t *testing.T) {
		id, x := begun(t, v)
		c := given(t, v, x, id, "")
		x.say(p.valueReply(t, 2, answer{fail: "no", restart: true}))
		c.failed(t, codes.Unknown, "no")
		c = p.ask(t, v, id, "")
		p.turn(t, v, x, c, id, 3, "", "A")
		p.quiet(t, x)
	})
}

// testActionViolations are what an action can do wrong. There is no entity to be hurt; the next command is like the first.
func (p *theatre) testActionViolations(t *testing.T) {
	const unary, streamed = "/" + actionFirst + "/ProcessUnary", "/" + actionFirst + "/ProcessStreamed"
	request := p.request(t, []step{"reply one"})
	for _, c := range []struct {
		name string
		says func(x *exchange)
		code codes.Code
		text string
	}{
		{"nothing", func(x *exchange) { x.end(nil) }, codes.Unknown, "Unexpected action termination: the user function ended " + actionFirst + ".ProcessUnary with INTERNAL"},
		{"an empty response", func(x *exchange) { x.answer(new(action.ActionResponse)) }, codes.Internal, fmt.Sprintf(silent, actionFirst+".ProcessUnary")},
		{"an unknown response", func(x *exchange) { x.utter("\xba\x06\x01x"); x.end(nil) }, codes.Internal, fmt.Sprintf(silent, actionFirst+".ProcessUnary")},
		{"bytes that are no message", func(x *exchange) { x.utter("\x0a\xff" + secret); x.end(nil) },
			codes.Unknown, "Unexpected action termination: the user function ended " + actionFirst + ".ProcessUnary with INTERNAL"},
		{"two responses", func(x *exchange) { x.say(p.response(t, "reply one")); x.answer(p.response(t, "reply two")) },
			codes.Unknown, "Unexpected action termination: the user function ended " + actionFirst + ".ProcessUnary with INTERNAL"},
		{"an error", func(x *exchange) { x.end(status.Error(codes.FailedPrecondition, secret)) },
			codes.Unknown, "Unexpected action termination: the user function ended " + actionFirst + ".ProcessUnary with FAILED_PRECONDITION"},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := p.begin(t, unary, request)
			x := p.next(t, unaryPath)
			x.givenAction(t, actionCommand("ProcessUnary", request))
			c.says(x)
			call.failed(t, c.code, c.text)
			call = p.begin(t, unary, request)
			x = p.next(t, unaryPath)
			x.givenAction(t, actionCommand("ProcessUnary", request))
			x.answer(p.response(t, "reply one"))
			p.replied(t, call, modelA, "one")
			p.quiet(t, x)
		})
	}
	t.Run("an effect on a command that is not there", func(t *testing.T) {
		call := p.begin(t, unary, request)
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", request))
		m := p.response(t, "reply one", "effect a")
		m.SideEffects[0].CommandName = "Nothing"
		x.answer(m)
		call.failed(t, codes.Unimplemented, "what "+actionFirst+".ProcessUnary answered cannot be carried out, and came to nothing: …")
		r := p.next(t, reportPath)
		said := r.take(t, &r.in, "to").(*cloudstate.UserFunctionError).GetMessage()
		if want := " (" + actionTwo + ".Nothing, side effect of " + actionFirst + ".ProcessUnary)"; !strings.HasSuffix(said, want) {
			t.Errorf("the report is %q, want %q at its end", said, want)
		}
		p.quiet(t, x)
	})
	t.Run("an error in a stream", func(t *testing.T) {
		s, _ := p.open(t, streamed)
		give(t, s, request)
		x := p.next(t, streamedPath)
		x.givenAction(t, actionCommand("ProcessStreamed", nil))
		x.givenAction(t, &action.ActionCommand{Payload: request})
		x.say(p.response(t, "reply one"))
		p.got(t, s, "one")
		x.end(status.Error(codes.Internal, secret))
		var data []byte
		if err := s.RecvMsg(&data); status.Code(err) != codes.Unknown ||
			status.Convert(err).Message() != "Unexpected action termination: the user function ended "+actionFirst+".ProcessStreamed with INTERNAL" {
			t.Errorf("got %q, %v", data, err)
		}
		p.quiet(t, x)
	})
	t.Run("an end in a stream", func(t *testing.T) {
		s, _ := p.open(t, streamed)
		give(t, s, request)
		x := p.next(t, streamedPath)
		x.givenAction(t, actionCommand("ProcessStreamed", nil))
		x.givenAction(t, &action.ActionCommand{Payload: request})
		x.answer(p.response(t, "reply one"))
		p.got(t, s, "one")
		var data []byte
		if err := s.RecvMsg(&data); !errors.Is(err, io.EOF) {
			t.Errorf("got %q, %v", data, err)
		}
		p.quiet(t, x)
	})
}
