package replicated

import (
	"iter"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Set takes and loses elements (Cloudstate's ORSet). An element that one node adds while another removes it stays.
//
// Elements are plain Go types, which travel as primitives or as JSON, or pointers to generated protobuf messages. Two are
// the same if their encodings are: so an element's type should not hold more than what tells it from others.
type Set[E any] struct{ elements elements[E] }

// Add adds elements that are not there. One that cannot be encoded ends the turn: the caller gets InvalidArgument.
func (s *Set[E]) Add(elements ...E) { s.elements.add(elements) }

// Remove removes elements.
func (s *Set[E]) Remove(elements ...E) { s.elements.remove(elements) }

// Clear removes all elements that this node knows of.
func (s *Set[E]) Clear() { s.elements.clear() }

// Has says whether an element is in the set.
func (s *Set[E]) Has(e E) bool { return s.elements.has(e) }

// Len is the number of elements.
func (s *Set[E]) Len() int { return len(s.elements.in.at) }

// All yields the elements in an order that is the same on all nodes: that of texts and numbers, of others by their
// encoding. A loop may change the set, and sees what was there when it began.
func (s *Set[E]) All() iter.Seq[E] { return s.elements.all() }

func (s *Set[E]) place() *node         { return &s.elements.node }
func (*Set[E]) fresh() Data            { return new(Set[E]) }
func (*Set[E]) problems(int) []error   { return wrong[E](elementName, "a set's elements") }
func (s *Set[E]) empty() *pb.CrdtDelta { return setDelta(new(pb.ORSetDelta)) }
func (s *Set[E]) value() *pb.CrdtDelta { return setDelta(&pb.ORSetDelta{Added: s.elements.list()}) }
func (s *Set[E]) settle()              { s.elements.settle() }
func (s *Set[E]) revert()              { s.elements.revert() }

func (s *Set[E]) delta() *pb.CrdtDelta {
	x := &s.elements
	if !x.cleared && len(x.added) == 0 && len(x.removed) == 0 {
		return nil
	}
	compare := x.codec().Compare
	return setDelta(&pb.ORSetDelta{Cleared: x.cleared, Removed: payloads(x.removed, compare), Added: payloads(x.added, compare)})
}

func (s *Set[E]) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Orset)
	if !ok {
		return otherKind(d, "ORSet")
	}
	if v.Orset.GetCleared() {
		s.elements.in = index[E]{}
	}
	for _, r := range v.Orset.GetRemoved() {
		s.elements.in.drop(codec.RawOf(r))
	}
	return s.elements.take(v.Orset.GetAdded())
}

func setDelta(d *pb.ORSetDelta) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Orset{Orset: d}}
}

// GSet only takes elements. They are as those of Set.
type GSet[E any] struct{ elements elements[E] }

// Add adds elements that are not there. One that cannot be encoded ends the turn: the caller gets InvalidArgument.
func (s *GSet[E]) Add(elements ...E) { s.elements.add(elements) }

// Has says whether an element is in the set.
func (s *GSet[E]) Has(e E) bool { return s.elements.has(e) }

// Len is the number of elements.
func (s *GSet[E]) Len() int { return len(s.elements.in.at) }

// All yields the elements in the order of Set.All.
func (s *GSet[E]) All() iter.Seq[E] { return s.elements.all() }

func (s *GSet[E]) place() *node         { return &s.elements.node }
func (*GSet[E]) fresh() Data            { return new(GSet[E]) }
func (*GSet[E]) problems(int) []error   { return wrong[E](elementName, "a set's elements") }
func (s *GSet[E]) empty() *pb.CrdtDelta { return growDelta(new(pb.GSetDelta)) }
func (s *GSet[E]) value() *pb.CrdtDelta { return growDelta(&pb.GSetDelta{Added: s.elements.list()}) }
func (s *GSet[E]) settle()              { s.elements.settle() }
func (s *GSet[E]) revert()              { s.elements.revert() }

func (s *GSet[E]) delta() *pb.CrdtDelta {
	if len(s.elements.added) == 0 {
		return nil
	}
	return growDelta(&pb.GSetDelta{Added: payloads(s.elements.added, s.elements.codec().Compare)})
}

func (s *GSet[E]) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Gset)
	if !ok {
		return otherKind(d, "GSet")
	}
	return s.elements.take(v.Gset.GetAdded())
}

func growDelta(d *pb.GSetDelta) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gset{Gset: d}}
}
