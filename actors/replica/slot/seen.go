package slot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// Errors with which Group.Run returns.
var (
	// ErrRestored says that the journal went back in time.
	ErrRestored = errors.New("the journal's cells are older than they were; it was restored from a backup: " +
		"stop all components, rotate the cluster's id, and start them again")
	// ErrRotated says that the cluster's id has changed.
	ErrRotated = errors.New("the cluster's id has changed, because the journal was restored: start this component again")
)

// done tells what came of the last step.
func (c *core) done(s step, r result, now time.Time) {
	switch {
	case r.err != nil:
	case s.do == doRead:
		r.err = c.saw(s, r, now)
	case s.do == doLook:
		r.err = c.looked(s, r, now)
	}
	switch {
	case errors.Is(r.err, journal.ErrConflict):
		c.stale = true
		return
	case r.err != nil: // whether a Put took effect is for the next look to tell
		c.stale, c.retryAt = true, now.Add(c.ttl()/30)
		if c.fatal == nil {
			c.trouble = r.err
		}
		return
	}
	c.trouble = nil
	switch s.do {
	case doPut:
		c.didPut(s, r, now)
	case doView:
		c.group = groupCell{s.group, r.version}
		c.heard(c.group)
		if c.phase == taken {
			c.enter()
		}
	default:
	}
}

func (c *core) didPut(s step, r result, now time.Time) {
	c.cells[s.slot] = &sighting{record: s.record, version: r.version, since: now}
	// A renewal that came through when we were fenced already does not bring the epoch back.
	if s.record.Owner == "" || !s.take && c.phase == out || c.leaving {
		return
	}
	c.version, c.renewed = r.version, r.began
	if s.take {
		c.phase = taken
		c.mine = Member{Slot: s.slot, Epoch: s.record.Epoch, Address: c.self.Address, Features: c.self.Features}
	}
}

func (c *core) enter() { c.phase, c.problem, c.cluster = in, nil, c.group.ClusterUID }

// heard of a version of the group's cell, from whatever source.
func (c *core) heard(g groupCell) {
	if g.version > c.newest.version {
		c.newest = g
	}
	if c.newest.version > c.group.version {
		c.stale = true
	}
}

// saw takes in what was read. An error leaves everything as it was.
func (c *core) saw(s step, r result, now time.Time) error {
	g, err := decodeGroup(r.group)
	if err != nil {
		return err
	}
	if r.group.Version < s.floor || g.View < c.group.View {
		c.fail(ErrRestored)
		return c.fatal
	}
	if c.cluster != 0 && g.ClusterUID != c.cluster {
		c.fail(ErrRotated)
		return c.fatal
	}
	cells := make(map[crdt.Slot]*sighting, len(r.slots))
	var damage []error
	for _, cell := range r.slots {
		n, err := slotOf(strings.TrimPrefix(cell.Key, slotPrefix(c.name)))
		if err != nil {
			damage = append(damage, fmt.Errorf("read the cell %s: %w", cell.Key, err))
			continue
		}
		was, seen := c.cells[n], &sighting{version: cell.Version, since: now}
		if was != nil && cell.Version == was.version {
			seen = was
		} else {
			seen.record, seen.broken = decodeRecord(cell)
		}
		damage = append(damage, seen.broken)
		if was != nil && (cell.Version < was.version || seen.broken == nil && seen.Epoch < was.Epoch) {
			c.fail(ErrRestored)
			return c.fatal
		}
		cells[n] = seen
	}
	for n := range c.cells {
		if cells[n] == nil {
			c.fail(ErrRestored)
			return c.fatal
		}
	}
	c.group, c.cells, c.stale = groupCell{g, r.group.Version}, cells, false
	c.readAt, c.lookAt = now.Add(c.ttl()/3), now.Add(c.ttl()/15)
	c.damage = errors.Join(damage...)
	c.heard(c.group)
	c.judge()
	return nil
}

// looked at the group's cell. Whatever is new there is read again with the slots.
func (c *core) looked(s step, r result, now time.Time) error {
	g, err := decodeGroup(r.group)
	if err != nil {
		return err
	}
	c.lookAt = now.Add(c.ttl() / 15)
	if r.group.Version < s.floor {
		c.stale = true
		return nil
	}
	c.heard(groupCell{g, r.group.Version})
	return nil
}

// judge whether we still are what we were.
func (c *core) judge() {
	if c.phase == out {
		return
	}
	s := c.cells[c.mine.Slot]
	if s.Owner != c.self.Owner || s.Epoch != c.mine.Epoch {
		c.lose(errTaken)
		return
	}
	c.version = s.version
	member := c.group.has(c.mine)
	switch {
	case c.phase == taken && member:
		c.enter()
	case c.phase == in && !member:
		c.lose(errTaken)
	}
}

// fenced tells whether a slot's epoch is certainly over. What is not known is not.
func (c *core) fenced(n crdt.Slot, e crdt.Epoch) bool {
	s := c.cells[n]
	return s != nil && s.broken == nil && (s.Epoch > e || s.Epoch == e && s.Owner == "")
}
