package crdt

import (
	"math"
	"slices"
	"strings"
)

// Flush returns what the user function must be told to believe the value of e, nil if nothing or if it has Diverged, and takes
// it as told. A PNCounter may need more than one Flush. e must not be deleted.
func (v *View) Flush(e *Entity, m *Members) *Update {
	if v.diverged {
		return nil
	}
	if v.root.kind == 0 {
		return v.Begin(e, m)
	}
	if v.members != m {
		if top, ok := e.root.(*omap); ok {
			v.root.recount(top, v.members)
		}
		v.members = m
	}
	v.seen = e.ctx.Snapshot()
	e.tell(v)
	switch s := e.root.(type) {
	case *set:
		u := v.root.flushSet(s)
		v.root.elems = nil
		if u != nil && s.k == GSet && len(u.Removed) > 0 {
			v.diverged = true
			return nil
		}
		return u
	case *omap:
		u := v.root.flushMap(s, m)
		v.root.entries = nil
		return u
	}
	now := belief{kind: e.kind}
	now.believe(e, m)
	u, again := v.root.flushScalar(&now)
	v.diverged = again
	if u != nil && u.Kind == PNCounter {
		v.root.count += uint64(u.Change)
		return u
	}
	v.root = now
	return u
}

// recount takes up what the user function believes of nested votes before the members change.
func (b *belief) recount(s *omap, before *Members) {
	for k, e := range s.byKey {
		kind := e.value.kind()
		if kind != Vote && kind != ORMap {
			continue
		}
		at := b.entries[k]
		if at == nil {
			at = &entryBelief{kind: kind}
		}
		if at.again || at.kind != kind {
			continue
		}
		value := at.value
		if value == nil {
			value = &belief{kind: kind}
		}
		switch s := e.value.(type) {
		case *leaf:
			if !value.known {
				value.known, value.tally = true, s.tally(before)
			}
		case *omap:
			if value.recount(s, before); len(value.entries) == 0 {
				continue
			}
		}
		at.value = value
		b.setEntry(k, at)
	}
}

// flushScalar returns what leads from the belief to now, nil if nothing; again says that no update does.
func (b *belief) flushScalar(now *belief) (u *Update, again bool) {
	u = &Update{Kind: now.kind}
	switch now.kind {
	case GCounter:
		if now.count == b.count {
			return nil, false
		}
		if now.count < b.count {
			return nil, true
		}
		u.Increment = now.count - b.count
	case PNCounter:
		if now.count == b.count {
			return nil, false
		}
		is, was := int64(now.count), int64(b.count)
		u.Change = is - was
		switch {
		case is > was && u.Change < 0:
			u.Change = math.MaxInt64
		case is < was && u.Change > 0:
			u.Change = math.MinInt64
		}
	case LWWRegister:
		if now.on == b.on && now.value == b.value {
			return nil, false
		}
		if !now.on {
			return nil, true
		}
		u.Value = now.value
	case Flag:
		if now.on == b.on {
			return nil, false
		}
		if !now.on {
			return nil, true
		}
		u.On = true
	case Vote:
		if now.tally == b.tally {
			return nil, false
		}
		now.tally.tell(u)
	}
	return u, false
}

func (b *belief) flushSet(s *set) *Update {
	u := &Update{Kind: s.k}
	for k, believed := range b.elems {
		switch is := s.has(k); {
		case is == believed:
		case is:
			u.Added = append(u.Added, k)
		default:
			u.Removed = append(u.Removed, k)
		}
	}
	changed := len(u.Added) + len(u.Removed)
	if changed == 0 {
		return nil
	}
	if s.k == ORSet && len(u.Removed) > 0 && changed > s.n {
		all := s.update(nil)
		all.Cleared = true
		sortKeys(all.Added)
		return all
	}
	sortKeys(u.Removed)
	sortKeys(u.Added)
	return u
}

func (b *belief) flushMap(s *omap, m *Members) *Update {
	u := &Update{Kind: ORMap}
	for k, believed := range b.entries {
		e := s.shown(k)
		var is Kind
		if e != nil {
			is = e.value.kind()
		}
		switch {
		case is == 0 && believed.kind == 0:
		case is == 0:
			u.Removed = append(u.Removed, k)
		case believed.kind == 0:
			u.Put = append(u.Put, Entry{k, e.value.update(m)})
		default:
			again := believed.again || believed.kind != is
			var change *Update
			if !again && believed.value != nil {
				change, again = believed.value.flushNested(e.value, m)
			}
			if again {
				u.Removed = append(u.Removed, k)
				u.Put = append(u.Put, Entry{k, e.value.update(m)})
			} else if change != nil {
				u.Changed = append(u.Changed, Entry{k, change})
			}
		}
	}
	if len(u.Removed)+len(u.Changed)+len(u.Put) == 0 {
		return nil
	}
	if s.empty() {
		return &Update{Kind: ORMap, Cleared: true}
	}
	sortKeys(u.Removed)
	for _, list := range [][]Entry{u.Changed, u.Put} {
		slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Key.s, b.Key.s) })
	}
	return u
}

func (b *belief) flushNested(s store, m *Members) (u *Update, again bool) {
	switch s := s.(type) {
	case *set:
		u = b.flushSet(s)
		if u != nil && s.k == GSet && len(u.Removed) > 0 {
			return nil, true
		}
		return u, false
	case *omap:
		return b.flushMap(s, m), false
	case *leaf:
		if !b.known {
			return nil, false
		}
		now := belief{kind: s.k}
		now.learn(s, m)
		u, again = b.flushScalar(&now)
		if u != nil && s.k == PNCounter && int64(b.count)+u.Change != int64(now.count) {
			// It takes more than one update, and a second one would have to be remembered.
			return nil, true
		}
		return u, again
	}
	return nil, false
}

// learn what a nested scalar is.
func (b *belief) learn(l *leaf, m *Members) {
	var ch change
	l.record(&ch)
	b.known, b.count, b.value, b.on = true, ch.count, ch.value, ch.on
	b.tally = l.tally(m)
}
