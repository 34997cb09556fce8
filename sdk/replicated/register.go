package replicated

import (
	"fmt"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Register holds one value: of several that are set at the same time, the one with the greatest clock stays (Cloudstate's
// LWWRegister). V is a plain Go type, which travels as a primitive or as JSON, or a pointer to a generated protobuf
// message.
type Register[V any] struct {
	node
	raw, before codec.Raw // the zero Raw for no value
	pending     bool
	clock       Clock
}

// Clock decides which of several values stays. The zero Clock is the time of the node: the last one stays.
type Clock struct {
	kind   pb.CrdtClock
	custom int64
}

// ReverseClock lets the first value stay.
func ReverseClock() Clock { return Clock{kind: pb.CrdtClock_REVERSE} }

// CustomClock lets the value with the greatest number stay. A value with a smaller number than the register's is set,
// and replaced by the register's after the turn.
func CustomClock(n int64) Clock { return Clock{pb.CrdtClock_CUSTOM, n} }

// AutoIncrementClock is a CustomClock that counts on from the register's number where n is not greater.
func AutoIncrementClock(n int64) Clock { return Clock{pb.CrdtClock_CUSTOM_AUTO_INCREMENT, n} }

// Set replaces the value, by the time of the node. The value is copied at once. One that cannot be encoded ends the turn:
// the caller gets InvalidArgument.
func (r *Register[V]) Set(v V) { r.SetAt(v, Clock{}) }

// SetAt replaces the value, by a clock. A register's clocks should all be of one kind.
func (r *Register[V]) SetAt(v V, clock Clock) {
	c, err := r.codec()
	if err != nil {
		r.refuse(err)
	}
	raw, err := c.Encode(v)
	if err != nil {
		r.refuse(sdk.Errorf(sdk.CodeInvalidArgument, "encode the register's value: %w", err))
	}
	r.change()
	if !r.pending {
		r.before = r.raw
	}
	r.raw, r.clock, r.pending = raw, clock, true
}

// Value is a copy of the value: the zero V, or an empty message, if there is none.
func (r *Register[V]) Value() V {
	c, err := r.codec()
	if err != nil {
		r.refuse(err)
	}
	v, err := r.decode(c, r.raw)
	if err != nil {
		r.refuse(err)
	}
	return v
}

// Exists says whether a value was ever set.
func (r *Register[V]) Exists() bool { return r.raw != codec.Raw{} }

func (r *Register[V]) codec() (*codec.Element[V], error) { return codec.ElementOf[V](valueName) }

func (r *Register[V]) decode(c *codec.Element[V], raw codec.Raw) (v V, err error) {
	if raw == (codec.Raw{}) {
		return c.Zero()
	}
	if v, err = c.Decode(raw); err != nil {
		return v, fmt.Errorf("decode the register's value: %w", err)
	}
	return v, nil
}

func (*Register[V]) fresh() Data { return new(Register[V]) }

func (r *Register[V]) problems(int) []error {
	if _, err := (*Register[V])(nil).codec(); err != nil {
		return []error{fmt.Errorf("a register's value: %w", err)}
	}
	return nil
}

func (r *Register[V]) empty() *pb.CrdtDelta { return registerDelta(codec.Raw{}, Clock{}) }
func (r *Register[V]) value() *pb.CrdtDelta { return registerDelta(r.raw, Clock{}) }

func (r *Register[V]) delta() *pb.CrdtDelta {
	if !r.pending {
		return nil
	}
	return registerDelta(r.raw, r.clock)
}

func (r *Register[V]) apply(d *pb.CrdtDelta) error {
	x, ok := d.GetDelta().(*pb.CrdtDelta_Lwwregister)
	if !ok {
		return otherKind(d, "LWWRegister")
	}
	c, err := r.codec()
	if err != nil {
		return err
	}
	raw := codec.RawOf(x.Lwwregister.GetValue())
	if _, err := r.decode(c, raw); err != nil {
		return err
	}
	r.raw = raw
	return nil
}

func (r *Register[V]) settle() { r.before, r.pending, r.dirty = codec.Raw{}, false, false }

func (r *Register[V]) revert() {
	if r.pending {
		r.raw = r.before
	}
	r.settle()
}

func registerDelta(raw codec.Raw, c Clock) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Lwwregister{Lwwregister: &pb.LWWRegisterDelta{
		Value: raw.Any(), Clock: c.kind, CustomClockValue: c.custom,
	}}}
}
