package replicated

import (
	"math"

	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Counter goes up and down (Cloudstate's PNCounter). All that anybody adds counts.
type Counter struct {
	node
	n, pending int64
}

// Add adds a number, which may be negative. A sum that no int64 holds ends the turn: the caller gets OutOfRange.
func (c *Counter) Add(n int64) {
	sum, pending := c.n+n, c.pending+n
	if n > 0 && (sum < c.n || pending < c.pending) || n < 0 && (sum > c.n || pending > c.pending) {
		c.tooFar()
	}
	c.change()
	c.n, c.pending = sum, pending
}

// Value is the sum.
func (c *Counter) Value() int64 { return c.n }

func (*Counter) fresh() Data          { return new(Counter) }
func (*Counter) problems(int) []error { return nil }
func (c *Counter) empty() *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Pncounter{Pncounter: new(pb.PNCounterDelta)}}
}

func (c *Counter) delta() *pb.CrdtDelta {
	if c.pending == 0 {
		return nil
	}
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Pncounter{Pncounter: &pb.PNCounterDelta{Change: c.pending}}}
}

func (c *Counter) value() *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Pncounter{Pncounter: &pb.PNCounterDelta{Change: c.n}}}
}

func (c *Counter) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Pncounter)
	if !ok {
		return otherKind(d, "PNCounter")
	}
	c.n += v.Pncounter.GetChange()
	return nil
}

func (c *Counter) settle() { c.pending, c.dirty = 0, false }

func (c *Counter) revert() {
	c.n -= c.pending
	c.settle()
}

// GCounter only grows.
type GCounter struct {
	node
	n, pending uint64
}

// Add adds a number. A sum that no uint64 holds ends the turn: the caller gets OutOfRange.
func (c *GCounter) Add(n uint64) {
	if n > math.MaxUint64-c.n {
		c.tooFar()
	}
	c.change()
	c.n, c.pending = c.n+n, c.pending+n
}

// Value is the sum.
func (c *GCounter) Value() uint64 { return c.n }

func (*GCounter) fresh() Data          { return new(GCounter) }
func (*GCounter) problems(int) []error { return nil }
func (c *GCounter) empty() *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gcounter{Gcounter: new(pb.GCounterDelta)}}
}

func (c *GCounter) delta() *pb.CrdtDelta {
	if c.pending == 0 {
		return nil
	}
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gcounter{Gcounter: &pb.GCounterDelta{Increment: c.pending}}}
}

func (c *GCounter) value() *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gcounter{Gcounter: &pb.GCounterDelta{Increment: c.n}}}
}

func (c *GCounter) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Gcounter)
	if !ok {
		return otherKind(d, "GCounter")
	}
	c.n += v.Gcounter.GetIncrement()
	return nil
}

func (c *GCounter) settle() { c.pending, c.dirty = 0, false }

func (c *GCounter) revert() {
	c.n -= c.pending
	c.settle()
}
