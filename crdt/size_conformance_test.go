package crdt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// A delta of one element is as long, takes as much memory to join and, as far as a machine that others use can tell, as
// much time, whatever the set has.
func TestHundredThousandElementsDeltaIndependentOfSize(t *testing.T) {
	// Not parallel: it takes times.
	type cost struct {
		bytes  int
		allocs float64
		time   time.Duration
	}
	measure := func(elements int) cost {
		a, b := crdttest.NewNode(t, crdt.ORSet, 0, 1), crdttest.NewNode(t, crdt.ORSet, 1, 1)
		var keys []crdt.Key
		for i := range elements {
			keys = append(keys, crdttest.Element(fmt.Sprint("element-", i)))
		}
		a.Say(&crdt.Update{Kind: crdt.ORSet, Added: keys})
		full := a.Entity.Full()
		if _, err := b.Entity.Join(full, nil); err != nil {
			t.Fatal(err)
		}

		best := cost{time: time.Hour}
		next := 0
		for range 20 {
			var said []*crdt.Delta
			var names []string
			for range 202 {
				next++
				names = append(names, fmt.Sprintf("new-%09d", next))
				said = append(said, a.Say(add(names[len(names)-1])))
			}
			best.bytes = len(said[0].AppendBinary(nil))
			join := func(d *crdt.Delta) {
				if _, err := b.Entity.Join(d, nil); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			for _, d := range said[:100] {
				join(d)
			}
			best.time = min(best.time, time.Since(began)/100)
			said = said[100:]
			best.allocs = testing.AllocsPerRun(100, func() { join(said[0]); said = said[1:] })
			// And away again, so that the set stays as great as it is.
			a.Hear(b.Say(remove(names...)))
		}

		return best
	}

	few, many := measure(100), measure(100_000)
	t.Logf("joining one element: 100 elements: %+v, 100,000 elements: %+v", few, many)
	if many.bytes > few.bytes+4 { // for a greater number
		t.Errorf("a delta of one element takes %d bytes, and %d in a set of 100,000", few.bytes, many.bytes)
	}
	if many.allocs > few.allocs+1 {
		t.Errorf("joining one element allocates %v times, and %v times in a set of 100,000", few.allocs, many.allocs)
	}
	// The bench tests have the exact ratio, on a quiet machine. This is about things that go through the whole set.
	if many.time > 20*few.time {
		t.Errorf("joining one element takes %v, and %v in a set of 100,000", few.time, many.time)
	}
	if overhead := few.bytes - len("new-000000000") - len(crdttest.TypeURL); overhead > 24 {
		t.Errorf("a delta of one element takes %d bytes more than the element", overhead)
	}
}
