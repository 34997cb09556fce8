package crdt

import (
	"slices"
	"strings"
)

// store is a dotted value.
type store interface {
	kind() Kind
	empty() bool
	// dots yields those that live.
	dots(yield func(Dot))
	// join takes the change b, which may be nil, and removes what j sweeps and b does not keep. ch may be nil.
	join(j *join, b *body, ch *change)
	// part is what has the dots in which, nil for all.
	part(which *Ctx) *body
	// folded are the counters' events into which dead ones were folded, nil if none.
	folded(dead *Ctx) *body
	update(m *Members) *Update
}

func newStore(k Kind) store {
	switch k {
	case GSet, ORSet:
		return &set{k: k}
	case ORMap:
		return &omap{}
	default:
		return &leaf{k: k}
	}
}

// omap is an ORMap.
type omap struct {
	// byKey has the entries of a key, one for each kind that is live, linked in the order of their kinds. The first is shown.
	byKey map[Key]*mapEntry
}

type mapEntry struct {
	// keep are the dots that the entry has by being there.
	keep  []Dot
	value store
	next  *mapEntry
}

func (e *mapEntry) empty() bool { return len(e.keep) == 0 && e.value.empty() }

func (m *omap) kind() Kind  { return ORMap }
func (m *omap) empty() bool { return len(m.byKey) == 0 }

func (m *omap) dots(yield func(Dot)) {
	for _, e := range m.byKey {
		for ; e != nil; e = e.next {
			for _, d := range e.keep {
				yield(d)
			}
			e.value.dots(yield)
		}
	}
}

// entry of a key and a kind, nil if there is none.
func (m *omap) entry(id entryID) *mapEntry {
	for e := m.byKey[id.key]; e != nil; e = e.next {
		if e.value.kind() == id.kind {
			return e
		}
	}
	return nil
}

// shown is the entry that a key shows, nil if there is none.
func (m *omap) shown(k Key) *mapEntry { return m.byKey[k] }

func (m *omap) shownKind(k Key) Kind {
	if e := m.byKey[k]; e != nil {
		return e.value.kind()
	}
	return 0
}

func (m *omap) insert(id entryID) *mapEntry {
	if m.byKey == nil {
		m.byKey = map[Key]*mapEntry{}
	}
	e := &mapEntry{value: newStore(id.kind)}
	if first := m.byKey[id.key]; first == nil || id.kind < first.value.kind() {
		e.next = first
		m.byKey[id.key] = e
		return e
	}
	at := m.byKey[id.key]
	for at.next != nil && at.next.value.kind() < id.kind {
		at = at.next
	}
	e.next, at.next = at.next, e
	return e
}

func (m *omap) drop(id entryID) {
	var before *mapEntry
	for e := m.byKey[id.key]; e != nil; before, e = e, e.next {
		switch {
		case e.value.kind() != id.kind:
		case before != nil:
			before.next = e.next
		case e.next != nil:
			m.byKey[id.key] = e.next
		default:
			delete(m.byKey, id.key)
		}
	}
}

func (m *omap) join(j *join, b *body, ch *change) {
	if b != nil {
		for i := range b.entries {
			m.joinEntry(j, b.entries[i].id, &b.entries[i], ch)
		}
	}
	if len(j.sweeps) == 0 {
		return
	}
	for k, e := range m.byKey {
		for ; e != nil; e = e.next {
			if id := (entryID{k, e.value.kind()}); b == nil || b.entry(id) < 0 {
				m.joinEntry(j, id, &entryBody{id: id}, ch)
			}
		}
	}
}

func (m *omap) joinEntry(j *join, id entryID, b *entryBody, ch *change) {
	shown := m.shownKind(id.key)
	e := m.entry(id)
	if e == nil {
		e = m.insert(id)
	}
	place := hashString(id.key.s) + uint64(id.kind)
	size := elemSize(id.key)
	for _, d := range b.kill {
		var ok bool
		if e.keep, ok = removeDot(e.keep, d); ok {
			j.lose(hashDot(d, place), size)
		}
		j.see(d)
	}
	if len(j.sweeps) > 0 {
		e.keep = slices.DeleteFunc(e.keep, func(d Dot) bool {
			if !j.swept(d) || hasDot(b.keep, d) {
				return false
			}
			j.lose(hashDot(d, place), size)
			return true
		})
	}
	for _, d := range b.keep {
		if !j.ctx.Has(d) {
			e.keep = insertDot(e.keep, d)
			j.gain(hashDot(d, place), size)
			j.see(d)
		}
	}
	if b.body != nil || len(j.sweeps) > 0 {
		var below *change
		if shown == id.kind || shown == 0 {
			below = ch.entry(id.key, shown, id.kind)
		} else {
			ch.entry(id.key, shown, 0)
		}
		j.descend(e.value, b.body, below)
	} else if e.empty() || shown != id.kind {
		ch.entry(id.key, shown, 0)
	}
	if e.empty() {
		m.drop(id)
	}
}

func (m *omap) part(which *Ctx) *body {
	b := &body{kind: ORMap}
	m.each(func(id entryID, e *mapEntry) {
		part := entryBody{id: id}
		for _, d := range e.keep {
			if which == nil || which.Has(d) {
				part.keep = append(part.keep, d)
			}
		}
		if below := e.value.part(which); !below.empty() {
			part.body = below
		}
		if len(part.keep) > 0 || part.body != nil {
			b.entries = append(b.entries, part)
		}
	})
	return b
}

func (m *omap) folded(dead *Ctx) *body {
	b := &body{kind: ORMap}
	m.each(func(id entryID, e *mapEntry) {
		if below := e.value.folded(dead); !below.empty() {
			b.entries = append(b.entries, entryBody{id: id, body: below})
		}
	})
	return b
}

// each yields all entries, in no order.
func (m *omap) each(yield func(entryID, *mapEntry)) {
	for k, e := range m.byKey {
		for ; e != nil; e = e.next {
			yield(entryID{k, e.value.kind()}, e)
		}
	}
}

func (m *omap) update(members *Members) *Update {
	u := &Update{Kind: ORMap}
	for k, e := range m.byKey {
		u.Put = append(u.Put, Entry{k, e.value.update(members)})
	}
	slices.SortFunc(u.Put, func(a, b Entry) int { return strings.Compare(a.Key.s, b.Key.s) })
	return u
}
