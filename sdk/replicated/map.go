package replicated

import (
	"errors"
	"fmt"
	"iter"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
)

// Map has data for each key (Cloudstate's ORMap). An entry that one node changes while another removes it stays, with
// what the one changed.
//
// D is one of the types of this package, the same for all keys: Map[string, *Counter], Map[User, *Set[Item]]. Where the
// key decides what an entry is, D is Data, and NewMap says how. Keys are as the elements of Set. Maps may be in maps, up
// to 8 deep.
type Map[K any, D Data] struct {
	node
	create func(K) D
	in     index[*entry[K, D]]
	// hidden are the entries that others have made and create makes nothing for.
	hidden map[codec.Raw]struct{}

	// What this turn did. An entry that was removed and made anew is in both.
	added, removed, changed map[codec.Raw]*entry[K, D]
	cleared                 bool
	before                  index[*entry[K, D]] // if cleared
	stale                   []D                 // in before, and changed before it was cleared
}

type entry[K any, D Data] struct {
	ours codec.Raw
	key  K
	data D
}

// NewMap makes an empty map whose entries create makes: for the same key always data of the same type, new and empty. It
// returns nil for keys that it does not know; entries of other programs with such keys are left alone, and out of sight.
//
//	replicated.NewMap(func(key string) replicated.Data {
//		if key == "visits" {
//			return new(replicated.Counter)
//		}
//		return new(replicated.Register[string])
//	})
func NewMap[K any, D Data](create func(key K) D) *Map[K, D] { return &Map[K, D]{create: create} }

// Get returns the data of a key, and whether there is any.
func (m *Map[K, D]) Get(key K) (data D, exists bool) {
	ours, err := m.codec().Encode(key)
	if err != nil {
		return data, false
	}
	_, e, exists := m.in.find(ours)
	if !exists {
		return data, false
	}
	return e.data, true
}

// At returns the data of a key, and makes the entry if there is none. A key that cannot be encoded ends the turn: the
// caller gets InvalidArgument.
func (m *Map[K, D]) At(key K) D {
	c := m.codec()
	ours, err := c.Encode(key)
	if err != nil {
		m.refuse(sdk.Errorf(sdk.CodeInvalidArgument, "encode a key of a map: %w", err))
	}
	if _, e, exists := m.in.find(ours); exists {
		return e.data
	}
	m.change()
	if !c.Exact {
		if key, err = c.Decode(ours); err != nil {
			m.refuse(fmt.Errorf("a key of a map cannot be decoded again: %w", err))
		}
	}
	e, err := m.make(ours, ours, key)
	switch {
	case err != nil:
		m.refuse(err)
	case e == nil:
		m.refuse(errors.New("a map has no data for a key: the function given to NewMap returned nil"))
	}
	m.in.put(ours, ours, e)
	m.added = with(m.added, ours, e)
	return e.data
}

// Has says whether there is an entry.
func (m *Map[K, D]) Has(key K) bool {
	_, exists := m.Get(key)
	return exists
}

// Remove removes entries. Their data must not be changed any more.
func (m *Map[K, D]) Remove(keys ...K) {
	c := m.codec()
	for _, key := range keys {
		ours, err := c.Encode(key)
		if err != nil { // nothing of that sort can be in here
			continue
		}
		for {
			raw, e, exists := m.in.find(ours)
			if !exists {
				break
			}
			m.change()
			m.in.drop(raw)
			e.data.place().gone = true
			if _, made := m.added[raw]; made {
				delete(m.added, raw)
				continue
			}
			delete(m.changed, raw)
			m.removed = with(m.removed, raw, e)
		}
	}
}

// Clear removes all entries that this node knows of.
func (m *Map[K, D]) Clear() {
	if len(m.in.at)+len(m.hidden) == 0 {
		return
	}
	m.change()
	for _, e := range m.in.at {
		e.data.place().gone = true
	}
	if !m.cleared {
		for _, e := range m.changed {
			m.stale = append(m.stale, e.data)
		}
		for _, e := range m.removed {
			m.stale = append(m.stale, e.data)
		}
		m.undo()
		m.cleared, m.before = true, m.in
	}
	m.in, m.added, m.removed, m.changed = index[*entry[K, D]]{}, nil, nil, nil
}

// Len is the number of entries.
func (m *Map[K, D]) Len() int { return len(m.in.at) }

// All yields the entries in the order of their keys, which is that of Set.All. A loop may change the map, and sees the
// entries that were there when it began and still are.
func (m *Map[K, D]) All() iter.Seq2[K, D] {
	return func(yield func(K, D) bool) {
		for _, raw := range m.in.sorted(m.codec().Compare) {
			if e, there := m.in.at[raw]; there && !yield(e.key, e.data) {
				return
			}
		}
	}
}

func (m *Map[K, D]) codec() *codec.Element[K] {
	c, err := codec.ElementOf[K](keyName)
	if err != nil {
		m.refuse(err)
	}
	return c
}

// make makes an empty entry; nil for a key that nobody knows.
func (m *Map[K, D]) make(raw, ours codec.Raw, key K) (*entry[K, D], error) {
	var data D
	if m.create != nil {
		data = m.create(key)
		if none(data) {
			return nil, nil
		}
	} else {
		var ok bool
		if data, ok = zero[D](); !ok {
			return nil, fmt.Errorf("a map does not know how to make a %T: make it by NewMap", data)
		}
	}
	n := data.place()
	if n.owner != nil || n.guard != nil {
		return nil, errors.New("the function given to NewMap returned data that is in use")
	}
	data.revert()
	n.owner, n.key = m, raw
	return &entry[K, D]{ours, key, data}, nil
}

// touched is called by the node of an entry that begins to change.
func (m *Map[K, D]) touched(key codec.Raw) {
	if _, made := m.added[key]; made {
		return
	}
	if e, there := m.in.at[key]; there {
		m.changed = with(m.changed, key, e)
	}
}

// undo puts back the entries that were there before the turn, as they are.
func (m *Map[K, D]) undo() {
	for raw := range m.added {
		m.in.drop(raw)
	}
	for raw, e := range m.removed {
		m.in.put(raw, e.ours, e)
	}
}

func with[T any](m map[codec.Raw]T, raw codec.Raw, v T) map[codec.Raw]T {
	if m == nil {
		m = make(map[codec.Raw]T)
	}
	m[raw] = v
	return m
}
