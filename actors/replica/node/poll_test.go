package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
)

// isolate severs everybody from everybody; the journal stays.
func (c *cluster) isolate() {
	for a := range c.nodes {
		for b := range c.nodes {
			if a != b {
				c.cut(a, b)
			}
		}
	}
}

// Without bus and peers the copies converge through the journal, and stop reading it when the others are back.
func TestConvergesThroughJournal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) { c.Poll, c.PollEntities = 500*time.Millisecond, 2 })
	names := []string{"set-1", "set-2", "set-3", "set-4", "set-5", "set-6", "set-7", "set-8"}
	sts := map[string][]*simStream{}
	for _, n := range c.nodes {
		for _, name := range names {
			sts[name] = append(sts[name], c.open(n, name))
		}
	}
	c.runFor(20 * time.Second)
	if n := c.loads; true {
		c.runFor(20 * time.Second)
		if c.loads != n {
			t.Errorf("at rest, with everybody in reach, the journal is read %d times", c.loads-n)
		}
	}
	c.isolate()
	for minute := range 3 {
		for i := range c.nodes {
			for _, name := range names {
				c.write(sts[name][i], add(fmt.Sprint("e", minute, i)), replica.Local)
			}
			c.runFor(time.Second)
		}
		before := c.loads
		c.runFor(20 * time.Second)
		if n := c.loads - before; n > 3*2*2*2*20+20 {
			t.Errorf("the journal is read %d times in 20 seconds", n)
		}
		for _, name := range names {
			c.equal(sts[name]...)
			if got := sts[name][0].elements(); len(got) != 3*(minute+1) {
				t.Fatalf("%s has %q in minute %d", name, got, minute)
			}
		}
		c.runFor(40 * time.Second)
	}
	clear(c.severed)
	c.runFor(20 * time.Second)
	before := c.loads
	c.runFor(20 * time.Second)
	if c.loads != before {
		t.Errorf("the others are back, and the journal is still read %d times", c.loads-before)
	}
}

// A bus that takes nothing does not hold up writes that the others can confirm directly, not even the second one.
func TestConfirmedWithoutBus(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		c := newCluster(t, 3, nil)
		a := c.open(c.nodes[0], "set")
		b := c.open(c.nodes[1], "set")
		c.faults.publishError, c.hanging, c.faults.drop = 1, hangs, 1
		for i := range 10 {
			level := []replica.Level{replica.Majority, replica.All}[i%2]
			p := c.write(a, add(fmt.Sprint("e", i)), level)
			c.runFor(1500 * time.Millisecond)
			c.sure(p)
		}
		if got := b.elements(); len(got) != 10 {
			t.Errorf("the other one has %q", got)
		}
	}
}
