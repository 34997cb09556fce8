package node

import "time"

// next says when tick has something to do, zero if never.
func (p *partition) next() time.Time {
	var at time.Time
	by := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	p.nextOut(by)
	for _, o := range p.origins {
		if !o.pulling {
			by(o.pullAt)
		}
	}
	for r := range p.waiting.each() {
		if r.phase == phaseAsking {
			by(r.askedUntil)
		}
		for _, e := range r.parked {
			by(e.until)
		}
	}
	for r := range p.durable.each() {
		for _, w := range r.waits {
			by(w.deadline)
		}
	}
	for r := range p.sealers.each() {
		by(later(r.sealing.at, p.now))
	}
	for r := range p.settlers.each() {
		if s := r.settling; s != nil {
			by(s.deadline)
		} else if r.version == r.stored && r.phase == phaseLive && !r.behind && p.at.writable() {
			by(later(r.settleAt, p.now))
		}
	}
	for r := range p.fetchers.each() {
		if !r.fetching {
			by(r.fetchAt)
		}
	}
	if p.loads.running < p.config.Loads {
		for r := range p.loads.each() {
			if !r.loading && !r.folding && !r.flushing {
				by(r.loadAt)
			}
		}
	}
	if e := p.idle.Front(); e != nil {
		by(e.Value.(*resident).since.Add(p.config.IdleTime))
	}
	if p.polls() {
		by(later(p.polling.at, p.now))
	}
	if p.refresh.running == 0 && p.refresh.wanted > p.refresh.done {
		by(later(p.refresh.retryAt, p.now))
	}
	return at
}

// nextOut is for what goes to others.
func (p *partition) nextOut(by func(time.Time)) {
	if p.single {
		return
	}
	for _, t := range p.roundsDue {
		by(t)
	}
	by(later(p.roundAt, p.now))
	if !p.at.writable() {
		return
	}
	if f := p.inFlight; f != nil && p.urgent() {
		by(later(p.overtakeAt(f), p.now))
	}
	switch {
	case p.inFlight != nil && p.inFlight.failed:
		by(p.inFlight.retryAt)
	case p.inFlight != nil:
	default:
		for r := range p.dirty.each() {
			if r.holdUntil <= r.stored && !r.behind {
				by(later(p.flushAt, p.now))
				break
			}
		}
		if p.seq > 0 && p.beats < p.config.Heartbeats {
			by(p.beatAt)
		}
	}
	if p.durable.len() > 0 {
		by(p.now.Add(p.config.AckTime))
	}
}

// later is the later one of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
