package tck

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// secret is in what a broken user function says. No caller may see it.
const secret = "a secret of the handler"

// violation is one way to break the protocol.
type violation struct {
	name string
	// says is what the user function does about command n instead of answering it.
	says func(p *theatre, x *exchange, n int64)
	// text is what the caller gets, with UNKNOWN and 500.
	text string
	// report is what the user function is told of command n, if anything.
	report func(n int64) string
}

// kindOfEntity is what the cases need to know of event-sourced and of value entities.
type kindOfEntity struct {
	service, model, path string
	// url is followed by the id.
	url string
	// write is the step that stores a text.
	write string
	// begins is what a stream begins with, if the texts were stored.
	begins  func(t *testing.T, id string, stored ...string) []proto.Message
	command func(c *cloudstate.Command) proto.Message
	// reply is a good answer to command n, with a text that is stored too if write says so.
	reply func(t *testing.T, n int64, text string, write bool) proto.Message
}

func (k *kindOfEntity) method() string { return "/" + k.service + "/Process" }

func (p *theatre) eventSourcedKind() *kindOfEntity {
	return &kindOfEntity{
		service: eventSourcedFirst, model: modelES, path: eventPath, url: "/tck/model/eventsourced/", write: "emit", command: eventCommand,
		begins: func(t *testing.T, id string, stored ...string) []proto.Message {
			t.Helper()
			out := []proto.Message{p.eventInit(eventSourcedFirst, id)}
			for i, v := range stored {
				out = append(out, p.replayed(t, int64(i+1), v))
			}
			return out
		},
		reply: func(t *testing.T, n int64, text string, write bool) proto.Message {
			t.Helper()
			a := answer{text: text}
			if write {
				a.events = []string{text}
			}
			return p.eventReply(t, n, a)
		},
	}
}

func (p *theatre) valueKind() *kindOfEntity {
	return &kindOfEntity{
		service: valueFirst, model: modelV, path: valuePath, url: "/tck/model/entity/", write: "update", command: valueCommand,
		begins: func(t *testing.T, id string, stored ...string) []proto.Message {
			t.Helper()
			m := p.valueInit(valueFirst, id)
			if n := len(stored); n > 0 {
				m.(*valueentity.ValueEntityStreamIn).GetInit().State.Value = p.persisted(t, modelV, stored[n-1])
			}
			return []proto.Message{m}
		},
		reply: func(t *testing.T, n int64, text string, write bool) proto.Message {
			t.Helper()
			a := answer{text: text}
			if write {
				a.update = text
			}
			return p.valueReply(t, n, a)
		},
	}
}

// begins is the next stream of an entity, to its first command.
func (p *theatre) begins(t *testing.T, k *kindOfEntity, id string, stored ...string) *exchange {
	t.Helper()
	x := p.next(t, k.path)
	for _, m := range k.begins(t, id, stored...) {
		x.given(t, m)
	}
	return x
}

// ask calls an entity. A text that is not empty is to be stored.
func (p *theatre) ask(t *testing.T, k *kindOfEntity, id, text string, entries ...string) *called {
	t.Helper()
	return p.begin(t, k.method(), p.processRequest(t, k.model, id, k.steps(text)...), entries...)
}

func (k *kindOfEntity) steps(text string) []step {
	if text == "" {
		return nil
	}
	return []step{step(k.write + " " + text)}
}

// turn is the user function's side of a call that is under way, to its good end.
func (p *theatre) turn(t *testing.T, k *kindOfEntity, x *exchange, c *called, id string, n int64, text, reply string) {
	t.Helper()
	x.given(t, k.command(p.command(t, k.model, id, n, k.steps(text))))
	x.say(k.reply(t, n, reply, text != ""))
	p.replied(t, c, k.model, reply)
}

