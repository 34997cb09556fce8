package tck

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

const (
	modelES           = "cloudstate.tck.model."
	eventSourcedFirst = modelES + "EventSourcedTckModel"
	eventSourcedTwo   = modelES + "EventSourcedTwo"
	eventSourcedConf  = modelES + "EventSourcedConfigured"
	eventSourcedType  = "cloudstate.eventsourced.EventSourced"
)

// answer is what a command is answered with. The texts of events and snapshots are those of Persisted.
type answer struct {
	text     string
	events   []string
	snapshot string
	effects  []step // effect id, sync id
	forward  string
	fail     string
	restart  bool
	// value: update is a new state, delete its end.
	update string
	delete bool
}

// eventStream is one event-sourced entity.
type eventStream struct {
	*service
	*bidi[eventsourced.EventSourcedStreamIn, eventsourced.EventSourcedStreamOut]
	id string
	n  int64
}

func (s *service) eventSourced(t *testing.T, id string, snapshot *eventsourced.EventSourcedSnapshot) *eventStream {
	t.Helper()
	e := &eventStream{s, open(t, eventsourced.NewEventSourcedClient(s.conn).Handle), id, 0}
	e.send(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: &eventsourced.EventSourcedInit{
		ServiceName: eventSourcedFirst, EntityId: id, Snapshot: snapshot,
	}}})
	return e
}

func (s *service) persisted(t *testing.T, model, value string) *anypb.Any {
	t.Helper()
	return s.any(t, model+"Persisted", fmt.Sprintf(`{"value":%q}`, value))
}

func (s *service) snapshot(t *testing.T, sequence int64, value string) *eventsourced.EventSourcedSnapshot {
	t.Helper()
	return &eventsourced.EventSourcedSnapshot{SnapshotSequence: sequence, Snapshot: s.persisted(t, modelES, value)}
}

func (e *eventStream) event(t *testing.T, sequence int64, value string) {
	t.Helper()
	e.send(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
		Sequence: sequence, Payload: e.persisted(t, modelES, value),
	}}})
}

// ask sends the next command and returns the answer.
func (e *eventStream) ask(t *testing.T, steps ...step) *eventsourced.EventSourcedStreamOut {
	t.Helper()
	e.n++
	e.send(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Command{
		Command: e.command(t, modelES, e.id, e.n, steps),
	}})
	return e.receive(t)
}

// do is ask, with what is to come of it.
func (e *eventStream) do(t *testing.T, want answer, steps ...step) {
	t.Helper()
	got := e.ask(t, steps...)
	reply := &eventsourced.EventSourcedReply{
		CommandId: e.n, ClientAction: e.clientAction(t, modelES, eventSourcedTwo, e.n, want),
		SideEffects: e.sideEffects(t, modelES, eventSourcedTwo, want.effects),
	}
	for _, v := range want.events {
		reply.Events = append(reply.Events, e.persisted(t, modelES, v))
	}
	if want.snapshot != "" {
		reply.Snapshot = e.persisted(t, modelES, want.snapshot)
	}
	equal(t, fmt.Sprintf("the answer to command %d", e.n),
		&eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: reply}}, got)
}

// command is for the model of a package.
func (s *service) command(t *testing.T, model, id string, n int64, steps []step) *cloudstate.Command {
	t.Helper()
	return &cloudstate.Command{
		EntityId: id, Id: n, Name: "Process",
		Payload: s.any(t, model+"Request", fmt.Sprintf(`{"id":%q,"actions":%s}`, id, list(steps))),
	}
}

func (s *service) clientAction(t *testing.T, model, second string, n int64, want answer) *cloudstate.ClientAction {
	t.Helper()
	switch {
	case want.fail != "":
		return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{Failure: &cloudstate.Failure{
			CommandId: n, Description: want.fail, Restart: want.restart,
		}}}
	case want.forward != "":
		return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
			ServiceName: second, CommandName: "Call", Payload: s.any(t, model+"Request", fmt.Sprintf(`{"id":%q}`, want.forward)),
		}}}
	default:
		return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{
			Payload: s.any(t, model+"Response", fmt.Sprintf(`{"message":%q}`, want.text)),
		}}}
	}
}

