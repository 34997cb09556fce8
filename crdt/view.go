package crdt

// View is what one user function believes. It belongs to the goroutine that owns the entity. The zero View believes that
// there is no value.
//
// Apply's and Join's Changes are given to Note of every View of the entity, but not those of an Apply to the View whose user
// function said it: that one gets Own. While a user function is busy nothing is flushed.
type View struct {
	seen    Ctx
	root    belief
	members *Members
	// lost is what was seen and then sealed away without its writer, nil if nothing. See Lose.
	lost store
	// diverged says that no update leads from what is believed to what is.
	diverged bool
}

// Begin returns the whole value, nil if there is none, and takes it as told.
func (v *View) Begin(e *Entity, m *Members) *Update {
	*v = View{seen: e.ctx.Snapshot(), members: m}
	e.tell(v)
	v.root.kind = e.kind
	v.root.believe(e, m)
	return e.Value(m)
}

// Seen is what Apply needs of this user function.
func (v *View) Seen() *Ctx { return &v.seen }

// Note takes up what changed by others. It does not keep ch.
func (v *View) Note(ch *Changes) { v.root.note(&ch.root, v.members) }

// Own takes up what the user function itself said, right after Apply, with the delta that Apply returned, which may be nil.
func (v *View) Own(e *Entity, u *Update, d *Delta) {
	if d != nil {
		d.addTo(&v.seen)
		e.tell(v)
	}
	if v.root.kind == 0 {
		v.root.kind = u.Kind
		v.root.known = true
	}
	var b *body
	if d != nil {
		b = d.body
	}
	v.root.own(u, e.root, b)
}

// Follow takes what was moved for seen where the user function has seen what it was before: it is told of no change, and
// what it removes is to be removed where it is now. e has joined what was moved.
func (v *View) Follow(e *Entity, r *Receipt) {
	grew, found := false, &Ctx{}
	for _, m := range r.moved {
		if v.seen.Has(m.old) && e.ctx.Has(m.new) {
			grew = v.seen.Add(m.new) || grew
			found.Add(m.old)
		}
	}
	v.found(found)
	if grew {
		e.tell(v)
	}
}

// Refuse takes up what the user function itself said and what was not applied, in place of Own: it believes what it said, and
// Flush corrects that.
func (v *View) Refuse(e *Entity, u *Update) {
	if e.kind == 0 {
		v.diverged = true // it cannot be told that there is no value
		return
	}
	if u.Kind != e.kind {
		return // which nobody could apply
	}
	if v.root.kind == 0 {
		v.root.kind, v.root.known = u.Kind, true
	}
	if m, ok := e.root.(*omap); ok {
		v.root.refuseMap(u, m)
		return
	}
	v.root.own(u, e.root, nil)
}

// Diverged says that Flush cannot lead the user function to the value, because it believes what no update takes back: it has
// to Begin again. So it is if a counter that only grows has become smaller, since what this node had heard of a writer that is
// gone was not in the journal when that was sealed.
func (v *View) Diverged() bool { return v.diverged }
