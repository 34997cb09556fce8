package crdt

import "slices"

// count is what the events of a slot's epoch add up to: given and taken for a counter, the toggles of a vote. Or, with
// sealed, of all the slot's epochs up to this one.
type count struct {
	p, n   uint64
	epoch  Epoch
	slot   Slot
	sealed bool
}

// counts of a top level counter or vote: sorted by slot and epoch, a sealed one before the open ones, which are later.
type counts struct {
	list []count
	p, n u128
}

func (c *counts) find(s Slot, e Epoch) (int, bool) {
	lo, hi := 0, len(c.list)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if at := &c.list[m]; at.slot < s || at.slot == s && at.epoch < e {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(c.list) && c.list[lo].slot == s && c.list[lo].epoch == e
}

// sealed is the sealed count of a slot, nil if there is none.
func (c *counts) sealed(s Slot) *count {
	if i, _ := c.find(s, 0); i < len(c.list) && c.list[i].slot == s && c.list[i].sealed {
		return &c.list[i]
	}
	return nil
}

// at is where the count of a slot's epoch is or belongs, unless a sealed one holds it already.
func (c *counts) at(s Slot, e Epoch) (i int, ok, sealed bool) {
	i, _ = c.find(s, 0)
	switch {
	case i == len(c.list) || c.list[i].slot != s:
		return i, false, false
	case c.list[i].sealed && c.list[i].epoch >= e:
		return i, false, true
	case c.list[i].epoch == e:
		return i, true, false
	}
	i, ok = c.find(s, e)
	return i, ok, false
}

func (c *counts) add(o count) {
	c.p.add(o.p)
	c.n.add(o.n)
}

func (c *counts) sub(o count) {
	c.p.sub(o.p)
	c.n.sub(o.n)
}

func (c *counts) join(o count) (grew bool) {
	i, ok, sealed := c.at(o.slot, o.epoch)
	switch {
	case sealed:
		return false
	case o.sealed:
		// Everything up to its epoch is in it.
		from, _ := c.find(o.slot, 0)
		if ok {
			i++
		}
		for _, old := range c.list[from:i] {
			c.sub(old)
		}
		c.list = slices.Replace(c.list, from, i, o)
		c.add(o)
		return true
	case !ok:
		c.list = slices.Insert(c.list, i, o)
		c.add(o)
		return true
	}
	mine := &c.list[i]
	if o.p > mine.p {
		c.p.add(o.p - mine.p)
		mine.p, grew = o.p, true
	}
	if o.n > mine.n {
		c.n.add(o.n - mine.n)
		mine.n, grew = o.n, true
	}
	return grew
}

// joinVote joins what one holder of a slot has voted. A slot has a later holder only when those before are gone, and then their
// votes count no more: only the last one's is kept.
func (c *counts) joinVote(o count) (grew bool) {
	from, _ := c.find(o.slot, 0)
	to := from
	for to < len(c.list) && c.list[to].slot == o.slot {
		to++
	}
	switch {
	case from == to || c.list[to-1].epoch < o.epoch:
		c.list = slices.Replace(c.list, from, to, o)
		return true
	case c.list[to-1].epoch > o.epoch || c.list[to-1].p >= o.p:
		return false
	default:
		c.list[to-1].p = o.p
		return true
	}
}

func (c *counts) tally(m *Members) tally {
	return countVotes(m, func(who Member) bool {
		i, ok := c.find(who.Slot, who.Epoch)
		return ok && c.list[i].p%2 == 1
	})
}

func (c *counts) hash() (h uint64) {
	for _, e := range c.list {
		d := MakeDot(e.slot, e.epoch, 0)
		if e.sealed {
			d++
		}
		h += mix(hashDot(d, e.p), e.n^hash2)
	}
	return h
}
