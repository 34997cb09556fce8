package crdt

// Scratch is memory in which Apply makes deltas, one after another. The zero Scratch is ready for use.
type Scratch struct {
	count countDelta
	elem  elemDelta
}

type countDelta struct {
	Delta
	one [1]count
}

type elemDelta struct {
	Delta
	body body
	one  [1]elem
}

func (w *Writer) countDelta() *countDelta {
	if w.Scratch == nil {
		return &countDelta{}
	}
	w.Scratch.count = countDelta{}
	return &w.Scratch.count
}

func (w *Writer) elemDelta() *elemDelta {
	if w.Scratch == nil {
		return &elemDelta{}
	}
	w.Scratch.elem = elemDelta{}
	return &w.Scratch.elem
}
