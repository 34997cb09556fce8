package node

import (
	"time"

	"github.com/dapr-entities/entities/crdt"
)

// origin is what has come of another member's batches.
type origin struct {
	id identity
	// started says that contig means something: the first batch was heard.
	started bool
	// contig is the last batch up to which all have come; ahead are those that have come beyond it; latest is the last one
	// that is known to exist.
	contig, latest uint64
	ahead          map[uint64]bool
	// held counts, for batches that have come, what in them has not been joined yet.
	held map[uint64]int
	// confirm is the last batch that the origin asked to confirm, and told the last one that we confirmed.
	confirm, told uint64
	telling       bool

	// pullAt is when to ask for what is missing, zero if nothing is.
	pullAt   time.Time
	pulling  bool
	failures int
	// heardAt is when something of it came last, metAt when the view was last read because it is not in it.
	heardAt, metAt time.Time
	gone           bool
}

// position is the last batch up to which everything has been joined, or is of entities that are not here.
func (o *origin) position() uint64 {
	at := o.contig
	for seq := range o.held {
		at = min(at, seq-1)
	}
	return at
}

func (o *origin) arrived(seq uint64) {
	o.ahead[seq] = true
	o.advance(o.contig)
}

// advance makes everything up to seq come.
func (o *origin) advance(seq uint64) {
	if seq > o.contig {
		o.contig = seq
		for s := range o.ahead {
			if s <= seq {
				delete(o.ahead, s)
			}
		}
	}
	for o.ahead[o.contig+1] {
		o.contig++
		delete(o.ahead, o.contig)
	}
	o.latest = max(o.latest, o.contig)
}

// originOf finds what is known of a writer.
func (p *partition) originOf(id identity) *origin {
	o := p.origins[id]
	if o == nil {
		o = &origin{id: id, ahead: map[uint64]bool{}, held: map[uint64]int{}}
		p.origins[id] = o
	}
	return o
}

// receive takes a batch that the bus, or its origin itself, brings.
func (p *partition) receive(b *batch) {
	switch {
	case b.origin == identityOf(p.at.Self):
		return
	case !p.at.writable():
		return // who is no member takes no part; he catches up when he is one
	case b.cluster != p.at.Cluster || int(b.partitions) != p.config.Partitions:
		p.config.Observer.refused(refusedForeign)
		return
	case p.fenced(b.origin):
		p.config.Observer.refused(refusedFenced)
		return
	}
	o := p.originOf(b.origin)
	o.heardAt = p.now
	if _, ok := p.at.member(b.origin); !ok {
		p.meet(o)
	}
	if !o.started {
		o.started = true
		if p.all.len() == 0 {
			// Nothing is here that could have missed anything.
			o.contig = b.seq
			if !b.heartbeat() {
				o.contig--
			}
		}
	}
	o.latest = max(o.latest, b.seq)
	switch {
	case b.heartbeat() || b.seq <= o.contig || o.ahead[b.seq]:
	case !p.takeBatch(o, b):
		p.config.Observer.refused(refusedFull)
		return
	}
	if b.confirm {
		o.confirm = max(o.confirm, b.seq)
		o.told = min(o.told, b.seq-1) // it comes again: our answer was lost
	}
	if o.latest == o.contig {
		p.heardOf(b.origin)
	}
	p.noticeGap(o)
	p.acknowledge(o)
}

