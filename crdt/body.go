package crdt

// item is an event of a nested counter (what was added and subtracted by the events of its owner between from and dot),
// register (its clock and value), flag or vote (nothing).
type item struct {
	dot, from Dot
	// a is what a counter was given, or the clock of a register; b is what a counter was taken.
	a, b  uint64
	value Key
}

func (i *item) clock() int64 { return int64(i.a) }

// after says whether a register shows i rather than o.
func (i *item) after(o *item) bool {
	if i.clock() != o.clock() {
		return i.clock() > o.clock()
	}
	return i.dot > o.dot
}

// kill of an item. from is that of the item: who has not yet seen its owner fold its events loses all of them at once.
type kill struct{ dot, from Dot }

// body is the change of one dotted value, or a whole one: what dots it has where, and which it lost. The context of a
// delta is nothing but the dots in its bodies, so it cannot claim more than it carries.
type body struct {
	kind Kind
	// sweep are dots that are dead in this value unless they are kept in it here.
	sweep Ctx
	// keep and kill of a leaf: sorted by dot.
	keep []item
	kill []kill
	// elems of a set, in any order; byElem has their index once there are many.
	elems  []elem
	byElem map[Key]int
	// entries of a map, in any order; byEntry has their index once there are many.
	entries []entryBody
	byEntry map[entryID]int
}

// elem says which dots of an element live and which are dead. Most often there is one dot; 0 is none.
type elem struct {
	key        Key
	keep, kill Dot
	more       *moreDots
}

// moreDots are those that are not the first.
type moreDots struct{ keep, kill []Dot }

// entryID is the identity of an entry of a map: values of different kinds under one key are never merged.
type entryID struct {
	key  Key
	kind Kind
}

// entryBody is the change of an entry: of the dots that it has by being there, and of its value (nil: no change).
type entryBody struct {
	id         entryID
	keep, kill []Dot
	body       *body
}

func (e *elem) addKeep(d Dot) {
	switch e.keep {
	case 0:
		e.keep = d
	case d:
	default:
		if e.more == nil {
			e.more = &moreDots{}
		}
		if d < e.keep {
			e.keep, d = d, e.keep
		}
		e.more.keep = insertDot(e.more.keep, d)
	}
}

func (e *elem) addKill(d Dot) {
	switch e.kill {
	case 0:
		e.kill = d
	case d:
	default:
		if e.more == nil {
			e.more = &moreDots{}
		}
		if d < e.kill {
			e.kill, d = d, e.kill
		}
		e.more.kill = insertDot(e.more.kill, d)
	}
}

// nextKeep and nextKill go through the dots after the first one without a closure.
func (e *elem) nextKeep(i int) Dot {
	if e.more == nil || i >= len(e.more.keep) {
		return 0
	}
	return e.more.keep[i]
}

func (e *elem) nextKill(i int) Dot {
	if e.more == nil || i >= len(e.more.kill) {
		return 0
	}
	return e.more.kill[i]
}

// kept yields the live dots in order.
func (e *elem) kept(yield func(Dot) bool) {
	if e.keep == 0 || !yield(e.keep) || e.more == nil {
		return
	}
	for _, d := range e.more.keep {
		if !yield(d) {
			return
		}
	}
}

// killed yields the dead dots in order.
func (e *elem) killed(yield func(Dot) bool) {
	if e.kill == 0 || !yield(e.kill) || e.more == nil {
		return
	}
	for _, d := range e.more.kill {
		if !yield(d) {
			return
		}
	}
}

func (e *elem) keeps(d Dot) bool {
	if e.keep == d {
		return true
	}
	return e.more != nil && hasDot(e.more.keep, d)
}

func (e *elem) kills(d Dot) bool {
	if e.kill == d {
		return true
	}
	return e.more != nil && hasDot(e.more.kill, d)
}

// empty says that the body changes nothing.
func (b *body) empty() bool {
	return b == nil || b.sweep.Empty() && len(b.keep)+len(b.kill)+len(b.elems)+len(b.entries) == 0
}

// many is from how many elements or entries on an index is worth it.
const many = 8

func (b *body) elem(k Key) int {
	if len(b.elems) < many {
		for i := range b.elems {
			if b.elems[i].key == k {
				return i
			}
		}
		return -1
	}
	if b.byElem == nil {
		b.byElem = make(map[Key]int, len(b.elems))
		for i := range b.elems {
			b.byElem[b.elems[i].key] = i
		}
	}
	if i, ok := b.byElem[k]; ok {
		return i
	}
	return -1
}

func (b *body) addElem(e elem) {
	if b.byElem != nil {
		b.byElem[e.key] = len(b.elems)
	}
	b.elems = append(b.elems, e)
}

func (b *body) entry(id entryID) int {
	if len(b.entries) < many {
		for i := range b.entries {
			if b.entries[i].id == id {
				return i
			}
		}
		return -1
	}
	if b.byEntry == nil {
		b.byEntry = make(map[entryID]int, len(b.entries))
		for i := range b.entries {
			b.byEntry[b.entries[i].id] = i
		}
	}
	if i, ok := b.byEntry[id]; ok {
		return i
	}
	return -1
}

func (b *body) addEntry(e entryBody) {
	if b.byEntry != nil {
		b.byEntry[e.id] = len(b.entries)
	}
	b.entries = append(b.entries, e)
}

// keeps says whether a leaf keeps the dot.
func (b *body) keeps(d Dot) bool {
	if b == nil {
		return false
	}
	_, ok := findItem(b.keep, d)
	return ok
}

// each yields all dots: the kept and the killed ones one by one, the swept ones as ranges.
func (b *body) each(dot func(Dot), swept func(*Ctx)) {
	if b == nil {
		return
	}
	if !b.sweep.Empty() {
		swept(&b.sweep)
	}
	for i := range b.keep {
		dot(b.keep[i].dot)
	}
	for _, k := range b.kill {
		dot(k.dot)
	}
	for i := range b.elems {
		for d := range b.elems[i].kept {
			dot(d)
		}
		for d := range b.elems[i].killed {
			dot(d)
		}
	}
	for i := range b.entries {
		for _, d := range b.entries[i].keep {
			dot(d)
		}
		for _, d := range b.entries[i].kill {
			dot(d)
		}
		b.entries[i].body.each(dot, swept)
	}
}
