package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// loadQueue holds residents whose cells are to be read.
type loadQueue struct {
	ordered[*resident]
	running int
}

// needLoad has the cells read, after a while. A load that is running already does not count.
func (p *partition) needLoad(r *resident, after time.Duration) {
	if at := p.now.Add(after); r.loadAt.IsZero() || at.Before(r.loadAt) {
		r.loadAt = at
	}
	p.loads.add(r)
	p.soon = true
}

// check compares what we know with the journal, in both directions, after a while.
func (p *partition) check(r *resident, after time.Duration) {
	if r.foreign {
		r.fold = true
		after += p.precedence(r)
	}
	p.needLoad(r, after)
}

// startLoads begins with those that somebody waits for.
func (p *partition) startLoads() {
	for _, opening := range [...]bool{true, false} {
		for r := range p.loads.each() {
			if p.loads.running >= p.config.Loads {
				return
			}
			if opening != (r.phase == phaseLoading) || r.loading || r.folding || r.flushing || p.now.Before(r.loadAt) {
				continue
			}
			p.loads.remove(r)
			r.loadAt = time.Time{}
			r.loading = true
			r.loadedAs = identityOf(p.at.Self)
			r.comparing, r.securing = r.securing, nil
			r.rereading, r.reread = r.reread, nil
			p.loads.running++
			p.out.loads = append(p.out.loads, r)
		}
	}
}

// loaded takes the result of a load.
func (p *partition) loaded(r *resident, st *stored, err error) {
	p.loads.running--
	r.loading = false
	after := r.rereading
	r.rereading = nil
	if r.phase == phaseGone {
		return
	}
	if r.loadedAs != identityOf(p.at.Self) {
		// It began under another name, and may lack what happened before we got the present one.
		r.reread = append(r.reread, after...)
		p.needLoad(r, 0)
		return
	}
	if err == nil {
		err = p.stale(r, st)
	}
	if err == nil && r.phase == phaseLive && p.forgets(r, st.base) {
		p.setAside(r)
	}
	catchingUp := r.behind
	r.followed = false
	switch {
	case err != nil:
	case r.phase == phaseLive && !p.mayLearn(r):
		err = errAway
	case catchingUp:
		err = p.catchUp(r, st)
	default:
		err = p.absorb(r, st)
	}
	for _, f := range after {
		f(err == nil)
	}
	switch {
	case err != nil && r.phase == phaseLoading:
		p.config.Observer.unloadable(r.ref, err)
		if o := r.opener; o != nil {
			p.fail(o, err)
		}
		r.opener = nil
		if r.handle == nil && len(r.waits) == 0 {
			p.drop(r)
			break
		}
		// Somebody has it open, in the generation before: it is had again.
		r.failures++
		p.needLoad(r, p.backoff(r.failures))
	case err != nil:
		p.config.Observer.unloadable(r.ref, err)
		r.failures++
		p.needLoad(r, p.backoff(r.failures))
	case r.phase == phaseLoading:
		p.askOthers(r)
	case r.phase == phaseLive:
		r.failures = 0
		if catchingUp && r.behind {
			break // it is being written
		}
		p.compareStored(r, st)
		p.reopen(r)
	}
	p.settleWaits()
}

// errAway is why a process that lost its slot does not read on.
var errAway = actors.Errorf(actors.Unavailable, "this node is not a member at present")

// mayLearn reports whether what the members did may be joined. A process that lost its slot must not learn that its own
// writes have been sealed without some of them before it can move those.
func (p *partition) mayLearn(r *resident) bool {
	return p.at.writable() || p.at.Valid == nil && len(p.past) == 0 && !r.behind
}

// stale finds a read that lacks what this process wrote: to go on from it would give numbers away twice.
func (p *partition) stale(r *resident, st *stored) error {
	older := actors.Errorf(actors.Unavailable,
		"the journal gave an older state of %s than this node has seen; its reads must be consistent, and a backup must be "+
			"restored as a new cluster", r.ref)
	if st.version < r.baseVersion {
		return older // no base is ever gone
	}
	m, ok := p.remembered.get(r.ref)
	if !ok {
		return nil
	}
	var tail int64
	for _, t := range st.tails {
		if t.slot == p.at.Self.Slot {
			tail = t.version
		}
	}
	// A base may only be older if it is gone, which no base ever is; a tail may be gone if it was empty.
	if st.version < m.base || m.tailKnown && tail < m.tail && tail != 0 {
		return older
	}
	return nil
}