// TestViolations are cases that the original does not have. A user function that breaks the protocol hurts the caller at
// hand and nobody else: its entity is what it was, and goes on with the next command on a new stream.
func TestViolations(t *testing.T) {
	t.Parallel()
	p := startTheatre(t)
	p.next(t, discoverPath)
	t.Run("X-P04 event sourced", func(t *testing.T) { p.testViolations(t, p.eventSourcedKind(), p.eventViolations(t)) })
	t.Run("X-P05 value", func(t *testing.T) { p.testViolations(t, p.valueKind(), p.valueViolations(t)) })
	t.Run("odd answers", p.testOddAnswers)
	t.Run("X-P15 action", p.testActionViolations)
}

func (p *theatre) testViolations(t *testing.T, k *kindOfEntity, violations []violation) {
	// The neighbour has one stream from the first case to the last.
	neighbour, turns := fresh(), int64(0)
	var y *exchange
	visit := func(t *testing.T) {
		t.Helper()
		c := p.ask(t, k, neighbour, "")
		if turns++; turns == 1 {
			y = p.begins(t, k, neighbour)
		}
		p.turn(t, k, y, c, neighbour, turns, "", "well")
	}
	visit(t)
	for _, v := range violations {
		t.Run(v.name, func(t *testing.T) {
			id := fresh()
			c := p.ask(t, k, id, "A")
			x := p.begins(t, k, id)
			p.turn(t, k, x, c, id, 1, "A", "A")

			c = p.ask(t, k, id, "B")
			x.given(t, k.command(p.command(t, k.model, id, 2, k.steps("B"))))
			v.says(p, x, 2)
			c.failed(t, codes.Unknown, v.text)
			p.reported(t, k, v, id, 2)
			x.closes(t, patience)

			// The same by HTTP, on the stream that the next command gets.
			h := p.post(t, k.url+id, `{}`)
			x = p.begins(t, k, id, "A")
			x.given(t, k.command(p.command(t, k.model, id, 1, nil)))
			v.says(p, x, 1)
			h.replied(t, 500, v.text)
			p.reported(t, k, v, id, 1)
			x.closes(t, patience)

			c = p.ask(t, k, id, "")
			x = p.begins(t, k, id, "A")
			p.turn(t, k, x, c, id, 1, "", "A")
			visit(t)
			p.quiet(t, x, y)
		})
	}
}

func (p *theatre) reported(t *testing.T, k *kindOfEntity, v violation, id string, n int64) {
	t.Helper()
	if v.report == nil {
		return
	}
	p.next(t, reportPath).given(t, &cloudstate.UserFunctionError{Message: fmt.Sprintf(
		"the user function broke the protocol when it answered command %d, Process of %s/%s: %s", n, k.service, id, v.report(n))})
}

// says is a violation that does not depend on the command.
func always(report string) func(int64) string { return func(int64) string { return report } }

// broken is for what any message may be.
func broken(message, termination string) []violation {
	const nothing = "neither a reply nor a failure"
	return []violation{
		{name: "bytes that are no message", text: termination, says: func(_ *theatre, x *exchange, _ int64) { x.utter("\x0a\xff" + secret) }},
		{name: "an empty message", text: message, report: always(nothing), says: func(_ *theatre, x *exchange, _ int64) { x.utter("") }},
		{name: "an unknown message", text: message, report: always(nothing), says: func(_ *theatre, x *exchange, _ int64) { x.utter("\xba\x06\x01x") }},
		{name: "the end", text: termination, says: func(_ *theatre, x *exchange, _ int64) { x.end(nil) }},
		{name: "an error", text: termination, says: func(_ *theatre, x *exchange, _ int64) { x.end(status.Error(codes.Internal, secret)) }},
	}
}

