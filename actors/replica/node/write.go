package node

import (
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// update applies what the user function said as of what it had seen, or what somebody else said if seen is nil.
func (p *partition) update(h *handle, u *crdt.Update, seen *crdt.Ctx, level replica.Level, done func(error)) error {
	r := h.r
	if err := p.mayWrite(h); err != nil {
		if seen != nil && errors.Is(err, replica.ErrReadOnly) {
			h.view.Refuse(r.state, u)
			p.tell(r)
		}
		return err
	}
	if n := r.state.Size(); n > p.config.EntityBytes {
		return actors.Errorf(actors.ResourceExhausted, "%s has %d bytes, of which %d are allowed; split it into several entities",
			r.ref, n, p.config.EntityBytes)
	}
	p.changes.Reset()
	r.writer.Gone = nil
	if level != replica.Local {
		r.writer.Gone = p.gone
	}
	d, lost, err := r.state.Apply(&r.writer, u, seen, &p.changes)
	if err != nil {
		return fmt.Errorf("updating %s: %w", r.ref, err)
	}
	switch {
	case seen != nil:
		h.view.Own(r.state, u, d)
		if gone := h.view.Strike(r.state, u); gone != nil {
			p.strike(r, gone)
		}
		if lost {
			p.tell(r)
		}
	case h.changed != nil:
		h.view.Note(&p.changes)
		p.tell(r)
	}
	p.wrote(r, d, level)
	p.await(r, level, done)
	return nil
}

// delete deletes the entity in its generation.
func (p *partition) delete(h *handle, level replica.Level, done func(error)) error {
	if err := p.mayWrite(h); err != nil {
		return err
	}
	r := h.r
	p.changes.Reset()
	d := r.state.Delete(&r.writer, &p.changes)
	p.wrote(r, d, level)
	r.fold = true
	p.needLoad(r, p.config.FoldPrecedence)
	p.await(r, level, done)
	return nil
}

// gone reports whether somebody is no member any more. If he is sealed just now by a member that did not have to ask us, what
// he wrote and only we know is lost, so no write that is to be safe may rest on it.
func (p *partition) gone(s crdt.Slot, e crdt.Epoch) bool {
	_, ok := p.at.member(identity{s, e})
	return !ok
}

func (p *partition) mayWrite(h *handle) error {
	switch {
	case h.deleted():
		return fmt.Errorf("writing to %s: %w", h.r.ref, replica.ErrDeleted)
	case h.closed:
		return errClosed
	case p.closing || !p.at.writable() || h.r.phase != phaseLive || h.r.behind:
		return fmt.Errorf("writing to %s: %w", h.r.ref, replica.ErrReadOnly)
	}
	return nil
}

// wrote takes an own delta on its way to the journal and to the others; nil if the write changed nothing.
func (p *partition) wrote(r *resident, d *crdt.Delta, level replica.Level) {
	if d == nil {
		if level == replica.Local {
			return
		}
		p.secure(r)
		return
	}
	p.changed(r)
	p.soon = true
	r.version++
	r.tail = joined(r.tail, d)
	p.unstored.add(r)
	if p.single {
		return
	}
	r.pending = joined(r.pending, d)
	p.dirty.add(r)
	if level != replica.Local {
		// Who is asked to confirm must find it in the journal if he opens the entity just now.
		r.holdUntil = r.version
	}
}

// secure is for a write that changes nothing, because somebody else's has done it: what the user function wants safe is
// here, but its writer may not have stored it, and not everybody may have heard of it.
func (p *partition) secure(r *resident) {
	p.soon = true
	// A base on its way has what others told, but it may come to nothing.
	if r.foreign || r.folding {
		r.version++
		r.tail = joined(r.tail, r.state.Full())
		r.foreign = false
		p.unstored.add(r)
	}
	if !p.single {
		r.compare = true
		p.dirty.add(r)
		r.holdUntil = r.version
	}
}

// drained reports whether everything that was written here has been stored and sent, or cannot be any more.
func (p *partition) drained() bool {
	if !p.at.writable() {
		return true
	}
	for r := range p.all.each() {
		if r.version > r.stored || !p.told(r) || r.strikes() {
			return false
		}
	}
	return p.inFlight == nil
}
