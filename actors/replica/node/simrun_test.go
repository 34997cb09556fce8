package node

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dapr-entities/entities/crdt"
)

var FirstSeed = flag.Uint64("replica.first", 1, "the first seed of the simulation")

var seedFlag = flag.Uint64("replica.seed", 0, "run one seed of the simulation, with a trace")

var simNames = []string{"count-a", "set-a", "set-b", "grow-a", "map-a", "reg-a", "del-a"}

// simulate runs one seed: a time of faults, then a time to heal, then the reckoning.
func simulate(t testing.TB, seed uint64) *sim {
	s := newSim(seed)
	defer s.end()
	if *seedFlag != 0 {
		s.trace = func(format string, args ...any) { t.Logf(format, args...) }
	}
	// With a long spread it is the barrier of a sealing that has to store what dead members left behind.
	s.config.DepartureSpread = []time.Duration{time.Second, 20 * time.Second}[s.random.IntN(2)]
	s.config.SealAfter = []time.Duration{50 * time.Millisecond, 500 * time.Millisecond}[s.random.IntN(2)]
	h := newHistory()
	places := 2 + s.random.IntN(3)
	for place := range places {
		s.user(s.start(place), h)
	}
	s.runFor(100 * time.Millisecond)
	rough := func() float64 { return []float64{0, 0.02, 0.1, 0.3}[s.random.IntN(4)] }
	s.faults = simFaults{
		drop: rough(), duplicate: rough(), askLoss: rough(), publishError: rough() / 3, putError: rough() / 3, conflict: rough() / 3,
		delay:      []time.Duration{0, 10 * time.Millisecond, 400 * time.Millisecond}[s.random.IntN(3)],
		storeDelay: []time.Duration{time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond}[s.random.IntN(3)],
	}
	steps := 50 + s.random.IntN(200)
	pace := []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond}[s.random.IntN(3)]
	for range steps {
		s.disturb(h, places)
		s.runFor(s.some(pace))
	}
	if s.chance(0.3) { // what is not in the journal now is lost
		for _, n := range s.live() {
			n.die()
		}
	}
	s.heal(h, places)
	s.runFor(40 * time.Second)
	// Whoever heard of a deletion only now has let go.
	for _, n := range s.live() {
		for _, name := range simNames {
			n.user.open(name)
		}
	}
	s.runFor(5 * time.Second)
	s.reckon(t, h)
	if len(h.problems) > 0 {
		for _, p := range h.problems[:min(len(h.problems), 10)] {
			t.Errorf("seed %d: %s", seed, p)
		}
	}
	s.history = h
	return s
}

