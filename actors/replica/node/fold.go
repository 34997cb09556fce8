package node

import (
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// A base is written by whoever has reason to: his tail has become long, somebody left of whom we know more than the
// journal, an entity is deleted. To have it done once and not by all, members take precedence by rendezvous hashing; the
// others wait, read before they write, and find that there is nothing left to do.

// precedence is how long to leave the fold of an entity to others.
func (p *partition) precedence(r *resident) time.Duration {
	self := identityOf(p.at.Self)
	mine := mix(r.hash ^ mix(uint64(self.slot)<<32|uint64(self.epoch)))
	for _, m := range p.at.others() {
		if mix(r.hash^mix(uint64(m.Slot)<<32|uint64(m.Epoch))) > mine {
			return p.config.FoldPrecedence + p.jitter(p.config.FoldPrecedence)
		}
	}
	return 0
}

// longTail is how long our tail may get. It is longer if somebody else takes precedence, and if the base is big.
func (p *partition) longTail(r *resident) int {
	n := max(p.config.TailBytes, r.baseBytes/8)
	if p.precedence(r) > 0 {
		n *= 4
	}
	return min(n, p.config.TailMaxBytes)
}

// compareStored decides, with the cells just read, whether a base is to be written.
func (p *partition) compareStored(r *resident, st *stored) {
	g := r.state.Generation()
	whole := crdt.New(g)
	if st.base != nil {
		_, _ = whole.Join(st.base, nil) // one of an earlier generation is nothing new
	}
	covered := true
	if own := r.own(); own != nil {
		news, err := whole.Join(own, nil)
		covered = err == nil && !news && !r.followed
		if covered && r.stored == r.version {
			// Somebody's base has all of our tail.
			r.tail, r.covered = nil, nil
			p.rewrite(r)
		}
	}
	for _, t := range st.tails {
		if t.delta != nil && t.generation == g {
			_, _ = whole.Join(t.delta, nil)
		}
	}
	if whole.Digest() == r.state.Digest() {
		r.foreign = false
		r.secure(r.comparing)
		r.comparing = nil
	}
	defer p.considerSealing(r)
	if r.folding {
		return
	}
	want := r.fold || r.followed
	r.fold = false
	if !r.followed {
		r.struck = nil // no receipt needs it
	}
	if !want || !p.at.writable() || covered && !r.foreign && !r.followed && !r.state.Deleted() {
		return
	}
	if r.state.Deleted() && covered && st.base != nil && st.base.Deleted() {
		return
	}
	p.writeBase(r, r.state.Generation(), r.state.Full().AppendBinary(nil))
}

// writeBase begins to replace the base.
func (p *partition) writeBase(r *resident, generation uint32, data []byte) *baseWrite {
	p.attempt++
	w := &baseWrite{
		ref: r.ref, version: r.baseVersion, generation: generation,
		tag: tagOf(identityOf(p.at.Self), p.attempt), data: data,
	}
	w.chunks = append([]journal.Cell(nil), r.chunks...)
	w.tails = append([]journal.Cell(nil), r.deadTails...)
	if generation == r.state.Generation() {
		w.receipts = p.keptReceipts(r.receipts)
	}
	p.let(r)
	r.folding = true
	r.foldVersion = r.version
	r.covered, r.tail = joined(r.covered, r.tail), nil
	r.foreign = false
	r.writing, r.comparing = r.comparing, nil
	r.striking, r.struck = joined(r.striking, r.struck), nil
	p.out.bases = append(p.out.bases, baseOrder{r, w})
	return w
}

// keptReceipts drops those that are too old. Of those of a slot that have been dropped the last one is still named, so that
// nobody takes a later one for it.
func (p *partition) keptReceipts(all []receipt) []receipt {
	var kept []receipt
	for i, x := range all {
		if p.now.Sub(x.at) >= p.config.ReceiptTime {
			x.of = nil
		}
		superseded := x.of == nil && slices.ContainsFunc(all[i+1:], func(y receipt) bool {
			return y.sealed.slot == x.sealed.slot && (y.of == nil || p.now.Sub(y.at) >= p.config.ReceiptTime)
		})
		if !superseded {
			kept = append(kept, x)
		}
	}
	return kept
}

// receiptOf finds the receipt of the sealing that closed an epoch, nil if it is not closed, or was so long ago.
func receiptOf(all []receipt, id identity) *crdt.Receipt {
	var found *receipt
	for i := range all {
		x := &all[i]
		if x.sealed.slot == id.slot && x.sealed.epoch >= id.epoch && (found == nil || x.sealed.epoch < found.sealed.epoch) {
			found = x
		}
	}
	if found == nil {
		return nil
	}
	return found.of
}

// based takes the result of a base that was to be written.
func (p *partition) based(r *resident, w *baseWrite, version int64, err error) {
	r.folding = false
	if r.phase == phaseGone {
		return
	}
	if err != nil {
		if !isConflict(err) {
			p.config.Observer.unstored(r.ref, err)
		}
		r.tail, r.covered = joined(r.covered, r.tail), nil
		r.foreign, r.fold = true, true
		r.writing, r.catching = nil, nil
		r.struck, r.striking = joined(r.striking, r.struck), nil
		p.unsealed(r)
		r.failures++
		p.needLoad(r, p.backoff(r.failures))
		return
	}
	p.config.Observer.folded(r.ref, len(w.data))
	if w.generation < r.state.Generation() {
		return
	}
	r.failures = 0
	r.baseVersion, r.baseBytes = version, len(w.data)
	r.chunks, r.deadTails, r.receipts = nil, nil, w.receipts
	r.secure(r.writing)
	r.writing = nil
	if w.generation > r.state.Generation() {
		p.reset(r, w.generation)
		p.reopen(r)
		return
	}
	r.covered, r.striking = nil, nil
	r.stored = max(r.stored, r.foldVersion)
	p.rewrite(r)
	p.caught(r)
	p.sealed(r)
	p.settleWaits()
	p.reopen(r)
}

// rewrite has our tail's cell made as short as it can be by now.
func (p *partition) rewrite(r *resident) {
	if !r.tailEmpty || r.tail != nil || r.version > r.stored {
		r.tailStale = true
		p.unstored.add(r)
	}
}

// recreate begins the next generation of a deleted entity.
func (p *partition) recreate(r *resident) {
	if !p.at.writable() {
		o := r.opener
		r.opener = nil
		p.opened(r, o)
		return
	}
	p.writeBase(r, r.state.Generation()+1, nil)
}
