package node

import (
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// tailPut is our tail of one entity on its way to the journal.
type tailPut struct {
	resident *resident
	self     slot.Member
	cell     journal.Cell
	version  uint64
	// durable says that somebody waits for it.
	durable bool
}

// tails appends the tails that are to be put, until there are so many. The caller puts those of all partitions in one commit,
// and tells stored.
func (p *partition) tails(puts []tailPut, most int) []tailPut {
	if !p.at.writable() {
		return puts
	}
	for r := range p.unstored.each() {
		if len(puts) >= most {
			break
		}
		if r.flushing || r.loading || r.behind || r.phase != phaseLive {
			continue
		}
		if !r.tailKnown {
			p.needLoad(r, 0)
			continue
		}
		own, size := r.own(), 0
		if own != nil {
			size = own.Size()
		}
		if size > p.longTail(r) && !r.folding && !r.fold {
			r.fold = true
			p.needLoad(r, 0)
		}
		var value []byte
		if size > p.config.TailMaxBytes {
			continue // the base takes it
		}
		if own != nil {
			p.encoded = own.AppendBinary(p.encoded[:0])
			t := tail{owner: identityOf(p.at.Self), generation: r.state.Generation(), delta: p.encoded}
			p.let(r)
			if value = t.append(make([]byte, 0, tailBytes+len(p.encoded))); len(value) > journal.MaxCellBytes {
				continue
			}
		}
		r.flushing, r.tailStale = true, false
		puts = append(puts, tailPut{
			resident: r, self: p.at.Self, version: r.version, durable: r.waited > r.stored,
			cell: journal.Cell{Key: tailKey(r.ref, p.at.Self.Slot), Value: value, Version: r.tailVersion},
		})
		p.unstored.remove(r)
	}
	return puts
}

// stored says what became of a tail.
func (p *partition) tailStored(t *tailPut, version int64, err error) {
	r := t.resident
	r.flushing = false
	if r.phase == phaseGone {
		return
	}
	switch {
	case identityOf(t.self) != identityOf(p.at.Self):
		// It was ours under another name: what it has is known to be here, and goes with our present name.
	case err != nil:
		// Whether it is there, and what else is, is to be read before it is put again.
		if !isConflict(err) {
			p.config.Observer.unstored(r.ref, err)
			r.failures++
		}
		r.tailKnown = false
		p.needLoad(r, p.backoff(r.failures))
	default:
		r.failures = 0
		r.tailVersion, r.tailEmpty = version, len(t.cell.Value) == 0
		// Without a slot we do not know whether it came before or after somebody who seals us had read the journal.
		if p.at.writable() {
			r.stored = max(r.stored, t.version)
		}
	}
	if r.phase == phaseLive && (r.version > r.stored || r.tailStale) {
		p.unstored.add(r)
	}
	p.settleWaits()
	p.reopen(r)
}
