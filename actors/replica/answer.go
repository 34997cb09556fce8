package replica

import (
	"slices"

	"github.com/dapr-entities/entities/actors"
)

// answer answers what another member asks.
func (p *partition) answer(q *request) *answer {
	switch {
	case q.cluster != p.at.Cluster:
		return &answer{refused: "we are of another cluster, or of one before a backup was restored"}
	case int(q.partitions) != p.config.Partitions:
		return &answer{refused: "we have another number of partitions; all members must have the same"}
	case q.from != identity{} && p.fenced(q.from):
		return &answer{refused: "your slot has another holder by now"}
	case !p.at.writable():
		return &answer{refused: "we are no member at present"}
	}
	self := identityOf(p.at.Self)
	switch q.kind {
	case askPull:
		if q.fence != self {
			return &answer{refused: "we write under another name by now"}
		}
		a := &answer{seq: p.seq}
		a.batches, a.from = p.ring.between(q.lo, q.hi, p.config.AnswerBytes)
		return a
	case askAck:
		p.acked(q.from, q.fence, q.seq)
		return &answer{}
	case askPush:
		return p.answerPush(q)
	case askDigest:
		return p.answerDigest(q)
	case askCompare:
		return p.answerCompare(q)
	case askFence:
		return p.answerFence(q)
	case askGive:
		if _, ok := p.at.member(q.from); !ok {
			return &answer{refused: "we do not know you as a member"}
		}
		p.takeGifts(q.items)
		return &answer{}
	default:
		return &answer{refused: "we do not know this request; we may be of an older version"}
	}
}

func (p *partition) answerPush(q *request) *answer {
	for _, raw := range q.batches {
		b, err := decodeBatch(raw)
		if err != nil || b.origin != q.from {
			p.config.Observer.refused(refusedDamaged)
			continue
		}
		p.receive(b)
	}
	if o := p.origins[q.from]; o != nil {
		return &answer{seq: o.position()}
	}
	return &answer{}
}

func (p *partition) answerDigest(q *request) *answer {
	if len(q.sums) != buckets {
		return &answer{refused: "we have another number of buckets; we may be of another version"}
	}
	a := &answer{seq: p.seq, complete: true, sums: slices.Clone(p.sums[:])}
	for r := range p.all.each() {
		if b := r.hash % buckets; r.phase != phaseLive || q.sums[b] == p.sums[b] {
			continue
		}
		a.digests = append(a.digests, refDigest{r.hash, r.state.Digest()})
	}
	if most := p.config.Digests; len(a.digests) > most {
		// Others the next time.
		p.random.Shuffle(len(a.digests), func(i, j int) { a.digests[i], a.digests[j] = a.digests[j], a.digests[i] })
		a.digests, a.complete = a.digests[:most], false
	}
	return a
}

func (p *partition) answerCompare(q *request) *answer {
	a, size := &answer{}, 0
	for i := range q.items {
		if size > p.config.AnswerBytes {
			break
		}
		it := p.compare(&q.items[i])
		size += len(it.delta) + len(it.seen) + len(it.live)
		a.items = append(a.items, it)
	}
	return a
}

func (p *partition) compare(theirs *item) item {
	r := p.residents[theirs.ref]
	if r == nil {
		return item{ref: theirs.ref, state: itemAbsent}
	}
	if r.phase == phaseLive && !r.behind && theirs.generation > r.state.Generation() {
		p.renew(r, theirs.generation)
	}
	if r.phase != phaseLive || r.behind {
		return item{ref: theirs.ref, state: itemBusy}
	}
	ours := p.itemOf(r)
	if theirs.generation != ours.generation {
		return ours
	}
	d, err := p.lacking(r, theirs)
	if err != nil {
		p.config.Observer.rejected(r.ref, err)
	} else if d != nil {
		ours.delta = d.AppendBinary(nil)
	}
	return ours
}

// takeGifts joins what another member found us to lack.
func (p *partition) takeGifts(items []item) {
	for i := range items {
		items[i].state = itemHosted
	}
	p.takeItems(items, nil)
}

func find(items []item, ref actors.Ref) (item, bool) {
	for _, it := range items {
		if it.ref == ref {
			return it, true
		}
	}
	return item{}, false
}