// wrongNumbers are for replies and failures of other commands than the one at hand.
func wrongNumbers(reply, failure string, says func(p *theatre, n int64) proto.Message, fails func(n int64) proto.Message) []violation {
	var out []violation
	for _, c := range []struct {
		name string
		of   func(n int64) int64
	}{
		{"the command", func(n int64) int64 { return n }},
		{"a later command", func(n int64) int64 { return n + 7 }},
		{"no command", func(int64) int64 { return 0 }},
	} {
		out = append(out, violation{
			name: "failure of " + c.name, text: failure,
			says:   func(_ *theatre, x *exchange, n int64) { x.say(fails(c.of(n))) },
			report: func(n int64) string { return fmt.Sprintf("failure of command %d: %s", c.of(n), secret) },
		})
		if c.of(1) != 1 {
			out = append(out, violation{
				name: "a reply to " + c.name, text: reply,
				says:   func(p *theatre, x *exchange, n int64) { x.say(says(p, c.of(n))) },
				report: func(n int64) string { return fmt.Sprintf("a reply to command %d", c.of(n)) },
			})
		}
	}
	return out
}

func (p *theatre) eventViolations(t *testing.T) []violation {
	const reply = "Unexpected entity reply"
	says := func(p *theatre, n int64) *eventsourced.EventSourcedReply {
		return p.eventReply(t, n, answer{text: "B", events: []string{"B"}}).(*eventsourced.EventSourcedStreamOut).GetReply()
	}
	out := func(r *eventsourced.EventSourcedReply) proto.Message {
		return &eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: r}}
	}
	const untyped = "event 2 of 2 has no type URL"
	list := broken("Unexpected entity message", "Unexpected entity termination")
	list = append(list, wrongNumbers(reply, "Unexpected entity failure",
		func(p *theatre, n int64) proto.Message { return out(says(p, n)) },
		func(n int64) proto.Message {
			return &eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Failure{
				Failure: &cloudstate.Failure{CommandId: n, Description: secret},
			}}
		})...)
	return append(list, violation{
		name: "an event without a type", text: reply + ": " + untyped, report: always(untyped),
		says: func(p *theatre, x *exchange, n int64) {
			r := says(p, n)
			r.Events = append(r.Events, p.persisted(t, modelES, secret))
			r.Events[1].TypeUrl = ""
			x.say(out(r))
		},
	})
}

func (p *theatre) valueViolations(t *testing.T) []violation {
	const reply, failure = "Unexpected Value entity reply", "Unexpected Value entity failure"
	out := func(r *valueentity.ValueEntityReply) proto.Message {
		return &valueentity.ValueEntityStreamOut{Message: &valueentity.ValueEntityStreamOut_Reply{Reply: r}}
	}
	says := func(p *theatre, n int64) *valueentity.ValueEntityReply {
		return p.valueReply(t, n, answer{text: "B", update: "B"}).(*valueentity.ValueEntityStreamOut).GetReply()
	}
	list := broken(failure, "Unexpected Value entity termination")
	list = append(list, wrongNumbers(reply, failure,
		func(p *theatre, n int64) proto.Message { return out(says(p, n)) },
		func(n int64) proto.Message {
			return &valueentity.ValueEntityStreamOut{Message: &valueentity.ValueEntityStreamOut_Failure{
				Failure: &cloudstate.Failure{CommandId: n, Description: secret},
			}}
		})...)
	for _, c := range []struct {
		name, wrong string
		spoil       func(a *valueentity.ValueEntityAction)
	}{
		{"a state action that is none", "a state action that is neither update nor delete", func(a *valueentity.ValueEntityAction) { a.Action = nil }},
		{"an update without a value", "an update of the state without a value", func(a *valueentity.ValueEntityAction) { a.GetUpdate().Value = nil }},
		{"a value without a type", "the value has no type URL", func(a *valueentity.ValueEntityAction) { a.GetUpdate().Value.TypeUrl = "" }},
	} {
		list = append(list, violation{
			name: c.name, text: reply + ": " + c.wrong, report: always(c.wrong),
			says: func(p *theatre, x *exchange, n int64) {
				r := says(p, n)
				c.spoil(r.StateAction)
				x.say(out(r))
			},
		})
	}
	return list
}
