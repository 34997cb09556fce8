package tck

import "testing"

func testReplicatedMaps(t *testing.T, s *service) {
	s.runReplicated(t, []replicatedCase{
		{"C-M52 ORMap initial empty state", "ORMap", nil, reads(ormap(), nil)},
		{"C-M53 ORMap state changes", "ORMap", nil, mapChanges},
		{"C-M54 ORMap initial delta in init", "ORMap", ormap(put{"PNCounter-1": pncounter(123), "LWWRegister-1": register("one"), "GSet-1": gset("a b c")}),
			func(t *testing.T, e *replicatedStream) *replicatedStream {
				e.do(t, ormap(put{"GSet-1": gset("a b c"), "LWWRegister-1": register("one"), "PNCounter-1": pncounter(123)}), nil)
				e.do(t, ormap(put{"GSet-1": gset("a b c"), "PNCounter-1": pncounter(81)}),
					ormap(removed{"LWWRegister-1"}, changed{"PNCounter-1": pncounter(-42)}),
					"remove LWWRegister-1", "PNCounter-1 -42")
				return e
			}},
		{"C-M55 ORMap initial empty state with replicated initial delta", "ORMap", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			whole := ormap(put{"GCounter-1": gcounter(42), "ORSet-1": orset("a b c"), "Flag-1": flag(false)})
			e.told(t, whole)
			e.do(t, whole, nil)
			return e
		}},
		{"C-M56 ORMap mix of local and replicated state changes", "ORMap", nil, mapMix},
		{"C-M57 ORMap rehydration after passivation", "ORMap", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, ormap(put{"PNCounter-1": pncounter(123)}))
			e.do(t, ormap(put{"PNCounter-1": pncounter(444)}), ormap(changed{"PNCounter-1": pncounter(321)}), "PNCounter-1 +321")
			e = e.again(t, ormap(put{"PNCounter-1": pncounter(444)}))
			e.do(t, ormap(put{"PNCounter-1": pncounter(444)}), nil)
			e.told(t, ormap(changed{"PNCounter-1": pncounter(-42)}))
			e.do(t, ormap(put{"PNCounter-1": pncounter(42)}), ormap(changed{"PNCounter-1": pncounter(-360)}), "PNCounter-1 -360")
			return e
		}},
		{"C-M58 ORMap delete action received from entity", "ORMap", nil, endsItself(
			ormap(put{"Flag-1": flag(false)}), ormap(put{"Flag-1": flag(true)}), "add Flag-1", "Flag-1 enable")},
		{"C-M59 ORMap delete action sent to entity", "ORMap", nil, isEnded},

		{"C-M60 Vote initial empty state", "Vote", nil, reads(vote(false, 0, 1), nil)},
		{"C-M61 Vote state changes", "Vote", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, vote(true, 1, 1), vote(true, 0, 0), "vote true")
			e.do(t, vote(true, 1, 1), nil, "vote true")
			e.do(t, vote(false, 0, 1), vote(false, 0, 0), "vote false")
			e.do(t, vote(false, 0, 1), nil, "vote false")
			return e
		}},
		{"C-M62 Vote initial delta in init", "Vote", vote(true, 2, 3), func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, vote(true, 2, 3), nil)
			e.do(t, vote(false, 1, 3), vote(false, 0, 0), "vote false")
			return e
		}},
		{"C-M63 Vote initial empty state with replicated initial delta", "Vote", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, vote(false, 3, 5))
			e.do(t, vote(false, 3, 5), nil)
			e.do(t, vote(true, 4, 5), vote(true, 0, 0), "vote true")
			return e
		}},
		{"C-M64 Vote mix of local and replicated state changes", "Vote", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.told(t, vote(false, 2, 4))
			e.do(t, vote(false, 2, 4), nil)
			e.do(t, vote(true, 3, 4), vote(true, 0, 0), "vote true")
			e.told(t, vote(true, 5, 7))
			e.told(t, vote(true, 4, 6))
			e.do(t, vote(false, 3, 6), vote(false, 0, 0), "vote false")
			return e
		}},
		{"C-M65 Vote rehydration after passivation", "Vote", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, vote(false, 0, 1), nil)
			e.told(t, vote(false, 2, 5))
			e.do(t, vote(true, 3, 5), vote(true, 0, 0), "vote true")
			e = e.again(t, vote(true, 3, 5))
			e.do(t, vote(true, 3, 5), nil)
			e.do(t, vote(false, 2, 5), vote(false, 0, 0), "vote false")
			return e
		}},
		{"C-M66 Vote delete action received from entity", "Vote", nil, func(t *testing.T, e *replicatedStream) *replicatedStream {
			e.do(t, vote(true, 1, 1), vote(true, 0, 0), "vote true")
			e.answers(t, replicatedAnswer{state: vote(true, 1, 1), delete: true}, "delete")
			return e
		}},
		{"C-M67 Vote delete action sent to entity", "Vote", nil, isEnded},
	})
}

