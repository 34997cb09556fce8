package replica_test

import (
	"context"
	"sync"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// copies are replicas of counters, kept in memory: what a node would have without its peers.
type copies struct {
	mu   sync.Mutex
	open map[actors.Ref]*tally
	kept map[actors.Ref]*state
	// openings so far, and what they come to.
	openings int
	broken   error
	// hold keeps writes unconfirmed until settle is called.
	hold bool
	// refuse is what writes come to.
	refuse error
}

// state of an entity, which outlives its replicas.
type state struct {
	value   int64
	exists  bool
	deleted bool
	// barred says that it cannot be created again.
	barred  bool
	waiting []func(error)
}

// tally is the open replica of an entity.
type tally struct {
	*copies
	*state
	ref     actors.Ref
	told    int64
	changed func()
}

func (s *copies) Open(ctx context.Context, ref actors.Ref, changed func()) (replica.Replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openings++
	if s.broken != nil {
		return nil, s.broken
	}
	if s.open[ref] != nil {
		panic("two replicas of " + ref.String() + " are open")
	}
	st := s.at(ref)
	if st.deleted && !st.barred {
		*st = state{}
	}
	c := &tally{s, st, ref, 0, changed}
	s.open[ref] = c
	return c, ctx.Err()
}

func (s *copies) at(ref actors.Ref) *state {
	if s.kept[ref] == nil {
		s.kept[ref] = new(state)
	}
	return s.kept[ref]
}

// change is what another node does to an entity.
func (s *copies) change(id string, by int64) {
	s.others(id, func(st *state) { st.value += by; st.exists = true })
}

func (s *copies) others(id string, do func(*state)) {
	ref := counting(id)
	s.mu.Lock()
	do(s.at(ref))
	c := s.open[ref]
	s.mu.Unlock()
	if c != nil {
		c.changed()
	}
}

// settle confirms, or fails to confirm, what is held.
func (s *copies) settle(id string, err error) {
	s.mu.Lock()
	st := s.at(counting(id))
	waiting := st.waiting
	st.waiting = nil
	s.mu.Unlock()
	for _, done := range waiting {
		done(err)
	}
}

func (s *copies) value(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(counting(id)).value
}

func counting(id string) actors.Ref { return actors.Ref{Service: "counters", ID: id} }

func (c *tally) Begin() (*crdt.Update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = c.state.value
	if !c.exists {
		return nil, c.deleted
	}
	return &crdt.Update{Kind: crdt.PNCounter, Change: c.state.value}, c.deleted
}

func (c *tally) Flush() (*crdt.Update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := c.state.value - c.told
	c.told = c.state.value
	if by == 0 || c.deleted {
		return nil, c.deleted
	}
	return &crdt.Update{Kind: crdt.PNCounter, Change: by}, false
}

func (c *tally) Update(u *crdt.Update, level replica.Level, done func(error)) error {
	return c.write(level, done, func() { c.exists = true; c.state.value += u.Change; c.told += u.Change })
}

func (c *tally) Apply(u *crdt.Update, level replica.Level, done func(error)) error {
	return c.Update(u, level, done)
}

func (c *tally) Kind() (crdt.Kind, bool) {
	u, deleted := c.Begin()
	if u == nil {
		return 0, deleted
	}
	return u.Kind, deleted
}

func (c *tally) Delete(level replica.Level, done func(error)) error {
	return c.write(level, done, func() { c.deleted = true })
}

func (c *tally) write(level replica.Level, done func(error), do func()) error {
	c.mu.Lock()
	switch {
	case c.open[c.ref] != c:
		panic("a replica that is closed is written to")
	case c.refuse != nil || c.deleted:
		defer c.mu.Unlock()
		if c.deleted {
			return replica.ErrDeleted
		}
		return c.refuse
	}
	do()
	if c.hold && level > replica.Local {
		c.waiting = append(c.waiting, done)
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	done(nil)
	return nil
}

func (c *tally) Value() *crdt.Update { u, _ := c.Begin(); return u }

func (c *tally) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[c.ref] != c {
		panic("a replica is closed twice")
	}
	delete(c.open, c.ref)
}
