package node

import "time"

// A member whose lease lives, but that neither answers nor is heard, may be cut off from us and not from the journal: then
// what it writes stands in its tails, and ours in our own. As long as there is such a member, all entities here are
// read from the journal in turn, a few at a time, so that convergence does not wait until the broker is back.

// polling goes round the entities in memory.
type polling struct {
	// silent are the members that did not answer the last question, and have not been heard since.
	silent map[identity]bool
	at     time.Time
	// turn are those of the present round that are still to be read.
	turn []*resident
}

// unanswered notes that a member did not answer. The others are asked soon, for they may be out of reach as well.
func (p *partition) unanswered(id identity) {
	if p.polling.silent[id] {
		return
	}
	if len(p.polling.silent) == 0 {
		p.polling.silent = map[identity]bool{}
		p.polling.at = p.now
		for _, m := range p.at.others() {
			if identityOf(m) != id {
				p.roundSoon(m)
			}
		}
	}
	p.polling.silent[id] = true
	p.soon = true
}

// heardOf notes that a member is in reach. What was missed meanwhile is compared.
func (p *partition) heardOf(id identity) {
	if !p.polling.silent[id] {
		return
	}
	p.quiet(id)
	if m, ok := p.at.member(id); ok {
		p.roundSoon(m)
	}
}

// quiet forgets that a member is silent.
func (p *partition) quiet(id identity) {
	if delete(p.polling.silent, id); len(p.polling.silent) == 0 {
		p.polling.turn = nil
	}
}

// poll reads the next entities.
func (p *partition) poll() {
	if !p.polls() || p.now.Before(p.polling.at) {
		return
	}
	p.polling.at = p.now.Add(p.config.Poll)
	if len(p.polling.turn) == 0 {
		for r := range p.all.each() {
			p.polling.turn = append(p.polling.turn, r)
		}
	}
	for n := 0; n < p.config.PollEntities && len(p.polling.turn) > 0; {
		r := p.polling.turn[0]
		p.polling.turn = p.polling.turn[1:]
		if r.phase == phaseLive && !r.behind && !r.loading && r.loadAt.IsZero() {
			p.needLoad(r, 0)
			n++
		}
	}
}

func (p *partition) polls() bool {
	return len(p.polling.silent) > 0 && p.all.len() > 0 && p.at.writable()
}
