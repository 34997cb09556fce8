package tck

import (
	"testing"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// replicatedCase is one case with an entity of a kind, which ends with its passivation.
type replicatedCase struct {
	name, kind string
	// begins with this state; nil is none.
	begins *crdt.CrdtDelta
	test   func(t *testing.T, e *replicatedStream) *replicatedStream
}

func (s *service) runReplicated(t *testing.T, cases []replicatedCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, s.replicated(t, freshKind(c.kind), c.begins)).passivate(t)
		})
	}
}

// reads is the case of an entity without state: the first command finds the state and, with a register, says it.
func reads(state, update *crdt.CrdtDelta) func(*testing.T, *replicatedStream) *replicatedStream {
	return func(t *testing.T, e *replicatedStream) *replicatedStream {
		e.do(t, state, update)
		return e
	}
}

// endsItself is the case of a user function that deletes. The answer is as without it, and there is no other change.
func endsItself(update, state *crdt.CrdtDelta, first step, last ...step) func(*testing.T, *replicatedStream) *replicatedStream {
	return func(t *testing.T, e *replicatedStream) *replicatedStream {
		e.do(t, update, update, first)
		e.answers(t, replicatedAnswer{state: state, delete: true}, append(last, "delete")...)
		return e
	}
}

// isEnded is the case of a user function that is told: it says nothing.
func isEnded(t *testing.T, e *replicatedStream) *replicatedStream {
	e.send(t, &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delete{Delete: &crdt.CrdtDelete{}}})
	return e
}

func testReplicatedCounters(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M03 GCounter initial empty state", "GCounter", nil, reads(gcounter(0), nil)},
		{"C-M04 GCounter state changes", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gcounter(42), gcounter(42), "+42")
			e.do(t, gcounter(48), gcounter(6), "+1", "+2", "+3")
			return e
		}},
		{"C-M05 GCounter initial delta in init", "GCounter", gcounter(42), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gcounter(165), gcounter(123), "+123")
			return e
		}},
		{"C-M06 GCounter initial empty state with replicated initial delta", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, gcounter(42))
			e.do(t, gcounter(165), gcounter(123), "+123")
			return e
		}},
		{"C-M07 GCounter mix of local and replicated state changes", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gcounter(1), gcounter(1), "+1")
			e.told(t, gcounter(2))
			e.told(t, gcounter(3))
			e.do(t, gcounter(6), nil)
			e.do(t, gcounter(10), gcounter(4), "+4")
			e.told(t, gcounter(5))
			e.do(t, gcounter(21), gcounter(6), "+6")
			return e
		}},
		{"C-M08 GCounter rehydration after passivation", "GCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gcounter(1), gcounter(1), "+1")
			e.told(t, gcounter(2))
			e.do(t, gcounter(3), nil)
			e.do(t, gcounter(6), gcounter(3), "+3")
			e = e.again(t, gcounter(6))
			e.do(t, gcounter(6), nil)
			e.told(t, gcounter(4))
			e.do(t, gcounter(15), gcounter(5), "+5")
			return e
		}},
		{"C-M09 GCounter delete action received from entity", "GCounter", nil, endsItself(gcounter(42), gcounter(42), "+42")},
		{"C-M10 GCounter delete action sent to entity", "GCounter", nil, isEnded},

		{"C-M11 PNCounter initial empty state", "PNCounter", nil, reads(pncounter(0), nil)},
		{"C-M12 PNCounter state changes", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(2), pncounter(2), "+1", "-2", "+3")
			e.do(t, pncounter(-3), pncounter(-5), "-4", "+5", "-6")
			return e
		}},
		{"C-M13 PNCounter initial delta in init", "PNCounter", pncounter(42), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(-81), pncounter(-123), "-123")
			return e
		}},
		{"C-M14 PNCounter initial empty state with replicated initial delta", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, pncounter(-42))
			e.do(t, pncounter(81), pncounter(123), "+123")
			return e
		}},
		{"C-M15 PNCounter mix of local and replicated state changes", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(1), pncounter(1), "+1")
			e.told(t, pncounter(-2))
			e.told(t, pncounter(3))
			e.do(t, pncounter(2), nil)
			e.do(t, pncounter(-2), pncounter(-4), "-4")
			e.told(t, pncounter(5))
			e.do(t, pncounter(-3), pncounter(-6), "-6")
			return e
		}},
		{"C-M16 PNCounter rehydration after passivation", "PNCounter", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, pncounter(1), pncounter(1), "+1")
			e.told(t, pncounter(-2))
			e.do(t, pncounter(-1), nil)
			e.do(t, pncounter(2), pncounter(3), "+3")
			e = e.again(t, pncounter(2))
			e.do(t, pncounter(2), nil)
			e.told(t, pncounter(-4))
			e.do(t, pncounter(3), pncounter(5), "+5")
			return e
		}},
		{"C-M17 PNCounter delete action received from entity", "PNCounter", nil, endsItself(pncounter(42), pncounter(42), "+42")},
		{"C-M18 PNCounter delete action sent to entity", "PNCounter", nil, isEnded},
	})
}

