package replicated

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
)

// elements is what the two kinds of sets have in common.
type elements[E any] struct {
	node
	in index[E]

	// What this turn did. An element that is back is in neither.
	added   map[codec.Raw]struct{}
	removed map[codec.Raw]member[E]
	cleared bool
	before  index[E] // if cleared
}

// member is an element with our encoding of it.
type member[E any] struct {
	ours  codec.Raw
	value E
}

func (s *elements[E]) codec() *codec.Element[E] {
	c, err := codec.ElementOf[E](elementName)
	if err != nil {
		s.refuse(err)
	}
	return c
}

func (s *elements[E]) add(elements []E) {
	c := s.codec()
	for _, e := range elements {
		raw, err := c.Encode(e)
		if err != nil {
			s.refuse(sdk.Errorf(sdk.CodeInvalidArgument, "encode an element of a set: %w", err))
		}
		if _, _, there := s.in.find(raw); there {
			continue
		}
		s.change()
		if !c.Exact { // what the caller does to it, and what others do not get to see, must not matter
			if e, err = c.Decode(raw); err != nil {
				s.refuse(fmt.Errorf("an element of a set cannot be decoded again: %w", err))
			}
		}
		s.in.put(raw, raw, e)
		if _, back := s.removed[raw]; back {
			delete(s.removed, raw)
			continue
		}
		if s.added == nil {
			s.added = make(map[codec.Raw]struct{})
		}
		s.added[raw] = struct{}{}
	}
}

func (s *elements[E]) remove(elements []E) {
	c := s.codec()
	for _, e := range elements {
		ours, err := c.Encode(e)
		if err != nil { // nothing of that sort can be in here
			continue
		}
		for {
			raw, value, there := s.in.find(ours)
			if !there {
				break
			}
			s.change()
			s.in.drop(raw)
			if _, made := s.added[raw]; made {
				delete(s.added, raw)
				continue
			}
			if s.removed == nil {
				s.removed = make(map[codec.Raw]member[E])
			}
			s.removed[raw] = member[E]{ours, value}
		}
	}
}

func (s *elements[E]) clear() {
	if len(s.in.at) == 0 {
		return
	}
	s.change()
	if !s.cleared {
		s.undo()
		s.cleared, s.before = true, s.in
	}
	s.in, s.added, s.removed = index[E]{}, nil, nil
}

// undo takes back what was done one by one.
func (s *elements[E]) undo() {
	for raw := range s.added {
		s.in.drop(raw)
	}
	for raw, m := range s.removed {
		s.in.put(raw, m.ours, m.value)
	}
}

func (s *elements[E]) revert() {
	if s.cleared {
		s.in = s.before
	} else {
		s.undo()
	}
	s.settle()
}

func (s *elements[E]) settle() {
	s.added, s.removed, s.cleared, s.before, s.dirty = nil, nil, false, index[E]{}, false
}

func (s *elements[E]) has(e E) bool {
	raw, err := s.codec().Encode(e)
	_, _, there := s.in.find(raw)
	return err == nil && there
}

func (s *elements[E]) all() iter.Seq[E] {
	return func(yield func(E) bool) {
		c := s.codec()
		for _, raw := range s.in.sorted(c.Compare) {
			e, there := s.in.at[raw]
			if !there { // it was removed by the loop
				continue
			}
			if !c.Shared {
				e, _ = c.Decode(raw) // which has succeeded before
			}
			if !yield(e) {
				return
			}
		}
	}
}

// take adds elements that others have added.
func (s *elements[E]) take(added []*anypb.Any) error {
	c, err := codec.ElementOf[E](elementName)
	if err != nil {
		return err
	}
	for _, a := range added {
		raw := codec.RawOf(a)
		ours, e, err := respell(c, raw)
		if err != nil {
			return fmt.Errorf("decode an element of a set: %w", err)
		}
		s.in.put(raw, ours, e)
	}
	return nil
}

// list is the whole set.
func (s *elements[E]) list() (all []*anypb.Any) {
	return payloads(s.in.at, s.codec().Compare)
}

// wrong says what is wrong with the type of elements.
func wrong[E any](name, what string) []error {
	c, err := codec.ElementOf[E](name)
	if err == nil {
		err = c.Stable()
	}
	if err != nil {
		return []error{fmt.Errorf("%s: %w", what, err)}
	}
	return nil
}
