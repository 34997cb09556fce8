package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/replica/slot"
)

// ask sends a request to a member. answered is called once, later.
func (p *partition) ask(to slot.Member, q *request, answered func(a *answer, err error)) {
	q.cluster, q.partitions, q.partition = p.at.Cluster, uint32(p.config.Partitions), uint32(p.number)
	if p.at.Valid != nil {
		q.from = identityOf(p.at.Self)
	}
	p.lastAsk++
	id := identityOf(to)
	p.asks[p.lastAsk] = func(a *answer, err error) {
		if err == nil {
			delete(p.suspects, id)
			p.heardOf(id)
		} else if _, ok := p.at.member(id); ok && !errors.Is(err, errRefused) {
			p.suspects[id] = p.now.Add(p.config.SuspectTime)
			p.unanswered(id)
		}
		answered(a, err)
	}
	p.out.asks = append(p.out.asks, ask{number: p.lastAsk, to: to, request: q.append(nil)})
}

// askInTime is ask for what nobody waits for: it may have to wait for others of its kind.
func (p *partition) askInTime(to slot.Member, q *request, answered func(a *answer, err error)) {
	p.ask(to, q, answered)
	p.out.asks[len(p.out.asks)-1].repair = true
}

// strangerTime is how long to remember a writer that is no member and says nothing.
const strangerTime = time.Minute

var errRefused = errors.New("the other member refuses")

// answered takes the answer to an ask.
func (p *partition) answered(number uint64, b []byte, err error) {
	f := p.asks[number]
	if f == nil {
		return
	}
	delete(p.asks, number)
	var a *answer
	if err == nil {
		if a, err = decodeAnswer(b); err == nil && a.refused != "" {
			err = fmt.Errorf("%w: %s", errRefused, a.refused)
		}
	}
	f(a, err)
}

// suspect reports whether a member has not answered lately, so that nobody should wait for it.
func (p *partition) suspect(m slot.Member) bool {
	return p.now.Before(p.suspects[identityOf(m)])
}

// pull asks origins for what is missing of their batches.
func (p *partition) pull() {
	for id, o := range byIdentity(p.origins) {
		if o.pulling || o.pullAt.IsZero() || p.now.Before(o.pullAt) {
			continue
		}
		m, ok := p.at.member(id)
		if !ok || !p.at.writable() {
			o.pullAt = p.now.Add(p.config.RetryMax) // we have not heard of it yet
			if !ok && p.now.Sub(o.heardAt) > strangerTime {
				p.forget(id) // it was gone before we came, and the bus kept its batches
			}
			continue
		}
		o.pulling = true
		q := &request{kind: askPull, fence: id, lo: o.contig + 1, hi: o.latest}
		p.askInTime(m, q, func(a *answer, err error) { p.pulled(o, m, q.lo, a, err) })
	}
}

func (p *partition) pulled(o *origin, m slot.Member, lo uint64, a *answer, err error) {
	o.pulling = false
	if o.gone {
		return
	}
	o.pullAt = time.Time{}
	if err != nil {
		o.failures++
		o.pullAt = p.now.Add(p.backoff(o.failures))
		return
	}
	for _, raw := range a.batches {
		b, err := decodeBatch(raw)
		if err != nil || b.origin != o.id {
			p.config.Observer.refused(refusedDamaged)
			continue
		}
		p.receive(b)
	}
	p.config.Observer.pulled(len(a.batches))
	if o.contig < lo && (a.from == 0 || a.from > lo) {
		// Its ring does not go back that far.
		p.startRound(m, o)
		o.pullAt = p.now.Add(4 * p.config.Retry)
	}
	if o.pullAt.IsZero() {
		p.noticeGap(o)
	}
}

// fetch is a delta to be had from its origin, because it did not fit into a batch or nobody knows which one it is.
type fetch struct {
	origin *origin
	seq    uint64
}

// fetching asks the origin for what we lack of one entity.
func (p *partition) fetch(r *resident, o *origin, seq uint64) {
	o.held[seq]++
	r.fetches = append(r.fetches, fetch{o, seq})
	if !r.fetching {
		r.fetchAt = p.now
	}
	p.fetchers.add(r)
	p.soon = true
}

// retryFetches asks again, and gives up on origins that are gone: what they stored is read from the journal.
func (p *partition) retryFetches() {
	for r := range p.fetchers.each() {
		left := r.fetches[:0:0]
		for _, f := range r.fetches {
			if f.origin.gone {
				p.unhold(f.origin, f.seq)
			} else {
				left = append(left, f)
			}
		}
		if r.fetches = left; len(left) == 0 || r.phase == phaseGone {
			p.fetchers.remove(r)
			continue
		}
		if r.fetching || p.now.Before(r.fetchAt) || r.phase != phaseLive {
			continue
		}
		if r.behind || !p.at.writable() {
			r.fetchAt = p.now.Add(p.config.RetryMax)
			continue
		}
		p.startFetch(r, left[0].origin)
	}
}

func (p *partition) startFetch(r *resident, o *origin) {
	m, ok := p.at.member(o.id)
	if !ok {
		r.fetchAt = p.now.Add(p.config.RetryMax)
		return
	}
	r.fetching = true
	n := len(r.fetches)
	p.ask(m, &request{kind: askCompare, items: []item{p.itemOf(r)}}, func(a *answer, err error) {
		r.fetching = false
		if r.phase == phaseGone {
			return
		}
		if err != nil || len(a.items) == 0 || a.items[0].state == itemBusy || r.behind || !p.at.writable() {
			r.fetchAt = p.now.Add(p.config.Retry + p.jitter(p.config.Retry))
			return
		}
		if a.items[0].state == itemAbsent {
			// It let go of the entity, so the journal has what it wrote.
			p.rereadFor(r, o, n)
			return
		}
		p.takeItems(a.items, nil)
		p.fetched(r, o, n)
	})
}

// rereadFor reads the journal instead.
func (p *partition) rereadFor(r *resident, o *origin, n int) {
	r.fetching = true
	r.reread = append(r.reread, func(ok bool) {
		r.fetching = false
		if ok {
			p.fetched(r, o, n)
		} else {
			r.fetchAt = p.now.Add(p.config.RetryMax)
		}
	})
	p.needLoad(r, 0)
}

// fetched ends the fetches from an origin among the first n.
func (p *partition) fetched(r *resident, o *origin, n int) {
	left := r.fetches[:0:0]
	for i, f := range r.fetches {
		if i < n && f.origin == o {
			p.unhold(o, f.seq)
		} else {
			left = append(left, f)
		}
	}
	r.fetches = left
	r.fetchAt = p.now
	p.soon = true
}