func testReplicatedSets(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M19 GSet initial empty state", "GSet", nil, reads(gset(""), nil)},
		{"C-M20 GSet state changes", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gset("a b"), gset("a b"), "add a", "add b")
			e.do(t, gset("a b c"), gset("c"), "add b", "add c")
			e.do(t, gset("a b c"), nil, "add c", "add a")
			return e
		}},
		{"C-M21 GSet initial delta in init", "GSet", gset("a b c"), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gset("a b c d e"), gset("d e"), "add c", "add d", "add e")
			return e
		}},
		{"C-M22 GSet initial empty state with replicated initial delta", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, gset("x y"))
			e.do(t, gset("x y z"), gset("z"), "add z")
			return e
		}},
		{"C-M23 GSet mix of local and replicated state changes", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gset("a"), gset("a"), "add a")
			e.told(t, gset("a"))
			e.told(t, gset("b"))
			e.told(t, gset("c"))
			e.do(t, gset("a b c"), nil)
			e.do(t, gset("a b c d e"), gset("d e"), "add c", "add d", "add e")
			e.told(t, gset("f"))
			e.do(t, gset("a b c d e f g"), gset("g"), "add g", "add d", "add b")
			return e
		}},
		{"C-M24 GSet rehydration after passivation", "GSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, gset("a"), gset("a"), "add a")
			e.told(t, gset("b"))
			e.do(t, gset("a b"), nil)
			e.do(t, gset("a b c"), gset("c"), "add c")
			e = e.again(t, gset("a b c"))
			e.do(t, gset("a b c"), nil)
			e.told(t, gset("d"))
			e.do(t, gset("a b c d e"), gset("e"), "add e")
			return e
		}},
		{"C-M25 GSet delete action received from entity", "GSet", nil, endsItself(gset("x"), gset("x"), "add x")},
		{"C-M26 GSet delete action sent to entity", "GSet", nil, isEnded},

		{"C-M27 ORSet initial empty state", "ORSet", nil, reads(orset(""), nil)},
		{"C-M28 ORSet state changes", "ORSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, orset("a b"), orset("+a +b"), "add a", "add b")
			e.do(t, orset("a b c"), orset("+c"), "add b", "add c")
			e.do(t, orset("a b c"), nil, "add c", "add a")
			e.do(t, orset("a c"), orset("-b"), "remove b", "remove d")
			e.do(t, orset("a b c"), orset("+b"), "remove c", "remove d", "add b", "add c")
			e.do(t, orset(""), orset("cleared"), "clear")
			e.do(t, orset("x"), orset("cleared +x"), "add a", "clear", "add x")
			return e
		}},
		{"C-M29 ORSet initial delta in init", "ORSet", orset("a b c"), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, orset("a b d"), orset("-c +d"), "remove c", "add d")
			return e
		}},
		{"C-M30 ORSet initial empty state with replicated initial delta", "ORSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, orset("+x +y"))
			e.do(t, orset("y z"), orset("-x +z"), "remove x", "add z")
			return e
		}},
		{"C-M31 ORSet mix of local and replicated state changes", "ORSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, orset("a"), orset("+a"), "add a")
			e.told(t, orset("+a +b"))
			e.told(t, orset("+c +d"))
			e.told(t, orset("-b -d"))
			e.do(t, orset("a c"), nil)
			e.do(t, orset("a c d e"), orset("+d +e"), "add c", "add d", "add e")
			e.told(t, orset("-a -c +f"))
			e.do(t, orset("e f g"), orset("-d +g"), "add g", "remove a", "remove d")
			e.told(t, orset("cleared +x +y +z"))
			e.do(t, orset("q x y"), orset("-z +q"), "add q", "add x", "remove z")
			e.told(t, orset("-x -y +r +p"))
			e.do(t, orset("p q r s"), orset("+s"), "add s")
			e.told(t, orset("+a +b +c"))
			e.do(t, orset("abc"), orset("cleared +abc"), "clear", "add abc")
			return e
		}},
		{"C-M32 ORSet rehydration after passivation", "ORSet", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, orset("a"), orset("+a"), "add a")
			e.told(t, orset("-a +b"))
			e.do(t, orset("b"), nil)
			e.do(t, orset("b c"), orset("+c"), "add c")
			e = e.again(t, orset("b c"))
			e.do(t, orset("b c"), nil)
			e.told(t, orset("cleared +p +q"))
			e.do(t, orset("p q y"), orset("+y"), "add x", "add y", "remove x")
			return e
		}},
		{"C-M33 ORSet delete action received from entity", "ORSet", nil, endsItself(orset("x"), orset("x"), "add x")},
		{"C-M34 ORSet delete action sent to entity", "ORSet", nil, isEnded},
	})
}

