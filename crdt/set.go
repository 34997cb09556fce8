package crdt

import "slices"

// set is a GSet or an ORSet: elements with their live dots.
type set struct {
	k Kind
	// entries by position; those with dot 0 are free.
	entries []entry
	free    []uint32
	table   table
	runs    runs
	n       int
	// more dots than one that an element has, by its position, sorted.
	more map[uint32][]Dot
}

// entry is an element with the smallest of its dots.
type entry struct {
	key Key
	dot Dot
}

func (s *set) kind() Kind  { return s.k }
func (s *set) empty() bool { return s.n == 0 }

func (s *set) dots(yield func(Dot)) {
	s.runs.in(allDots, func(d Dot, _ uint32) { yield(d) })
}

func (s *set) has(k Key) bool {
	_, _, ok := s.table.find(s.entries, k, hashKey(k))
	return ok
}

// dotAt is the i-th dot of the element at a position, 0 after the last one.
func (s *set) dotAt(pos uint32, i int) Dot {
	if i == 0 {
		return s.entries[pos].dot
	}
	if more := s.more[pos]; i <= len(more) {
		return more[i-1]
	}
	return 0
}

// elemSize is about what an element with one dot takes when it is encoded.
func elemSize(k Key) int { return len(k.s) + 4 }

func (s *set) join(j *join, b *body, ch *change) {
	if b != nil && s.joinElems(j, b.elems, ch) == s.runs.live() {
		return // b keeps all that lives, so there is nothing to sweep
	}
	for _, sweep := range j.sweeps {
		s.sweep(j, sweep, b, ch)
	}
}

// joinElems returns how many of the dots that live here are kept by elems, at least: those of sorted elements that most
// likely are the same on both sides. Nothing is hashed for them.
func (s *set) joinElems(j *join, elems []elem, ch *change) (kept int) {
	var last Dot
	for i := range elems {
		e := &elems[i]
		if e.kill != 0 || e.more != nil {
			s.joinElem(j, e, ch)
			continue
		}
		_, live := s.runs.pos(e.keep)
		if live && e.keep > last {
			kept, last = kept+1, e.keep
		}
		if !live && !j.ctx.Has(e.keep) {
			s.joinElem(j, e, ch)
		}
	}
	return kept
}

func (s *set) joinElem(j *join, e *elem, ch *change) {
	hash := hashKey(e.key)
	cell, pos, had := s.table.find(s.entries, e.key, hash)
	has := had
	for i, d := 0, e.kill; d != 0; i++ {
		j.see(d)
		if has && s.remove(j, pos, d) && s.entries[pos].dot == 0 {
			// The entry stays where it is while the dots are sorted out: most often it gets a new one.
			has = false
		}
		d = e.nextKill(i)
	}
	for i, d := -1, e.keep; d != 0; d = e.nextKeep(i) {
		i++
		if !j.ctx.Add(d) {
			continue
		}
		j.inflated = true
		switch {
		case has:
			s.another(j, pos, d)
		case had:
			s.first(j, pos, d)
			has = true
		default:
			pos = s.insert(e.key, hash, cell)
			s.first(j, pos, d)
			has, had = true, true
			ch.elem(e.key, false)
		}
	}
	if had && !has {
		s.drop(pos, cell)
		ch.elem(e.key, true)
	}
}

// insert a key and return its position. cell is what find returned.
func (s *set) insert(k Key, hash uint64, cell int) uint32 {
	if s.table.full() {
		s.table.rebuild(s.entries, s.n)
		cell, _, _ = s.table.find(s.entries, k, hash)
	}
	var pos uint32
	if n := len(s.free); n > 0 {
		pos, s.free = s.free[n-1], s.free[:n-1]
	} else {
		pos = uint32(len(s.entries))
		s.entries = append(s.entries, entry{})
	}
	s.entries[pos].key = k
	s.table.put(cell, hash, pos)
	s.n++
	return pos
}

// drop the entry at a position without dots.
func (s *set) drop(pos uint32, cell int) {
	s.table.remove(cell)
	s.entries[pos] = entry{}
	s.n--
	if s.n == 0 {
		*s = set{k: s.k}
		return
	}
	s.free = append(s.free, pos)
}

func (s *set) first(j *join, pos uint32, d Dot) {
	s.entries[pos].dot = d
	s.runs.add(d, pos)
	j.gain(hashDot(d, hashString(s.entries[pos].key.s)), elemSize(s.entries[pos].key))
}

