package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
)

func TestLossDupReorderConverges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	var counts, sets []*simStream
	for _, n := range c.nodes {
		counts, sets = append(counts, c.open(n, "count")), append(sets, c.open(n, "set"))
	}
	c.faults = simFaults{drop: 0.4, duplicate: 0.3, askLoss: 0.3, delay: 300 * time.Millisecond}
	for i := range 200 {
		c.write(counts[i%4], plus(1), replica.Local)
		c.write(sets[i%4], add(fmt.Sprint("e", i)), replica.Local)
		if i%7 == 0 {
			c.write(sets[i%4], remove(fmt.Sprint("e", i)), replica.Local)
		}
		c.runFor(c.some(40 * time.Millisecond))
	}
	c.runFor(60 * time.Second)
	c.equal(counts...)
	c.equal(sets...)
	if got := counts[2].value().Increment; got != 200 {
		t.Errorf("the counter is %d", got)
	}
	if got := len(sets[1].elements()); got != 200-29 {
		t.Errorf("the set has %d elements", got)
	}
}

func TestAsymmetricPartitionHeals(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) { c.RingBytes = 200 })
	var sts []*simStream
	for _, n := range c.nodes {
		sts = append(sts, c.open(n, "set"))
	}
	c.cut(0, 1)
	c.cut(2, 0)
	for i := range 60 {
		c.write(sts[i%3], add(fmt.Sprint("e", i)), replica.Local)
		c.runFor(30 * time.Millisecond)
	}
	clear(c.severed)
	c.runFor(30 * time.Second)
	c.equal(sts...)
	if got := len(sts[0].elements()); got != 60 {
		t.Errorf("%d elements", got)
	}
}

func TestGapNackThenDigest(t *testing.T) {
	t.Parallel()
	for _, ring := range []int{1 << 20, 2} {
		c := newCluster(t, 2, func(c *Config) { c.RingBytes, c.Round = ring, time.Hour })
		a, b := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set")
		c.write(a, add("before"), replica.Local)
		c.runFor(time.Second)
		c.faults.drop = 1
		for i := range 20 {
			c.write(a, add(fmt.Sprint("e", i)), replica.Local)
			c.runFor(50 * time.Millisecond)
		}
		c.faults.drop = 0
		clear(c.kinds)
		c.write(a, add("after"), replica.Local)
		c.runFor(5 * time.Second)
		c.equal(a, b)
		if c.kinds[askPull] == 0 {
			t.Errorf("ring of %d: nobody asked for what was missing", ring)
		}
		if digests := c.kinds[askDigest]; (digests > 0) != (ring == 2) {
			t.Errorf("ring of %d: %d digests", ring, digests)
		}
	}
}

func TestDigestFindsKillOnlyDifference(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Heartbeats = 0 })
	a, b := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set")
	c.write(a, add("x", "y"), replica.Local)
	c.runFor(time.Second)
	a.flush()
	c.faults.drop = 1
	c.write(a, remove("x"), replica.Local)
	c.runFor(500 * time.Millisecond)
	c.faults.drop = 0
	// Without the batches, so that nothing but the digests can tell.
	c.nodes[0].parts[a.part()].ring.clear()
	c.runFor(10 * time.Second)
	c.equal(a, b)
	if got := b.elements(); len(got) != 1 || got[0] != "y" {
		t.Errorf("left are %q", got)
	}
}

// A digest must be of what is there, not of how often something happened.
func TestEqualCountsDifferentStateDetected(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Heartbeats = 0 })
	a, b := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set")
	c.faults.drop = 1
	c.write(a, add("x"), replica.Local)
	c.write(b, add("y"), replica.Local)
	c.runFor(500 * time.Millisecond)
	c.faults.drop = 0
	c.nodes[0].parts[a.part()].ring.clear()
	c.nodes[1].parts[a.part()].ring.clear()
	c.runFor(15 * time.Second)
	c.equal(a, b)
	if got := b.elements(); len(got) != 2 {
		t.Errorf("there are %q", got)
	}
}

