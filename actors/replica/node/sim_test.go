package node

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// sim runs whole replicators, one step of one of them at a time, against a bus, peers, cells and leases that fail as the
// seed says. Nothing in it depends on anything but the seed.
type sim struct {
	random *rand.Rand
	now    time.Time
	events events
	order  uint64
	nodes  []*simNode
	cells  map[string]journal.Cell
	last   int64
	seats  seats
	faults simFaults
	config Config
	// severed[a][b] says that nothing comes from a to b.
	severed map[[2]int]bool

	history          *history
	stops            []func()
	published, asked int
	sealings, folds  int
	// loads counts what was read of the journal; hanging has the bus never answer what it fails.
	loads    int
	hanging  bool
	sealedBy map[identity]int // place
	muted    map[requestKind]bool
	kinds    map[requestKind]int
	trace    func(format string, args ...any)
}

// simFaults are probabilities and times. The zero value is a world without faults.
type simFaults struct {
	drop, duplicate, askLoss, publishError, putError float64
	// conflict has compare-and-set fail as if somebody had come between.
	conflict   float64
	delay      time.Duration
	storeDelay time.Duration
}

type event struct {
	at    time.Time
	order uint64
	node  *simNode
	// remote happens somewhere else, whatever the node's process is doing.
	remote bool
	f      func()
}

type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// simNode is one process. It never comes back; a new one takes its place.
type simNode struct {
	sim    *sim
	place  int // where it runs: what is severed are places
	config Config
	parts  []*partition
	wakeAt []time.Time
	dead   bool
	// crashing counts down the outputs until the process dies, 0 for never.
	crashing    int
	pausedUntil time.Time
	storeCut    bool
	lost        bool // its slot, once at least
	flushing    bool
	flushAt     time.Time
	store       store
	standing    Standing
	seat        *seat
	until       time.Time
	user        *simUser
}

func newSim(seed uint64) *sim {
	s := &sim{
		random:  rand.New(rand.NewPCG(seed, 1)),
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		cells:   map[string]journal.Cell{},
		severed: map[[2]int]bool{},
		kinds:   map[requestKind]int{},

		sealedBy: map[identity]int{},
		trace:    func(string, ...any) {},
		config: Config{
			Partitions: 2, Round: 3 * time.Second, TailBytes: 120, ChunkBytes: 100, FoldPrecedence: 300 * time.Millisecond,
			DepartureSpread: time.Second, IdleTime: 2 * time.Second, RetryMax: 2 * time.Second, AskTimeout: time.Second,
			BatchBytes: 1 << 10, EntryBytes: 1 << 10, Remembered: 1000, RingBytes: 2 << 10, Timeout: 5 * time.Second,
			SealEpochs: 1, SealAfter: 500 * time.Millisecond, SealTime: 5 * time.Second,
		},
	}
	s.seats.sim = s
	return s
}

// after schedules what a node does, or what is done to it, which does not happen if it dies before.
func (s *sim) after(d time.Duration, n *simNode, f func()) { s.schedule(d, n, false, f) }

func (s *sim) schedule(d time.Duration, n *simNode, remote bool, f func()) {
	s.order++
	heap.Push(&s.events, &event{s.now.Add(d), s.order, n, remote, f})
}

// until runs what happens up to a time from now.
func (s *sim) runFor(d time.Duration) {
	end := s.now.Add(d)
	for len(s.events) > 0 && !s.events[0].at.After(end) {
		e := heap.Pop(&s.events).(*event)
		s.now = e.at
		if n := e.node; n != nil && !e.remote {
			if n.dead {
				continue
			}
			if n.pausedUntil.After(s.now) {
				e.at = n.pausedUntil
				heap.Push(&s.events, e) // keeps its place in the order
				continue
			}
		}
		e.f()
	}
	s.now = end
}

func (s *sim) chance(p float64) bool { return p > 0 && s.random.Float64() < p }

func (s *sim) some(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(s.random.Int64N(int64(d)))
}

