package node

import (
	"math"
	"slices"
)

// askOthers asks the members that are live for what the journal does not have yet.
func (p *partition) askOthers(r *resident) {
	r.phase = phaseAsking
	r.askedUntil = p.now.Add(p.config.AskTime)
	r.asked = r.asked[:0]
	r.inquiry++
	inquiry := r.inquiry
	for _, m := range p.at.others() {
		if p.single {
			break
		}
		id := identityOf(m)
		if p.suspect(m) {
			p.fetch(r, p.originOf(id), anySeq)
			continue
		}
		r.asked = append(r.asked, id)
		p.ask(m, &request{kind: askCompare, items: []item{p.itemOf(r)}}, func(a *answer, err error) {
			if r.phase != phaseAsking || r.inquiry != inquiry {
				if err == nil && r.phase == phaseLive {
					p.takeItems(a.items, nil) // too late to be waited for, but not for nothing
				}
				return
			}
			if err != nil {
				if _, ok := p.at.member(id); ok {
					p.fetch(r, p.originOf(id), anySeq)
				}
			} else {
				p.takeItems(a.items, nil)
			}
			r.asked = slices.DeleteFunc(r.asked, func(x identity) bool { return x == id })
			if r.phase == phaseAsking && len(r.asked) == 0 {
				p.live(r)
			}
		})
	}
	if len(r.asked) == 0 {
		p.live(r)
		return
	}
	p.waiting.add(r)
	p.soon = true
}

// anySeq is a batch that no member has sent: to wait for it holds up no confirmation.
const anySeq = math.MaxUint64

// askedEnough makes an entity live though some have not answered: they are asked again in the background.
func (p *partition) askedEnough(r *resident) {
	p.config.Observer.unanswered(r.ref, len(r.asked))
	for _, id := range r.asked {
		if _, ok := p.at.member(id); ok {
			p.fetch(r, p.originOf(id), anySeq)
		}
	}
	r.asked = r.asked[:0]
	p.live(r)
}