func (s *service) sideEffects(t *testing.T, model, second string, effects []step) []*cloudstate.SideEffect {
	t.Helper()
	var out []*cloudstate.SideEffect
	for _, effect := range effects {
		word, id := effect.split()
		out = append(out, &cloudstate.SideEffect{
			ServiceName: second, CommandName: "Call", Synchronous: word == "sync",
			Payload: s.any(t, model+"Request", fmt.Sprintf(`{"id":%q}`, id)),
		})
	}
	return out
}

func testEventSourced(t *testing.T, s *service) {
	s.entity(t, eventSourcedFirst)
	s.entity(t, eventSourcedTwo)
	run := func(name string, test func(t *testing.T, e *eventStream)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s.eventSourced(t, fresh(), nil))
		})
	}
	t.Run("E-M01 discovery", func(t *testing.T) {
		if e := s.entity(t, eventSourcedFirst); e.GetEntityType() != eventSourcedType || e.GetPersistenceId() != "event-sourced-tck-model" {
			t.Errorf("got %v", e)
		}
		if e := s.entity(t, eventSourcedTwo); e.GetEntityType() != eventSourcedType {
			t.Errorf("got %v", e)
		}
	})
	t.Run("E-M02 configured entity", func(t *testing.T) {
		e := s.entity(t, eventSourcedConf)
		if e.GetEntityType() != eventSourcedType || e.GetPersistenceId() != "event-sourced-configured" || e.GetPassivationStrategy().GetTimeout().GetTimeout() != 100 {
			t.Errorf("got %v", e)
		}
	})
	run("E-M03 initial empty state", func(t *testing.T, e *eventStream) {
		e.do(t, answer{})
		e.passivate(t)
	})
	run("E-M04 single emitted event", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "A", events: []string{"A"}}, "emit A")
		e.do(t, answer{text: "A"})
		e.passivate(t)
	})
	run("E-M05 multiple emitted events", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
		e.do(t, answer{text: "ABC"})
		e.passivate(t)
	})
	run("E-M06 multiple emitted events and snapshots", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "A", events: []string{"A"}}, "emit A")
		e.do(t, answer{text: "AB", events: []string{"B"}}, "emit B")
		e.do(t, answer{text: "ABC", events: []string{"C"}}, "emit C")
		e.do(t, answer{text: "ABCD", events: []string{"D"}}, "emit D")
		e.do(t, answer{text: "ABCDE", events: []string{"E"}, snapshot: "ABCDE"}, "emit E")
		e.do(t, answer{text: "ABCDEFGH", events: []string{"F", "G", "H"}}, "emit F", "emit G", "emit H")
		e.do(t, answer{text: "ABCDEFGHIJ", events: []string{"I", "J"}, snapshot: "ABCDEFGHIJ"}, "emit I", "emit J")
		e.do(t, answer{text: "ABCDEFGHIJK", events: []string{"K"}}, "emit K")
		e.do(t, answer{text: "ABCDEFGHIJK"})
		e.passivate(t)
	})
	t.Run("E-M07 initial snapshot", func(t *testing.T) {
		t.Parallel()
		e := s.eventSourced(t, fresh(), s.snapshot(t, 5, "ABCDE"))
		e.do(t, answer{text: "ABCDE"})
		e.passivate(t)
	})
	t.Run("E-M08 initial snapshot and events", func(t *testing.T) {
		t.Parallel()
		e := s.eventSourced(t, fresh(), s.snapshot(t, 5, "ABCDE"))
		e.event(t, 6, "F")
		e.event(t, 7, "G")
		e.do(t, answer{text: "ABCDEFG"})
		e.passivate(t)
	})
	run("E-M09 rehydration after passivation", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
		e.do(t, answer{text: "ABCDE", events: []string{"D", "E"}, snapshot: "ABCDE"}, "emit D", "emit E")
		e.do(t, answer{text: "ABCDEF", events: []string{"F"}}, "emit F")
		e.do(t, answer{text: "ABCDEFG", events: []string{"G"}}, "emit G")
		e.passivate(t)
		e = s.eventSourced(t, e.id, s.snapshot(t, 5, "ABCDE"))
		e.event(t, 6, "F")
		e.event(t, 7, "G")
		e.do(t, answer{text: "ABCDEFG"})
		e.passivate(t)
	})
	run("E-M10 forward to second service", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
		e.do(t, answer{forward: e.id}, step("forward "+e.id))
		e.do(t, answer{text: "ABC"})
		e.passivate(t)
	})
	run("E-M11 forward with emitted events", func(t *testing.T, e *eventStream) {
		e.do(t, answer{forward: e.id, events: []string{"A"}}, "emit A", step("forward "+e.id))
		e.passivate(t)
	})
	run("E-M12 forward with emitted events and snapshot", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
		e.do(t, answer{forward: e.id, events: []string{"D", "E"}, snapshot: "ABCDE"}, "emit D", "emit E", step("forward "+e.id))
		e.passivate(t)
	})
	run("E-M13 reply with side effect", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
		e.do(t, answer{text: "ABC", effects: []step{step("effect " + e.id)}}, step("effect "+e.id))
		e.do(t, answer{text: "ABC"})
		e.passivate(t)
	})
	run("E-M14 synchronous side effect", func(t *testing.T, e *eventStream) {
		e.do(t, answer{effects: []step{step("sync " + e.id)}}, step("sync "+e.id))
		e.passivate(t)
	})
	run("E-M15 forward and side effect", func(t *testing.T, e *eventStream) {
		e.do(t, answer{forward: e.id, effects: []step{step("effect " + e.id)}}, step("effect "+e.id), step("forward "+e.id))
		e.passivate(t)
	})
	run("E-M16 reply with multiple side effects", func(t *testing.T, e *eventStream) {
		e.do(t, answer{effects: []step{"effect 1", "effect 2", "effect 3"}}, "effect 1", "effect 2", "effect 3")
		e.passivate(t)
	})
	run("E-M17 reply with multiple side effects, events, and snapshot", func(t *testing.T, e *eventStream) {
		e.do(t, answer{
			text: "ABCDE", events: []string{"A", "B", "C", "D", "E"}, snapshot: "ABCDE", effects: []step{"effect 1", "effect 2", "effect 3"},
		}, "emit A", "emit B", "emit C", "emit D", "emit E", "effect 1", "effect 2", "effect 3")
		e.passivate(t)
	})
	run("E-M18 failure action", func(t *testing.T, e *eventStream) {
		e.do(t, answer{fail: "expected failure"}, "fail expected failure")
		e.passivate(t)
	})
	run("E-M19 connection after failure action", func(t *testing.T, e *eventStream) {
		e.do(t, answer{text: "A", events: []string{"A"}}, "emit A")
		e.do(t, answer{fail: "expected failure"}, "fail expected failure")
		e.do(t, answer{text: "A"})
		e.passivate(t)
	})
	run("E-M20 failure actions do not retain emitted events", failAfterEmit)
	run("E-M21 failure actions do not allow side effects", func(t *testing.T, e *eventStream) {
		e.do(t, answer{fail: "expected failure"}, step("effect "+e.id), "fail expected failure")
		e.passivate(t)
	})
}