// absorb joins what the journal has.
func (p *partition) absorb(r *resident, st *stored) error {
	g := max(st.generation, r.state.Generation())
	for _, t := range st.tails {
		g = max(g, t.generation)
	}
	if g > r.state.Generation() {
		p.reset(r, g)
	}
	if st.base != nil && st.base.Generation() == g {
		if _, err := p.join(r, st.base); err != nil {
			return damaged(r.ref, "the base", err)
		}
	}
	for _, t := range st.tails {
		if t.delta != nil && t.generation == g {
			if _, err := p.join(r, t.delta); err != nil {
				return damaged(r.ref, fmt.Sprintf("the tail of slot %d", t.slot), err)
			}
		}
	}
	p.note(r, st)
	if st.generation == g {
		if err := p.strikeMoved(r, p.heed(r, st)); err != nil {
			return err
		}
		p.follow(r)
	}
	return nil
}

// note remembers which cells there are.
func (p *partition) note(r *resident, st *stored) {
	g := r.state.Generation()
	known := false
	for _, t := range st.tails {
		if t.slot != p.at.Self.Slot || p.at.Valid == nil {
			continue
		}
		known = true
		if r.tailKnown && r.tailVersion == t.version {
			continue
		}
		// Somebody else wrote it, or we did and do not remember: what is in it must stay in it.
		r.tailVersion, r.tailEmpty = t.version, t.delta == nil
		if t.delta != nil && t.generation == g {
			r.tail = joined(r.tail, t.delta)
		}
	}
	if !known {
		r.tailVersion, r.tailEmpty = 0, true
	}
	r.tailKnown = p.at.Valid != nil
	r.baseVersion, r.baseBytes, r.chunks, r.receipts = st.version, st.bytes, st.chunks, st.receipts
	r.deadTails = r.deadTails[:0]
	for _, t := range st.tails {
		if t.slot != p.at.Self.Slot && (p.at.fenced(t.owner) || t.delta == nil && !p.held(t.slot)) {
			r.deadTails = append(r.deadTails, journal.Cell{Key: tailKey(r.ref, t.slot), Version: t.version})
		}
	}
	own := identityOf(p.at.Self)
	r.writer.Last = max(r.writer.Last, r.state.Ctx().Last(own.slot, own.epoch))
	if m, ok := p.remembered.get(r.ref); ok {
		r.writer.Last = max(r.writer.Last, m.last)
	}
	p.let(r)
	if r.version > r.stored {
		p.unstored.add(r)
	}
}

// held reports whether somebody holds a slot.
func (p *partition) held(s crdt.Slot) bool {
	for _, m := range p.at.Members {
		if m.Slot == s {
			return true
		}
	}
	return false
}

// reset gives up a generation that others have left behind, with the writes to it that are not confirmed.
func (p *partition) reset(r *resident, generation uint32) {
	r.state = crdt.New(generation)
	r.pending, r.compare, r.holdUntil, r.tail, r.covered = nil, false, 0, nil, nil
	r.stored = r.version
	r.foreign, r.fold = false, false
	r.struck, r.striking = nil, nil
	r.segments, r.settling = 0, nil
	p.settlers.remove(r)
	p.dirty.remove(r)
	p.unstored.remove(r)
	for _, w := range r.waits {
		err := fmt.Errorf("writing to %s at level %s: %w: it has been deleted meanwhile", r.ref, w.level, replica.ErrUnconfirmed)
		p.config.Observer.confirmed(w.level, p.now.Sub(w.since), err)
		p.call(func() { w.done(err) })
	}
	r.waits = nil
	p.durable.remove(r)
	p.changed(r)
	p.tell(r)
}

// renew gives up the state because there is a later generation, which is loaded.
func (p *partition) renew(r *resident, generation uint32) {
	r.phase = phaseLoading
	p.reset(r, generation)
	p.needLoad(r, 0)
}

// rename gives a resident the identity under which it writes from now on.
func (p *partition) rename(r *resident) {
	r.writer = crdt.Writer{
		Slot: p.at.Self.Slot, Epoch: p.at.Self.Epoch, Limits: p.config.Limits, Scratch: &p.scratch,
		Now: func() int64 { return p.now.UnixMilli() },
	}
	r.tailKnown, r.tailVersion, r.tailEmpty = false, 0, true
	r.baseVersion = 0 // the name may be one after a backup was restored
	r.k, r.lastSeq = 0, 0
	r.segments, r.settling = 0, nil
	p.settlers.remove(r)
}

// backoff after failures, with jitter.
func (p *partition) backoff(failures int) time.Duration {
	d := min(p.config.Retry<<min(failures, 10), p.config.RetryMax)
	return d/2 + p.jitter(d)
}

// isConflict reports that a cell was not what was believed.
func isConflict(err error) bool { return errors.Is(err, journal.ErrConflict) }
