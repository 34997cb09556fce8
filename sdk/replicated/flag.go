package replicated

import (
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Flag is switched on once, by whoever comes first, and stays on.
type Flag struct {
	node
	on, pending bool
}

// Enable switches it on.
func (f *Flag) Enable() {
	if f.on {
		return
	}
	f.change()
	f.on, f.pending = true, true
}

// Enabled says whether it is on.
func (f *Flag) Enabled() bool { return f.on }

func (*Flag) fresh() Data            { return new(Flag) }
func (*Flag) problems(int) []error   { return nil }
func (f *Flag) empty() *pb.CrdtDelta { return flagDelta(false) }
func (f *Flag) value() *pb.CrdtDelta { return flagDelta(f.on) }

func (f *Flag) delta() *pb.CrdtDelta {
	if !f.pending {
		return nil
	}
	return flagDelta(true)
}

func (f *Flag) apply(d *pb.CrdtDelta) error {
	v, ok := d.GetDelta().(*pb.CrdtDelta_Flag)
	if !ok {
		return otherKind(d, "Flag")
	}
	f.on = f.on || v.Flag.GetValue()
	return nil
}

func (f *Flag) settle() { f.pending, f.dirty = false, false }

func (f *Flag) revert() {
	f.on = f.on && !f.pending
	f.settle()
}

func flagDelta(on bool) *pb.CrdtDelta {
	return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Flag{Flag: &pb.FlagDelta{Value: on}}}
}
