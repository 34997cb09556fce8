package node

import (
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

func tally(key string, n int64) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORMap, Put: []crdt.Entry{{Key: keyOf(key), Update: &crdt.Update{Kind: crdt.PNCounter, Change: n}}}}
}

func (st *simStream) tallies() map[string]int64 {
	all := map[string]int64{}
	for _, e := range st.value().Put {
		all[keyText(e.Key)] = e.Update.Change
	}
	return all
}

// Counters in a map stay small without ever being folded by force, and a removal takes exactly what it has seen: each
// increment is a digit of its own, which is there in the end unless somebody removed it who had seen it.
func TestNestedCountersStayBoundedAndExact(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		settled := 0
		c := newCluster(t, 3, func(c *Config) {
			c.Segments, c.Round, c.IdleTime = 4, time.Second, 300*time.Millisecond
			c.Observer.Settled = func(actors.Ref) { settled++ }
		})
		c.random.Uint64()
		for range seed {
			c.random.Uint64()
		}
		c.faults = simFaults{drop: 0.1, duplicate: 0.1, askLoss: 0.02, delay: 100 * time.Millisecond}
		names := []string{"a", "b", "c"}
		digits, gone := map[string]int{}, map[string]int64{}
		const writes = 420
		for i := range writes {
			n := c.nodes[c.random.IntN(3)]
			st := c.open(n, "map-x")
			c.write(st, tally("bulk", 1), replica.Local)
			key := names[c.random.IntN(len(names))]
			switch x := c.random.IntN(10); {
			case x < 4 && digits[key] < 61:
				c.write(st, tally(key, 1<<digits[key]), replica.Local)
				digits[key]++
			case x == 4:
				st.flush()
				gone[key] |= st.tallies()[key]
				c.write(st, &crdt.Update{Kind: crdt.ORMap, Removed: []crdt.Key{keyOf(key)}}, replica.Local)
			case x == 5 && i%3 == 0: // it leaves memory, and comes back
				st.close()
			}
			c.runFor(c.some(60 * time.Millisecond))
		}
		c.faults = simFaults{delay: 5 * time.Millisecond}
		c.runFor(30 * time.Second)
		var sts []*simStream
		for _, n := range c.nodes {
			sts = append(sts, c.open(n, "map-x"))
		}
		c.runFor(10 * time.Second)
		c.equal(sts...)
		got := sts[0].tallies()
		if got["bulk"] != writes {
			t.Errorf("seed %d: %d writes count as %d", seed, writes, got["bulk"])
		}
		for _, key := range names {
			if want := (int64(1)<<digits[key] - 1) &^ gone[key]; got[key] != want {
				t.Errorf("seed %d: %s is %b, want %b", seed, key, got[key], want)
			}
		}
		for _, st := range sts {
			if n := st.resident().state.ForcedFolds(); n > 0 {
				t.Errorf("seed %d: %d counters were folded by force", seed, n)
			}
			if n := st.resident().state.Size(); n > 2500 {
				t.Errorf("seed %d: the map has %d bytes", seed, n)
			}
		}
		if settled == 0 {
			t.Errorf("seed %d: nothing was folded", seed)
		}
		if t.Failed() {
			return
		}
		t.Logf("seed %d: %d folds, %d bytes", seed, settled, sts[0].resident().state.Size())
	}
}

// A single node folds without asking.
func TestSingleNodeFoldsNestedCounters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	for _, p := range c.nodes[0].parts {
		p.single = true
	}
	st := c.open(c.nodes[0], "map-x")
	for range 300 {
		c.write(st, tally("k", 1), replica.Local)
		c.runFor(30 * time.Millisecond)
	}
	c.runFor(time.Second)
	if e := st.resident().state; e.ForcedFolds() > 0 || st.tallies()["k"] != 300 || e.Size() > 2000 {
		t.Errorf("%d forced folds, %d counted, %d bytes", e.ForcedFolds(), st.tallies()["k"], e.Size())
	}
}
