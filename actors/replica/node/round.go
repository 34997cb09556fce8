package node

import (
	"time"

	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// round compares everything with one member.
type round struct {
	with slot.Member
	// settle is the origin whose lost batches the round makes good, nil if none.
	settle *origin
	// seq is the last batch of the other one that is in what it compares.
	seq   uint64
	sent  [buckets]uint64
	queue []*resident
	// rereads is how many entities are being read from the journal, because the other one does not have them.
	rereads   int
	comparing bool
	failed    bool
}

// comparedAtOnce is how many entities go into one request.
const comparedAtOnce = 64

// roundSoon has a round with a member, at a random time within one interval.
func (p *partition) roundSoon(m slot.Member) {
	id := identityOf(m)
	if _, ok := p.roundsDue[id]; !ok {
		p.roundsDue[id] = p.now.Add(p.jitter(p.config.Round))
	}
}

// startRounds begins those that are due: with whoever is new, and from time to time with somebody.
func (p *partition) startRounds() {
	if p.single {
		return
	}
	for id, at := range byIdentity(p.roundsDue) {
		if p.now.Before(at) {
			continue
		}
		delete(p.roundsDue, id)
		if m, ok := p.at.member(id); ok && p.all.len() > 0 && p.at.writable() {
			p.startRound(m, nil)
		}
	}
	if p.now.Before(p.roundAt) {
		return
	}
	first := p.roundAt.IsZero()
	p.roundAt = p.now.Add(p.config.Round/2 + p.jitter(p.config.Round/2))
	if others := p.at.others(); !first && len(others) > 0 && p.all.len() > 0 && p.at.writable() {
		p.startRound(others[p.random.IntN(len(others))], nil)
	}
}

// startRound begins a round unless there is one with that member.
func (p *partition) startRound(m slot.Member, settle *origin) {
	id := identityOf(m)
	if d := p.rounds[id]; d != nil {
		return // whoever wants to settle will notice his gap again
	}
	d := &round{with: m, settle: settle, sent: p.sums}
	p.rounds[id] = d
	p.askInTime(m, &request{kind: askDigest, sums: d.sent[:]}, func(a *answer, err error) {
		if err != nil || len(a.sums) != buckets {
			d.failed = true
			p.endRound(d)
			return
		}
		p.compareDigests(d, a)
	})
}

// compareDigests finds out what is to be compared.
func (p *partition) compareDigests(d *round, a *answer) {
	id := identityOf(d.with)
	d.seq = a.seq
	if o := p.originOf(id); !p.fenced(id) {
		if !o.started {
			o.started = true
			if p.all.len() == 0 {
				o.contig = a.seq
			}
		}
		o.latest = max(o.latest, a.seq)
		p.noticeGap(o)
	}
	theirs := make(map[uint64]uint64, len(a.digests))
	for _, x := range a.digests {
		theirs[x.ref] = x.digest
	}
	if !a.complete {
		d.failed = true // it did not list everything; what it listed is compared all the same
	}
	for r := range p.all.each() {
		if r.phase != phaseLive || r.behind {
			if d.settle != nil {
				p.park(r, parkedEntry{origin: d.settle, seq: d.seq, repair: true})
			}
			continue
		}
		if b := r.hash % buckets; d.sent[b] == a.sums[b] && r.phase == phaseLive {
			continue
		}
		if digest, ok := theirs[r.hash]; ok && digest != r.state.Digest() {
			d.queue = append(d.queue, r)
		} else if !ok && d.settle != nil && a.complete {
			p.rereadIn(d, r)
		}
	}
	p.compareNext(d)
}

func (p *partition) rereadIn(d *round, r *resident) {
	d.rereads++
	r.reread = append(r.reread, func(ok bool) {
		d.rereads--
		d.failed = d.failed || !ok
		p.compareNext(d)
	})
	p.needLoad(r, 0)
}

// compareNext goes on with the queue.
func (p *partition) compareNext(d *round) {
	if d.comparing {
		return
	}
	q := &request{kind: askCompare}
	var asked []*resident
	for _, r := range d.queue[:min(len(d.queue), comparedAtOnce)] {
		if r.phase == phaseLive {
			q.items = append(q.items, p.itemOf(r))
		}
		asked = append(asked, r)
	}
	d.queue = d.queue[len(asked):]
	if len(q.items) == 0 {
		if len(d.queue) > 0 {
			p.compareNext(d)
		} else if d.rereads == 0 {
			p.endRound(d)
		}
		return
	}
	d.comparing = true
	p.askInTime(d.with, q, func(a *answer, err error) {
		d.comparing = false
		if err != nil {
			d.failed, d.queue = true, nil
			p.compareNext(d)
			return
		}
		var give []item
		p.takeItems(a.items, &give)
		p.config.Observer.repaired(len(a.items))
		if len(give) > 0 {
			p.askInTime(d.with, &request{kind: askGive, items: give}, func(*answer, error) {})
		}
		// What did not fit into the answer is asked again.
		if n := len(a.items); n == 0 {
			d.failed = true
		} else if n < len(q.items) {
			for _, r := range asked {
				if _, ok := find(a.items, r.ref); !ok {
					d.queue = append(d.queue, r)
				}
			}
		}
		for _, it := range a.items {
			if it.state != itemHosted && d.settle != nil {
				d.failed = true // it is just loading, or has just let go: next time
			}
		}
		p.compareNext(d)
	})
}

// endRound settles what the round was for.
func (p *partition) endRound(d *round) {
	id := identityOf(d.with)
	if p.rounds[id] != d {
		return
	}
	delete(p.rounds, id)
	o := d.settle
	if o == nil || o.gone {
		return
	}
	if d.failed || !p.at.writable() {
		o.failures++
		o.pullAt = p.now.Add(p.backoff(o.failures))
		return
	}
	o.failures = 0
	o.advance(d.seq)
	o.pullAt = time.Time{}
	p.noticeGap(o)
	p.acknowledge(o)
}

// itemOf is what another member needs to see what we lack.
func (p *partition) itemOf(r *resident) item {
	return item{
		ref: r.ref, generation: r.state.Generation(), digest: r.state.Digest(),
		seen: encodeCtx(r.state.Ctx()), live: encodeCtx(r.state.LiveDots()),
	}
}

// lacking is the delta that makes whoever an item is of know what we know, nil if he does.
func (p *partition) lacking(r *resident, it *item) (*crdt.Delta, error) {
	if it.digest == r.state.Digest() {
		return nil, nil
	}
	seen, err := decodeCtx(it.seen)
	if err != nil {
		return nil, err
	}
	live, err := decodeCtx(it.live)
	if err != nil {
		return nil, err
	}
	p.let(r)
	return joined(r.state.Since(seen), r.state.Kills(live)), nil
}

// takeItems joins what another member knew more, and adds to give, unless that is nil, what he lacks.
func (p *partition) takeItems(items []item, give *[]item) {
	for i := range items {
		it := &items[i]
		r := p.residents[it.ref]
		if r == nil || it.state != itemHosted || r.behind || r.phase == phaseLive && !p.mayLearn(r) || r.phase != phaseLive && r.phase != phaseAsking {
			continue
		}
		switch g := r.state.Generation(); {
		case it.generation > g:
			p.renew(r, it.generation)
			continue
		case it.generation < g:
			if give != nil {
				*give = append(*give, item{ref: r.ref, generation: g})
			}
			continue
		}
		if len(it.delta) > 0 {
			d, err := crdt.DecodeDelta(it.delta, p.config.Limits)
			if err == nil && p.forgets(r, d) {
				p.setAside(r)
				continue
			}
			if err == nil {
				var news bool
				if news, err = p.join(r, d); news {
					r.foreign = true
				}
			}
			if err != nil {
				p.config.Observer.rejected(r.ref, err)
				continue
			}
		}
		if give == nil || it.seen == nil && it.live == nil && it.digest == 0 {
			continue
		}
		d, err := p.lacking(r, it)
		if err != nil {
			p.config.Observer.rejected(r.ref, err)
		} else if d != nil {
			*give = append(*give, item{ref: r.ref, generation: r.state.Generation(), delta: d.AppendBinary(nil)})
		}
	}
}