// takeBatch joins a batch, or returns false if there is no room for what must wait. Then it is as if it had been lost.
func (p *partition) takeBatch(o *origin, b *batch) bool {
	if b.seq > o.contig+1 && len(o.ahead) >= p.config.Ahead {
		return false
	}
	for i := range b.entries {
		if r := p.residents[b.entries[i].ref]; r != nil && len(r.parked) >= p.config.Parked {
			return false
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		if r := p.residents[e.ref]; r != nil {
			p.deliver(r, parkedEntry{origin: o, seq: b.seq, entry: *e})
		}
	}
	o.arrived(b.seq)
	return true
}

// parkedEntry waits for the entity to be live, or until then for those of its origin that come before it.
type parkedEntry struct {
	origin *origin
	seq    uint64
	entry  batchEntry
	until  time.Time
	// repair stands for whatever of the origin was lost up to seq.
	repair bool
}

func (p *partition) park(r *resident, e parkedEntry) {
	e.origin.held[e.seq]++
	r.parked = append(r.parked, e)
	p.waiting.add(r)
}

// unhold says that something of a batch does not wait any more.
func (p *partition) unhold(o *origin, seq uint64) {
	if o.held[seq]--; o.held[seq] <= 0 {
		delete(o.held, seq)
		p.acknowledge(o)
	}
}

// unpark delivers an entry that waited.
func (p *partition) unpark(r *resident, e parkedEntry) {
	p.deliver(r, e)
	p.unhold(e.origin, e.seq)
}

// deliver brings an entry to its entity, in the order of its origin if it comes in time.
func (p *partition) deliver(r *resident, e parkedEntry) {
	g := r.state.Generation()
	switch {
	case r.phase == phaseGone:
		return
	case r.phase != phaseLive || r.behind:
		p.park(r, e)
		return
	case e.repair:
		p.fetch(r, e.origin, e.seq)
		return
	case e.entry.generation < g:
		return
	case e.entry.generation > g:
		p.renew(r, e.entry.generation)
		p.park(r, e)
		return
	}
	if last, ok := r.heard[e.origin.id]; ok && e.entry.k > last+1 && e.until.IsZero() {
		e.until = p.now.Add(p.config.ParkTime)
		p.park(r, e)
		return
	}
	p.takeEntry(r, e)
	p.unparkNext(r, e.origin)
}

// unparkNext delivers what waited for the entry that has just come.
func (p *partition) unparkNext(r *resident, o *origin) {
	for again := true; again; {
		again = false
		for i, e := range r.parked {
			if e.origin == o && e.entry.k <= r.heard[o.id]+1 && r.phase == phaseLive && !r.behind {
				r.parked = append(r.parked[:i:i], r.parked[i+1:]...)
				p.takeEntry(r, e)
				p.unhold(o, e.seq)
				again = true
				break
			}
		}
	}
}

// takeEntry joins an entry.
func (p *partition) takeEntry(r *resident, e parkedEntry) {
	r.heard[e.origin.id] = max(r.heard[e.origin.id], e.entry.k)
	if len(e.entry.delta) == 0 {
		p.fetch(r, e.origin, e.seq)
		return
	}
	d, err := crdt.DecodeDelta(e.entry.delta, p.config.Limits)
	if err == nil && p.forgets(r, d) {
		p.setAside(r)
		return
	}
	if err == nil {
		var news bool
		if news, err = p.join(r, d); news {
			r.foreign = true
		}
	}
	if err != nil {
		p.config.Observer.rejected(r.ref, err)
	}
}

// expireParked delivers what has waited long enough, and makes entities live that have asked long enough.
func (p *partition) expireParked() {
	for r := range p.waiting.each() {
		if r.phase == phaseAsking && !p.now.Before(r.askedUntil) {
			p.askedEnough(r)
		}
		if r.phase == phaseLive && !r.behind {
			var due []parkedEntry
			left := r.parked[:0:0]
			for _, e := range r.parked {
				if p.now.Before(e.until) {
					left = append(left, e)
				} else {
					due = append(due, e)
				}
			}
			r.parked = left
			for _, e := range due {
				p.unpark(r, e)
			}
		}
		if r.phase == phaseLive && len(r.parked) == 0 {
			p.waiting.remove(r)
		}
	}
}

// noticeGap has what is missing pulled, if it does not come by itself in a moment.
func (p *partition) noticeGap(o *origin) {
	if o.latest <= o.contig {
		o.pullAt = time.Time{}
		o.failures = 0
	} else if o.pullAt.IsZero() {
		o.pullAt = p.now.Add(p.config.GapTime)
		p.soon = true
	}
}

// acknowledge tells an origin how far we are, if it asked and if that is news.
func (p *partition) acknowledge(o *origin) {
	if o.gone || o.telling || o.confirm <= o.told {
		return
	}
	at := o.position()
	if at <= o.told {
		return
	}
	m, ok := p.at.member(o.id)
	if !ok {
		return
	}
	before := o.told
	o.told = at
	o.telling = true
	p.ask(m, &request{kind: askAck, fence: o.id, seq: at}, func(_ *answer, err error) {
		o.telling = false
		if err != nil {
			o.told = min(o.told, before) // it will push what it has no answer to
			return
		}
		p.acknowledge(o)
	})
}

// progress acknowledges wherever that has become possible.
func (p *partition) progress() {
	for _, o := range byIdentity(p.origins) {
		p.acknowledge(o)
	}
}