// start begins a process.
func (s *sim) start(place int) *simNode {
	n := &simNode{sim: s, place: place}
	n.config = s.config.withDefaults()
	n.config.Observer.Sealed = func(ref actors.Ref, sl crdt.Slot, e crdt.Epoch) {
		s.trace("%v: node %d has sealed %s up to %d.%d", s.stamp(), n.place, ref, sl, e)
		s.sealings++
		s.sealedBy[identity{sl, e}] = n.place
	}
	n.config.Observer.Folded = func(actors.Ref, int) { s.folds++ }
	n.store = store{limits: n.config.Limits, chunk: n.config.ChunkBytes}
	for i := range n.config.Partitions {
		p := newPartition(i, &n.config, false, rand.New(rand.NewPCG(s.random.Uint64(), uint64(i))))
		p.clock = func() time.Time { return s.now }
		p.wake = func() {}
		n.parts = append(n.parts, p)
		n.wakeAt = append(n.wakeAt, time.Time{})
	}
	s.nodes = append(s.nodes, n)
	s.seats.begin(n)
	return n
}

// live are the processes that run.
func (s *sim) live() []*simNode {
	return slices.DeleteFunc(slices.Clone(s.nodes), func(n *simNode) bool { return n.dead })
}

func (n *simNode) die() {
	n.dead = true
	n.sim.trace("%v: node %d dies", n.sim.stamp(), n.place)
}

func (s *sim) stamp() time.Duration { return s.now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) }

// input gives a partition something, and does what it then wants done.
func (n *simNode) input(i int, f func(p *partition)) {
	if n.dead {
		return
	}
	p := n.parts[i]
	leave := p.enter()
	f(p)
	leave()
	n.serve(i)
}

// serve is what the owner of a partition does.
func (n *simNode) serve(i int) {
	p := n.parts[i]
	for {
		p.mu.Lock()
		p.now = n.sim.now
		p.tick()
		out := p.take()
		next := p.next()
		unstored := p.unstored.len() > 0
		p.mu.Unlock()
		for _, f := range out.calls {
			if n.crash() {
				return
			}
			f()
		}
		if n.do(i, out); n.dead {
			return
		}
		if unstored {
			n.flush()
		}
		p.mu.Lock()
		again := p.pressing()
		p.mu.Unlock()
		if again {
			continue
		}
		if !next.IsZero() && !next.Equal(n.wakeAt[i]) {
			n.wakeAt[i] = next
			n.sim.after(max(next.Sub(n.sim.now), time.Millisecond), n, func() {
				if n.wakeAt[i].Equal(next) {
					n.wakeAt[i] = time.Time{}
					n.serve(i)
				}
			})
		}
		return
	}
}

// crash kills the process if this is the output at which it is to die.
func (n *simNode) crash() bool {
	if n.crashing > 0 {
		if n.crashing--; n.crashing == 0 {
			n.die()
		}
	}
	return n.dead
}

func (n *simNode) do(i int, out output) {
	s := n.sim
	if f := out.publish; f != nil && !n.crash() {
		s.publish(n, i, f)
	}
	for _, a := range out.asks {
		if n.crash() {
			return
		}
		s.ask(n, i, a)
	}
	for _, r := range out.loads {
		if n.crash() {
			return
		}
		s.loads++
		n.work(func(cells journal.Cells, _ Membership) func() {
			st, err := (&store{cells, n.store.limits, n.store.chunk}).load(context.Background(), r.ref)
			return func() { n.input(i, func(p *partition) { p.loaded(r, st, err) }) }
		})
	}
	for _, b := range out.bases {
		if n.crash() {
			return
		}
		n.work(func(cells journal.Cells, _ Membership) func() {
			v, err := (&store{cells, n.store.limits, n.store.chunk}).writeBase(context.Background(), b.write)
			return func() { n.input(i, func(p *partition) { p.based(b.resident, b.write, v, err) }) }
		})
	}
	for _, c := range out.removes {
		n.work(func(cells journal.Cells, _ Membership) func() {
			_ = cells.Remove(context.Background(), c.key, c.version)
			return func() {}
		})
	}
	if out.refresh {
		s.after(s.some(s.faults.storeDelay)+time.Millisecond, n, func() {
			err := s.seats.refresh(n)
			n.input(i, func(p *partition) {
				p.stand(n.standing)
				p.refreshed(err)
			})
		})
	}
}

