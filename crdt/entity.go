package crdt

import "fmt"

// Entity is one replicated value. The zero Entity is without a value, of no kind, and takes the kind of the first update
// or delta. It is not safe for concurrent use; one goroutine owns it.
type Entity struct {
	kind Kind
	on   bool
	gen  uint32
	tomb *tombstone
	ctx  Ctx
	// Top level counters, votes and registers have no dots in the context.
	counts counts
	reg    *item
	// root of a set or a map.
	root store
	// live is the digest of root, size what it takes.
	live uint64
	size int
	// forced folds of nested counters.
	forced uint64
	// last View that was told, with what; and what all others were told.
	last   *View
	told   Ctx
	others Ctx
}

// tell remembers that a user function is shown what is there now: what others have seen of a nested counter's event
// they can remove, so nothing may be added to it any more.
func (e *Entity) tell(v *View) {
	if v != e.last {
		if e.last != nil {
			e.others.Union(&e.told)
		}
		e.last = v
	}
	e.told = v.seen.Snapshot()
}

// New returns an entity without a value of a generation. Generation 0 is the first; a deleted entity is created again in a
// later one.
func New(generation uint32) *Entity { return &Entity{gen: generation} }

// Kind is 0 as long as there is no value.
func (e *Entity) Kind() Kind { return e.kind }

// Generation counts how often the entity was created again after a deletion.
func (e *Entity) Generation() uint32 { return e.gen }

// Deleted says that the entity is deleted in its generation.
func (e *Entity) Deleted() bool { return e.tomb != nil }

// Ctx is what the entity has seen. It is empty for counters, registers, flags and votes that are not nested. It must
// not be changed; Snapshot it to keep it.
func (e *Entity) Ctx() *Ctx { return &e.ctx }

// ForcedFolds counts how often a nested counter's events were folded before all members were known to have them, because
// there were too many.
func (e *Entity) ForcedFolds() uint64 { return e.forced }

// Digest is equal, but for collisions, if and only if the states are: value, metadata, context, generation. It costs time
// in proportion to the slots.
func (e *Entity) Digest() uint64 {
	h := e.live + e.ctx.hash() + e.counts.hash()
	if e.reg != nil {
		h += e.reg.hash()
	}
	k := uint64(e.kind) << 1
	if e.on {
		k |= 1
	}
	h = mix(h^hash0, k^hash1) + uint64(e.gen)
	if e.tomb != nil {
		h = mix(hashDot(e.tomb.by, uint64(e.tomb.at)), uint64(e.gen)^hash2)
	}
	return h
}

// Size is roughly the encoded size of the state in bytes, known without encoding it.
func (e *Entity) Size() int {
	size := 24 + 8*len(e.ctx.ranges) + 14*len(e.counts.list) + e.size
	if e.reg != nil {
		size += e.reg.size()
	}
	return size
}

// Value is the whole value as an update of the zero value, nil if there is none or it is deleted. Votes are counted
// against m; nil means that nobody is live.
func (e *Entity) Value(m *Members) *Update {
	u := &Update{Kind: e.kind}
	switch e.kind {
	case 0:
		return nil
	case GCounter:
		u.Increment = e.counts.p.uint64()
	case PNCounter:
		u.Change = difference(e.counts.p, e.counts.n)
	case LWWRegister:
		if e.reg != nil {
			u.Value = e.reg.value
		}
	case Flag:
		u.On = e.on
	case Vote:
		e.counts.tally(m).tell(u)
	default:
		return e.root.update(m)
	}
	return u
}

// take the kind of the first update or delta.
func (e *Entity) take(k Kind) {
	e.kind = k
	switch k {
	case GSet, ORSet, ORMap:
		e.root = newStore(k)
	}
}

// Join merges a delta or a full state. ch, unless nil, gets what changed. inflated is false if nothing was new. A delta of
// an earlier generation is nothing new. After an error nothing has changed.
func (e *Entity) Join(d *Delta, ch *Changes) (inflated bool, err error) {
	switch {
	case d.gen < e.gen:
		return false, nil
	case d.gen > e.gen:
		return false, fmt.Errorf("joining a delta of generation %d into generation %d: %w", d.gen, e.gen, ErrNewerGeneration)
	case d.tomb != nil:
		return e.bury(d.tomb, ch), nil
	case e.tomb != nil || d.kind == 0:
		return false, nil
	case e.kind != 0 && d.kind != e.kind:
		return false, fmt.Errorf("joining a delta of a %v into a %v: %w", d.kind, e.kind, ErrKindMismatch)
	}
	if s, ok := e.root.(*set); ok && d.body != nil && len(s.entries)+len(d.body.elems) > maxElements {
		return false, fmt.Errorf("joining %d elements into a set of %d: %w", len(d.body.elems), s.n, ErrTooLarge)
	}
	if e.kind == 0 {
		e.take(d.kind)
		inflated = true
		ch.touch()
	}
	return e.merge(d, ch) || inflated, nil
}

func (e *Entity) merge(d *Delta, ch *Changes) (inflated bool) {
	switch e.kind {
	case GCounter, PNCounter:
		for _, c := range d.counts {
			inflated = e.counts.join(c) || inflated
		}
	case Vote:
		for _, c := range d.counts {
			inflated = e.counts.joinVote(c) || inflated
		}
	case LWWRegister:
		if d.reg != nil && (e.reg == nil || d.reg.after(e.reg)) {
			reg := *d.reg
			e.reg, inflated = &reg, true
		}
	case Flag:
		inflated = d.on && !e.on
		e.on = e.on || d.on
	case GSet, ORSet:
		// Not through the interface, which would put the join on the heap.
		j := join{ctx: &e.ctx}
		j.enter(d.body)
		e.root.(*set).join(&j, d.body, ch.rootChange())
		inflated = e.joined(&j, d.body)
	default:
		j := join{ctx: &e.ctx}
		j.descend(e.root, d.body, ch.rootChange())
		inflated = e.joined(&j, d.body)
	}
	if inflated {
		ch.touch()
	}
	return inflated
}

// joined takes up what a join did to the root.
func (e *Entity) joined(j *join, b *body) (inflated bool) {
	j.sweepAll(b)
	e.live += j.digest
	e.size += j.size
	return j.inflated
}

// Delete deletes the entity in its generation. Deleting a deleted entity returns nil.
func (e *Entity) Delete(w *Writer, ch *Changes) *Delta {
	if e.tomb != nil {
		return nil
	}
	// No dot of a deleted entity is ever compared with a live one, so the number need not be fresh.
	t := &tombstone{by: MakeDot(w.Slot, w.Epoch, w.Last), at: w.now()}
	e.bury(t, ch)
	return &Delta{gen: e.gen, tomb: t}
}

func (e *Entity) bury(t *tombstone, ch *Changes) bool {
	if !e.tomb.before(t) {
		return false
	}
	*e = Entity{gen: e.gen, tomb: t}
	ch.touch()
	return true
}
