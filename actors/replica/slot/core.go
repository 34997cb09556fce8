package slot

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// core decides what a member does. It has no clock and does nothing itself: next says what is to be done, and done is told
// what came of it, one thing after the other. It is not safe for concurrent use.
type core struct {
	name  string // of the group
	self  record // what it writes into its slot, but for the epoch
	slots int    // how many there may be
	uid   func() uint64

	// What the journal was seen to say. View changes are made to group, which is never newer than slots: whose slot is not
	// among those is gone. newest is what others may have heard of, too.
	group, newest groupCell
	cells         map[crdt.Slot]*sighting
	stale         bool
	readAt        time.Time // when everything is read again,
	lookAt        time.Time // and when the group's cell alone: there it shows that somebody came or went

	phase   phase
	mine    Member
	version int64     // of our slot's cell
	renewed time.Time // beginning of the last Put of it that certainly succeeded
	cluster uint64    // that we have been a member of

	leaving bool
	retryAt time.Time
	fatal   error
	problem error // why it is no member
	trouble error // what came of the last step, if that was nothing
	damage  error // of cells that others do without
}

type groupCell struct {
	group
	version int64
}

// sighting of a slot's cell.
type sighting struct {
	record
	version int64
	since   time.Time // when the version was first seen
	broken  error
}

type phase uint8

const (
	out   phase = iota // no slot is ours, as far as we may believe
	taken              // one is, but the view does not say so
	in
)

type do uint8

const (
	doWait do = iota // until step.until
	doRead           // the group's cell, then all slots'
	doLook           // the group's cell
	doPut            // a slot's cell
	doView           // the group's cell, too
	doStop
)

// step is what is to be done next.
type step struct {
	do    do
	until time.Time
	// Of a Put:
	slot   crdt.Slot
	record record
	take   bool // it is not ours yet
	group  group
	cell   journal.Cell
	// why is for the log.
	why string
	// floor is the group's version below which a read does not go unless the journal has been restored.
	floor int64
}

// result of a step.
type result struct {
	began   time.Time
	err     error
	version int64          // of a Put
	group   journal.Cell   // of a read
	slots   []journal.Cell // of a read
}

// Why a member is none any more.
var (
	errFenced  = errors.New("the slot was not renewed in time; the journal does not answer, or this process was stopped")
	errTaken   = errors.New("another member found that this one had not renewed its slot")
	errReading = errors.New("the journal has not been read yet")
)

func newCore(name string, self record, slots int, uid func() uint64) *core {
	return &core{name: name, self: self, slots: slots, uid: uid, cells: map[crdt.Slot]*sighting{}, stale: true, problem: errReading}
}

func (c *core) ttl() time.Duration { return c.self.TTL }

// fence is when our lease ends unless it is renewed before.
func (c *core) fence() time.Time { return c.renewed.Add(c.ttl() / 2) }

func (c *core) next(now time.Time) step {
	if c.phase != out && !now.Before(c.fence()) {
		c.lose(errFenced)
	}
	switch {
	case c.fatal != nil:
		return step{do: doStop}
	case now.Before(c.retryAt):
		return c.wait(c.retryAt)
	case c.stale:
		return step{do: doRead, floor: c.group.version}
	case c.phase != out && !now.Before(c.renewed.Add(c.ttl()/3)):
		return c.put(c.mine.Slot, c.version, c.held(c.mine.Epoch), "")
	case !now.Before(c.readAt):
		return step{do: doRead, floor: c.group.version}
	case !now.Before(c.lookAt) && !c.leaving:
		return step{do: doLook, floor: c.group.version}
	case c.leaving:
		return c.leave()
	case c.phase == out:
		return c.acquire(now)
	case c.phase == taken:
		return c.changeView()
	}
	until := c.lookAt
	for _, n := range c.numbers() {
		s := c.cells[n]
		if dies := c.dies(n, s); !dies.IsZero() && !now.Before(dies) {
			freed := s.record
			freed.Owner, freed.Address, freed.Features = "", "", ""
			return c.put(n, s.version, freed, "a member showed no sign of life, and its slot is free")
		} else if !dies.IsZero() && dies.Before(until) {
			until = dies
		}
	}
	if slices.ContainsFunc(c.group.Members, c.gone) {
		return c.changeView()
	}
	return c.wait(until)
}

