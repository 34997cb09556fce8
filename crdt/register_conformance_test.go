package crdt_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// registers runs a test of a register at the top, and of one in a map, which keeps concurrent writes.
func registers(t *testing.T, f func(t *testing.T, kind crdt.Kind, wrap func(*crdt.Update) *crdt.Update, want func(string) string)) {
	t.Parallel()

	t.Run("top", func(t *testing.T) {
		t.Parallel()
		f(t, crdt.LWWRegister, func(u *crdt.Update) *crdt.Update { return u },
			func(s string) string { return fmt.Sprintf("is %q:%q", crdttest.TypeURL, s) })
	})
	t.Run("nested", func(t *testing.T) {
		t.Parallel()
		f(t, crdt.ORMap, func(u *crdt.Update) *crdt.Update { return put("k", u) },
			func(s string) string { return fmt.Sprintf("{%s: is %q:%q}", k, crdttest.TypeURL, s) })
	})
}

type wrap = func(*crdt.Update) *crdt.Update

func TestEqualClockTieIsTotal(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, b, c := three(t, kind)
		ds := []*crdt.Delta{
			a.Say(wrap(write("a", crdt.ClockCustom, 7))),
			b.Say(wrap(write("b", crdt.ClockCustom, 7))),
			c.Say(wrap(write("c", crdt.ClockCustom, 7))),
		}
		for i, n := range []*crdttest.Node{a, b, c} {
			for j := range ds {
				n.Hear(ds[(i+j)%3])
			}
		}
		wantAll(t, want("c"), a, b, c)
	})
}

func TestSameReplicaEqualCustomClockLastWins(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, b, c := three(t, kind)
		first, second := a.Say(wrap(write("1", crdt.ClockCustom, 7))), a.Say(wrap(write("2", crdt.ClockCustom, 7)))
		b.Hear(first)
		b.Hear(second)
		c.Hear(second)
		c.Hear(first)
		wantAll(t, want("2"), a, b, c)
	})
}

func TestReverseFirstWriteWinsSendsCorrection(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		s := crdttest.NewStream(t, crdttest.NewNode(t, kind, 0, 1))
		s.Now = 1000
		s.Say(wrap(write("first", crdt.ClockReverse, 0)))
		s.Now = 2000
		if !s.Say(wrap(write("second", crdt.ClockReverse, 0))) {
			t.Error("a second reverse write is not reported as lost")
		}
		if got := s.Plain.String(); got != want("second") {
			t.Errorf("before the correction: %s", got)
		}
		if u := s.Flush(); u == nil {
			t.Error("no correction")
		}
		if got := s.Plain.String(); got != want("first") {
			t.Errorf("after the correction: %s", got)
		}
		if u := s.Flush(); u != nil {
			t.Errorf("told twice: %s", crdttest.Format(u))
		}
	})
}

func TestCustomLoserGetsCorrection(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, b, _ := three(t, kind)
		s := crdttest.NewStream(t, a)
		s.Say(wrap(write("old", crdt.ClockCustom, 1)))
		s.Hear(b.Say(wrap(write("high", crdt.ClockCustom, 10))))
		if !s.Say(wrap(write("low", crdt.ClockCustom, 5))) {
			t.Error("a write with a lower clock is not reported as lost")
		}
		s.Flush()
		if got := s.Plain.String(); got != want("high") {
			t.Errorf("after the correction: %s", got)
		}
		wantAll(t, want("high"), a)
	})
}

func TestAutoIncrementFromUnsetIsUserValue(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, b, c := three(t, kind)
		for _, n := range []*crdttest.Node{a, b, c} {
			n.Now = 1_700_000_000_000
		}
		five := a.Say(wrap(write("five", crdt.ClockAutoIncrement, 5)))
		// Five is less than six and not less than four: it is five.
		b.Hear(five)
		b.Hear(c.Say(wrap(write("four", crdt.ClockCustom, 4))))
		wantAll(t, want("five"), b)
		c.Say(wrap(write("six", crdt.ClockCustom, 6)))
		c.Hear(five)
		wantAll(t, want("six"), c)
	})
}

func TestAutoIncrementLowerThanCurrent(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		for _, custom := range []int64{-3, 3, 10} { // all of which become 11
			a, b, c := three(t, kind)
			a.Say(wrap(write("ten", crdt.ClockCustom, 10)))
			a.Say(wrap(write("next", crdt.ClockAutoIncrement, custom)))
			wantAll(t, want("next"), a)
			full := a.Entity.Full()
			b.Say(wrap(write("also", crdt.ClockCustom, 11)))
			b.Hear(full)
			wantAll(t, want("also"), b) // as clocks are equal and the slot is greater
			c.Say(wrap(write("twelve", crdt.ClockCustom, 12)))
			c.Hear(full)
			wantAll(t, want("twelve"), c)
		}
	})
}

