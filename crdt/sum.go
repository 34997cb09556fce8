package crdt

import (
	"math"
	"math/bits"
)

// u128 is a sum of counts, which cannot overflow: there are fewer than 2^64 of them.
type u128 struct{ hi, lo uint64 }

func (s *u128) add(n uint64) {
	var c uint64
	s.lo, c = bits.Add64(s.lo, n, 0)
	s.hi += c
}

func (s *u128) sub(n uint64) {
	var b uint64
	s.lo, b = bits.Sub64(s.lo, n, 0)
	s.hi -= b
}

// uint64 is the sum, or the greatest number if it is greater.
func (s u128) uint64() uint64 {
	if s.hi > 0 {
		return math.MaxUint64
	}
	return s.lo
}

// difference p-n, or the nearest number there is.
func difference(p, n u128) int64 {
	lo, b := bits.Sub64(p.lo, n.lo, 0)
	hi, _ := bits.Sub64(p.hi, n.hi, b)
	switch {
	case int64(hi) >= 0 && (hi > 0 || lo > math.MaxInt64):
		return math.MaxInt64
	case int64(hi) < 0 && (hi != math.MaxUint64 || lo < 1<<63):
		return math.MinInt64
	}
	return int64(lo)
}

// fits says whether p-n is an int64.
func fits(p, n u128) bool {
	lo, b := bits.Sub64(p.lo, n.lo, 0)
	hi, _ := bits.Sub64(p.hi, n.hi, b)
	return hi == 0 && lo <= math.MaxInt64 || hi == math.MaxUint64 && lo >= 1<<63
}

// split a signed change into what a counter is given and taken.
func split(change int64) (p, n uint64) {
	if change >= 0 {
		return uint64(change), 0
	}
	return 0, uint64(-(change + 1)) + 1
}

// tally of votes.
type tally struct {
	self          bool
	votes, voters uint32
}

func (t tally) tell(u *Update) { u.Self, u.Votes, u.Voters = t.self, t.votes, t.voters }

func countVotes(m *Members, yes func(Member) bool) (t tally) {
	if m == nil {
		return t
	}
	for _, who := range m.Live {
		t.voters++
		if yes(who) {
			t.votes++
			if who == m.Self {
				t.self = true
			}
		}
	}
	return t
}
