package replicated

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Data is what a replicated entity consists of: *Counter, *GCounter, *Set, *GSet, *Register, *Flag, *Vote, or a *Map with
// one of them in each entry. Nothing else implements it.
//
// The zero value of each type but Data itself is ready for use. Data is changed by its methods, in the turns of its
// entity alone and by one goroutine at a time: elsewhere they panic. Data that is in no entity may be changed anywhere.
type Data interface {
	place() *node
	// fresh makes empty data. It may be asked of nil.
	fresh() Data
	// problems says what cannot work about the type, save what is nested deeper than that.
	problems(deep int) []error
	// empty is the delta of a new entry without content.
	empty() *pb.CrdtDelta
	// delta is what was changed since it was settled, nil for nothing.
	delta() *pb.CrdtDelta
	// value is the whole of it, as a delta of empty data.
	value() *pb.CrdtDelta
	// apply takes what others changed. It must be settled.
	apply(d *pb.CrdtDelta) error
	// settle ends the changes by keeping them, revert by taking them back.
	settle()
	revert()
}

// maxNesting is how deep maps may be in maps.
const maxNesting = 8

// node is the place of data: in a map, in an entity, or nowhere.
type node struct {
	owner owner     // the map that it is in; nil for none
	key   codec.Raw // in owner
	guard *guard    // of the entity, if that is where it is
	dirty bool
	gone  bool // from owner
}

// owner is the map around data.
type owner interface {
	place() *node
	touched(key codec.Raw)
}

// guard says whether the data of an entity may be changed at the moment.
type guard struct {
	open    bool
	refused error // the first change of this turn that could not be made
}

func (n *node) place() *node { return n }

// change begins a change, or panics if there must be none.
func (n *node) change() {
	for p := n; ; p = p.owner.place() {
		if p.gone {
			n.refuse(errors.New("an entry was changed after its removal from the map"))
		}
		if p.guard != nil && !p.guard.open {
			n.refuse(errors.New("data was changed outside of a turn: only handlers bound by Handle, and Open and Done of a Watch, may do that"))
		}
		if p.owner == nil {
			break
		}
	}
	n.mark()
}

// mark tells the maps around.
func (n *node) mark() {
	if n.dirty {
		return
	}
	n.dirty = true
	if n.owner != nil {
		n.owner.touched(n.key)
		n.owner.place().mark()
	}
}

// refuse ends the turn by a panic, and keeps the reason in case that the handler recovers from it.
func (n *node) refuse(err error) {
	p := n
	for p.owner != nil {
		p = p.owner.place()
	}
	if p.guard != nil && p.guard.refused == nil {
		p.guard.refused = err
	}
	panic(err)
}

// tooFar refuses a change that would leave the range of numbers.
func (n *node) tooFar() {
	n.refuse(sdk.Errorf(sdk.CodeOutOfRange, "the counter would leave the range of its numbers"))
}

// otherKind is the error for a delta of data of another kind.
func otherKind(d *pb.CrdtDelta, want string) error {
	return fmt.Errorf("it is data of the kind %s, want %s", kindName(d), want)
}

func kindName(d *pb.CrdtDelta) string {
	switch d.GetDelta().(type) {
	case *pb.CrdtDelta_Gcounter:
		return "GCounter"
	case *pb.CrdtDelta_Pncounter:
		return "PNCounter"
	case *pb.CrdtDelta_Gset:
		return "GSet"
	case *pb.CrdtDelta_Orset:
		return "ORSet"
	case *pb.CrdtDelta_Lwwregister:
		return "LWWRegister"
	case *pb.CrdtDelta_Flag:
		return "Flag"
	case *pb.CrdtDelta_Ormap:
		return "ORMap"
	case *pb.CrdtDelta_Vote:
		return "Vote"
	default:
		return "that is not known"
	}
}

// zero makes empty data of type D, unless that is an interface or no type of this package.
func zero[D Data]() (d D, ok bool) {
	if any(d) == nil {
		return d, false
	}
	defer func() {
		if recover() != nil { // an embedded nil
			ok = false
		}
	}()
	d, ok = any(d.fresh()).(D)
	return d, ok
}

// none says that a function made no data.
func none(d Data) bool {
	if d == nil {
		return true
	}
	v := reflect.ValueOf(d)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

func typeName[T any]() string { return reflect.TypeFor[T]().String() }
