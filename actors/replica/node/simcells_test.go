package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// simCells are the journal's cells as one coroutine sees them.
type simCells struct {
	n *simNode
	// yield true waits for what happens in the journal, false for its answer to come.
	yield func(remote bool) bool
	// sure is for whoever looks from outside.
	sure bool
}

var errSim = errors.New("the journal is away")

// call goes to the journal, does f there and comes back; either way may fail.
func (c *simCells) call(f func()) error {
	s := c.n.sim
	if c.sure {
		f()
		return nil
	}
	if !c.yield(true) || c.n.storeCut {
		return errSim
	}
	if s.chance(s.faults.putError) {
		if s.chance(0.5) {
			f()
		}
		if !c.yield(false) {
			return errSim
		}
		return errSim
	}
	f()
	if !c.yield(false) {
		return errSim
	}
	return nil
}

func (c *simCells) Cell(_ context.Context, key string) (cell journal.Cell, err error) {
	err = c.call(func() { cell = c.n.sim.cells[key] })
	cell.Key = key
	return cell, err
}

func (c *simCells) Cells(_ context.Context, prefix, after string, limit int) (cells []journal.Cell, err error) {
	err = c.call(func() {
		for key, cell := range c.n.sim.cells {
			if cell.Version > 0 && strings.HasPrefix(key, prefix) && key > after {
				cells = append(cells, cell)
			}
		}
		slices.SortFunc(cells, func(a, b journal.Cell) int { return strings.Compare(a.Key, b.Key) })
		if most := 3; len(cells) > most {
			cells = cells[:most] // what a back end may do
		}
	})
	if err != nil {
		cells = nil
	}
	return cells, err
}

func (s *sim) put(c journal.Cell) (int64, error) {
	if s.chance(s.faults.conflict) {
		return 0, fmt.Errorf("%s: %w", c.Key, journal.ErrConflict)
	}
	if now := s.cells[c.Key]; now.Version != c.Version {
		return 0, fmt.Errorf("%s: %w", c.Key, journal.ErrConflict)
	}
	s.last++
	s.cells[c.Key] = journal.Cell{Key: c.Key, Value: slices.Clone(c.Value), Version: s.last}
	return s.last, nil
}

func (c *simCells) Put(_ context.Context, cell journal.Cell) (version int64, err error) {
	var conflict error
	if err := c.call(func() { version, conflict = c.n.sim.put(cell) }); err != nil {
		return 0, err
	}
	return version, conflict
}

func (c *simCells) PutEach(_ context.Context, cells []journal.Cell) (results []journal.PutResult, err error) {
	err = c.call(func() {
		for _, cell := range cells {
			v, err := c.n.sim.put(cell)
			results = append(results, journal.PutResult{Version: v, Err: err})
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (c *simCells) Remove(_ context.Context, key string, version int64) (err error) {
	var conflict error
	if err := c.call(func() {
		if c.n.sim.cells[key].Version != version {
			conflict = journal.ErrConflict
			return
		}
		delete(c.n.sim.cells, key)
	}); err != nil {
		return err
	}
	return conflict
}

// The rest makes it a Membership, of which only Confirm is for coroutines.

func (c *simCells) Standing() Standing            { panic("not here") }
func (c *simCells) Changed() <-chan struct{}      { panic("not here") }
func (c *simCells) Refresh(context.Context) error { panic("not here") }

func (c *simCells) Confirm(_ context.Context, self slot.Member) error {
	held := false
	if err := c.call(func() { held = c.n.sim.seats.holds(c.n, self) }); err != nil {
		return err
	}
	if !held || c.n.standing.Self != self || !c.n.standing.writable() {
		return slot.ErrLost
	}
	return nil
}