func TestAutoIncrementAtMaxInt64Rejected(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, _, _ := three(t, kind)
		a.Say(wrap(write("last", crdt.ClockCustom, math.MaxInt64)))
		rejected(t, a, wrap(write("later", crdt.ClockAutoIncrement, 5)), crdt.ErrClockExhausted)
		rejected(t, a, wrap(write("later", crdt.ClockDefault, 0)), crdt.ErrClockExhausted)
		wantAll(t, want("last"), a)

		b := crdttest.NewNode(t, kind, 1, 1)
		b.Say(wrap(write("first", crdt.ClockCustom, math.MinInt64)))
		rejected(t, b, wrap(write("later", crdt.ClockReverse, 0)), crdt.ErrClockExhausted)
		b.Say(wrap(write("later", crdt.ClockAutoIncrement, math.MinInt64)))
		wantAll(t, want("later"), b)
	})
}

func TestSkewedClockStaysMonotone(t *testing.T) {
	registers(t, func(t *testing.T, kind crdt.Kind, wrap wrap, want func(string) string) {
		a, b, c := three(t, kind)
		a.Now, b.Now = 9_000_000, 1_000
		a.Tell(a.Say(wrap(write("fast", crdt.ClockDefault, 0))), b, c)
		a.Now = 500 // somebody has set the clock right
		for i := range 5 {
			b.Tell(b.Say(wrap(write(fmt.Sprint("b", i), crdt.ClockDefault, 0))), a, c)
			wantAll(t, want(fmt.Sprint("b", i)), a, b, c)
			a.Tell(a.Say(wrap(write(fmt.Sprint("a", i), crdt.ClockDefault, 0))), b, c)
			wantAll(t, want(fmt.Sprint("a", i)), a, b, c)
		}
	})
}

// A nested register keeps all concurrent writes and chooses when it is read. One that drops the loser when it joins
// depends on the order as soon as entries are removed: here that is done on purpose, and shows.
func TestLWWLoserDropBreaksAssociativity(t *testing.T) {
	t.Parallel()

	a, b, c := three(t, crdt.ORMap)
	low := a.Say(put("k", write("low", crdt.ClockCustom, 1)))
	high := b.Say(put("k", write("high", crdt.ClockCustom, 2)))
	c.Hear(high)
	removal := c.Say(drop("k")) // which has seen only the high one

	want := fmt.Sprintf("{%s: is %q:%q}", k, crdttest.TypeURL, "low")
	for i, order := range [][]*crdt.Delta{
		{low, high, removal}, {low, removal, high}, {high, low, removal},
		{high, removal, low}, {removal, low, high}, {removal, high, low},
	} {
		n := crdttest.NewNode(t, crdt.ORMap, crdt.Slot(3+i), 1)
		for _, d := range order {
			n.Hear(d)
		}
		wantAll(t, want, n)
	}

	// The wrong way: a register as one write with the dots that it has seen, whose join forgets the loser.
	type state struct {
		write   string
		clock   int
		dot     int
		context map[int]bool
	}
	join := func(p, q state) state {
		lives := func(p, q state) bool { return p.dot != 0 && (!q.context[p.dot] || q.dot == p.dot) }
		r := state{context: map[int]bool{}}
		for _, s := range []state{p, q} {
			for dot := range s.context {
				r.context[dot] = true
			}
		}
		for _, s := range [][2]state{{p, q}, {q, p}} {
			if lives(s[0], s[1]) && (r.dot == 0 || s[0].clock > r.clock) {
				r.write, r.clock, r.dot = s[0].write, s[0].clock, s[0].dot
			}
		}
		return r
	}
	wrongLow := state{"low", 1, 1, map[int]bool{1: true}}
	wrongHigh := state{"high", 2, 2, map[int]bool{2: true}}
	wrongRemoval := state{context: map[int]bool{2: true}}
	left, right := join(join(wrongLow, wrongHigh), wrongRemoval), join(wrongLow, join(wrongHigh, wrongRemoval))
	if left.write == right.write {
		t.Errorf("dropping the loser is associative after all: %q both ways", left.write)
	}
}
