package crdt

// Lose takes note of what d takes away because it seals epochs, and not because somebody removed it, before e joins d. Until
// the writer brings that again under another name, nobody can remove it in e; but this user function has been shown it.
func (v *View) Lose(e *Entity, d *Delta) {
	if d.body == nil || d.kind != e.kind || d.gen != e.gen || e.root == nil {
		return
	}
	closed := &Ctx{}
	for _, r := range d.body.sweep.ranges {
		if r.First.Epoch() == r.Last.Epoch() {
			continue
		}
		if through, ok := e.ctx.Closed(r.First.Slot()); !ok || through < r.Last.Epoch() {
			closed.AddRange(r)
		}
	}
	if closed.Empty() {
		return
	}
	kept := &Ctx{}
	d.body.fates(func(d Dot) { kept.Add(d) }, func(*Ctx) {})
	lost := kept.Missing(e.LiveDots().Intersect(closed).Intersect(&v.seen))
	if lost.Empty() {
		return
	}
	if v.lost == nil {
		v.lost = newStore(e.kind)
	}
	v.lost.join(&join{ctx: &Ctx{}}, e.root.part(lost), nil)
}

// Strike returns what an update takes away of that which the view has lost, nil if nothing: it is for Receipt.Follow, so that
// it is not brought again. e is the entity, to which the update has been applied.
func (v *View) Strike(e *Entity, u *Update) *Delta {
	if v.lost == nil || e.kind != u.Kind {
		return nil
	}
	dead := &Ctx{}
	strike(v.lost, e.root, u, dead)
	if dead.Empty() {
		return nil
	}
	v.found(dead)
	return &Delta{kind: e.kind, gen: e.gen, body: &body{kind: e.kind, sweep: *dead}}
}

// found forgets what has been lost no longer.
func (v *View) found(dots *Ctx) {
	if v.lost == nil {
		return
	}
	v.lost.join(&join{ctx: &Ctx{}, sweeps: []*Ctx{dots}}, nil, nil)
	if v.lost.empty() {
		v.lost = nil
	}
}

// strike adds to dead what u takes away of lost. is is the same value as it is now, nil if it is not there.
func strike(lost, is store, u *Update, dead *Ctx) {
	all := func(s store) { s.dots(func(d Dot) { dead.Add(d) }) }
	if u.Cleared && u.Kind != GSet {
		all(lost)
		return
	}
	switch lost := lost.(type) {
	case *set:
		for _, k := range u.Removed {
			if pos, ok := lost.pos(k); ok {
				for i := 0; lost.dotAt(pos, i) != 0; i++ {
					dead.Add(lost.dotAt(pos, i))
				}
			}
		}
	case *omap:
		for _, k := range u.Removed {
			for e := lost.byKey[k]; e != nil; e = e.next {
				for _, d := range e.keep {
					dead.Add(d)
				}
				all(e.value)
			}
		}
		now, _ := is.(*omap)
		for _, list := range [2][]Entry{u.Changed, u.Put} {
			for i := range list {
				id := entryID{list[i].Key, list[i].Update.Kind}
				e := lost.entry(id)
				if e == nil || removed(u, id.key) {
					continue
				}
				var below store
				if now != nil {
					if at := now.entry(id); at != nil {
						below = at.value
					}
				}
				strike(e.value, below, list[i].Update, dead)
			}
		}
	case *leaf:
		// A write takes the place of those that its writer has seen, unless it came to nothing.
		if lost.k == LWWRegister && is != nil {
			all(lost)
		}
	}
}
