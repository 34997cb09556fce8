package crdt_test

import (
	"slices"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// brings says whether a process sees to it that what it knows lasts. The removal of what was sealed out does not find what
// that is moved to, so nobody does but its writer.
func (w *world) brings(p crdt.Member, what *written) bool {
	if what.by == p || !what.removes {
		return true
	}
	for _, other := range w.writes {
		if other.element == what.element && !other.removes {
			return !other.out
		}
	}

	return true
}

// safe takes note that nothing may be lost of what a process knows. What a sealed epoch wrote and the seal did not have is
// its owner's to bring.
func (w *world) safe(p *process) {
	for what := range p.knows {
		if (what.by.Epoch > w.sealed[what.by.Slot] || what.by == p.Origin()) && w.brings(p.Origin(), what) {
			what.durable = true
		}
	}
}

// through is the receipt that closed an epoch: the first one that reaches it.
func (w *world) through(m crdt.Member) crdt.Epoch {
	for _, r := range w.receipts {
		if r.Slot == m.Slot && r.Through >= m.Epoch {
			return r.Through
		}
	}

	return 0
}

// end lets everybody who runs flush, and looks at what is in the store.
func (w *world) end() {
	for range 3 {
		for _, p := range slices.Clone(w.running) {
			w.flush(p)
		}
	}
	for i, p := range w.running { // a process that never got a slot is one that crashed
		if !p.zombie {
			p.Hear(w.store.Full())
			if got, want := encoded(p.Entity), encoded(w.store); got != want && w.wrong == right {
				w.t.Errorf("process %d and the store differ:\n%x\n%x", i, got, want)
			}
		}
	}
	if w.store.Kind() == 0 {
		return
	}
	value, err := crdttest.PlainOf(w.store.Value(nil))
	if err != nil {
		w.t.Fatal(err)
	}

	removed := make(map[string]bool) // by anybody, durably
	for _, what := range w.writes {
		if what.removes {
			removed[what.element] = removed[what.element] || what.durable
		}
	}
	for _, what := range w.writes {
		durably, tried := removed[what.element]
		_, there := value.Elements[crdttest.Element(what.element)]
		digit := value.Count >> (2 * what.digit) & 3
		switch {
		case what.removes:
		case w.kind == crdt.GCounter:
			if digit == 0 && what.durable {
				w.lostDurable++
			}
			if digit > 1 {
				w.twice++
			}
		case there && durably:
			w.back++
		case !there && what.durable && !tried:
			w.lostDurable++
		}
	}
}
