package node

import (
	"time"
)

// ring keeps own batches for those who missed one. It never waits for anybody: who missed more than it has compares
// digests instead.
type ring struct {
	limit int
	keep  time.Duration
	items []ringItem
	bytes int
}

type ringItem struct {
	seq   uint64
	at    time.Time
	bytes []byte
}

func (g *ring) add(now time.Time, seq uint64, b []byte) {
	g.items = append(g.items, ringItem{seq, now, b})
	g.bytes += len(b)
	g.trim(now)
}

func (g *ring) trim(now time.Time) {
	n := 0
	for n < len(g.items)-1 && (g.bytes > g.limit || now.Sub(g.items[n].at) > g.keep) {
		g.bytes -= len(g.items[n].bytes)
		g.items[n] = ringItem{}
		n++
	}
	g.items = g.items[n:]
}

func (g *ring) clear() { g.items, g.bytes = nil, 0 }

// between returns the batches from lo to hi that are there, up to a number of bytes but at least one, and the first one of
// all that is there, 0 if none.
func (g *ring) between(lo, hi uint64, bytes int) (batches [][]byte, first uint64) {
	if len(g.items) == 0 {
		return nil, 0
	}
	first = g.items[0].seq
	for i := max(lo, first) - first; i < uint64(len(g.items)) && g.items[i].seq <= hi; i++ {
		b := g.items[i].bytes
		if bytes -= len(b); bytes < 0 && len(batches) > 0 {
			break
		}
		batches = append(batches, b)
	}
	return batches, first
}

// flush publishes what is pending, one batch at a time: while one is on its way, the next one grows.
func (p *partition) flush() {
	if p.single || !p.at.writable() {
		return
	}
	if f := p.inFlight; f != nil && p.overtakes(f) {
		p.inFlight = nil
	} else if f != nil {
		if f.failed && !p.now.Before(f.retryAt) {
			f.failed = false
			p.out.publish = f
		}
		return
	}
	if p.now.Before(p.flushAt) || p.out.publish != nil {
		return
	}
	b := batch{
		cluster: p.at.Cluster, origin: identityOf(p.at.Self), partitions: uint32(p.config.Partitions),
		partition: uint32(p.number), seq: p.seq + 1,
	}
	size := 0
	p.deltas = p.deltas[:0]
	for r := range p.dirty.each() {
		if r.holdUntil > r.stored || r.behind {
			continue
		}
		e := batchEntry{ref: r.ref, generation: r.state.Generation(), k: r.k + 1}
		// A delta that is far too big is left to those who want it.
		if !r.compare && r.pending.Size() <= p.config.EntryBytes {
			start := len(p.deltas)
			p.deltas = r.pending.AppendBinary(p.deltas)
			e.delta = p.deltas[start:len(p.deltas):len(p.deltas)]
		}
		if size > 0 && size+e.size() > p.config.BatchBytes {
			break
		}
		size += e.size()
		b.entries = append(b.entries, e)
		r.pending, r.compare, r.holdUntil = nil, false, 0
		r.k, r.lastSeq = e.k, b.seq
		p.let(r)
		p.dirty.remove(r)
		for _, w := range r.waits {
			if !w.published {
				w.seq, w.published = b.seq, true
				b.confirm = true
			}
		}
		p.reopen(r)
	}
	if len(b.entries) == 0 {
		return
	}
	p.seq = b.seq
	p.publish(&publication{seq: b.seq, bytes: b.append(make([]byte, 0, batchBytes+size)), entries: len(b.entries), began: p.now})
	p.ring.add(p.now, b.seq, p.inFlight.bytes)
	p.beats, p.beatAt = 0, p.now.Add(p.config.Heartbeat)
	p.settleWaits() // there may be nobody to confirm
}

// overtakes reports whether the next batch does not wait for the one before: if the bus does not take that, but somebody
// waits for a write to be confirmed, which the others can be told directly. They will miss the number, and pull.
func (p *partition) overtakes(f *publication) bool {
	return p.urgent() && !p.now.Before(p.overtakeAt(f))
}

func (p *partition) overtakeAt(f *publication) time.Time {
	if f.failed {
		return p.flushAt
	}
	return f.began.Add(10 * p.config.AckTime)
}

// urgent reports whether somebody waits for what could be sent.
func (p *partition) urgent() bool {
	for r := range p.durable.each() {
		if p.dirty.has(r) && r.holdUntil <= r.stored && !r.behind {
			return true
		}
	}
	return false
}

func (p *partition) publish(f *publication) {
	p.inFlight = f
	p.out.publish = f
}

// published says what became of a publication.
func (p *partition) published(f *publication, err error) {
	if f.seq == 0 || p.inFlight != f {
		return
	}
	took := p.now.Sub(f.began)
	p.config.Observer.published(f.entries, len(f.bytes), took, err)
	if err != nil {
		f.failures++
		f.failed = true
		f.retryAt = p.now.Add(p.backoff(f.failures))
		p.flushAt = p.now.Add(p.config.Flush)
		return
	}
	p.inFlight = nil
	// Under load, when publishing takes long, batches are to be bigger rather than more.
	p.flushAt = f.began.Add(min(max(p.config.Flush, 2*took), p.config.FlushMax))
}

// beat repeats the number of the last batch a few times after it, at growing intervals, so that its loss is noticed. Then
// there is silence, until there is something to say: digest rounds tell the number, too.
func (p *partition) beat() {
	if p.single || p.seq == 0 || p.beats >= p.config.Heartbeats || p.inFlight != nil || p.out.publish != nil ||
		p.now.Before(p.beatAt) || !p.at.writable() {
		return
	}
	b := batch{
		cluster: p.at.Cluster, origin: identityOf(p.at.Self), partitions: uint32(p.config.Partitions),
		partition: uint32(p.number), seq: p.seq,
	}
	p.beats++
	p.beatAt = p.now.Add(p.config.Heartbeat << p.beats)
	p.out.publish = &publication{bytes: b.append(nil)}
}

// let notes that what the entity has has left this process.
func (p *partition) let(r *resident) {
	p.count(r)
	r.writer.Pending = r.writer.Last + 1
}
