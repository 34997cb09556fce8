package crdt

import (
	"slices"
)

// Range is all dots from First to Last, both included.
type Range struct{ First, Last Dot }

// Ctx is an exact causal context: the dots that somebody has seen, whether they still live or not. A slot's epochs up to one
// can be closed, which means that all their dots are seen, also those that never were. The zero Ctx is empty. Ctx must
// not be copied but by Snapshot. It is not safe for concurrent use; Snapshots are independent of each other.
type Ctx struct {
	// ranges are sorted, disjoint and maximal. The one of closed epochs begins at number 0 of epoch 0 and ends with the
	// greatest number; all others are within an epoch and begin at 1 or above.
	ranges []Range
	// shared says that ranges also belong to a snapshot and are not changed in place.
	shared bool
}

// Empty says that no dot has been seen.
func (c *Ctx) Empty() bool { return len(c.ranges) == 0 }

// Has says whether the dot has been seen.
func (c *Ctx) Has(d Dot) bool {
	i := c.find(d)
	return i < len(c.ranges) && c.ranges[i].First <= d
}

// find the first range that does not end before d.
func (c *Ctx) find(d Dot) int {
	lo, hi := 0, len(c.ranges)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); c.ranges[m].Last < d {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// Snapshot returns a copy in constant time.
func (c *Ctx) Snapshot() Ctx {
	if len(c.ranges) == 0 {
		return Ctx{}
	}
	c.shared = true
	return Ctx{c.ranges, true}
}

func (c *Ctx) own() {
	if c.shared {
		c.ranges = append(make([]Range, 0, len(c.ranges)+1), c.ranges...)
		c.shared = false
	}
}

// Add a dot; grew is false if it has been seen.
func (c *Ctx) Add(d Dot) (grew bool) { return c.AddRange(Range{d, d}) }

// AddRange adds the dots of a range, which is of one slot and epoch, or of closed epochs as All yields them.
func (c *Ctx) AddRange(r Range) (grew bool) {
	// The ranges from i to j touch r.
	i := c.find(r.First)
	if i > 0 && c.ranges[i-1].Last+1 == r.First && c.ranges[i-1].Last.Slot() == r.First.Slot() {
		i--
	}
	j := i
	for j < len(c.ranges) && (c.ranges[j].First <= r.Last || c.ranges[j].First == r.Last+1 && c.ranges[j].First.Slot() == r.Last.Slot()) {
		j++
	}
	if i == j {
		c.own()
		c.ranges = slices.Insert(c.ranges, i, r)
		return true
	}
	if c.ranges[i].First <= r.First && r.Last <= c.ranges[i].Last {
		return false
	}
	c.own()
	c.ranges[i] = Range{min(c.ranges[i].First, r.First), max(c.ranges[j-1].Last, r.Last)}
	c.ranges = slices.Delete(c.ranges, i+1, j)
	return true
}

// Close closes the epochs of a slot up to one, included.
func (c *Ctx) Close(s Slot, through Epoch) (grew bool) {
	return c.AddRange(Range{MakeDot(s, 0, 0), MakeDot(s, through, ^uint32(0))})
}

// Closed is the last closed epoch of a slot, if any is closed.
func (c *Ctx) Closed(s Slot) (through Epoch, ok bool) {
	first := MakeDot(s, 0, 0)
	if i := c.find(first); i < len(c.ranges) && c.ranges[i].First == first {
		return c.ranges[i].Last.Epoch(), true
	}
	return 0, false
}

// Last is the greatest number seen of a slot's epoch, 0 if none.
func (c *Ctx) Last(s Slot, e Epoch) uint32 {
	last := MakeDot(s, e, ^uint32(0))
	i := c.find(last)
	if i < len(c.ranges) && c.ranges[i].First <= last {
		return last.N()
	}
	if i > 0 {
		if d := c.ranges[i-1].Last; d.Slot() == s && d.Epoch() == e {
			return d.N()
		}
	}
	return 0
}

// Union adds what o has.
func (c *Ctx) Union(o *Ctx) (grew bool) {
	if len(o.ranges) == 0 {
		return false
	}
	if len(c.ranges) == 0 {
		*c = o.Snapshot()
		return true
	}
	for _, r := range o.ranges {
		if c.AddRange(r) {
			grew = true
		}
	}
	return grew
}

// Missing is what from has and c lacks.
func (c *Ctx) Missing(from *Ctx) *Ctx {
	m := &Ctx{}
	i := 0
next:
	for _, r := range from.ranges {
		for i < len(c.ranges) && c.ranges[i].Last < r.First {
			i++
		}
		j := i
		for ; j < len(c.ranges) && c.ranges[j].First <= r.Last; j++ {
			if r.First < c.ranges[j].First {
				m.ranges = append(m.ranges, Range{r.First, c.ranges[j].First - 1})
			}
			if c.ranges[j].Last >= r.Last {
				continue next
			}
			r.First = c.ranges[j].Last + 1
		}
		m.ranges = append(m.ranges, r)
	}
	return m
}

// Subset says whether o has all that c has.
func (c *Ctx) Subset(o *Ctx) bool {
	i := 0
	for _, r := range c.ranges {
		for i < len(o.ranges) && o.ranges[i].Last < r.First {
			i++
		}
		if i == len(o.ranges) || r.First < o.ranges[i].First || o.ranges[i].Last < r.Last {
			return false
		}
	}
	return true
}

// Intersect is what both have.
func (c *Ctx) Intersect(o *Ctx) *Ctx {
	both := &Ctx{}
	for i, j := 0, 0; i < len(c.ranges) && j < len(o.ranges); {
		a, b := c.ranges[i], o.ranges[j]
		if r := (Range{max(a.First, b.First), min(a.Last, b.Last)}); r.First <= r.Last {
			both.ranges = append(both.ranges, r)
		}
		if a.Last < b.Last {
			i++
		} else {
			j++
		}
	}
	return both
}

// Equal says whether both have the same dots.
func (c *Ctx) Equal(o *Ctx) bool { return slices.Equal(c.ranges, o.ranges) }

// overlaps says whether both have a dot.
func (c *Ctx) overlaps(o *Ctx) bool {
	if len(c.ranges) > len(o.ranges) {
		c, o = o, c
	}
	for _, r := range c.ranges {
		if i := o.find(r.First); i < len(o.ranges) && o.ranges[i].First <= r.Last {
			return true
		}
	}
	return false
}

// Ranges are the dots in order, as disjoint maximal ranges. A range of closed epochs begins with number 0 of epoch 0.
func (c *Ctx) Ranges() []Range { return slices.Clone(c.ranges) }
