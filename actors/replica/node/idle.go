package node

// release puts a resident that nobody has open among those that may leave memory.
func (p *partition) release(r *resident) {
	if r.handle == nil && r.opener == nil && r.place == nil {
		r.since = p.now
		r.place = p.idle.PushBack(r)
	}
}

func (p *partition) unidle(r *resident) {
	if r.place != nil {
		p.idle.Remove(r.place)
		r.place = nil
	}
}

// clean reports whether all that was written here has been told to the others and to the journal.
func (p *partition) clean(r *resident) bool {
	return r.phase == phaseLive && !r.behind && p.told(r) && r.version == r.stored && !r.flushing && !r.folding && !r.loading &&
		!r.strikes()
}

// evictable is stricter: nothing is under way that would come to nothing.
func (p *partition) evictable(r *resident) bool {
	return p.clean(r) && r.handle == nil && r.opener == nil && len(r.waits) == 0 && len(r.parked) == 0 &&
		len(r.fetches) == 0 && !r.behind && r.sealing == nil && r.settling == nil && !r.fold && r.loadAt.IsZero() && !r.tailStale
}

// evict lets entities go that have been idle for long.
func (p *partition) evict() {
	for e := p.idle.Front(); e != nil; {
		r := e.Value.(*resident)
		if p.now.Sub(r.since) < p.config.IdleTime {
			return
		}
		e = e.Next()
		if p.evictable(r) {
			p.drop(r)
		}
	}
}

// evictOne makes room.
func (p *partition) evictOne() bool {
	for e := p.idle.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*resident); p.evictable(r) {
			p.drop(r)
			return true
		}
	}
	return false
}

// drop takes a resident out of memory.
func (p *partition) drop(r *resident) {
	if r.phase == phaseLive {
		p.remembered.put(r.ref, remembered{
			last: r.writer.Last, k: r.k, lastSeq: r.lastSeq, segments: r.segments, base: r.baseVersion, tail: r.tailVersion, tailKnown: r.tailKnown,
		})
		if r.tailKnown && r.tailEmpty && r.tailVersion > 0 && p.at.writable() {
			p.out.removes = append(p.out.removes, cellName{tailKey(r.ref, p.at.Self.Slot), r.tailVersion})
		}
	}
	r.phase = phaseGone
	p.changed(r)
	p.unidle(r)
	delete(p.residents, r.ref)
	delete(p.byHash, r.hash)
	p.all.remove(r)
	p.loads.remove(r)
	p.waiting.remove(r)
	p.dirty.remove(r)
	p.unstored.remove(r)
	p.fetchers.remove(r)
	p.durable.remove(r)
	p.sealers.remove(r)
	p.settlers.remove(r)
	for _, e := range r.parked {
		p.unhold(e.origin, e.seq)
	}
	for _, f := range r.fetches {
		p.unhold(f.origin, f.seq)
	}
	for _, f := range append(r.rereading, r.reread...) {
		f(true)
	}
	r.parked, r.fetches, r.reread, r.rereading = nil, nil, nil, nil
}
