package node

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// partition replicates the entities whose hash falls to it. It is a machine: every method is an input, which comes with the
// time in now, and leaves what is to be done in out. It starts no goroutine, reads no clock and waits for nothing; whoever
// holds it calls one method at a time and then does what take returns.
//
// Of the traffic of a partition it counts two sequences. seq numbers the batches of an origin, so that a lost one is noticed
// even if nobody knows what was in it; k numbers an origin's deltas of one entity, so that a hole in seq delays only the
// entities that are in it. Deltas may be joined in any order: the numbers serve what users see, and what is confirmed.
type partition struct {
	// mu is taken by handles and by the owner, which are the only ones that know of goroutines: enter and the Node.
	mu    sync.Mutex
	clock func() time.Time
	wake  func()
	// soon says that tick has something to do that next did not know of.
	soon bool
	// closing says that no more writes are taken.
	closing bool

	number int
	config *Config
	// single says that there is nobody to talk to: neither Bus nor Peers.
	single  bool
	random  *rand.Rand
	now     time.Time
	at      Standing
	out     output
	changes crdt.Changes
	// scratch has the last write of any entity, until it is joined to what is on its way.
	scratch crdt.Scratch
	// encoded is the last delta that was encoded for a tail, until it is in one; deltas are those for a batch.
	encoded, deltas []byte

	residents map[actors.Ref]*resident
	all       ordered[*resident]
	byHash    map[uint64]*resident
	sums      [buckets]uint64
	// idle lists residents that nobody has open, the longest idle one first.
	idle *list.List
	// remembered is what must not be forgotten of residents that left memory.
	remembered *memory
	// waiting residents have entries or waits with deadlines.
	waiting ordered[*resident]
	loads   loadQueue

	// What is on its way to others.
	seq       uint64
	dirty     ordered[*resident]
	ring      ring
	inFlight  *publication
	flushAt   time.Time
	beats     int
	beatAt    time.Time
	confirmed map[identity]uint64
	pushes    map[identity]*pushing
	durable   ordered[*resident]
	refresh   refreshing

	// past are the names that this process had.
	past []identity
	// alive is when a member was last in a view, and began when this partition had its first view.
	alive map[identity]time.Time
	began time.Time
	// fences are the slots, and the epochs up to which nothing is taken any more.
	fences  map[crdt.Slot]crdt.Epoch
	sealers ordered[*resident]
	// settlers have events of nested counters that could be folded.
	settlers ordered[*resident]

	// What is on its way to the journal.
	unstored ordered[*resident]
	attempt  uint64

	// What comes from others.
	origins  map[identity]*origin
	suspects map[identity]time.Time
	polling  polling
	fetchers ordered[*resident]
	roundAt  time.Time
	// roundsDue says when to have a round with whom; rounds are under way.
	roundsDue map[identity]time.Time
	rounds    map[identity]*round
	asks      map[uint64]func(a *answer, err error)
	lastAsk   uint64
}

// buckets is how many sums a partition compares in a digest round.
const buckets = 256

// output is what a partition wants done. All of it may be done at the same time, but for calls, which keep their order.
type output struct {
	publish *publication
	asks    []ask
	loads   []*resident
	bases   []baseOrder
	removes []cellName
	// calls are those of whoever opened a replica.
	calls   []func()
	refresh bool
}

// publication is a batch for the bus. Its end is told by published.
type publication struct {
	// seq is 0 for a heartbeat.
	seq     uint64
	bytes   []byte
	entries int

	began, retryAt time.Time
	failed         bool
	failures       int
}

// ask is a request to one member. Its end is told by answered, with the number.
type ask struct {
	number  uint64
	to      slot.Member
	request []byte
	// repair says that it has time.
	repair bool
}

// baseOrder is a base to be written. Its end is told by based.
type baseOrder struct {
	resident *resident
	write    *baseWrite
}

type cellName struct {
	key     string
	version int64
}

func newPartition(number int, config *Config, single bool, random *rand.Rand) *partition {
	return &partition{
		number: number, config: config, single: single, random: random,
		residents:  map[actors.Ref]*resident{},
		byHash:     map[uint64]*resident{},
		idle:       list.New(),
		remembered: newMemory(config.Remembered / config.Partitions),
		ring:       ring{limit: config.RingBytes / config.Partitions, keep: config.RingTime},
		confirmed:  map[identity]uint64{},
		pushes:     map[identity]*pushing{},
		origins:    map[identity]*origin{},
		suspects:   map[identity]time.Time{},
		alive:      map[identity]time.Time{},
		fences:     map[crdt.Slot]crdt.Epoch{},
		roundsDue:  map[identity]time.Time{},
		rounds:     map[identity]*round{},
		asks:       map[uint64]func(*answer, error){},
	}
}

// take returns what is to be done since the last call.
func (p *partition) take() output {
	out := p.out
	p.out = output{}
	return out
}

func (p *partition) call(f func()) { p.out.calls = append(p.out.calls, f) }

// stand tells the partition of its standing, first of all and after every change.
func (p *partition) stand(s Standing) {
	old := p.at
	p.at = s
	if p.began.IsZero() && len(s.Members) > 0 {
		p.began = p.now
	}
	for id, at := range p.alive {
		if p.now.Sub(at) > p.config.SealAfter {
			delete(p.alive, id) // gone for long enough
		}
	}
	for _, m := range old.Members {
		p.alive[identityOf(m)] = p.now
	}
	if identityOf(old.Self) != identityOf(s.Self) || old.Cluster != s.Cluster {
		p.renamed(identityOf(old.Self))
	}
	if old.View == s.View && old.Cluster == s.Cluster {
		return
	}
	p.viewed(&old)
}

// viewed follows a change of the members.
func (p *partition) viewed(old *Standing) {
	left := false
	for _, m := range old.Members {
		id := identityOf(m)
		if _, ok := p.at.member(id); ok {
			continue
		}
		left = true
		p.forget(id)
	}
	joined := false
	for _, m := range p.at.others() {
		if _, ok := old.member(identityOf(m)); !ok && len(old.Members) > 0 {
			joined = true
			// Whoever comes back after a partition is a new member. Not all at once.
			p.roundSoon(m)
		}
	}
	for id, o := range byIdentity(p.origins) {
		if _, ok := p.at.member(id); !ok && p.now.Sub(o.heardAt) > strangerTime {
			p.forget(id)
		}
	}
	for r := range p.all.each() {
		if left {
			// What the one who left told nobody stands in the journal, and what it told us alone does not.
			p.check(r, p.jitter(p.config.DepartureSpread))
		}
		if r.handle != nil && r.state.Kind() == crdt.Vote {
			p.tell(r)
		}
	}
	if joined {
		p.met()
	}
	p.settleWaits()
}

// forget what was known of a member that is gone.
func (p *partition) forget(id identity) {
	if o := p.origins[id]; o != nil {
		o.gone = true
		delete(p.origins, id)
	}
	delete(p.confirmed, id)
	delete(p.pushes, id)
	delete(p.suspects, id)
	p.quiet(id)
	for r := range p.all.each() {
		delete(r.heard, id)
	}
}

// tick does what is due. next says when to call it again.
func (p *partition) tick() {
	p.soon = false
	p.expireParked()
	p.expireWaits()
	p.pull()
	p.retryFetches()
	p.poll()
	p.startRounds()
	p.seal()
	p.settle()
	p.startRefresh()
	p.flush()
	p.beat()
	p.push()
	p.evict()
	p.startLoads()
}

// jitter is a random part of d.
func (p *partition) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(p.random.Int64N(int64(d)))
}
