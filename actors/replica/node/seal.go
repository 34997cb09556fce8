package node

import (
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// What the holders of a slot that are gone wrote to an entity is folded into one, so that metadata grows with the slots and
// not with the times that a process was started. First every living member takes no more from them and makes sure
// that the journal has what it knows; then the base is replaced by one that is sealed. See Entity.Seal.

// sealing of one slot of an entity.
type sealing struct {
	slot    crdt.Slot
	through crdt.Epoch
	// at is when to go on.
	at   time.Time
	step sealStep
	// ticket is the reading of the view of which the members must answer.
	ticket   uint64
	deadline time.Time
	waiting  []slot.Member
	asking   map[identity]bool
	// delta is what the base that is being written seals.
	delta *crdt.Delta
}

type sealStep uint8

const (
	sealWait sealStep = iota
	sealView
	sealBarrier
	sealLoad
	sealWrite
)

// fenced reports whether a writer is known to have lost its slot, so that nothing that comes under its name is taken.
func (p *partition) fenced(id identity) bool {
	through, ok := p.fences[id.slot]
	return ok && id.epoch <= through || p.at.fenced(id)
}

// goneSince says since when a writer has been no member, as far as we know, false if it is one.
func (p *partition) goneSince(m crdt.Member) (time.Time, bool) {
	id := identity{m.Slot, m.Epoch}
	if _, ok := p.at.member(id); ok || id == identityOf(p.at.Self) {
		return time.Time{}, false
	}
	return later(p.alive[id], p.began), true
}

// considerSealing begins to seal a slot if that is worth while. The member that takes precedence does so first.
func (p *partition) considerSealing(r *resident) {
	if r.sealing != nil || r.phase != phaseLive || r.behind || r.state.Deleted() || !p.at.writable() {
		return
	}
	gone := map[crdt.Slot]int{}
	through := map[crdt.Slot]crdt.Epoch{}
	total := 0
	var since time.Time
	for _, m := range r.state.Epochs() {
		if t, ok := p.goneSince(m); ok {
			total++
			gone[m.Slot]++
			through[m.Slot] = max(through[m.Slot], m.Epoch)
			since = later(since, t)
		}
	}
	most := p.config.SealEpochs
	if p.precedence(r) > 0 {
		most *= 2
	}
	if total <= most {
		return
	}
	best := crdt.Slot(0)
	for s, n := range gone {
		if n > gone[best] || n == gone[best] && s < best {
			best = s
		}
	}
	r.sealing = &sealing{slot: best, through: through[best], at: later(p.now, since.Add(p.config.SealAfter))}
	p.sealers.add(r)
	p.soon = true
}

// seal goes on with what is being sealed.
func (p *partition) seal() {
	for r := range p.sealers.each() {
		if s := r.sealing; !p.now.Before(s.at) {
			s.at = p.now.Add(p.config.SealTime)
			p.sealStep(r, s)
		}
	}
}

func (p *partition) sealStep(r *resident, s *sealing) {
	if r.phase != phaseLive || r.behind || !p.at.writable() || s.step != sealWait && p.now.After(s.deadline) {
		if s.step != sealWrite { // which ends by itself
			p.stopSealing(r)
		}
		return
	}
	switch s.step {
	case sealWait:
		s.step = sealView
		s.deadline = p.now.Add(p.config.SealTime)
		s.ticket = p.refresh.want()
		s.at = p.now.Add(p.config.Retry)
	case sealView:
		s.at = p.now.Add(p.config.Retry)
		if p.refresh.done < s.ticket {
			p.refresh.wanted = max(p.refresh.wanted, s.ticket)
			return
		}
		for _, m := range p.at.Members {
			if m.Slot == s.slot && m.Epoch <= s.through {
				p.stopSealing(r)
				return
			}
		}
		p.fences[s.slot] = max(p.fences[s.slot], s.through)
		s.step, s.waiting, s.asking = sealBarrier, p.at.others(), map[identity]bool{}
		s.at = p.now
		p.soon = true
	case sealBarrier:
		s.at = p.now.Add(p.config.Retry)
		p.askFences(r, s)
	case sealLoad, sealWrite:
	}
}

// askFences asks the members until all have secured what they know.
func (p *partition) askFences(r *resident, s *sealing) {
	var left []slot.Member
	for _, m := range s.waiting {
		id := identityOf(m)
		if _, ok := p.at.member(id); !ok && !p.single {
			continue // it is gone, and catches up if it comes back
		}
		left = append(left, m)
		if s.asking[id] {
			continue
		}
		s.asking[id] = true
		q := &request{kind: askFence, fence: identity{s.slot, s.through}, items: []item{{ref: r.ref}}}
		p.ask(m, q, func(a *answer, err error) {
			s.asking[id] = false
			if err == nil && a.complete {
				for i, w := range s.waiting {
					if identityOf(w) == id {
						s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
						break
					}
				}
				s.at = p.now
			}
		})
	}
	if s.waiting = left; len(left) > 0 {
		return
	}
	s.step = sealLoad
	r.reread = append(r.reread, func(ok bool) {
		if r.sealing != s {
			return
		}
		if !ok || r.folding || r.phase != phaseLive || r.behind || !p.at.writable() {
			p.stopSealing(r)
			return
		}
		p.writeSeal(r, s)
	})
	p.needLoad(r, 0)
}

// writeSeal replaces the base by a sealed one. It runs when the journal has just been read.
func (p *partition) writeSeal(r *resident, s *sealing) {
	state := crdt.New(r.state.Generation())
	_, err := state.Join(r.state.Full(), nil)
	var rc *crdt.Receipt
	if err == nil {
		rc, s.delta, err = state.Seal(s.slot, s.through)
	}
	if err != nil || rc == nil {
		if err != nil {
			p.config.Observer.rejected(r.ref, err)
		}
		p.stopSealing(r)
		return
	}
	s.step = sealWrite
	r.receipts = append(slices.Clip(r.receipts), receipt{p.now, identity{s.slot, s.through}, rc})
	p.writeBase(r, r.state.Generation(), state.Full().AppendBinary(nil))
}

// sealed goes on when the base is sealed.
func (p *partition) sealed(r *resident) {
	s := r.sealing
	if s == nil || s.step != sealWrite {
		return
	}
	if _, err := p.join(r, s.delta); err != nil {
		p.config.Observer.rejected(r.ref, err)
	}
	p.config.Observer.sealed(r.ref, s.slot, s.through)
	if !p.single {
		r.pending = joined(r.pending, s.delta)
		p.dirty.add(r)
	}
	p.stopSealing(r)
	p.considerSealing(r)
}

// unsealed gives up because the base could not be replaced.
func (p *partition) unsealed(r *resident) {
	if s := r.sealing; s != nil && s.step == sealWrite {
		p.stopSealing(r)
	}
}

// stopSealing ends it; it is considered again when the journal is read the next time.
func (p *partition) stopSealing(r *resident) {
	r.sealing = nil
	p.sealers.remove(r)
}

// secure notes that the journal has what we know of some writers.
func (r *resident) secure(slots map[crdt.Slot]crdt.Epoch) {
	for s, e := range slots {
		if r.secured == nil {
			r.secured = map[crdt.Slot]crdt.Epoch{}
		}
		r.secured[s] = max(r.secured[s], e)
	}
}

// answerFence takes no more from a writer that is gone, and says whether the journal has what is known of it here.
func (p *partition) answerFence(q *request) *answer {
	for _, m := range p.at.Members {
		if m.Slot == q.fence.slot && m.Epoch <= q.fence.epoch {
			return &answer{refused: "it is a member as far as we know"}
		}
	}
	if self := identityOf(p.at.Self); self.slot == q.fence.slot && self.epoch <= q.fence.epoch || len(q.items) != 1 {
		return &answer{refused: "we are that member"}
	}
	p.fences[q.fence.slot] = max(p.fences[q.fence.slot], q.fence.epoch)
	r := p.residents[q.items[0].ref]
	if r == nil {
		return &answer{complete: true}
	}
	if e, ok := r.secured[q.fence.slot]; ok && e >= q.fence.epoch {
		return &answer{complete: true}
	}
	if r.phase == phaseLive && !r.behind {
		if r.securing == nil {
			r.securing = map[crdt.Slot]crdt.Epoch{}
		}
		r.securing[q.fence.slot] = max(r.securing[q.fence.slot], q.fence.epoch)
		r.fold = true
		p.needLoad(r, 0)
	}
	return &answer{}
}
