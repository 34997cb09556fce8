package crdt

import (
	"math"
	"slices"
	"strings"
)

// belief is what a user function believes of a value where that may differ from what it is.
type belief struct {
	kind Kind
	// known says that the fields of a scalar are set; if not, it believes what is there.
	known bool
	count uint64
	value Key
	on    bool
	tally tally
	elems map[Key]bool
	// entries of a map by the key.
	entries map[Key]*entryBelief
}

// entryBelief is the kind that the user function believes a key shows, 0 if it is not there.
type entryBelief struct {
	kind Kind
	// again says that the entry was away in between, and must be removed and put again.
	again bool
	// value, nil if it believes what is there.
	value *belief
}

// believe what a top level scalar is.
func (b *belief) believe(e *Entity, m *Members) {
	b.known = true
	switch e.kind {
	case GCounter:
		b.count = e.counts.p.uint64()
	case PNCounter:
		b.count = uint64(difference(e.counts.p, e.counts.n))
	case LWWRegister:
		if e.reg != nil {
			b.value, b.on = e.reg.value, true
		}
	case Flag:
		b.on = e.on
	case Vote:
		b.tally = e.counts.tally(m)
	}
}

func (b *belief) note(ch *change, m *Members) {
	if ch.known && !b.known {
		b.known, b.count, b.value, b.on = true, ch.count, ch.value, ch.on
		b.tally = countVotes(m, func(who Member) bool { return slices.Contains(ch.voters, who) })
	}
	for _, e := range ch.elems {
		if _, ok := b.elems[e.key]; !ok {
			b.setElem(e.key, e.before)
		}
	}
	for i := range ch.entries {
		c := &ch.entries[i]
		e, ok := b.entries[c.key]
		if !ok {
			e = &entryBelief{kind: c.before}
			b.setEntry(c.key, e)
		}
		switch {
		case e.kind == 0 || e.again:
		case c.before != e.kind:
			e.again = true
		case c.value != nil && c.value.kind == e.kind:
			if e.value == nil {
				e.value = &belief{kind: e.kind}
			}
			e.value.note(c.value, m)
		}
	}
}

func (b *belief) setElem(k Key, present bool) {
	if b.elems == nil {
		b.elems = map[Key]bool{}
	}
	b.elems[k] = present
}

func (b *belief) setEntry(k Key, e *entryBelief) {
	if b.entries == nil {
		b.entries = map[Key]*entryBelief{}
	}
	b.entries[k] = e
}

// refuseMap has what a map's update changes removed and put again, as it is.
func (b *belief) refuseMap(u *Update, m *omap) {
	if u.Cleared {
		clear(b.entries)
		for k := range m.byKey {
			b.setEntry(k, &entryBelief{})
		}
	}
	for _, k := range u.Removed {
		b.setEntry(k, &entryBelief{})
	}
	for _, list := range [2][]Entry{u.Changed, u.Put} {
		for i := range list {
			b.setEntry(list[i].Key, &entryBelief{kind: list[i].Update.Kind, again: true})
		}
	}
}

// own takes up an update of a value that is now s, nil at the top of a scalar. did is what the update did, nil if nothing.
func (b *belief) own(u *Update, s store, did *body) {
	switch u.Kind {
	case GSet, ORSet:
		b.ownSet(u, s.(*set))
	case ORMap:
		b.ownMap(u, s.(*omap), did)
	case LWWRegister:
		// What it wrote may have lost.
		b.known, b.value, b.on = true, u.Value, true
	default:
		if b.known {
			b.ownScalar(u)
		}
	}
}

func (b *belief) ownScalar(u *Update) {
	switch u.Kind {
	case GCounter:
		if b.count > math.MaxUint64-u.Increment {
			b.count = math.MaxUint64
			return
		}
		b.count += u.Increment
	case PNCounter:
		b.count = uint64(addSaturated(int64(b.count), u.Change))
	case Flag:
		b.on = b.on || u.On
	case Vote:
		// The user function counts its own vote, and takes itself for the only voter until it is told of others.
		b.tally.voters = max(b.tally.voters, 1)
		switch {
		case u.Self && !b.tally.self:
			b.tally.votes++
		case !u.Self && b.tally.self && b.tally.votes > 0:
			b.tally.votes--
		}
		b.tally.self = u.Self
	}
}