func testReplicatedRegisters(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M35 LWWRegister initial empty state", "LWWRegister", nil, reads(register(""), register(""))},
		{"C-M36 LWWRegister state changes", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, register("one"), register("one"), "set one")
			e.do(t, register("two"), register("two"), "set two")
			return e
		}},
		{"C-M37 LWWRegister initial delta in init", "LWWRegister", register("one"), reads(register("one"), nil)},
		{"C-M38 LWWRegister initial empty state with replicated initial delta", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, register("one"))
			e.do(t, register("one"), nil)
			return e
		}},
		{"C-M39 LWWRegister mix of local and replicated state changes", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, register("A"), register("A"), "set A")
			e.told(t, register("B"))
			e.told(t, register("C"))
			e.do(t, register("C"), nil)
			e.do(t, register("D"), register("D"), "set D")
			e.told(t, register("D"))
			e.do(t, register("E"), register("E"), "set E")
			return e
		}},
		{"C-M40 LWWRegister state changes with clock settings", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, register("A"), clocked("A", crdt.CrdtClock_REVERSE, 0), "set A REVERSE 0")
			e.do(t, register("A"), clocked("A", crdt.CrdtClock_CUSTOM, 123), "set A CUSTOM 123")
			e.n-- // as in the original: the number is used twice
			e.do(t, register("A"), clocked("A", crdt.CrdtClock_CUSTOM_AUTO_INCREMENT, 456), "set A CUSTOM_AUTO_INCREMENT 456")
			return e
		}},
		{"C-M41 LWWRegister rehydration after passivation", "LWWRegister", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, register("A"), register("A"), "set A")
			e.told(t, register("B"))
			e.do(t, register("B"), nil)
			e.do(t, register("C"), register("C"), "set C")
			e = e.again(t, register("C"))
			e.do(t, register("C"), nil)
			e.told(t, register("D"))
			e.do(t, register("E"), register("E"), "set E")
			return e
		}},
		{"C-M42 LWWRegister delete action received from entity", "LWWRegister", nil, endsItself(register("one"), register("one"), "set one")},
		{"C-M43 LWWRegister delete action sent to entity", "LWWRegister", nil, isEnded},

		{"C-M44 Flag initial empty state", "Flag", nil, reads(flag(false), nil)},
		{"C-M45 Flag state changes", "Flag", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, flag(true), flag(true), "enable")
			return e
		}},
		{"C-M46 Flag initial delta in init", "Flag", flag(false), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, flag(false), nil)
			e = e.again(t, flag(true))
			e.do(t, flag(true), nil)
			return e
		}},
		{"C-M47 Flag initial empty state with replicated initial delta", "Flag", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, flag(false))
			e.do(t, flag(false), nil)
			e = e.again(t, nil)
			e.told(t, flag(true))
			e.do(t, flag(true), nil)
			return e
		}},
		{"C-M48 Flag mix of local and replicated state changes", "Flag", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, flag(false))
			e.do(t, flag(false), nil)
			e.do(t, flag(true), flag(true), "enable")
			e.told(t, flag(true))
			e.told(t, flag(false))
			e.do(t, flag(true), nil)
			e = e.again(t, nil)
			e.told(t, flag(true))
			e.do(t, flag(true), nil)
			e.do(t, flag(true), nil, "enable")
			e.told(t, flag(true))
			e.told(t, flag(false))
			e.do(t, flag(true), nil)
			return e
		}},
		{"C-M49 Flag rehydration after passivation", "Flag", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, flag(false), nil)
			e.do(t, flag(true), flag(true), "enable")
			e = e.again(t, flag(true))
			e.do(t, flag(true), nil)
			return e
		}},
		{"C-M50 Flag delete action received from entity", "Flag", nil, endsItself(flag(true), flag(true), "enable")},
		{"C-M51 Flag delete action sent to entity", "Flag", nil, isEnded},
	})
}
