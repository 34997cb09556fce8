package node

import (
	"container/list"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// resident is the copy of one entity in memory.
type resident struct {
	ref   actors.Ref
	hash  uint64
	phase phase
	state *crdt.Entity
	// writer goes with the partition's standing.
	writer crdt.Writer
	handle *handle
	opener *opener
	// place in the partition's idle list, nil if it is not there.
	place *list.Element
	since time.Time
	// counted is what it adds to the sum of its bucket.
	counted uint64

	// pending is what others have not been told. It stays here until the journal has version holdUntil.
	pending   *crdt.Delta
	holdUntil uint64
	// compare says that others are to compare what they have with what is here, instead of being told pending.
	compare bool
	// k is that of the last delta published, lastSeq the batch that it was in.
	k, lastSeq uint64

	// behind says that this process has got another name since the entity was read: it takes no part until it has caught up
	// with what the members did meanwhile. loadedAs is the name under which the present load began.
	behind   bool
	loadedAs identity
	// catching is what is being written to catch up, sealing what is being sealed.
	catching *catching
	sealing  *sealing
	// segments is how often own events of a map have left this process since they were last folded; settling is the inquiry
	// whether they can be, settleAt when there may be the next one, after so many that failed.
	segments  int
	unsettled int
	settling  *settling
	settleAt  time.Time
	// secured are the slots, and the epochs up to which the journal has all that we know of what they wrote. securing waits
	// for a load to begin; then for its comparison; then for a base.
	secured, securing, comparing, writing map[crdt.Slot]crdt.Epoch
	// version counts own writes; stored is the last one that the journal has. waited is the last one that somebody waits for.
	version, stored, waited uint64
	// tail is what this member wrote since covered, which is being written into a base, and covered what it wrote before
	// since the base before that.
	tail, covered *crdt.Delta
	// tailVersion is that of our tail's cell, if known.
	tailVersion int64
	tailKnown   bool
	// tailStale says that the cell has more than is in tail and covered.
	tailStale bool
	// tailEmpty says that the cell's value is empty, or that there is none.
	tailEmpty   bool
	flushing    bool
	baseVersion int64
	baseBytes   int
	// chunks and deadTails go when the base is replaced.
	chunks, deadTails []journal.Cell
	receipts          []receipt
	// struck are removals of what was sealed out before its writer could bring it again: a receipt is to have them, and
	// striking are those in the receipts of the base that is being written. followed says that a receipt has been found to
	// lack something that was removed here.
	struck, striking *crdt.Delta
	followed         bool

	// loading, folding: the cells are being read, the base is being written.
	loading, folding bool
	// loadAt is when to read the cells (again), fold whether the base is then to be written if it lacks anything.
	loadAt time.Time
	fold   bool
	// failures counts loads and folds that failed one after another.
	failures    int
	foldVersion uint64
	// foreign says that others told something since the last time that we saw the journal have all that we know.
	foreign bool
	// reread is called when a load that begins from now on has ended; rereading when the present one has.
	reread, rereading []func(ok bool)

	// heard is the last k of each origin. parked entries wait for those before them, or for the entity to be live.
	heard  map[identity]uint64
	parked []parkedEntry
	// asked are the members that have not answered yet what they know; the entity is live at askedUntil at latest.
	asked      []identity
	askedUntil time.Time
	inquiry    int
	// fetches are what is to be had from other members; fetchAt is when to ask (again).
	fetches  []fetch
	fetching bool
	fetchAt  time.Time

	waits []*wait
}

type phase uint8

const (
	// loading from the journal; then asking those who are live.
	phaseLoading phase = iota
	phaseAsking
	phaseLive
	phaseGone
)

// opener waits for an entity to be live.
type opener struct {
	changed func()
	opened  func(*handle, error)
}

// errInUse says that the entity is open already.
var errInUse = actors.Errorf(actors.Internal, "the replica is open already; close it first")

// open takes an entity into memory and answers by a call.
func (p *partition) open(ref actors.Ref, o *opener) {
	p.soon = true
	r := p.residents[ref]
	switch {
	case r == nil:
		if len(p.residents) >= p.config.Residents/p.config.Partitions && !p.evictOne() {
			p.fail(o, actors.Errorf(actors.ResourceExhausted,
				"%s cannot be opened: %d replicated entities are in use in its partition, as many as are allowed; try again later",
				ref, len(p.residents)))
			return
		}
		p.activate(ref, o)
	case r.handle != nil || r.opener != nil:
		p.fail(o, errInUse)
	case r.phase == phaseLive && !r.state.Deleted() && (!r.behind || p.at.Valid == nil):
		// A process without a slot can be read, as long as that lasts.
		p.unidle(r)
		p.opened(r, o)
	default:
		p.unidle(r)
		r.opener = o
		p.reopen(r)
	}
}

// withdraw takes back an open whose caller is gone, unless it has been answered.
func (p *partition) withdraw(ref actors.Ref, o *opener) bool {
	r := p.residents[ref]
	if r == nil || r.opener != o {
		return false
	}
	r.opener = nil
	if r.phase == phaseLive {
		p.release(r)
	}
	return true
}

func (p *partition) fail(o *opener, err error) { p.call(func() { o.opened(nil, err) }) }

func (p *partition) opened(r *resident, o *opener) {
	r.handle = &handle{p: p, r: r, generation: r.state.Generation(), changed: o.changed}
	h := r.handle
	p.call(func() { o.opened(h, nil) })
}

// activate begins with what the journal has.
func (p *partition) activate(ref actors.Ref, o *opener) {
	r := &resident{ref: ref, hash: hashOf(ref), opener: o, since: p.now, state: crdt.New(0), heard: map[identity]uint64{}}
	p.residents[ref] = r
	p.all.add(r)
	p.byHash[r.hash] = r
	p.rename(r)
	if m, ok := p.remembered.get(ref); ok {
		r.k, r.lastSeq, r.segments = m.k, m.lastSeq, m.segments
	}
	p.needLoad(r, 0)
}

// reopen makes a deleted entity be created again, once all have been told of the deletion.
func (p *partition) reopen(r *resident) {
	if r.phase != phaseLive || r.behind || r.opener == nil {
		return
	}
	switch o := r.opener; {
	case !r.state.Deleted() || p.config.Recreate == RecreateNever:
		r.opener = nil
		p.opened(r, o)
	case p.clean(r) && len(r.waits) == 0:
		p.recreate(r)
	}
}

// join merges what came from elsewhere, and reports whether it was new.
func (p *partition) join(r *resident, d *crdt.Delta) (inflated bool, err error) {
	p.changes.Reset()
	if h := r.handle; h != nil && h.changed != nil && h.generation == r.state.Generation() {
		h.view.Lose(r.state, d)
	}
	inflated, err = r.state.Join(d, &p.changes)
	if err != nil || !inflated {
		return false, err
	}
	if h := r.handle; h != nil && h.changed != nil && h.generation == r.state.Generation() {
		h.view.Note(&p.changes)
	}
	p.changed(r)
	p.tell(r)
	return true, nil
}

// changed keeps the bucket's sum.
func (p *partition) changed(r *resident) {
	b := r.hash % buckets
	p.sums[b] -= r.counted
	r.counted = 0
	if r.phase == phaseLive {
		r.counted = mix(r.hash ^ r.state.Digest())
		p.sums[b] += r.counted
	}
}

// tell whoever has the replica open that there may be something to flush.
func (p *partition) tell(r *resident) {
	if h := r.handle; h != nil && h.changed != nil && !h.told {
		h.told = true
		p.call(h.changed)
	}
}

// live makes an entity take part, with what it missed while it was loading.
func (p *partition) live(r *resident) {
	r.phase = phaseLive
	r.failures = 0
	p.changed(r)
	parked := r.parked
	r.parked = nil
	for _, e := range parked {
		p.unpark(r, e)
	}
	p.progress()
	p.considerSealing(r)
	if r.opener != nil {
		p.reopen(r)
	} else {
		p.release(r)
	}
}

// told reports whether the others have been sent everything.
func (p *partition) told(r *resident) bool { return r.pending == nil && !r.compare }

// hashOf is the same on all nodes.
func hashOf(ref actors.Ref) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{ref.Service, "\x00", ref.ID} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return mix(h)
}

// mix spreads a number over all bits.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
