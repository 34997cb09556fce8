package crdt

import (
	"fmt"
	"math"
	"slices"
)

func (a *apply) omap(m *omap, u *Update, b *body, depth int) error {
	if depth >= MaxDepth {
		return fmt.Errorf("nesting maps deeper than %d: %w", MaxDepth, ErrTooLarge)
	}
	if m == nil {
		m = &omap{}
	}
	if u.Cleared && !m.empty() {
		b.sweep = a.clear(m, depth > 0)
	} else {
		for _, k := range u.Removed {
			a.removeKey(m, k, b)
		}
	}
	if n := len(m.byKey) + len(u.Put); n > a.limits.Elements {
		return fmt.Errorf("putting %d entries to %d where %d are allowed: %w", len(u.Put), len(m.byKey), a.limits.Elements, ErrTooLarge)
	}
	for i := range u.Changed {
		if err := a.changed(m, u, &u.Changed[i], b, depth); err != nil {
			return err
		}
	}
	for i := range u.Put {
		if err := a.put(m, u, &u.Put[i], b, depth); err != nil {
			return err
		}
	}
	return nil
}

// removeKey removes what was seen of the values of all kinds under a key.
func (a *apply) removeKey(m *omap, k Key, b *body) {
	for e := m.byKey[k]; e != nil; e = e.next {
		gone := entryBody{id: entryID{k, e.value.kind()}, body: a.remove(e.value)}
		if b.entry(gone.id) >= 0 {
			return
		}
		for _, d := range e.keep {
			if a.saw(d) {
				gone.kill = append(gone.kill, d)
			}
		}
		if !gone.empty() {
			b.addEntry(gone)
		}
	}
}

// removed says whether this update removes a key before it changes or puts anything.
func removed(u *Update, k Key) bool {
	return u.Cleared || slices.Contains(u.Removed, k)
}

func checkEntry(c *Entry) error {
	if c.Update == nil || c.Update.Kind < GCounter || c.Update.Kind > Vote {
		return fmt.Errorf("changing an entry: %w", ErrNoKind)
	}
	return nil
}

func (a *apply) changed(m *omap, u *Update, c *Entry, b *body, depth int) error {
	if err := checkEntry(c); err != nil {
		return err
	}
	if e := m.shown(c.Key); e != nil && e.value.kind() == c.Update.Kind && !removed(u, c.Key) {
		return a.entry(e, c, b, depth)
	}
	return nil
}

func (a *apply) put(m *omap, u *Update, c *Entry, b *body, depth int) error {
	if err := checkEntry(c); err != nil {
		return err
	}
	if err := a.key(c.Key); err != nil {
		return err
	}
	if removed(u, c.Key) {
		return a.entry(nil, c, b, depth)
	}
	e := m.entry(entryID{c.Key, c.Update.Kind})
	return a.entry(e, c, b, depth)
}

// entry changes the value of an entry, or of a new one if e is nil.
func (a *apply) entry(e *mapEntry, c *Entry, b *body, depth int) error {
	id := entryID{c.Key, c.Update.Kind}
	at := b.entry(id)
	if at < 0 {
		at = len(b.entries)
		b.addEntry(entryBody{id: id})
	} else if len(b.entries[at].keep) > 0 || b.entries[at].body.fresh() {
		return fmt.Errorf("changing an entry twice: %w", ErrTwice)
	}
	// One dot for each position: the entry's own comes before those of what is in it.
	if e == nil {
		b.entries[at].keep = []Dot{a.next()}
	}
	below := b.entries[at].body
	if below == nil {
		below = &body{kind: id.kind}
	}
	var value store
	if e != nil {
		value = e.value
	}
	if err := a.dotted(value, c.Update, below, depth+1); err != nil {
		return err
	}
	if !below.empty() {
		b.entries[at].body = below
	}
	if e != nil && !below.fresh() && (!idle(c.Update) || a.restsOnGone(e)) {
		// A change wins over a removal that has not seen it, so it leaves a dot that no removal can have seen.
		b.entries[at].kill = append(b.entries[at].kill, e.keep...)
		b.entries[at].keep = []Dot{a.next()}
	}
	if b.entries[at].empty() {
		b.entries = b.entries[:at]
		delete(b.byEntry, id)
	}
	return nil
}

// fresh says whether there is a dot that may be new.
func (b *body) fresh() bool {
	if b == nil {
		return false
	}
	if len(b.keep) > 0 {
		return true
	}
	for i := range b.elems {
		if b.elems[i].keep != 0 {
			return true
		}
	}
	for i := range b.entries {
		if len(b.entries[i].keep) > 0 || b.entries[i].body.fresh() {
			return true
		}
	}
	return false
}

// idle says that an update asks for nothing.
func idle(u *Update) bool {
	switch u.Kind {
	case LWWRegister, Vote:
		return false
	case Flag:
		return !u.On
	}
	return u.Increment == 0 && u.Change == 0 && !u.Cleared && len(u.Removed)+len(u.Added)+len(u.Changed)+len(u.Put) == 0
}

// stable folds the writer's own events of nested counters that are in upto. It returns nil if there are none to fold.
func (a *apply) stable(s store, upto *Ctx) *body {
	b := &body{kind: s.kind()}
	switch s := s.(type) {
	case *leaf:
		if s.k == GCounter || s.k == PNCounter {
			// Only what comes before the first one that is not stable: a removal of the folded one takes all in between.
			stable := true
			foldWhere(s, b, func(d Dot) bool {
				if !a.own(d) {
					return false
				}
				stable = stable && upto.Has(d)
				return stable
			})
		}
	case *omap:
		s.each(func(id entryID, e *mapEntry) {
			if below := a.stable(e.value, upto); below != nil {
				b.entries = append(b.entries, entryBody{id: id, body: below})
			}
		})
	}
	if b.empty() {
		return nil
	}
	return b
}

// foldWhere folds the events of one owner that which selects.
func foldWhere(l *leaf, b *body, which func(Dot) bool) {
	var items []item
	for i := range l.items {
		if which(l.items[i].dot) {
			items = append(items, l.items[i])
		}
	}
	if len(items) < 2 {
		return
	}
	folded, ok := fold(items)
	if !ok {
		return
	}
	b.keep = append(b.keep, folded)
	for _, i := range items[:len(items)-1] {
		b.kill = append(b.kill, kill{i.dot, i.dot})
	}
}

// Stable folds the writer's own nested counter events that are in upto, which is what every live member is known to have
// seen at once. Nil if there is nothing to fold.
func (e *Entity) Stable(w *Writer, upto *Ctx) *Delta {
	m, ok := e.root.(*omap)
	if !ok {
		return nil
	}
	a := apply{w: w, e: e}
	// What others have not been told yet is not stable, whatever they say.
	seen := upto.Snapshot()
	if w.Pending > 0 {
		seen = *(&Ctx{ranges: []Range{{MakeDot(w.Slot, w.Epoch, w.Pending), MakeDot(w.Slot, w.Epoch, math.MaxUint32)}}}).Missing(&seen)
	}
	b := a.stable(m, &seen)
	if b == nil {
		return nil
	}
	d := &Delta{kind: e.kind, gen: e.gen, body: b}
	e.merge(d, nil)
	return d
}
