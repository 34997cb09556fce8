package tck

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

const (
	modelV      = "cloudstate.tck.model.valueentity."
	valueFirst  = modelV + "ValueEntityTckModel"
	valueTwo    = modelV + "ValueEntityTwo"
	valueConf   = modelV + "ValueEntityConfigured"
	valueEntity = "cloudstate.valueentity.ValueEntity"
)

// valueStream is one value entity.
type valueStream struct {
	*service
	*bidi[valueentity.ValueEntityStreamIn, valueentity.ValueEntityStreamOut]
	id string
	n  int64
}

func (s *service) value(t *testing.T, id string, state *anypb.Any) *valueStream {
	t.Helper()
	e := &valueStream{s, open(t, valueentity.NewValueEntityClient(s.conn).Handle), id, 0}
	e.send(t, &valueentity.ValueEntityStreamIn{Message: &valueentity.ValueEntityStreamIn_Init{Init: &valueentity.ValueEntityInit{
		ServiceName: valueFirst, EntityId: id, State: &valueentity.ValueEntityInitState{Value: state},
	}}})
	return e
}

// do sends the next command, with what is to come of it.
func (e *valueStream) do(t *testing.T, want answer, steps ...step) {
	t.Helper()
	e.n++
	e.send(t, &valueentity.ValueEntityStreamIn{Message: &valueentity.ValueEntityStreamIn_Command{
		Command: e.command(t, modelV, e.id, e.n, steps),
	}})
	reply := &valueentity.ValueEntityReply{
		CommandId: e.n, ClientAction: e.clientAction(t, modelV, valueTwo, e.n, want),
		SideEffects: e.sideEffects(t, modelV, valueTwo, want.effects),
	}
	switch {
	case want.delete:
		reply.StateAction = &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Delete{Delete: &valueentity.ValueEntityDelete{}}}
	case want.update != "":
		reply.StateAction = &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Update{
			Update: &valueentity.ValueEntityUpdate{Value: e.persisted(t, modelV, want.update)},
		}}
	}
	equal(t, fmt.Sprintf("the answer to command %d", e.n),
		&valueentity.ValueEntityStreamOut{Message: &valueentity.ValueEntityStreamOut_Reply{Reply: reply}}, e.receive(t))
}

func testValue(t *testing.T, s *service) {
	s.entity(t, valueFirst)
	s.entity(t, valueTwo)
	run := func(name string, test func(t *testing.T, e *valueStream)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := s.value(t, fresh(), nil)
			test(t, e)
			e.passivate(t)
		})
	}
	t.Run("V-M01 entity discovery", func(t *testing.T) {
		for name, persistence := range map[string]string{valueFirst: "value-entity-tck-model", valueTwo: "value-entity-tck-model-two"} {
			if e := s.entity(t, name); e.GetEntityType() != valueEntity || e.GetPersistenceId() != persistence {
				t.Errorf("got %v", e)
			}
		}
	})
	t.Run("V-M02 configured entity", func(t *testing.T) {
		e := s.entity(t, valueConf)
		if e.GetEntityType() != valueEntity || e.GetPersistenceId() != "value-entity-configured" || e.GetPassivationStrategy().GetTimeout().GetTimeout() != 100 {
			t.Errorf("got %v", e)
		}
	})
	run("V-M03 initial empty state", func(t *testing.T, e *valueStream) {
		e.do(t, answer{})
	})
	run("V-M04 update state", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "A", update: "A"}, "update A")
		e.do(t, answer{text: "A"})
	})
	run("V-M05 delete state", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "A", update: "A"}, "update A")
		e.do(t, answer{delete: true}, "delete")
		e.do(t, answer{})
	})
	run("V-M06 multiple update states", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "C", update: "C"}, "update A", "update B", "update C")
		e.do(t, answer{text: "C"})
	})
	run("V-M07 multiple update states and delete states", func(t *testing.T, e *valueStream) {
		e.do(t, answer{delete: true}, "update A", "update B", "delete")
		e.do(t, answer{})
	})
	run("V-M08 update, delete and update states", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "B", update: "B"}, "update A", "delete", "update B")
		e.do(t, answer{text: "B"})
	})
	t.Run("V-M09 rehydration after passivation", func(t *testing.T) {
		t.Parallel()
		e := s.value(t, fresh(), nil)
		for _, v := range []string{"A", "B", "C", "D"} {
			e.do(t, answer{text: v, update: v}, step("update "+v))
		}
		e.passivate(t)
		e = s.value(t, e.id, s.persisted(t, modelV, "D"))
		e.do(t, answer{text: "E", update: "E"}, "update E")
		e.do(t, answer{text: "E"})
		e.passivate(t)
	})
	run("V-M10 reply with multiple side effects", func(t *testing.T, e *valueStream) {
		e.do(t, answer{effects: []step{"effect 1", "effect 2", "effect 3"}}, "effect 1", "effect 2", "effect 3")
	})
	run("V-M11 reply with side effect to second service", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "X", update: "X"}, "update X")
		e.do(t, answer{text: "X", effects: []step{step("effect " + e.id)}}, step("effect "+e.id))
		e.do(t, answer{text: "X"})
	})
	run("V-M12 reply with multiple side effects and state", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "E", update: "E", effects: []step{"effect 1", "effect 2", "effect 3"}},
			"update A", "update B", "update C", "update D", "update E", "effect 1", "effect 2", "effect 3")
	})
	run("V-M13 synchronous side effect", func(t *testing.T, e *valueStream) {
		e.do(t, answer{effects: []step{step("sync " + e.id)}}, step("sync "+e.id))
	})
	run("V-M14 forward to second service", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "X", update: "X"}, "update X")
		e.do(t, answer{forward: e.id}, step("forward "+e.id))
		e.do(t, answer{text: "X"})
	})
	run("V-M15 forward with updated state", func(t *testing.T, e *valueStream) {
		e.do(t, answer{forward: e.id, update: "A"}, "update A", step("forward "+e.id))
	})
	run("V-M16 forward and side effect", func(t *testing.T, e *valueStream) {
		e.do(t, answer{forward: e.id, effects: []step{step("effect " + e.id)}}, step("effect "+e.id), step("forward "+e.id))
	})
	run("V-M17 failure action", func(t *testing.T, e *valueStream) {
		e.do(t, answer{fail: "expected failure"}, "fail expected failure")
	})
	run("V-M18 connection after failure action", func(t *testing.T, e *valueStream) {
		e.do(t, answer{text: "A", update: "A"}, "update A")
		e.do(t, answer{fail: "expected failure"}, "fail expected failure")
		e.do(t, answer{text: "A"})
	})
	run("V-M19 failure action does not allow side effects", func(t *testing.T, e *valueStream) {
		e.do(t, answer{fail: "expected failure"}, step("effect "+e.id), "fail expected failure")
	})
}
