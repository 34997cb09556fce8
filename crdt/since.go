package crdt

// Full is the whole state.
func (e *Entity) Full() *Delta {
	d := e.scalars()
	if e.root != nil {
		d.body = e.root.part(nil)
		d.body.sweep = e.ctx.Snapshot()
	}
	return d
}

// scalars is all that is not in the context.
func (e *Entity) scalars() *Delta {
	d := &Delta{kind: e.kind, gen: e.gen, tomb: e.tomb, on: e.on}
	d.counts = append([]count(nil), e.counts.list...)
	if e.reg != nil {
		reg := *e.reg
		d.reg = &reg
	}
	return d
}

// Since is what somebody with this context lacks: what was added, and what was added and removed since. What was
// removed of that which he has seen, only Kills knows. For a kind without context it is the whole state. Nil if nothing.
func (e *Entity) Since(peer *Ctx) *Delta {
	if e.root == nil {
		if e.kind == 0 && e.tomb == nil {
			return nil
		}
		return e.scalars()
	}
	missing := peer.Missing(&e.ctx)
	if missing.Empty() && !(e.ctx.Empty() && peer.Empty()) {
		return nil
	}
	d := e.scalars()
	d.body = e.root.part(missing)
	d.body.sweep = missing.Snapshot()
	return d
}

// LiveDots of all slots, or of none for a kind without context: what a peer compares by Kills.
func (e *Entity) LiveDots() *Ctx {
	c := &Ctx{}
	if e.root != nil {
		e.root.dots(func(d Dot) { c.Add(d) })
	}
	return c
}

// Kills is what somebody with these live dots must be told to lose, nil if nothing.
func (e *Entity) Kills(peerLive *Ctx) *Delta {
	if e.root == nil {
		return nil
	}
	dead := e.LiveDots().Missing(peerLive.Intersect(&e.ctx))
	if dead.Empty() {
		return nil
	}
	// The amounts of folded events go with those into which they were folded, whether or not the peer has seen those.
	b := e.root.folded(dead)
	if b == nil {
		b = &body{kind: e.kind}
	}
	b.sweep = *dead
	return &Delta{kind: e.kind, gen: e.gen, body: b}
}
