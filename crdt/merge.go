package crdt

import (
	"cmp"
	"slices"
)

// merge joins one delta into another: what one of them keeps and the other one has dead is dead.
type merge struct {
	// mine and theirs are the sweeps of the bodies around the place where the merge is, and of those that are there.
	mine, theirs []*Ctx
}

func swept(sweeps []*Ctx, d Dot) bool {
	for _, s := range sweeps {
		if s.Has(d) {
			return true
		}
	}
	return false
}

// bodies joins b into a. Either may be nil for nothing but the sweeps around it, but not both.
func (m *merge) bodies(a, b *body) {
	before := [2]int{len(m.mine), len(m.theirs)}
	if b == nil {
		b = &body{kind: a.kind}
	}
	if !a.sweep.Empty() {
		// What a sweeps is about to grow, and only what it was counts against b.
		old := a.sweep.Snapshot()
		m.mine = append(m.mine, &old)
	}
	if !b.sweep.Empty() {
		m.theirs = append(m.theirs, &b.sweep)
		old := b.sweep.Snapshot()
		a.sweep.Union(&old)
	}
	m.leaves(a, b)
	m.elems(a, b)
	m.entries(a, b)
	m.mine, m.theirs = m.mine[:before[0]], m.theirs[:before[1]]
}

func (k kill) covers(d Dot) bool {
	return k.dot == d || k.dot.Slot() == d.Slot() && k.from <= d && d < k.dot
}

func killsItem(kills []kill, d Dot) bool {
	return slices.ContainsFunc(kills, func(k kill) bool { return k.covers(d) })
}

func (m *merge) leaves(a, b *body) {
	if len(a.keep) > 0 && (len(b.kill) > 0 || len(m.theirs) > 0) {
		a.keep = slices.DeleteFunc(a.keep, func(i item) bool {
			switch {
			case killsItem(b.kill, i.dot):
				a.addKill(kill{i.dot, i.from})
				return true
			case swept(m.theirs, i.dot) && !b.keeps(i.dot):
				return true
			}
			return false
		})
	}
	for i := range b.keep {
		k := &b.keep[i]
		if at, ok := findItem(a.keep, k.dot); ok {
			a.keep[at].merge(k)
		} else if killsItem(a.kill, k.dot) {
			a.addKill(kill{k.dot, k.from})
		} else if !swept(m.mine, k.dot) {
			a.keep = slices.Insert(a.keep, at, *k)
		}
	}
	for _, k := range b.kill {
		a.addKill(k)
	}
}

func (b *body) addKill(k kill) {
	i, ok := slices.BinarySearchFunc(b.kill, k.dot, func(k kill, d Dot) int { return cmp.Compare(k.dot, d) })
	if ok {
		b.kill[i].from = min(b.kill[i].from, k.from)
		return
	}
	b.kill = slices.Insert(b.kill, i, k)
}

func (m *merge) elems(a, b *body) {
	for i := range b.elems {
		their := &b.elems[i]
		at := a.elem(their.key)
		if at < 0 {
			mine := elem{key: their.key}
			m.elem(&mine, their)
			if mine.keep != 0 || mine.kill != 0 {
				a.addElem(mine)
			}
			continue
		}
		m.elem(&a.elems[at], their)
	}
	if len(m.theirs) == 0 {
		return
	}
	for i := range a.elems {
		if b.elem(a.elems[i].key) < 0 {
			m.elem(&a.elems[i], &elem{})
		}
	}
	n := len(a.elems)
	a.elems = slices.DeleteFunc(a.elems, func(e elem) bool { return e.keep == 0 && e.kill == 0 })
	if len(a.elems) < n {
		a.byElem = nil
	}
}

func (m *merge) elem(mine, their *elem) {
	merged := elem{key: mine.key}
	for d := range mine.kept {
		if !their.kills(d) && (their.keeps(d) || !swept(m.theirs, d)) {
			merged.addKeep(d)
		}
	}
	for d := range their.kept {
		if !mine.kills(d) && (mine.keeps(d) || !swept(m.mine, d)) {
			merged.addKeep(d)
		}
	}
	for d := range mine.killed {
		merged.addKill(d)
	}
	for d := range their.killed {
		merged.addKill(d)
	}
	*mine = merged
}

func (m *merge) entries(a, b *body) {
	for i := range b.entries {
		their := &b.entries[i]
		at := a.entry(their.id)
		if at < 0 {
			mine := entryBody{id: their.id}
			m.entry(&mine, their)
			if !mine.empty() {
				a.addEntry(mine)
			}
			continue
		}
		m.entry(&a.entries[at], their)
	}
	if len(m.theirs) == 0 {
		return
	}
	for i := range a.entries {
		if b.entry(a.entries[i].id) < 0 {
			m.entry(&a.entries[i], &entryBody{id: a.entries[i].id})
		}
	}
	n := len(a.entries)
	a.entries = slices.DeleteFunc(a.entries, func(e entryBody) bool { return e.empty() })
	if len(a.entries) < n {
		a.byEntry = nil
	}
}

func (e *entryBody) empty() bool { return len(e.keep)+len(e.kill) == 0 && e.body.empty() }

func (m *merge) entry(mine, their *entryBody) {
	var keep []Dot
	for _, d := range mine.keep {
		if !hasDot(their.kill, d) && (hasDot(their.keep, d) || !swept(m.theirs, d)) {
			keep = insertDot(keep, d)
		}
	}
	for _, d := range their.keep {
		if !hasDot(mine.kill, d) && (hasDot(mine.keep, d) || !swept(m.mine, d)) {
			keep = insertDot(keep, d)
		}
	}
	mine.keep = keep
	for _, d := range their.kill {
		mine.kill = insertDot(mine.kill, d)
	}
	if mine.body == nil && their.body == nil {
		return
	}
	if mine.body == nil {
		mine.body = &body{kind: mine.id.kind}
	}
	m.bodies(mine.body, their.body)
	if mine.body.empty() {
		mine.body = nil
	}
}
