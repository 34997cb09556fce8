package tck

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// TestReplay looks at what a stream begins with. The original never saw more than an init without a snapshot.
func TestReplay(t *testing.T) {
	t.Parallel()
	p := startTheatre(t)
	p.next(t, discoverPath)
	es, v := p.eventSourcedKind(), p.valueKind()
	// answers is the user function's side of a call to the event-sourced entity.
	answers := func(t *testing.T, x *exchange, id string, n int64, want answer) {
		t.Helper()
		c := p.ask(t, es, id, "")
		x.given(t, eventCommand(p.command(t, modelES, id, n, nil)))
		x.say(p.eventReply(t, n, want))
		p.replied(t, c, modelES, want.text)
	}
	// begins is the entity's next stream: a snapshot, if there is one, and the events after it.
	begins := func(t *testing.T, id string, snapshot *eventsourced.EventSourcedSnapshot, events ...string) *exchange {
		t.Helper()
		c := p.ask(t, es, id, "")
		x := p.next(t, eventPath)
		x.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: &eventsourced.EventSourcedInit{
			ServiceName: eventSourcedFirst, EntityId: id, Snapshot: snapshot,
		}}})
		for i, e := range events {
			x.given(t, p.replayed(t, snapshot.GetSnapshotSequence()+int64(i)+1, e))
		}
		p.turn(t, es, x, c, id, 1, "", "well")
		return x
	}
	t.Run("X-P16 snapshots", func(t *testing.T) {
		id := fresh()
		x := begins(t, id, nil)
		answers(t, x, id, 2, answer{text: "AB", events: []string{"A", "B"}})
		p.dropped(t, es, x, id, 3)
		x = begins(t, id, nil, "A", "B")
		answers(t, x, id, 2, answer{text: "ABC", events: []string{"C"}, snapshot: "ABC"})
		p.dropped(t, es, x, id, 3)
		x = begins(t, id, p.snapshot(t, 3, "ABC"))
		answers(t, x, id, 2, answer{text: "ABCD", events: []string{"D"}})
		answers(t, x, id, 3, answer{text: "ABCDE", events: []string{"E"}})
		p.dropped(t, es, x, id, 4)
		x = begins(t, id, p.snapshot(t, 3, "ABC"), "D", "E")
		// Newer than what it is told it was, and in one answer with several events.
		answers(t, x, id, 2, answer{text: "ABCDEFG", events: []string{"F", "G"}, snapshot: "ABCDEFG"})
		answers(t, x, id, 3, answer{text: "H", events: []string{"H"}})
		p.dropped(t, es, x, id, 4)
		x = begins(t, id, p.snapshot(t, 7, "ABCDEFG"), "H")
		p.quiet(t, x)
	})
	t.Run("X-P17 a snapshot of a turn that failed is kept with its events, and of one that is to restart is not", func(t *testing.T) {
		id := fresh()
		x := begins(t, id, nil)
		fails := func(x *exchange, n int64, want answer) {
			t.Helper()
			c := p.ask(t, es, id, "")
			x.given(t, eventCommand(p.command(t, modelES, id, n, nil)))
			x.say(p.eventReply(t, n, want))
			c.failed(t, codes.Unknown, want.fail)
		}
		fails(x, 2, answer{fail: "no", events: []string{"A"}, snapshot: "A"})
		fails(x, 3, answer{fail: "never", restart: true, events: []string{"B"}, snapshot: "AB"})
		x.closes(t, patience)
		y := p.next(t, eventPath)
		y.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: &eventsourced.EventSourcedInit{
			ServiceName: eventSourcedFirst, EntityId: id, Snapshot: p.snapshot(t, 1, "A"),
		}}})
		p.quiet(t, x, y)
	})
	t.Run("X-P18 events of any type come back as they were", func(t *testing.T) {
		id := fresh()
		x := begins(t, id, nil)
		m := p.eventReply(t, 2, answer{text: "well"})
		r := m.(*eventsourced.EventSourcedStreamOut).GetReply()
		r.Events = append(r.Events, stringAny("a string"), stringAny(""), p.persisted(t, modelES, "a message"))
		json := stringAny(`{"a": 1}`)
		json.TypeUrl = "json.cloudstate.io/tck.Thing"
		foreign := &anypb.Any{TypeUrl: "example.com/no/such.Type", Value: []byte("\xff\x00\x01")}
		r.Events = append(r.Events, json, foreign)
		r.Snapshot = nil
		c := p.ask(t, es, id, "")
		x.given(t, eventCommand(p.command(t, modelES, id, 2, nil)))
		x.say(m)
		p.replied(t, c, modelES, "well")
		p.dropped(t, es, x, id, 3)
		c = p.ask(t, es, id, "")
		x = p.begins(t, es, id)
		for i, e := range r.Events {
			x.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
				Sequence: int64(i + 1), Payload: e,
			}}})
		}
		p.turn(t, es, x, c, id, 1, "", "well")
		p.quiet(t, x)
	})
	t.Run("X-P19 values", func(t *testing.T) {
		id := fresh()
		answers := func(x *exchange, n int64, want answer) {
			t.Helper()
			c := p.ask(t, v, id, "")
			x.given(t, valueCommand(p.command(t, modelV, id, n, nil)))
			x.say(p.valueReply(t, n, want))
			p.replied(t, c, modelV, want.text)
		}
		begins := func(stored ...string) *exchange {
			t.Helper()
			c := p.ask(t, v, id, "")
			x := p.begins(t, v, id, stored...)
			p.turn(t, v, x, c, id, 1, "", "well")
			return x
		}
		x := begins()
		answers(x, 2, answer{text: "A", update: "A"})
		answers(x, 3, answer{text: "B", update: "B"})
		p.dropped(t, v, x, id, 4)
		x = begins("A", "B")
		answers(x, 2, answer{delete: true})
		p.dropped(t, v, x, id, 3)
		x = begins()
		answers(x, 2, answer{text: "C", update: "C"})
		p.dropped(t, v, x, id, 3)
		p.quiet(t, begins("C"))
	})
	t.Run("X-P20 passivation and what comes after", func(t *testing.T) {
		id := fresh()
		call := func() *called {
			t.Helper()
			return p.begin(t, "/"+eventSourcedConf+"/Call", p.any(t, modelES+"Request", `{"id":"`+id+`"}`))
		}
		c := call()
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedConf, id))
		x.given(t, eventCommand(p.second(t, modelES, id, 1)))
		x.say(p.eventReply(t, 1, answer{text: "A", events: []string{"A"}}))
		p.replied(t, c, modelES, "A")
		x.closes(t, patience)
		c = call()
		y := p.next(t, eventPath)
		for _, m := range []proto.Message{p.eventInit(eventSourcedConf, id), p.replayed(t, 1, "A"), eventCommand(p.second(t, modelES, id, 1))} {
			y.given(t, m)
		}
		y.say(p.eventReply(t, 1, answer{text: "A"}))
		p.replied(t, c, modelES, "A")
		y.closes(t, patience)
		p.quiet(t, x, y)
	})
}