func addSaturated(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

func (b *belief) ownSet(u *Update, s *set) {
	if u.Kind == ORSet && u.Cleared {
		clear(b.elems)
		// What the user function had not seen is still there.
		for i := range s.entries {
			if s.entries[i].dot != 0 {
				b.setElem(s.entries[i].key, false)
			}
		}
	}
	if u.Kind == ORSet {
		for _, k := range u.Removed {
			b.ownElem(k, false, s)
		}
	}
	for _, k := range u.Added {
		b.ownElem(k, true, s)
	}
}

func (b *belief) ownElem(k Key, present bool, s *set) {
	if s.has(k) == present {
		delete(b.elems, k)
	} else {
		b.setElem(k, present)
	}
}

func (b *belief) ownMap(u *Update, m *omap, did *body) {
	if u.Cleared {
		clear(b.entries)
		for k := range m.byKey {
			b.setEntry(k, &entryBelief{})
		}
	}
	for _, k := range u.Removed {
		if m.shown(k) == nil {
			delete(b.entries, k)
		} else {
			b.setEntry(k, &entryBelief{})
		}
	}
	for i := range u.Changed {
		b.ownEntry(&u.Changed[i], m, did, false)
	}
	for i := range u.Put {
		b.ownEntry(&u.Put[i], m, did, removed(u, u.Put[i].Key))
	}
}

// ownEntry takes up a change of an entry, which may have been removed in the same update.
func (b *belief) ownEntry(c *Entry, m *omap, did *body, removed bool) {
	e := b.entries[c.Key]
	shown := m.shown(c.Key)
	switch {
	case shown == nil || shown.value.kind() != c.Update.Kind:
		// It was ignored, or something else is shown: what the user function believes of it does not matter.
		if e == nil {
			e = &entryBelief{kind: c.Update.Kind}
			b.setEntry(c.Key, e)
		}
		if shown != nil && e.kind == 0 {
			e.kind = c.Update.Kind
		}
		e.again = true
		return
	case removed:
		// It believes what it put, and that is all there is unless others wrote what it had not seen.
		if equal := new(equality); equal.same(shown.value, c.Update) {
			delete(b.entries, c.Key)
		} else {
			b.setEntry(c.Key, &entryBelief{kind: c.Update.Kind, again: true})
		}
		return
	case e != nil && e.kind != c.Update.Kind:
		// Others put it too, or it was away; merged, it is not what the user function believes.
		e.kind, e.again, e.value = c.Update.Kind, true, nil
		return
	}
	if e == nil {
		e = &entryBelief{kind: c.Update.Kind}
	}
	if e.again {
		return
	}
	var below *body
	created := false
	if did != nil {
		if i := did.entry(entryID{c.Key, c.Update.Kind}); i >= 0 {
			below = did.entries[i].body
			created = len(did.entries[i].keep) > 0 && len(did.entries[i].kill) == 0
		}
	}
	value := e.value
	if value == nil {
		// Of a vote that it has just made the user function knows no voters.
		value = &belief{kind: c.Update.Kind, known: created && c.Update.Kind == Vote}
	}
	value.own(c.Update, shown.value, below)
	if value.inSync(shown.value) {
		if e.value == nil {
			return
		}
	}
	e.value = value
	b.setEntry(c.Key, e)
}

// inSync says that the belief says nothing beyond what is there.
func (b *belief) inSync(s store) bool {
	if len(b.elems)+len(b.entries) > 0 {
		return false
	}
	if l, ok := s.(*leaf); ok && b.known {
		top := l.shown()
		return b.kind == LWWRegister && top != nil && top.value == b.value
	}
	return true
}

// equality compares a value with what a user function put.
type equality struct{}

func (equality) same(s store, u *Update) bool {
	if u.Kind == Vote {
		return false
	}
	is := s.update(nil)
	if u.Kind == ORMap {
		return len(is.Put) == 0 && len(u.Put) == 0
	}
	if is.Increment != u.Increment || is.Change != u.Change || is.Value != u.Value || is.On != u.On || len(is.Added) != len(u.Added) {
		return false
	}
	set, _ := s.(*set)
	for _, k := range u.Added {
		if !set.has(k) {
			return false
		}
	}
	return true
}

func sortKeys(keys []Key) {
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.s, b.s) })
}