// failAfterEmit has two ways to pass: the user function takes its events back itself, or it asks for a restart.
func failAfterEmit(t *testing.T, e *eventStream) {
	fail := func(text string, steps ...step) (restart bool) {
		t.Helper()
		got := e.ask(t, steps...).GetReply()
		f := got.GetClientAction().GetFailure()
		if f.GetCommandId() != e.n || f.GetDescription() != text {
			t.Fatalf("the answer to command %d is %v, want the failure %q", e.n, got, text)
		}
		if len(got.GetEvents()) > 0 && !f.GetRestart() {
			t.Errorf("the failure of command %d has events", e.n)
		}
		return f.GetRestart()
	}
	again := func(events ...string) {
		t.Helper()
		e.passivate(t)
		e = e.eventSourced(t, e.id, nil)
		for i, v := range events {
			e.event(t, int64(i+1), v)
		}
	}
	e.do(t, answer{text: "ABC", events: []string{"A", "B", "C"}}, "emit A", "emit B", "emit C")
	restart := fail("failure 1", "emit 4", "emit 5", "fail failure 1")
	if restart {
		again("A", "B", "C")
	}
	e.do(t, answer{text: "ABCD", events: []string{"D"}}, "emit D")
	if fail("failure 2", "emit 6", "fail failure 2", "emit 7") != restart {
		t.Error("one failure asked for a restart, and the other did not")
	}
	if restart {
		again("A", "B", "C", "D")
	}
	e.do(t, answer{text: "ABCDE", events: []string{"E"}, snapshot: "ABCDE"}, "emit E")
	e.passivate(t)
}
