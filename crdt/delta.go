package crdt

import (
	"fmt"
	"slices"
)

// Delta is a change of a replicated state, or a whole one. Entities do not keep what they join and do not change what
// they returned; only keys share their bytes.
type Delta struct {
	kind Kind
	on   bool
	gen  uint32
	tomb *tombstone
	// counts of a counter or a vote, sorted.
	counts []count
	reg    *item
	// body of a set or a map.
	body *body
}

// tombstone of a deleted generation. Of two the greater dot stays.
type tombstone struct {
	by Dot
	at int64
}

func (t *tombstone) before(o *tombstone) bool {
	return t == nil || t.by < o.by || t.by == o.by && t.at < o.at
}

// Kind of the entity; 0 for a deletion.
func (d *Delta) Kind() Kind { return d.kind }

// Generation of the entity.
func (d *Delta) Generation() uint32 { return d.gen }

// Deleted says that it is a deletion.
func (d *Delta) Deleted() bool { return d.tomb != nil }

// Ctx is what the delta adds to the context of who joins it: exactly the dots it adds or removes.
func (d *Delta) Ctx() *Ctx {
	c := &Ctx{}
	d.addTo(c)
	return c
}

func (d *Delta) addTo(c *Ctx) {
	d.body.each(func(dot Dot) { c.Add(dot) }, func(s *Ctx) { c.Union(s) })
}

// Size is roughly the encoded size in bytes.
func (d *Delta) Size() int {
	size := 24 + 14*len(d.counts) + d.body.size()
	if d.reg != nil {
		size += d.reg.size()
	}
	return size
}

func (b *body) size() int {
	if b == nil {
		return 0
	}
	size := 4 + 8*len(b.sweep.ranges) + 4*len(b.kill)
	for i := range b.keep {
		size += b.keep[i].size()
	}
	for i := range b.elems {
		size += elemSize(b.elems[i].key) + 2
		if m := b.elems[i].more; m != nil {
			size += 3 * (len(m.keep) + len(m.kill))
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		size += elemSize(e.id.key) + 3*(len(e.keep)+len(e.kill)) + e.body.size()
	}
	return size
}

// Join makes d the join of both, which does not change when o does. After an error d is unchanged.
func (d *Delta) Join(o *Delta) error {
	switch {
	case o.gen > d.gen:
		*d = *o.Clone()
		return nil
	case o.gen < d.gen:
		return nil
	case d.tomb != nil || o.tomb != nil:
		if o.tomb != nil && d.tomb.before(o.tomb) {
			d.tomb = o.tomb
		}
		*d = Delta{gen: d.gen, tomb: d.tomb}
		return nil
	case o.kind == 0:
		return nil
	case d.kind == 0:
		*d = *o.Clone()
		return nil
	case d.kind != o.kind:
		return fmt.Errorf("joining deltas of a %v and a %v: %w", d.kind, o.kind, ErrKindMismatch)
	}
	switch d.kind {
	case GCounter, PNCounter:
		c := counts{list: d.counts}
		for _, e := range o.counts {
			c.join(e)
		}
		d.counts = c.list
	case Vote:
		c := counts{list: d.counts}
		for _, e := range o.counts {
			c.joinVote(e)
		}
		d.counts = c.list
	case LWWRegister:
		if o.reg != nil && (d.reg == nil || o.reg.after(d.reg)) {
			d.reg = o.reg
		}
	case Flag:
		d.on = d.on || o.on
	case GSet, ORSet, ORMap:
		if o.body == nil {
			break
		}
		if d.body == nil {
			d.body = o.body.clone()
			break
		}
		var merge merge
		merge.bodies(d.body, o.body)
	}
	return nil
}

// Clone returns a Delta that does not change when d does.
func (d *Delta) Clone() *Delta {
	c := *d
	c.counts = append([]count(nil), d.counts...)
	c.body = d.body.clone()
	return &c
}

func (b *body) clone() *body {
	if b == nil {
		return nil
	}
	c := &body{kind: b.kind, sweep: b.sweep.Snapshot(), keep: slices.Clone(b.keep), kill: slices.Clone(b.kill)}
	c.elems = slices.Clone(b.elems)
	for i := range c.elems {
		c.elems[i] = c.elems[i].clone()
	}
	c.entries = slices.Clone(b.entries)
	for i := range c.entries {
		c.entries[i] = c.entries[i].clone()
	}
	return c
}

func (e elem) clone() elem {
	if e.more != nil {
		e.more = &moreDots{append([]Dot(nil), e.more.keep...), append([]Dot(nil), e.more.kill...)}
	}
	return e
}

func (e entryBody) clone() entryBody {
	e.keep = append([]Dot(nil), e.keep...)
	e.kill = append([]Dot(nil), e.kill...)
	e.body = e.body.clone()
	return e
}
