package crdt

// Changes collects what Apply and Join changed in the value, for Views. The zero Changes is ready for use and can be used
// again after Reset.
type Changes struct {
	some bool
	root change
}

// change is what a value was before it changed.
type change struct {
	kind Kind
	// known says that the fields of a scalar are set.
	known  bool
	count  uint64
	value  Key
	on     bool
	voters []Member
	// elems and entries may be there more than once; the first one counts.
	elems   []elemChange
	entries []entryChange
}

type elemChange struct {
	key    Key
	before bool
}

// entryChange has the kind that the key showed before, 0 if it was not there; value is set if that may have changed.
type entryChange struct {
	key    Key
	before Kind
	value  *change
}

// Reset forgets all changes but keeps the memory.
func (c *Changes) Reset() {
	clear(c.root.elems)
	clear(c.root.entries)
	c.root.elems, c.root.entries = c.root.elems[:0], c.root.entries[:0]
	c.some = false
}

// Empty says that nothing changed.
func (c *Changes) Empty() bool { return !c.some }

func (c *Changes) touch() {
	if c != nil {
		c.some = true
	}
}

func (c *Changes) rootChange() *change {
	if c == nil {
		return nil
	}
	return &c.root
}

func (c *change) elem(k Key, before bool) {
	if c != nil {
		c.elems = append(c.elems, elemChange{k, before})
	}
}

// entry takes up a change of an entry, and of the value of a kind under it unless that is 0.
func (c *change) entry(k Key, before, value Kind) *change {
	if c == nil {
		return nil
	}
	e := entryChange{key: k, before: before}
	if value != 0 {
		e.value = &change{kind: value}
	}
	c.entries = append(c.entries, e)
	return e.value
}
