package node

import (
	"fmt"
	"math"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// handle is an open replica. Its methods hold the partition for as long as it takes.
type handle struct {
	p *partition
	r *resident
	// generation that was opened. A later one is another entity to whoever opened this one.
	generation uint32
	view       crdt.View
	// changed is nil if nobody is told anything; then nothing is kept for that.
	changed func()
	// told says that changed has been called since the last Flush.
	told   bool
	closed bool
}

var _ replica.Replica = (*handle)(nil)

var errClosed = actors.Errorf(actors.Internal, "the replica is closed")

// deleted reports whether there is nothing to be done with it any more.
func (h *handle) deleted() bool {
	return h.r.state.Generation() != h.generation || h.r.state.Deleted()
}

// Begin is Replica's.
func (h *handle) Begin() (value *crdt.Update, deleted bool) {
	defer h.p.enter()()
	h.told = false
	if h.deleted() {
		return nil, true
	}
	h.view = crdt.View{}
	return h.view.Begin(h.r.state, h.p.voters()), false
}

// Flush is Replica's.
func (h *handle) Flush() (u *crdt.Update, deleted bool) {
	defer h.p.enter()()
	h.told = false
	if h.deleted() {
		return nil, true
	}
	if u = h.view.Flush(h.r.state, h.p.voters()); saturated(u) && !h.closed {
		h.p.tell(h.r) // there is more
	}
	return u, false
}

// saturated reports whether a change may be too big for one Update.
func saturated(u *crdt.Update) bool {
	if u == nil {
		return false
	}
	if u.Change == math.MaxInt64 || u.Change == math.MinInt64 {
		return true
	}
	for _, entries := range [...][]crdt.Entry{u.Changed, u.Put} {
		for _, e := range entries {
			if saturated(e.Update) {
				return true
			}
		}
	}
	return false
}

// Value is Replica's.
func (h *handle) Value() *crdt.Update {
	defer h.p.enter()()
	if h.deleted() {
		return nil
	}
	return h.r.state.Value(h.p.voters())
}

// Kind is Replica's.
func (h *handle) Kind() (k crdt.Kind, deleted bool) {
	defer h.p.enter()()
	if h.deleted() {
		return 0, true
	}
	return h.r.state.Kind(), false
}

// Update is Replica's.
func (h *handle) Update(u *crdt.Update, level replica.Level, done func(error)) error {
	defer h.p.enter()()
	return h.p.update(h, u, h.view.Seen(), level, done)
}

// Apply is Replica's.
func (h *handle) Apply(u *crdt.Update, level replica.Level, done func(error)) error {
	defer h.p.enter()()
	if h.deleted() {
		return h.p.mayWrite(h)
	}
	if err := h.r.state.Fits(u); err != nil {
		return fmt.Errorf("writing to %s: %w", h.r.ref, err)
	}
	return h.p.update(h, u, nil, level, done)
}

// Delete is Replica's.
func (h *handle) Delete(level replica.Level, done func(error)) error {
	defer h.p.enter()()
	return h.p.delete(h, level, done)
}

// Close is Replica's.
func (h *handle) Close() {
	defer h.p.enter()()
	if h.closed {
		return
	}
	h.closed = true
	if h.r.handle == h {
		h.r.handle = nil
		if h.r.phase != phaseGone {
			h.p.release(h.r)
		}
	}
}

// voters are those against whom votes are counted.
func (p *partition) voters() *crdt.Members {
	m := &crdt.Members{Self: crdt.Member{Slot: p.at.Self.Slot, Epoch: p.at.Self.Epoch}}
	for _, o := range p.at.Members {
		if o == p.at.Self && !p.at.writable() {
			continue // nobody counts a member that lost its slot, least of all itself
		}
		m.Live = append(m.Live, crdt.Member{Slot: o.Slot, Epoch: o.Epoch})
	}
	return m
}

// enter takes the partition for one input; what it returns lets it go.
func (p *partition) enter() (leave func()) {
	p.mu.Lock()
	p.now = p.clock()
	return func() {
		wake := p.pressing()
		p.mu.Unlock()
		if wake {
			p.wake()
		}
	}
}

// pressing reports whether something is to be done that the partition's owner does not know of.
func (p *partition) pressing() bool {
	return p.soon || len(p.out.calls) > 0 || len(p.out.asks) > 0 || len(p.out.loads) > 0 || len(p.out.bases) > 0 || p.out.publish != nil
}