// disturb does one thing to the cluster.
func (s *sim) disturb(h *history, places int) {
	live := s.live()
	if len(live) == 0 {
		return
	}
	n := live[s.random.IntN(len(live))]
	switch x := s.random.IntN(100); {
	case x < 80:
		n.user.act(simNames[s.random.IntN(len(simNames))])
	case x < 84:
		names := make([]string, 0, len(n.user.streams))
		for _, name := range simNames {
			if n.user.streams[name] != nil {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			n.user.streams[names[s.random.IntN(len(names))]].close()
		}
	case x < 86: // a process dies at one of its next outputs, and another takes its place
		n.crashing = 1 + s.random.IntN(8)
		s.after(5*time.Second, n, n.die)
		place := n.place
		s.schedule(5*time.Second+s.some(3*time.Second), nil, true, func() {
			if !slices.ContainsFunc(s.live(), func(n *simNode) bool { return n.place == place }) {
				s.user(s.start(place), h)
			}
		})
	case x < 88:
		a, b := s.random.IntN(places), s.random.IntN(places)
		s.severed[[2]int{a, b}] = true
		if s.chance(0.5) {
			s.severed[[2]int{b, a}] = true
		}
	case x < 89: // nobody reaches anybody
		for a := range places {
			for b := range places {
				s.severed[[2]int{a, b}] = a != b
			}
		}
	case x < 91:
		clear(s.severed)
	case x < 94: // long enough to lose the lease, sometimes
		n.pausedUntil = s.now.Add(s.some(6 * time.Second))
	case x < 96:
		n.storeCut = !n.storeCut
	default:
		n.storeCut = false
	}
}

// heal ends all faults, and gives everybody a process.
func (s *sim) heal(h *history, places int) {
	s.faults = simFaults{delay: 5 * time.Millisecond, storeDelay: 2 * time.Millisecond}
	clear(s.severed)
	for _, n := range s.live() {
		n.storeCut = false
		n.crashing = 0
	}
	s.runFor(12 * time.Second)
	for place := range places {
		if !slices.ContainsFunc(s.live(), func(n *simNode) bool { return n.place == place }) {
			s.user(s.start(place), h)
		}
	}
	s.runFor(2 * time.Second)
	// Somebody who has the entities open on every node, also where a slow user function has yet to hear of a deletion, on
	// which it closes what it has.
	for range 3 {
		for _, n := range s.live() {
			for _, name := range simNames {
				n.user.open(name)
			}
		}
		s.runFor(3 * time.Second)
	}
}

// reckon compares what is there with what was promised.
func (s *sim) reckon(t testing.TB, h *history) {
	for _, n := range s.live() {
		if n.user.unanswered != 0 {
			h.problemAtf(s, "%d writes on node %d have not been answered", n.user.unanswered, n.place)
		}
	}
	for _, name := range simNames {
		s.reckonOne(h, name)
	}
	// Somebody who has nothing but the journal, and the others to ask.
	fresh := s.start(99)
	s.user(fresh, h)
	s.runFor(time.Second)
	for _, name := range simNames {
		fresh.user.open(name)
	}
	s.runFor(5 * time.Second)
	for _, name := range simNames {
		s.reckonOne(h, name)
	}
	_ = t
}

func (h *history) problemAtf(s *sim, format string, args ...any) {
	h.problemf("%v: %s", s.stamp(), fmt.Sprintf(format, args...))
}

func (s *sim) reckonOne(h *history, name string) {
	ref := refOf(name)
	type copyOf struct {
		n *simNode
		r *resident
	}
	var copies []copyOf
	for _, n := range s.live() {
		p := n.parts[partitionOf(ref, n.config.Partitions)]
		r := p.residents[ref]
		switch {
		case r == nil || r.phase != phaseLive:
			h.problemAtf(s, "%s is not live on node %d", name, n.place)
			continue
		case r.behind || r.version != r.stored || r.pending != nil:
			h.problemAtf(s, "%s is not at rest on node %d", name, n.place)
		}
		copies = append(copies, copyOf{n, r})
		if st := n.user.streams[name]; st != nil && st.replica != nil {
			st.believes(h, r.state.Value(p.voters()))
		}
	}
	if len(copies) == 0 {
		return
	}
	first := copies[0].r.state
	for _, c := range copies[1:] {
		if c.r.state.Digest() != first.Digest() || c.r.state.Generation() != first.Generation() {
			h.problemAtf(s, "%s differs between node %d and node %d: %s, %s", name, copies[0].n.place, c.n.place,
				describe(first), describe(c.r.state))
		}
	}
	value := first.Value(nil)
	switch {
	case name[:3] == "set" || name == "grow-a":
		s.reckonSet(h, name, value)
	case name == "count-a":
		total := uint64(0)
		if value != nil {
			total = value.Increment
		}
		for i, op := range h.digits {
			digit := total >> (2 * i) & 3
			if digit > 1 || op.lasts() && digit == 0 {
				h.problemAtf(s, "increment %d is in the counter %d times; confirmed: %v", i, digit, op.safe)
			}
		}
	}
}

func (s *sim) reckonSet(h *history, name string, value *crdt.Update) {
	there := map[string]bool{}
	if value != nil {
		for _, k := range value.Added {
			there[keyText(k)] = true
		}
	}
	for _, e := range h.order {
		if e[:len(name)] != name {
			continue
		}
		add, remove := h.adds[e], h.removes[e]
		switch {
		case add.lasts() && remove == nil && !there[e]:
			h.problemAtf(s, "%s was added for sure and is lost; confirmed: %v", e, add.safe)
		case remove != nil && remove.safe && there[e]:
			h.problemAtf(s, "%s was removed for sure and is there", e)
		}
		delete(there, e)
	}
	for e := range there {
		h.problemAtf(s, "%s is in %s, but nobody added it", e, name)
	}
}

// believes compares what a user function was told with what is there.
func (st *simStream) believes(h *history, value *crdt.Update) {
	st.flush()
	if st.closed {
		return
	}
	if value == nil {
		value = &crdt.Update{}
	}
	set := map[string]bool{}
	for _, k := range value.Added {
		set[keyText(k)] = true
	}
	if st.name == "count-a" && st.count != value.Increment {
		h.problemf("%s: the user function on node %d believes %d, it is %d", st.name, st.user.n.place, st.count, value.Increment)
	}
	if value.Kind == crdt.ORSet || value.Kind == crdt.GSet {
		for e := range set {
			if !st.set[e] {
				h.problemf("%s: the user function on node %d was not told of %s", st.name, st.user.n.place, e)
			}
		}
		for e := range st.set {
			if !set[e] {
				h.problemf("%s: the user function on node %d believes in %s", st.name, st.user.n.place, e)
			}
		}
	}
}

func describe(e *crdt.Entity) string {
	v := e.Value(nil)
	if v == nil {
		return fmt.Sprintf("generation %d, deleted %v, no value", e.Generation(), e.Deleted())
	}
	var keys []string
	for _, k := range v.Added {
		keys = append(keys, keyText(k))
	}
	for _, x := range v.Put {
		keys = append(keys, fmt.Sprintf("%s=%d", keyText(x.Key), x.Update.Change))
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return fmt.Sprintf("generation %d %v %d %v %q", e.Generation(), v.Kind, v.Increment, keys, keyText(v.Value))
}

// SeedsOf is REPLICA_SEEDS, or so many.
func SeedsOf(t *testing.T, seeds int) int {
	t.Helper()
	if testing.Short() || RaceDetector { // which makes it ten times slower, and finds nothing that is in one goroutine
		seeds /= 10
	}
	if v := os.Getenv("REPLICA_SEEDS"); v != "" {
		var err error
		if seeds, err = strconv.Atoi(v); err != nil {
			t.Fatalf("REPLICA_SEEDS=%q: %v", v, err)
		}
	}
	return seeds
}

// TestSimulation runs whole replicators through everything that can happen to them. REPLICA_SEEDS says how many seeds,
// -replica.first from which on, -replica.seed which single one.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		simulate(t, *seedFlag)
		return
	}
	seeds := SeedsOf(t, 1000)
	const lanes = 2
	for lane := range lanes {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			started, safe, deletes, unsure, sealings, folds := 0, 0, 0, 0, 0, 0
			for seed := *FirstSeed + uint64(lane); seed < *FirstSeed+uint64(seeds) && !t.Failed(); seed += lanes {
				s := simulate(t, seed)
				h := s.history
				sealings, folds = sealings+s.sealings, folds+s.folds
				started, safe, deletes, unsure = started+h.started, safe+h.safe, deletes+h.deletes, unsure+h.unsure
			}
			t.Logf("%d writes, %d confirmed, %d in doubt, %d deletions, %d bases, %d sealings", started, safe, unsure, deletes, folds, sealings)
		})
	}
}

func TestSameSeedSameRun(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed < 20; seed++ {
		a, b := simulate(t, seed), simulate(t, seed)
		if a.order != b.order || a.last != b.last || a.published != b.published || a.asked != b.asked {
			t.Fatalf("seed %d: two runs differ: %d and %d events, %d and %d changes of cells", seed, a.order, b.order, a.last, b.last)
		}
	}
}
