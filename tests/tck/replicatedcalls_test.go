package tck

import (
	"testing"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

func testReplicated(t *testing.T, s *service) {
	s.entity(t, replicatedFirst)
	s.entity(t, replicatedTwo)
	t.Run("C-M01 discovery", func(t *testing.T) {
		for _, name := range []string{replicatedFirst, replicatedTwo} {
			if e := s.entity(t, name); e.GetEntityType() != replicatedType {
				t.Errorf("got %v", e)
			}
		}
	})
	t.Run("C-M02 configured entity", func(t *testing.T) {
		if e := s.entity(t, replicatedConf); e.GetEntityType() != replicatedType || e.GetPassivationStrategy().GetTimeout().GetTimeout() != 100 {
			t.Errorf("got %v", e)
		}
	})
	testReplicatedCounters(t, s)
	testReplicatedSets(t, s)
	testReplicatedRegisters(t, s)
	testReplicatedMaps(t, s)
	testReplicatedCalls(t, s)
	testStreamedCalls(t, s)
}

func testReplicatedCalls(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M68 forward to second service", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gcounter(42), gcounter(42), "+42")
			e.answers(t, replicatedAnswer{forward: "X-" + e.id}, step("forward X-"+e.id))
			e.do(t, gcounter(42), nil)
			return e
		}},
		{"C-M69 forward with state changes", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.answers(t, replicatedAnswer{forward: "X-" + e.id, update: pncounter(-42)}, "-42", step("forward X-"+e.id))
			return e
		}},
		{"C-M70 reply with side effect to second service", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gset("one"), gset("one"), "add one")
			e.answers(t, replicatedAnswer{state: gset("one"), effects: []step{step("effect X-" + e.id)}}, step("effect X-"+e.id))
			e.do(t, gset("one"), nil)
			return e
		}},
		{"C-M71 synchronous side effect to second service", "ORSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.answers(t, replicatedAnswer{state: orset(""), effects: []step{step("sync X-" + e.id)}}, step("sync X-"+e.id))
			return e
		}},
		{"C-M72 forward and side effect to second service", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.answers(t, replicatedAnswer{forward: "A-" + e.id, effects: []step{step("effect B-" + e.id)}, update: register("")},
				step("effect B-"+e.id), step("forward A-"+e.id))
			return e
		}},
		{"C-M73 reply with multiple side effects", "Flag", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			effects := []step{"effect 1", "effect 2", "effect 3"}
			e.answers(t, replicatedAnswer{state: flag(false), effects: effects}, effects...)
			return e
		}},
		{"C-M74 reply with multiple side effects and state changes", "ORMap", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			whole := ormap(put{"GSet-1": gset("a b c"), "PNCounter-1": pncounter(0)})
			e.answers(t, replicatedAnswer{state: whole, update: whole, effects: []step{"effect 1", "effect 2", "effect 3"}},
				"add PNCounter-1", "GSet-1 add a", "GSet-1 add b", "GSet-1 add c", "effect 1", "effect 2", "effect 3")
			return e
		}},
		{"C-M75 failure action", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.answers(t, replicatedAnswer{fail: "expected failure"}, "fail expected failure")
			return e
		}},
		{"C-M76 connection after failure action", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(42), pncounter(42), "+42")
			e.answers(t, replicatedAnswer{fail: "expected failure"}, "fail expected failure")
			e.do(t, pncounter(42), nil)
			return e
		}},
		{"C-M82 write consistency can be configured", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			for i, consistency := range []crdt.CrdtWriteConsistency{
				crdt.CrdtWriteConsistency_LOCAL, crdt.CrdtWriteConsistency_MAJORITY, crdt.CrdtWriteConsistency_ALL,
			} {
				n := uint64(i + 1)
				e.answers(t, replicatedAnswer{state: gcounter(n * (n + 1) / 2), update: gcounter(n), consistency: consistency},
					[]step{"+1 LOCAL", "+2 MAJORITY", "+3 ALL"}[i])
			}
			return e
		}},
	})
}

func testStreamedCalls(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M77 streamed responses", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.listen(t, replicatedAnswer{state: gcounter(0)}, "")
			e.do(t, gcounter(1), gcounter(1), "+1")
			e.hears(t, 1, gcounter(1), false)
			e.do(t, gcounter(3), gcounter(2), "+2")
			e.hears(t, 1, gcounter(3), false)
			e.do(t, gcounter(6), gcounter(3), "+3")
			e.hears(t, 1, gcounter(6), false)
			return e
		}},
		{"C-M78 streamed responses with stream ending action", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.listen(t, replicatedAnswer{state: gcounter(0)}, `"endState":`+stateJSON(gcounter(3)))
			e.do(t, gcounter(1), gcounter(1), "+1")
			e.hears(t, 1, gcounter(1), false)
			e.do(t, gcounter(3), gcounter(2), "+2")
			e.hears(t, 1, gcounter(3), true)
			e.do(t, gcounter(6), gcounter(3), "+3")
			return e
		}},
		{"C-M79 streamed responses with cancellation", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.listen(t, replicatedAnswer{state: pncounter(0)}, `"cancelUpdate":`+step("-42").updateJSON("PNCounter"))
			e.do(t, pncounter(10), pncounter(10), "+10")
			e.hears(t, 1, pncounter(10), false)
			e.do(t, pncounter(30), pncounter(20), "+20")
			e.hears(t, 1, pncounter(30), false)
			e.hangsUp(t, 1, pncounter(-42))
			e.do(t, pncounter(-12), nil)
			e.do(t, pncounter(18), pncounter(30), "+30")
			return e
		}},
		{"C-M80 empty streamed responses with cancellation", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(10), pncounter(10), "+10")
			e.listen(t, replicatedAnswer{empty: true}, `"empty":true,"cancelUpdate":`+step("-42").updateJSON("PNCounter"))
			e.hangsUp(t, 2, pncounter(-42))
			e.do(t, pncounter(-32), nil)
			return e
		}},
		{"C-M81 streamed responses with side effects", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.listen(t, replicatedAnswer{state: gset("")}, `"effects":[{"id":"one"},{"id":"two","synchronous":true}]`)
			e.do(t, gset("a"), gset("a"), "add a")
			e.hears(t, 1, gset("a"), false, "effect one", "sync two")
			e.do(t, gset("a b"), gset("b"), "add b")
			e.hears(t, 1, gset("a b"), false, "effect one", "sync two")
			return e
		}},
	})
}
