package node

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// A process dies with writes that others know and the journal does not. Its successor must not use their names again.
func TestCrashBeforeFlushNeverReusesDot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	a, b := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set")
	c.nodes[0].storeCut = true
	for i := range 5 {
		c.write(a, add(fmt.Sprint("lost", i)), replica.Local)
	}
	c.runFor(200 * time.Millisecond)
	c.nodes[0].die()
	c.runFor(5 * time.Second)
	again := c.begin(0)
	c.runFor(time.Second)
	a = c.open(again, "set")
	for i := range 5 {
		c.write(a, add(fmt.Sprint("new", i)), replica.Local)
	}
	c.runFor(10 * time.Second)
	c.equal(a, b)
	for _, st := range []*simStream{a, b} {
		if got := len(st.elements()); got != 10 {
			t.Errorf("%d elements, want all 10: %q", got, st.elements())
		}
	}
}

// The journal gives an entity back as it was some time ago. To go on from there would count increments under old sums.
func TestStaleReadOnReactivationDetected(t *testing.T) {
	t.Parallel()
	for _, folded := range []bool{false, true} {
		c := newCluster(t, 1, func(c *Config) {
			c.IdleTime = time.Second
			if folded {
				c.TailBytes = 1
			}
		})
		n := c.nodes[0]
		a := c.open(n, "set")
		c.sure2(c.write(a, add("one"), replica.Majority))
		c.runFor(5 * time.Second)
		before := map[string]journal.Cell{}
		maps.Copy(before, c.cells)
		c.sure2(c.write(a, add("two"), replica.Majority))
		c.runFor(5 * time.Second)
		a.close()
		c.runFor(5 * time.Second)
		if n.parts[a.part()].all.len() > 0 {
			t.Fatal("the entity is still in memory")
		}
		now := c.cells
		c.cells = before
		var failure error
		n.input(a.part(), func(p *partition) {
			p.open(refOf("set"), &opener{nil, func(_ *handle, err error) { failure = err }})
		})
		c.runFor(time.Second)
		if actors.CodeOf(failure) != actors.Unavailable || !strings.Contains(failure.Error(), "older state") {
			t.Errorf("folded %v: opening from an old state: %v", folded, failure)
		}
		c.cells = now
		c.runFor(time.Second)
		if got := c.open(n, "set").elements(); len(got) != 2 {
			t.Errorf("folded %v: there are %q", folded, got)
		}
	}
}

func TestEvictDirtyForbidden(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, func(c *Config) { c.IdleTime, c.Partitions, c.Residents = time.Second, 1, 1 })
	n := c.nodes[0]
	a := c.open(n, "count")
	n.storeCut = true
	c.write(a, plus(7), replica.Local)
	a.close()
	c.runFor(1200 * time.Millisecond)
	if n.parts[0].residents[refOf("count")] == nil {
		t.Fatal("what the journal does not have has left memory")
	}
	// Nor is it pushed out by others.
	var failure error
	n.input(0, func(p *partition) {
		p.open(refOf("other"), &opener{nil, func(_ *handle, err error) { failure = err }})
	})
	if actors.CodeOf(failure) != actors.ResourceExhausted {
		t.Errorf("opening another one: %v", failure)
	}
	n.storeCut = false
	c.runFor(20 * time.Second)
	if n.parts[0].residents[refOf("count")] != nil {
		t.Fatal("it is still in memory, though the journal has it")
	}
	if got := c.open(n, "count").value().Increment; got != 7 {
		t.Errorf("it is %d", got)
	}
}

// A process that lost its slot goes on under another name, with what it had written and nobody else has.
func TestFencedProcessHandsOnItsWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	a, b := c.open(c.nodes[0], "count"), c.open(c.nodes[1], "count")
	c.cut(0, 1)
	c.nodes[0].storeCut = true
	c.write(a, plus(5), replica.Local)
	was := c.nodes[0].standing.Self
	c.nodes[0].pausedUntil = c.now.Add(2 * seatTTL)
	c.runFor(2*seatTTL + time.Second)
	if err := a.replica.Update(plus(1), replica.Local, nil); err == nil {
		t.Error("a process without a slot writes")
	}
	// It may still be read, also by somebody who comes when it has seen that its slot is gone.
	c.nodes[0].seat = nil
	c.nodes[0].stand(Standing{Cluster: 1, View: c.seats.view, Members: c.seats.members()})
	a.close()
	a = c.open(c.nodes[0], "count")
	if got := a.value().Increment; got != 5 {
		t.Errorf("a process without a slot reads %d", got)
	}
	if err := a.replica.Update(plus(1), replica.Local, nil); !errors.Is(err, replica.ErrReadOnly) {
		t.Errorf("a process without a slot writes to what it has just opened: %v", err)
	}
	clear(c.severed)
	c.nodes[0].storeCut = false
	c.runFor(20 * time.Second)
	if now := c.nodes[0].standing.Self; now == was || now.Epoch == 0 {
		t.Fatalf("it is %v, and was %v", now, was)
	}
	if !a.closed {
		t.Error("a user function that counted what was refused goes on with that")
	}
	a = c.open(c.nodes[0], "count")
	c.equal(a, b)
	if got := b.value().Increment; got != 5 || a.count != 5 {
		t.Errorf("it is %d, and the user function believes %d", got, a.count)
	}
	c.sure2(c.write(a, &crdt.Update{Kind: crdt.GCounter, Increment: 1}, replica.All))
}
