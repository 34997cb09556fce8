package crdt

// Slot numbers a member among those that write at the same time. It is less than MaxSlots.
type Slot uint16

// Epoch numbers the holders of a slot one after another. It is less than MaxEpochs.
type Epoch uint32

// The limits of slots and epochs: what fits into a Dot.
const (
	MaxSlots  = 1 << 12
	MaxEpochs = 1 << 20
)

// Dot names one event of one writer: the slot in the upper 12 bits, the epoch in the next 20, and the writer's number of
// the event in the entity, from 1, in the lower 32. Dots are ordered by slot, epoch and number.
type Dot uint64

// MakeDot packs a Dot.
func MakeDot(s Slot, e Epoch, n uint32) Dot { return Dot(s)<<52 | Dot(e)<<32 | Dot(n) }

// Slot of the writer.
func (d Dot) Slot() Slot { return Slot(d >> 52) }

// Epoch of the writer.
func (d Dot) Epoch() Epoch { return Epoch(d >> 32 & (MaxEpochs - 1)) }

// N is the number of the event.
func (d Dot) N() uint32 { return uint32(d) }
