package crdt

// Writer is the identity under which this process writes to one entity. It belongs to the goroutine that owns the entity.
type Writer struct {
	Slot  Slot
	Epoch Epoch
	// Last number that was given to an event. It must never go back while the epoch is held: an entity that left memory
	// is taken up again with the number it had.
	Last uint32
	// Pending is the first number of which nothing has left this process yet, in a delta, a full state or a cell: a nested
	// counter may still add to such an event instead of making a new one. Zero says that everything has left. Whoever
	// lets anything out sets it to Last+1.
	Pending uint32
	// Now is the time in milliseconds since 1970, for registers and deletion. Nil means always zero.
	Now func() int64
	// Gone says whose events may yet be sealed by somebody who has not seen them: what is to be there and rests on nothing
	// else is written again. Nil says that there are none, or that the write need not outlive them.
	Gone func(Slot, Epoch) bool
	// Limits of what is written.
	Limits Limits
	// Scratch, unless nil, is where Apply makes its delta, which is then valid until the next Apply with the same Scratch.
	// The writers of one goroutine can share it: it saves memory for those who join each delta into another one at once.
	Scratch *Scratch
}

func (w *Writer) now() int64 {
	if w.Now == nil {
		return 0
	}
	return w.Now()
}

// Member is who holds a slot.
type Member struct {
	Slot  Slot
	Epoch Epoch
}

// Members are those against whom votes are counted. They are not changed once they are given away.
type Members struct {
	// Self is this process. It counts as a voter only if it is live.
	Self Member
	// Live are all who hold a slot at present, Self included, each slot once, in any order.
	Live []Member
}