// flush is what puts the tails of all partitions.
func (n *simNode) flush() {
	if n.flushing {
		return
	}
	n.flushing = true
	wait := max(n.flushAt.Sub(n.sim.now), 0)
	n.sim.after(wait, n, func() {
		n.flushAt = n.sim.now.Add(n.config.FlushStore)
		var puts []tailPut
		var owners []int
		for i, p := range n.parts {
			leave := p.enter()
			more := p.tails(nil, tailsAtOnce)
			leave()
			for range more {
				owners = append(owners, i)
			}
			puts = append(puts, more...)
		}
		if len(puts) == 0 {
			n.flushing = false
			for i := range n.parts {
				n.serve(i)
			}
			return
		}
		n.work(func(cells journal.Cells, members Membership) func() {
			versions, errs := commitTails(context.Background(), cells, members, puts)
			return func() {
				n.flushing = false
				for j := range puts {
					n.input(owners[j], func(p *partition) { p.tailStored(&puts[j], versions[j], errs[j]) })
				}
			}
		})
	})
}

// publish gives a batch to the bus.
func (s *sim) publish(from *simNode, part int, f *publication) {
	s.published++
	fails := s.chance(s.faults.publishError)
	if !fails || s.chance(0.5) {
		for _, to := range s.nodes {
			if to.dead || s.severed[[2]int{from.place, to.place}] {
				continue
			}
			for copies := 1; copies > 0; copies-- {
				if s.chance(s.faults.drop) {
					continue
				}
				if s.chance(s.faults.duplicate) {
					copies++
				}
				s.after(time.Millisecond+s.some(s.faults.delay), to, func() {
					b, err := decodeBatch(f.bytes)
					if err != nil {
						panic(err)
					}
					to.input(int(b.partition), func(p *partition) { p.receive(b) })
				})
			}
		}
	}
	var err error
	if fails {
		err = errors.New("the bus is down")
		if s.hanging {
			return
		}
	}
	s.after(time.Millisecond+s.some(s.faults.delay), from, func() {
		from.input(part, func(p *partition) { p.published(f, err) })
	})
}

// ask brings a question to a member and the answer back, or a failure.
func (s *sim) ask(from *simNode, part int, a ask) {
	s.asked++
	fail := func() {
		s.after(from.config.AskTimeout, from, func() {
			from.input(part, func(p *partition) { p.answered(a.number, nil, errors.New("no answer")) })
		})
	}
	to := s.seats.holder(a.to)
	if to == nil || s.severed[[2]int{from.place, to.place}] || s.chance(s.faults.askLoss) {
		fail()
		return
	}
	s.after(time.Millisecond+s.some(s.faults.delay), to, func() {
		q, err := decodeRequest(a.request)
		if err != nil {
			panic(err)
		}
		s.kinds[q.kind]++
		if s.muted[q.kind] {
			fail()
			return
		}
		var answer []byte
		to.input(int(q.partition), func(p *partition) { answer = p.answer(q).append(nil) })
		if to.dead || s.severed[[2]int{to.place, from.place}] || s.chance(s.faults.askLoss) {
			fail()
			return
		}
		s.after(time.Millisecond+s.some(s.faults.delay), from, func() {
			from.input(part, func(p *partition) { p.answered(a.number, answer, nil) })
		})
	})
}

// work runs code that waits for the journal as a coroutine: it stops before and after each call, so that anything can
// happen in between, also the end of the process.
func (n *simNode) work(f func(cells journal.Cells, members Membership) (done func())) {
	s := n.sim
	var done func()
	next, stop := iter.Pull(func(yield func(bool) bool) {
		c := &simCells{n: n, yield: yield}
		done = f(c, c)
	})
	var step func(remote bool)
	step = func(remote bool) {
		s.schedule(s.some(s.faults.storeDelay), n, remote, func() {
			if n.dead && !remote {
				stop()
				return
			}
			r, more := next()
			switch {
			case more:
				if n.dead || !r && n.crash() {
					stop()
					return
				}
				step(r)
			case !n.dead:
				done()
			}
		})
	}
	s.stops = append(s.stops, stop)
	step(false)
}

// end lets the coroutines of dead processes end.
func (s *sim) end() {
	for _, stop := range s.stops {
		stop()
	}
}

func refOf(name string) actors.Ref { return actors.Ref{Service: "sim", ID: name} }

func memberName(m slot.Member) string { return fmt.Sprintf("%d.%d", m.Slot, m.Epoch) }
