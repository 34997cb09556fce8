package node

import (
	"bytes"
	"slices"

	"github.com/dapr-entities/entities/crdt"
)

// A process that loses its slot goes on under another name. Until it has caught up, entity by entity, with what the members
// did without it, it neither writes nor takes part: what it knows may have been sealed without its last writes, which it
// then moves to its new name, once, by the receipt in the base.

// renamed begins again under a new identity, or under none.
func (p *partition) renamed(was identity) {
	if was != (identity{}) && !slices.Contains(p.past, was) {
		p.past = append(p.past, was)
	}
	p.seq, p.beats = 0, p.config.Heartbeats
	p.inFlight = nil
	p.ring.clear()
	clear(p.confirmed)
	clear(p.pushes)
	p.remembered.clear()
	for r := range p.all.each() {
		p.rename(r)
		switch r.phase {
		case phaseLoading:
		case phaseAsking:
			r.phase = phaseLoading
			p.needLoad(r, 0)
		default:
			r.behind = true
			p.waiting.add(r)
			if p.at.Valid != nil {
				p.needLoad(r, 0)
			}
		}
		for _, w := range r.waits {
			w.seq, w.published = 0, false
		}
	}
}

// forgets reports whether to join a delta would make an entity forget what only this process has: it seals an epoch under
// which the process wrote, and which is not sealed here yet. That the process wrote under it is known before it has caught
// up, and may be known only then: it can become a member after the sealer had asked everybody.
func (p *partition) forgets(r *resident, d *crdt.Delta) bool {
	if d == nil || d.Generation() != r.state.Generation() {
		return false
	}
	forgets := func(id identity) bool {
		return d.Seals(id.slot, id.epoch) && slices.Contains(r.state.Epochs(), crdt.Member{Slot: id.slot, Epoch: id.epoch})
	}
	return slices.ContainsFunc(p.past, forgets) || p.at.Valid != nil && forgets(identityOf(p.at.Self))
}

// setAside takes an entity out until it has caught up with the journal once more, where the receipt of the seal is.
func (p *partition) setAside(r *resident) {
	if r.behind {
		return
	}
	r.behind = true
	p.waiting.add(r)
	for _, w := range r.waits {
		w.seq, w.published = 0, false
	}
	if p.at.Valid != nil {
		p.needLoad(r, 0)
	}
}

// catching is what a process that comes back adds to the base.
type catching struct {
	state  *crdt.Entity
	writer crdt.Writer
}

// catchUp takes what the journal has into an entity that was away.
func (p *partition) catchUp(r *resident, st *stored) error {
	if r.folding {
		r.fold = true // an earlier base is on its way: when that is decided
		p.needLoad(r, p.config.Retry)
		return nil
	}
	g := r.state.Generation()
	if st.generation > g || slices.ContainsFunc(st.tails, func(t storedTail) bool { return t.generation > g }) {
		if err := p.absorb(r, st); err != nil {
			return err
		}
		p.caughtUp(r)
		return nil
	}
	state := crdt.New(g)
	if st.base != nil {
		if _, err := state.Join(st.base, nil); err != nil {
			return damaged(r.ref, "the base", err)
		}
	}
	for _, t := range st.tails {
		if t.delta != nil && t.generation == g {
			if _, err := state.Join(t.delta, nil); err != nil {
				return damaged(r.ref, "a tail", err)
			}
		}
	}
	p.note(r, st)
	if moved := p.heed(r, st); moved != nil {
		news, err := state.Join(moved, nil)
		if err != nil {
			return err
		}
		r.followed = r.followed || news
	}
	own, writer, changed := r.state.Full(), r.writer, r.followed
	writer.Last = max(writer.Last, state.Ctx().Last(writer.Slot, writer.Epoch))
	for _, known := range r.receipts {
		x := known.of
		if x == nil {
			continue
		}
		before := x.AppendBinary(nil)
		// What was removed here of what the sealed state never had must not come back by its writer.
		if d := x.Follow(own); d != nil {
			if _, err := state.Join(d, nil); err != nil {
				return err
			}
		}
		for _, id := range p.past {
			if receiptOf(r.receipts, id) != x {
				continue
			}
			if _, err := state.Rehome(r.state, id.epoch, x, &writer, nil); err != nil {
				return err
			}
		}
		changed = changed || !bytes.Equal(before, x.AppendBinary(nil))
	}
	news, err := state.Join(own, nil)
	if err != nil {
		return err
	}
	// What the journal did not have when our slot went, somebody may be sealing out just now, having read it before we were
	// a member again. A tail would not keep him from that, but another base does: he has to read once more.
	if !changed && !news && r.version == r.stored {
		if err := p.absorb(r, st); err != nil {
			return err
		}
		p.caughtUp(r)
		return nil
	}
	r.catching = &catching{state, writer}
	p.writeBase(r, g, state.Full().AppendBinary(nil))
	return nil
}

// caught goes on when the base has what was moved.
func (p *partition) caught(r *resident) {
	c := r.catching
	if c == nil {
		return
	}
	r.catching = nil
	if _, err := p.join(r, c.state.Full()); err != nil {
		p.config.Observer.rejected(r.ref, err)
	}
	p.follow(r)
	r.writer.Last = max(r.writer.Last, c.writer.Last)
	r.pending = nil
	p.let(r)
	if r.loadedAs == identityOf(p.at.Self) {
		p.caughtUp(r)
	} else if p.at.Valid != nil {
		p.needLoad(r, 0) // it has got yet another name meanwhile
	}
}

// follow has the user function's removals find what was moved to another name since it was told of it.
func (p *partition) follow(r *resident) {
	h := r.handle
	if h == nil || h.deleted() {
		return
	}
	for _, x := range r.receipts {
		if x.of != nil {
			h.view.Follow(r.state, x.of)
		}
	}
}

// caughtUp makes an entity take part again. The others are asked to compare what they have with what is here.
func (p *partition) caughtUp(r *resident) {
	if !r.behind {
		return
	}
	r.behind = false
	if !p.single && (r.state.Kind() != 0 || r.state.Deleted()) {
		r.compare = true
		p.dirty.add(r)
	}
	for _, w := range r.waits {
		w.seq, w.published = 0, p.told(r)
		r.holdUntil = max(r.holdUntil, w.version)
	}
	if r.version > r.stored {
		p.unstored.add(r)
	}
	parked := r.parked
	r.parked = nil
	for _, e := range parked {
		p.unpark(r, e)
	}
	r.fetchAt = p.now
	p.soon = true
}