// mapChanges is C-M53.
func mapChanges(t *testing.T, e *replicatedStream) *replicatedStream {
	e.do(t, ormap(put{"ORSet-1": orset(""), "PNCounter-1": pncounter(0)}),
		ormap(put{"ORSet-1": orset(""), "PNCounter-1": pncounter(0)}),
		"add PNCounter-1", "add ORSet-1")
	e.do(t, ormap(put{"LWWRegister-1": register("zero"), "ORSet-1": orset(""), "PNCounter-1": pncounter(0)}),
		ormap(put{"LWWRegister-1": register("zero")}),
		"add ORSet-1", "LWWRegister-1 set zero")
	e.do(t, ormap(put{"LWWRegister-1": register("one"), "ORSet-1": orset(""), "PNCounter-1": pncounter(42)}),
		ormap(changed{"LWWRegister-1": register("one"), "PNCounter-1": pncounter(42)}),
		"PNCounter-1 +42", "LWWRegister-1 set one")
	e.do(t, ormap(put{"LWWRegister-1": register("one"), "ORSet-1": orset("a b c"), "PNCounter-1": pncounter(42)}),
		ormap(changed{"ORSet-1": orset("+a +b +c")}),
		"ORSet-1 add a", "ORSet-1 add b", "ORSet-1 add c")
	e.do(t, ormap(put{"LWWRegister-1": register("two"), "ORSet-1": orset("a c d"), "PNCounter-1": pncounter(-81)}),
		ormap(changed{"LWWRegister-1": register("two"), "ORSet-1": orset("-b +d"), "PNCounter-1": pncounter(-123)}),
		"ORSet-1 remove b", "ORSet-1 add d", "PNCounter-1 -123", "LWWRegister-1 set two")
	e.do(t, ormap(put{"LWWRegister-1": register("two"), "PNCounter-1": pncounter(-81)}),
		ormap(removed{"ORSet-1"}),
		"remove ORSet-1")
	e.do(t, ormap(put{"Flag-1": flag(true), "PNCounter-1": pncounter(-81)}),
		ormap(removed{"LWWRegister-1"}, put{"Flag-1": flag(true)}),
		"remove LWWRegister-1", "Flag-1 enable")
	e.do(t, ormap(), ormap(cleared), "clear")
	e.do(t, ormap(put{"GCounter-1": gcounter(123)}),
		ormap(cleared, put{"GCounter-1": gcounter(123)}),
		"add PNCounter-2", "clear", "GCounter-1 +123")
	return e
}

// mapMix is C-M56.
func mapMix(t *testing.T, e *replicatedStream) *replicatedStream {
	e.do(t, ormap(put{"PNCounter-1": pncounter(0)}), ormap(put{"PNCounter-1": pncounter(0)}), "add PNCounter-1")
	e.told(t, ormap(put{"ORSet-1": orset("x")}))
	e.told(t, ormap(put{"LWWRegister-1": register("one")}, changed{"ORSet-1": orset("+y +z")}))
	e.do(t, ormap(put{
		"LWWRegister-1": register("one"), "LWWRegister-2": register("two"), "ORSet-1": orset("x y z"), "ORSet-2": orset(""), "PNCounter-1": pncounter(0),
	}), ormap(put{"LWWRegister-2": register("two"), "ORSet-2": orset("")}), "add ORSet-2", "LWWRegister-2 set two")
	e.do(t, ormap(put{
		"LWWRegister-1": register("ONE"), "LWWRegister-2": register("two"), "ORSet-1": orset("x y z"), "ORSet-2": orset(""), "PNCounter-1": pncounter(42),
	}), ormap(changed{"LWWRegister-1": register("ONE"), "PNCounter-1": pncounter(42)}), "PNCounter-1 +42", "LWWRegister-1 set ONE")
	e.told(t, ormap(removed{"LWWRegister-2"}, put{"ORMap-1": ormap(put{"PNCounter-1": pncounter(123)})}))
	e.told(t, ormap(removed{"ORSet-1"}, changed{"ORSet-2": orset("+a +b +c"), "ORMap-1": ormap(put{"LWWRegister-1": register("ABC")})}))
	e.do(t, ormap(put{
		"LWWRegister-1": register("ONE"), "ORMap-1": ormap(put{"LWWRegister-1": register("ABC"), "PNCounter-1": pncounter(-333)}),
		"ORSet-2": orset("a b c"), "PNCounter-1": pncounter(42),
	}), ormap(changed{"ORMap-1": ormap(changed{"PNCounter-1": pncounter(-456)})}), "ORMap-1 PNCounter-1 -456")
	e.told(t, ormap(cleared, put{"GSet-1": gset("1 2 3")}))
	e.do(t, ormap(put{"GSet-1": gset("1 2 3 4 6")}), ormap(changed{"GSet-1": gset("4 6")}),
		"remove PNCounter-1", "remove LWWRegister-1", "GSet-1 add 2", "GSet-1 add 4", "GSet-1 add 6")
	e.do(t, ormap(put{"GCounter-1": gcounter(0)}), ormap(cleared, put{"GCounter-1": gcounter(0)}), "clear", "add GCounter-1")
	e.told(t, ormap(removed{"GSet-1"}, put{"GCounter-1": gcounter(42)})) // which is there already
	e.do(t, ormap(put{"GCounter-1": gcounter(49)}), ormap(changed{"GCounter-1": gcounter(7)}), "GCounter-1 +7")
	return e
}