// After convergence the bus is silent: an origin repeats its number a few times and then holds its peace. What remains are
// digest rounds, one question each, as long as entities are in memory.
func TestQuiescentClusterIsSilent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	var sts []*simStream
	for _, n := range c.nodes {
		sts = append(sts, c.open(n, "set"))
	}
	for i, st := range sts {
		c.write(st, add(fmt.Sprint(i)), replica.All)
	}
	c.runFor(30 * time.Second)
	c.equal(sts...)
	c.published, c.asked = 0, 0
	clear(c.kinds)
	changes := c.last
	c.runFor(time.Minute)
	if c.published > 0 {
		t.Errorf("%d batches were published", c.published)
	}
	if c.kinds[askDigest] == 0 || c.asked != c.kinds[askDigest] {
		t.Errorf("questions: %v", c.kinds)
	}
	if c.asked > 3*60*2 {
		t.Errorf("%d digest rounds in a minute", c.asked)
	}
	if c.last != changes {
		t.Errorf("%d cells were changed", c.last-changes)
	}
}

func TestRestartStormBoundedRepair(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 5, func(c *Config) { c.Loads = 2 })
	const entities = 40
	for i := range entities {
		c.sure2(c.write(c.open(c.nodes[0], fmt.Sprint("set-", i)), add("x"), replica.Majority))
	}
	for _, n := range c.live() {
		n.die()
	}
	for place := range 5 {
		n := c.begin(place)
		for i := range entities {
			n.user.open(fmt.Sprint("set-", i))
		}
	}
	clear(c.kinds)
	c.asked = 0
	for range 2000 {
		c.runFor(10 * time.Millisecond)
		for _, n := range c.live() {
			for _, p := range n.parts {
				if p.loads.running > 2 {
					t.Fatalf("%d loads at once", p.loads.running)
				}
			}
		}
	}
	for _, n := range c.live() {
		for i := range entities {
			if st := n.user.streams[fmt.Sprint("set-", i)]; st == nil || len(st.elements()) != 1 {
				t.Fatalf("entity %d is not back on node %d", i, n.place)
			}
		}
	}
	// Everybody asks everybody once about every entity; what comes on top is rounds.
	if most := entities*5*4 + 5*20*4*4; c.asked > most {
		t.Errorf("%d questions, at most %d are in order: %v", c.asked, most, c.kinds)
	}
}

// sure2 waits for a write first.
func (c *cluster) sure2(p *promise) {
	c.t.Helper()
	for range 200 {
		if p.done {
			break
		}
		c.runFor(10 * time.Millisecond)
	}
	c.sure(p)
}

func TestOverflowDropsToRepairNotMemory(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Parked, c.Ahead = 4, 4 })
	a := c.open(c.nodes[0], "set")
	// The other node is loading the entity for a long time, while deltas pour in.
	c.faults.storeDelay = 3 * time.Second
	c.nodes[1].user.open("set")
	c.runFor(50 * time.Millisecond)
	b := c.nodes[1].user.streams["set"]
	p := c.nodes[1].parts[a.part()]
	for i := range 50 {
		c.write(a, add(fmt.Sprint("e", i)), replica.Local)
		c.runFor(20 * time.Millisecond)
		if r := p.residents[refOf("set")]; len(r.parked) > 4 {
			t.Fatalf("%d deltas wait", len(r.parked))
		}
		for _, o := range p.origins {
			if len(o.ahead) > 4 {
				t.Fatalf("%d batches are ahead", len(o.ahead))
			}
		}
	}
	if b.replica != nil {
		t.Fatal("the entity was loaded at once, so that nothing had to wait")
	}
	c.faults.storeDelay = 0
	c.runFor(30 * time.Second)
	c.equal(a, b)
	if got := len(b.elements()); got != 50 {
		t.Errorf("%d elements", got)
	}
}
