package replicated

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

func (*Map[K, D]) fresh() Data { return new(Map[K, D]) }

func (m *Map[K, D]) problems(deep int) []error {
	problems := wrong[K](keyName, "a map's keys")
	var data D
	if m != nil && m.create != nil {
		var key K // which need not be a key that it knows
		_ = def.Contain(func() { data = m.create(key) })
		if none(data) {
			return problems
		}
	} else {
		var ok bool
		if data, ok = zero[D](); !ok {
			return append(problems, fmt.Errorf("a map's entries: %v is none of the types of this package, so it takes NewMap to make one",
				typeName[D]()))
		}
	}
	if deep > maxNesting {
		return append(problems, fmt.Errorf("maps are in maps, more than %d deep", maxNesting))
	}
	return append(problems, data.problems(deep+1)...)
}

func (m *Map[K, D]) empty() *pb.CrdtDelta { return mapDelta(new(pb.ORMapDelta)) }

func (m *Map[K, D]) value() *pb.CrdtDelta {
	return mapDelta(&pb.ORMapDelta{Added: m.deltas(m.in.at, Data.value)})
}

func (m *Map[K, D]) delta() *pb.CrdtDelta {
	d := &pb.ORMapDelta{
		Cleared: m.cleared,
		Removed: payloads(m.removed, m.codec().Compare),
		Updated: m.deltas(m.changed, Data.delta),
		Added: m.deltas(m.added, func(data Data) *pb.CrdtDelta {
			if d := data.delta(); d != nil {
				return d
			}
			return data.empty()
		}),
	}
	if !d.Cleared && len(d.Removed)+len(d.Updated)+len(d.Added) == 0 {
		return nil
	}
	return mapDelta(d)
}

// deltas of entries, in order, without those that have none.
func (m *Map[K, D]) deltas(entries map[codec.Raw]*entry[K, D], of func(Data) *pb.CrdtDelta) (out []*pb.ORMapEntryDelta) {
	for _, raw := range slices.SortedFunc(maps.Keys(entries), m.codec().Compare) {
		if d := of(entries[raw].data); d != nil {
			out = append(out, &pb.ORMapEntryDelta{Key: raw.Any(), Delta: d})
		}
	}
	return out
}

func (m *Map[K, D]) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Ormap)
	if !ok {
		return otherKind(d, "ORMap")
	}
	if v.Ormap.GetCleared() {
		for _, e := range m.in.at {
			e.data.place().gone = true
		}
		m.in, m.hidden = index[*entry[K, D]]{}, nil
	}
	for _, a := range v.Ormap.GetRemoved() {
		raw := codec.RawOf(a)
		if e, there := m.in.at[raw]; there {
			e.data.place().gone = true
			m.in.drop(raw)
		}
		delete(m.hidden, raw)
	}
	for _, u := range v.Ormap.GetUpdated() {
		if err := m.applyTo(u.GetKey(), u.GetDelta(), false); err != nil {
			return err
		}
	}
	for _, u := range v.Ormap.GetAdded() {
		if err := m.applyTo(u.GetKey(), u.GetDelta(), true); err != nil {
			return err
		}
	}
	return nil
}

// applyTo applies a delta to an entry, which is made if it is new and not there.
func (m *Map[K, D]) applyTo(key *anypb.Any, d *pb.CrdtDelta, added bool) error {
	raw := codec.RawOf(key)
	if _, hidden := m.hidden[raw]; hidden {
		return nil
	}
	e, there := m.in.at[raw]
	if !there {
		if !added {
			return errors.New("an entry of a map is updated that is not there")
		}
		c, err := codec.ElementOf[K](keyName)
		if err != nil {
			return err
		}
		ours, k, err := respell(c, raw)
		if err != nil {
			return fmt.Errorf("decode a key of a map: %w", err)
		}
		if e, err = m.make(raw, ours, k); err != nil {
			return err
		}
		if e == nil {
			m.hidden = with(m.hidden, raw, struct{}{})
			return nil
		}
		m.in.put(raw, ours, e)
	}
	if err := e.data.apply(d); err != nil {
		return fmt.Errorf("an entry of a map: %w", err)
	}
	return nil
}

func (m *Map[K, D]) settle() {
	for _, e := range m.changed {
		e.data.settle()
	}
	for _, e := range m.added {
		e.data.settle()
	}
	if m.cleared {
		m.hidden = nil
	}
	m.forget()
}

func (m *Map[K, D]) revert() {
	for _, e := range m.added {
		e.data.place().gone = true
	}
	for _, e := range m.changed {
		e.data.revert()
	}
	for _, e := range m.removed {
		e.data.revert()
		e.data.place().gone = false
	}
	if m.cleared {
		m.in = m.before
		for _, e := range m.in.at {
			e.data.place().gone = false
		}
		for _, data := range m.stale {
			data.revert()
		}
	} else {
		m.undo()
	}
	m.forget()
}

func (m *Map[K, D]) forget() {
	m.added, m.removed, m.changed = nil, nil, nil
	m.cleared, m.before, m.stale, m.dirty = false, index[*entry[K, D]]{}, nil, false
}

func mapDelta(d *pb.ORMapDelta) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Ormap{Ormap: d}}
}
