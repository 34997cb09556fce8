package node

import (
	"container/list"

	"github.com/dapr-entities/entities/actors"
)

// remembered is what a process that wrote to an entity must know when it takes it up again in the same epoch.
type remembered struct {
	// last number that it gave to an event.
	last       uint32
	k, lastSeq uint64
	segments   int
	// base and tail are the versions of the cells, which cannot be older than that.
	base, tail int64
	tailKnown  bool
}

// memory keeps what is remembered of the entities that were in use last. What it forgets is still in the journal, whose
// reads are consistent: to remember it only finds out if they are not.
type memory struct {
	limit int
	last  *list.List
	at    map[actors.Ref]*list.Element
}

type memorized struct {
	ref actors.Ref
	remembered
}

func newMemory(limit int) *memory {
	return &memory{limit: max(limit, 1), last: list.New(), at: map[actors.Ref]*list.Element{}}
}

func (m *memory) put(ref actors.Ref, r remembered) {
	if e := m.at[ref]; e != nil {
		e.Value = memorized{ref, r}
		m.last.MoveToBack(e)
		return
	}
	m.at[ref] = m.last.PushBack(memorized{ref, r})
	if len(m.at) > m.limit {
		e := m.last.Front()
		m.last.Remove(e)
		delete(m.at, e.Value.(memorized).ref)
	}
}

func (m *memory) get(ref actors.Ref) (remembered, bool) {
	e := m.at[ref]
	if e == nil {
		return remembered{}, false
	}
	return e.Value.(memorized).remembered, true
}

func (m *memory) clear() {
	m.last.Init()
	clear(m.at)
}
