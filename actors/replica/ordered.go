package replica

import (
	"cmp"
	"iter"
	"slices"
)

// ordered is a set that is gone through in the order in which its members came: what a partition does must not depend on
// the order of a map. The zero value is empty.
type ordered[T comparable] struct {
	list []T
	at   map[T]int
	// holes is how many of list are not in at any more.
	holes int
}

func (s *ordered[T]) add(v T) {
	if _, ok := s.at[v]; ok {
		return
	}
	if s.at == nil {
		s.at = map[T]int{}
	}
	s.at[v] = len(s.list)
	s.list = append(s.list, v)
}

func (s *ordered[T]) remove(v T) {
	i, ok := s.at[v]
	if !ok {
		return
	}
	delete(s.at, v)
	var none T
	s.list[i] = none
	s.holes++
	if s.holes > 16 && s.holes > len(s.list)/2 {
		s.list = slices.DeleteFunc(s.list, func(v T) bool { return v == none })
		for i, v := range s.list {
			s.at[v] = i
		}
		s.holes = 0
	}
}

func (s *ordered[T]) has(v T) bool {
	_, ok := s.at[v]
	return ok
}

func (s *ordered[T]) len() int { return len(s.at) }

// each yields the members that were in at the beginning and still are when their turn comes.
func (s *ordered[T]) each() iter.Seq[T] {
	return func(yield func(T) bool) {
		if len(s.at) == 0 {
			return
		}
		for _, v := range slices.Clone(s.list) {
			if s.has(v) && !yield(v) {
				return
			}
		}
	}
}

// byIdentity goes through a map of writers in their order.
func byIdentity[V any](m map[identity]V) iter.Seq2[identity, V] {
	return func(yield func(identity, V) bool) {
		ids := make([]identity, 0, len(m))
		for id := range m {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b identity) int {
			return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.epoch, b.epoch))
		})
		for _, id := range ids {
			if v, ok := m[id]; ok && !yield(id, v) {
				return
			}
		}
	}
}
