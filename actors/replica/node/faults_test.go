package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// What arrives in the journal when the slot is gone confirms nothing: a sealer may have read before.
func TestLatePutConfirmsNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	n := c.nodes[0]
	cells := &simCells{n: n, sure: true}
	puts := []tailPut{
		{self: n.standing.Self, durable: true, cell: journal.Cell{Key: "a", Value: []byte("x")}},
		{self: n.standing.Self, cell: journal.Cell{Key: "b", Value: []byte("x")}},
	}
	c.seats.seats[n.standing.Self.Slot].node = nil
	_, errs := commitTails(context.Background(), cells, cells, puts)
	if !errors.Is(errs[0], slot.ErrLost) {
		t.Errorf("the write that somebody waits for: %v", errs[0])
	}
	if errs[1] != nil {
		t.Errorf("the one that nobody waits for: %v", errs[1])
	}
}

// When a member leaves, the others read what it stored and told nobody, and store what it told only them.
func TestDepartureIsCaughtUpFromJournal(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{true, false} {
		c := newCluster(t, 3, func(c *Config) {
			c.Round, c.Poll, c.Heartbeats, c.SealEpochs = time.Hour, time.Hour, 0, 1000
		})
		a, b, z := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set"), c.open(c.nodes[2], "set")
		c.sure2(c.write(a, add("known"), replica.All))
		c.cut(0, 2)
		if stored {
			c.cut(0, 1)
		} else {
			c.nodes[0].storeCut = true
		}
		c.write(a, add("late"), replica.Local)
		c.runFor(300 * time.Millisecond)
		c.nodes[0].die()
		c.runFor(15 * time.Second)
		if stored {
			c.equal(b, z)
			if got := b.elements(); len(got) != 2 {
				t.Errorf("what was stored and told nobody: there are %q", got)
			}
			continue
		}
		st, err := (&store{cells: &simCells{n: c.nodes[2], sure: true}}).load(context.Background(), refOf("set"))
		if err != nil || st.base == nil {
			t.Fatalf("there is no base: %v", err)
		}
		e := crdt.New(0)
		if _, err := e.Join(st.base, nil); err != nil {
			t.Fatal(err)
		}
		if v := e.Value(nil); len(v.Added) != 2 {
			t.Errorf("what was told one member is not stored: %s", describe(e))
		}
	}
}

// Who opens an entity sees at once what others have and the journal has not.
func TestOpenAsksWhoHostsIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) { c.Round, c.Heartbeats = time.Hour, 0 })
	a := c.open(c.nodes[0], "set")
	c.nodes[0].storeCut = true
	c.write(a, add("x"), replica.Local)
	c.runFor(200 * time.Millisecond)
	if got := c.open(c.nodes[1], "set").elements(); len(got) != 1 {
		t.Errorf("there are %q", got)
	}
}

// A backup of the journal is put back under running nodes, without the cluster being told. What would then be confirmed
// rests on what is lost: nothing is, and the node says why.
func TestNaiveSnapshotRestoreDetected(t *testing.T) {
	t.Parallel()
	var told []error
	c := newCluster(t, 2, func(c *Config) {
		c.TailBytes, c.Partitions = 1, 1
		c.Observer.Unloadable = func(_ actors.Ref, err error) { told = append(told, err) }
	})
	a, b := c.open(c.nodes[0], "set"), c.open(c.nodes[1], "set")
	for i := range 5 {
		c.sure2(c.write(a, add(fmt.Sprint("old", i)), replica.All))
		c.sure2(c.write(b, add(fmt.Sprint("also", i)), replica.All))
	}
	c.runFor(5 * time.Second)
	backup := maps.Clone(c.cells)
	for i := range 5 {
		c.sure2(c.write(a, add(fmt.Sprint("new", i)), replica.All))
		c.sure2(c.write(b, add(fmt.Sprint("more", i)), replica.All))
	}
	c.runFor(5 * time.Second)
	now := c.cells
	if now[baseKey(refOf("set"))].Version == backup[baseKey(refOf("set"))].Version {
		t.Fatal("there is no later base")
	}
	c.cells = backup
	told = nil
	p := c.write(a, add("unsafe"), replica.Majority)
	c.runFor(10 * time.Second)
	c.isUnconfirmed(p)
	if len(told) == 0 || actors.CodeOf(told[0]) != actors.Unavailable || !strings.Contains(told[0].Error(), "older state") {
		t.Errorf("the node says %v", told)
	}
	c.cells = now
	c.sure2(c.write(a, add("safe"), replica.Majority))
}
