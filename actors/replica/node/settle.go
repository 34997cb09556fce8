package node

import (
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// A counter in a map is kept as one event for each time that it was told or stored, so that a removal takes exactly what it has
// seen. We fold our own events into one when nobody can remove some of them and not the others any more: when each member
// has told us all that it knows of the entity, and has all of those events, or does not host it and will find them in the
// journal. A process that lost its slot may hand on a removal that had seen only some; that then takes nothing.

// settling is the inquiry of one entity.
type settling struct {
	// upto is what the journal had when it began, without what some member has not seen.
	upto crdt.Ctx
	// ticket is the reading of the view of which the members must answer, asked says that they have been asked.
	ticket   uint64
	asked    bool
	waiting  int
	failed   bool
	deadline time.Time
}

// count notes that more of what was counted in a map has left this process.
func (p *partition) count(r *resident) {
	if r.state.Kind() != crdt.ORMap || r.writer.Last < r.writer.Pending || r.writer.Last == 0 {
		return
	}
	if r.segments++; r.segments >= p.config.Segments {
		p.settlers.add(r)
	}
}

// settle goes on with the inquiries.
func (p *partition) settle() {
	for r := range p.settlers.each() {
		switch s := r.settling; {
		case r.phase != phaseLive || r.behind || !p.at.writable() || r.state.Kind() != crdt.ORMap:
			r.settling = nil
		case s == nil:
			if p.settleable(r) {
				r.settling = &settling{upto: r.state.Ctx().Snapshot(), ticket: p.refresh.want(), deadline: p.now.Add(2 * p.config.AskTimeout)}
				p.soon = true
			}
		case !p.now.Before(s.deadline):
			p.unsettled(r)
		case !s.asked && (p.single || p.refresh.done >= s.ticket):
			p.askSeen(r, s)
		}
	}
}

func (p *partition) settleable(r *resident) bool {
	return !p.now.Before(r.settleAt) && r.version == r.stored && r.phase == phaseLive && !r.behind && p.at.writable()
}

// askSeen asks all members what they have seen.
func (p *partition) askSeen(r *resident, s *settling) {
	s.asked = true
	if !p.single {
		for _, m := range p.at.others() {
			s.waiting++
			p.ask(m, &request{kind: askCompare, items: []item{p.itemOf(r)}}, func(a *answer, err error) {
				if r.settling != s {
					return
				}
				s.waiting--
				s.failed = s.failed || err != nil || len(a.items) != 1 || !p.sawAll(r, s, a.items)
				p.allSeen(r, s)
			})
		}
	}
	p.allSeen(r, s)
}

// sawAll takes what a member knows, and notes what it has seen. It returns false if that is not everything.
func (p *partition) sawAll(r *resident, s *settling, items []item) bool {
	it := &items[0]
	if it.state != itemHosted {
		return it.state == itemAbsent
	}
	p.takeItems(items, nil)
	seen, err := decodeCtx(it.seen)
	if err != nil || r.behind || r.phase != phaseLive || it.generation != r.state.Generation() || !r.state.Ctx().Missing(seen).Empty() {
		return false
	}
	s.upto = *s.upto.Intersect(seen)
	return true
}

// allSeen folds when all have answered. What those who do not host the entity did to it stands in the journal.
func (p *partition) allSeen(r *resident, s *settling) {
	switch {
	case s.waiting > 0:
		return
	case s.failed:
		p.unsettled(r)
		return
	}
	r.reread = append(r.reread, func(ok bool) {
		if r.settling != s {
			return
		}
		if !ok || r.phase != phaseLive || r.behind || !p.at.writable() {
			p.unsettled(r)
			return
		}
		r.settling, r.segments, r.unsettled = nil, 0, 0
		p.settlers.remove(r)
		if d := r.state.Stable(&r.writer, &s.upto); d != nil {
			p.config.Observer.settled(r.ref)
			p.wrote(r, d, replica.Local)
		}
	})
	p.needLoad(r, 0)
}

// unsettled tries again later.
func (p *partition) unsettled(r *resident) {
	r.settling = nil
	r.unsettled++
	r.settleAt = p.now.Add(p.backoff(r.unsettled))
}