// numbers of the slots that there are, in order: a core does the same whenever it sees the same.
func (c *core) numbers() []crdt.Slot { return slices.Sorted(maps.Keys(c.cells)) }

// wait until then, or until our slot is to be renewed or is lost.
func (c *core) wait(until time.Time) step {
	if c.phase != out {
		if at := c.renewed.Add(c.ttl() / 3); at.Before(until) && !at.Before(c.retryAt) {
			until = at
		}
		if c.fence().Before(until) {
			until = c.fence()
		}
	}
	return step{do: doWait, until: until}
}

func (c *core) held(epoch crdt.Epoch) record {
	r := c.self
	r.Epoch = epoch
	return r
}

func (c *core) put(n crdt.Slot, version int64, r record, why string) step {
	return step{do: doPut, slot: n, record: r, why: why,
		cell: journal.Cell{Key: slotKey(c.name, n), Value: encode(r), Version: version}}
}

func (c *core) take(n crdt.Slot, version int64, epoch crdt.Epoch) step {
	s := c.put(n, version, c.held(epoch), "")
	s.take = true
	return s
}

// dies says when a slot may be taken from its holder; zero if never, or if nobody holds it.
func (c *core) dies(n crdt.Slot, s *sighting) time.Time {
	switch {
	case s.Owner == "" || s.broken != nil:
		return time.Time{}
	case s.Owner != c.self.Owner:
		return s.since.Add(max(s.TTL, c.ttl()))
	case c.phase != out && n == c.mine.Slot:
		return time.Time{}
	}
	return s.since // ours once, and not renewed any more
}

// gone tells whether a member of the view does not hold its slot any more.
func (c *core) gone(m Member) bool {
	s := c.cells[m.Slot]
	return s == nil || s.broken == nil && (s.Owner == "" || s.Epoch != m.Epoch)
}

// acquire takes the lowest slot that is free.
func (c *core) acquire(now time.Time) step {
	until := c.lookAt
	for i := range c.slots {
		n := crdt.Slot(i)
		s := c.cells[n]
		if s == nil {
			return c.take(n, 0, 1)
		}
		if s.broken != nil || s.Retired {
			continue
		}
		if dies := c.dies(n, s); now.Before(dies) {
			if dies.Before(until) {
				until = dies
			}
			continue
		}
		if s.Epoch+1 >= crdt.MaxEpochs {
			return c.put(n, s.version, record{Epoch: s.Epoch, Retired: true}, "all epochs of a slot are spent; it is not used any more")
		}
		return c.take(n, s.version, s.Epoch+1)
	}
	c.problem = fmt.Errorf("all %d slots are in use, retired or damaged; stop members, or allow more slots", c.slots)
	return c.wait(until)
}

// changeView takes those out who are gone, and puts us in unless we leave.
func (c *core) changeView() step {
	g := group{ClusterUID: c.group.ClusterUID, View: c.group.View + 1, Members: []Member{}}
	if g.ClusterUID == 0 {
		g.ClusterUID = max(c.uid(), 1)
	}
	for _, m := range c.group.Members {
		if !c.gone(m) && (c.phase == out || m.Slot != c.mine.Slot) {
			g.Members = append(g.Members, m)
		}
	}
	if c.phase != out {
		g.Members = append(g.Members, c.mine)
		slices.SortFunc(g.Members, func(a, b Member) int { return int(a.Slot) - int(b.Slot) })
	}
	return step{do: doView, group: g, cell: journal.Cell{Key: groupKey(c.name), Value: encode(g), Version: c.group.version}}
}

// leave gives up what is ours.
func (c *core) leave() step {
	for _, n := range c.numbers() {
		if s := c.cells[n]; s.Owner == c.self.Owner {
			return c.put(n, s.version, record{Epoch: s.Epoch}, "")
		}
	}
	if slices.ContainsFunc(c.group.Members, c.gone) {
		return c.changeView()
	}
	return step{do: doStop}
}

// stop makes it leave.
func (c *core) stop() {
	c.lose(errors.New("this process leaves"))
	c.leaving = true
}

func (c *core) lose(why error) {
	if c.phase != out {
		c.phase, c.problem, c.stale = out, why, true
	}
}

func (c *core) fail(err error) {
	c.lose(err)
	c.fatal, c.problem = err, err
}

// report what is wrong, nil if nothing is.
func (c *core) report() error { return errors.Join(c.problem, c.trouble, c.damage) }