func (s *set) another(j *join, pos uint32, d Dot) {
	at := &s.entries[pos]
	j.gain(hashDot(d, hashString(at.key.s)), 4)
	s.runs.add(d, pos)
	if d < at.dot {
		at.dot, d = d, at.dot
	}
	if s.more == nil {
		s.more = map[uint32][]Dot{}
	}
	s.more[pos] = insertDot(s.more[pos], d)
}

// remove a dot of the element at a position, if it has it. The last one leaves dot 0 there.
func (s *set) remove(j *join, pos uint32, d Dot) bool {
	at := &s.entries[pos]
	var more []Dot
	if len(s.more) > 0 {
		more = s.more[pos]
	}
	switch {
	case at.dot != d:
		rest, ok := removeDot(more, d)
		if !ok {
			return false
		}
		s.setMore(pos, rest)
	case len(more) > 0:
		at.dot = more[0]
		s.setMore(pos, slices.Delete(more, 0, 1))
	default:
		at.dot = 0
	}
	s.runs.remove(d)
	size := 4
	if at.dot == 0 {
		size = elemSize(at.key)
	}
	j.lose(hashDot(d, hashString(at.key.s)), size)
	return true
}

func (s *set) setMore(pos uint32, more []Dot) {
	if len(more) == 0 {
		delete(s.more, pos)
	} else {
		s.more[pos] = more
	}
}

// sweep removes the dots in sweep that b does not keep.
func (s *set) sweep(j *join, sweep *Ctx, b *body, ch *change) {
	keeps := keptDots(b)
	var dead []Dot
	for _, r := range sweep.ranges {
		s.runs.in(r, func(d Dot, _ uint32) {
			if !keeps.has(d) {
				dead = append(dead, d)
			}
		})
	}
	for _, d := range dead {
		pos, ok := s.runs.pos(d)
		if !ok {
			continue
		}
		s.remove(j, pos, d)
		if s.entries[pos].dot != 0 {
			continue
		}
		k := s.entries[pos].key
		cell, _, _ := s.table.find(s.entries, k, hashKey(k))
		s.drop(pos, cell)
		ch.elem(k, true)
	}
}

// keptCursor goes through the dots that a body keeps, in step with a walk over live dots in order.
type keptCursor struct {
	elems []elem
	dots  []Dot
	at    int
}

func keptDots(b *body) *keptCursor {
	if b == nil {
		return &keptCursor{}
	}
	c := &keptCursor{elems: b.elems}
	var last Dot
	for i := range b.elems {
		e := &b.elems[i]
		if e.more != nil || e.keep <= last {
			c.elems = nil
			break
		}
		last = e.keep
	}
	if c.elems == nil {
		for i := range b.elems {
			for d := range b.elems[i].kept {
				c.dots = append(c.dots, d)
			}
		}
		slices.Sort(c.dots)
	}
	return c
}

// has is asked in the order of the dots.
func (c *keptCursor) has(d Dot) bool {
	if c.elems != nil {
		for c.at < len(c.elems) && c.elems[c.at].keep < d {
			c.at++
		}
		return c.at < len(c.elems) && c.elems[c.at].keep == d
	}
	for c.at < len(c.dots) && c.dots[c.at] < d {
		c.at++
	}
	return c.at < len(c.dots) && c.dots[c.at] == d
}

// part are the dots that are in which, or all if it is nil, sorted by dot.
func (s *set) part(which *Ctx) *body {
	b := &body{kind: s.k}
	ranges := []Range{allDots}
	if which != nil {
		ranges = which.ranges
	} else {
		b.elems = make([]elem, 0, s.n)
	}
	var many map[uint32]int
	for _, r := range ranges {
		s.runs.in(r, func(d Dot, pos uint32) {
			if len(s.more) > 0 && len(s.more[pos]) > 0 {
				if i, ok := many[pos]; ok {
					b.elems[i].addKeep(d)
					return
				}
				if many == nil {
					many = map[uint32]int{}
				}
				many[pos] = len(b.elems)
			}
			b.elems = append(b.elems, elem{key: s.entries[pos].key, keep: d})
		})
	}
	return b
}

func (s *set) folded(*Ctx) *body { return nil }

func (s *set) update(*Members) *Update {
	u := &Update{Kind: s.k}
	if s.n > 0 {
		u.Added = make([]Key, 0, s.n)
	}
	for i := range s.entries {
		if s.entries[i].dot != 0 {
			u.Added = append(u.Added, s.entries[i].key)
		}
	}
	return u
}

// pos of an element.
func (s *set) pos(k Key) (uint32, bool) {
	_, pos, ok := s.table.find(s.entries, k, hashKey(k))
	return pos, ok
}
