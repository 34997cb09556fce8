package engine

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "first seed of the simulation; 0 draws one")
	simCount = flag.Int("sim.count", 150, "number of seeds")
)

// TestSimulation lets two engines that each believe to host every entity fight over one journal that loses appends,
// loses answers, and carries appends out late, with user functions that break, in fake time.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first := *simSeed
	if first == 0 {
		first = rand.Uint64N(1 << 40)
	}
	began := time.Now()
	total := new(simTotals)
	for seed := first; seed < first+uint64(*simCount) && !t.Failed(); seed++ {
		s := &sim{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1))}
		synctest.Test(t, s.run)
		s.check(total)
		if t.Failed() {
			t.Logf("repeat with -sim.seed=%d -sim.count=1", seed)
		}
	}
	t.Logf("seeds from %d: %.0f a second; %+v", first, float64(*simCount)/time.Since(began).Seconds(), *total)
	if *simCount >= 100 && (total.unknown == 0 || total.repeated == 0 || total.conflicts == 0 || total.struck == 0 || total.ahead == 0 || total.nudges == 0) {
		t.Error("the simulation did not reach what it is for")
	}
}

type simTotals struct {
	acked, failed, unknown, repeated, conflicts, struck, ahead int
	// nudges are turns that wrote effects only, and were acknowledged.
	nudges int
}

type sim struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand

	mu      sync.Mutex // guards random and what follows
	clock   atomic.Int64
	history []op
	stored  map[string][]journal.Event
	totals  simTotals
	// outbox of the journal; kept is what it holds of each entity in the end.
	outbox journal.Outbox
	kept   map[string][]journal.Pending
	// whole events hold the balance.
	whole bool
}

// op is one logical command: its retries with the same key are inside.
type op struct {
	id, tag, method string
	amount          int64
	call, end       int64
	outcome         actors.Outcome
	err             error
	// harmless says that every error promised that nothing had come of it.
	harmless bool
}

func (s *sim) chance(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < p
}

func (s *sim) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

const simEntities = 3

func (s *sim) run(t *testing.T) {
	inner := memory.Open()
	faulty := journaltest.NewFaulty(inner)
	s.outbox, s.whole = inner, s.chance(0.3)
	s.fight(t, [2]*journaltest.Faulty{faulty, faulty}, 12, nil)
	time.Sleep(time.Minute) // late appends happen, or not
	s.read(t, faulty)
	s.totals.struck = faulty.Struck()
	if err := faulty.Close(); err != nil {
		t.Error(err)
	}
}

// fight lets two engines, each with its own way to the same journal, carry out the commands of six clients, while
// meanwhile runs, if it is set.
func (s *sim) fight(t *testing.T, journals [2]*journaltest.Faulty, commands int, meanwhile func()) {
	for n, faulty := range journals {
		if n > 0 && faulty == journals[0] || !s.chance(0.8) {
			continue
		}
		p := float64(s.pick(8)) / 100
		faulty.Chance(s.seed, journaltest.Rates{Lost: p, LostReply: p, Late: p, Conflict: p / 2, Again: p / 2, Refuse: p / 4, Slow: 0.3, Delay: 200 * time.Millisecond})
	}
	trouble, snapshots := float64(s.pick(5))/100, float64(s.pick(3))/4
	script := func(ctx context.Context, a *account, turn Turn) (Reply, error, bool) {
		if s.chance(0.3) {
			time.Sleep(time.Duration(s.pick(40)) * time.Millisecond)
		}
		if turn.Command.Method == "add" && s.chance(snapshots) {
			sum := a.balance + number(&turn.Command.Payload)
			r := a.reply(sum, Event{Payload: turn.Command.Payload})
			r.Snapshot = amount(sum)
			return r, nil, true
		}
		if !s.chance(trouble) {
			return Reply{}, nil, false
		}
		switch s.pick(5) {
		case 0:
			return Reply{}, fmt.Errorf("%w: sim", ErrSessionEnded), true
		case 1:
			return Reply{}, fmt.Errorf("%w: sim", ErrSessionLost), true
		case 2:
			return Reply{}, actors.Errorf(actors.Unknown, "sim: nothing came of it"), true
		case 3:
			<-ctx.Done()
			return Reply{}, ctx.Err(), true
		default:
			r := a.reply(0, Event{Payload: turn.Command.Payload})
			r.Outcome, r.Restart = actors.Outcome{Failure: actors.Errorf(actors.FailedPrecondition, "%d", a.balance)}, true
			return r, nil, true
		}
	}
	observer := Observer{Conflicted: func(string) { s.mu.Lock(); s.totals.conflicts++; s.mu.Unlock() }}
	var rigs []*rig
	for n := range 2 {
		resident := []int{-1, 1, 100}[s.pick(3)]
		batch := []int{1, 3, 256}[s.pick(3)]
		rigs = append(rigs, start(t, &bank{script: script, eager: s.seed%2 == 0, effects: true, whole: s.whole}, func(c *Config) {
			c.Journal, c.Observer = journals[n], observer
			c.CommandTimeout, c.ResolveTimeout, c.AppendTimeout = 2*time.Second, time.Second, 500*time.Millisecond
			c.Idle, c.MaxResident, c.MaxBatch = 300*time.Millisecond, resident, batch
		}))
	}
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			for k := range commands {
				s.client(rigs, fmt.Sprintf("c%d.%d", n, k))
			}
		})
	}
	if meanwhile != nil {
		clients.Go(meanwhile)
	}
	clients.Wait()
	for _, r := range rigs {
		s.totals.ahead += int(r.bank.ahead.Load())
	}
	for _, faulty := range journals {
		faulty.Chance(0, journaltest.Rates{})
	}
	// Liveness: with the faults gone, every entity answers, and can be written to.
	for n := range simEntities {
		for _, method := range []string{"get", "add"} {
			tag := fmt.Sprintf("last.%s.%d", method, n)
			o := op{id: fmt.Sprint("e", n), tag: tag, method: method, amount: 1, call: s.clock.Add(1)}
			c := keyed(command(o.id, method, 0), tag)
			c.Payload.Data = []byte("1:" + tag)
			for range 40 {
				if o.outcome, o.err = rigs[n%2].Handle(t.Context(), c); o.err == nil {
					break
				}
				time.Sleep(time.Second)
			}
			if o.err != nil {
				t.Errorf("%s does not answer %s after the faults: %v", o.id, method, o.err)
			}
			o.end = s.clock.Add(1)
			s.history = append(s.history, o)
		}
	}
	for _, r := range rigs {
		r.stop()
	}
}

// read what the journal holds in the end.
func (s *sim) read(t *testing.T, j journal.Reader) {
	s.stored = make(map[string][]journal.Event)
	for n := range simEntities {
		id := fmt.Sprint("e", n)
		for ev, err := range j.Read(context.Background(), actors.Ref{Service: "bank", ID: id}, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			s.stored[id] = append(s.stored[id], ev)
		}
	}
	s.kept = make(map[string][]journal.Pending)
	for n := range simEntities {
		id := fmt.Sprint("e", n)
		var err error
		if s.kept[id], err = keptEffects(s.outbox, actors.Ref{Service: "bank", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
}

// edition is a bank that is found anew.
type edition struct {
	*bank
	number int
}

// client carries out one logical command.
func (s *sim) client(rigs []*rig, tag string) {
	o := op{id: fmt.Sprint("e", s.pick(simEntities)), tag: tag, method: "add", amount: int64(s.pick(9) + 1), harmless: true}
	switch s.pick(10) {
	case 0, 1, 2:
		o.method = "get"
	case 3, 4, 5:
		o.method = "spend"
	case 6:
		o.method = "nudge"
	}
	c := command(o.id, o.method, 0)
	c.Payload.Data = fmt.Appendf(nil, "%d:%s", o.amount, tag)
	attempts := 1
	if s.chance(0.6) {
		c.Key, attempts = tag, 1+s.pick(5)
	}
	o.call = s.clock.Add(1)
	for n := range attempts {
		r := rigs[s.pick(2)]
		if n == 0 {
			time.Sleep(time.Duration(s.pick(60)) * time.Millisecond)
		}
		switch s.pick(30) {
		case 0:
			r.Own(c.Ref)
			r.Disown(c.Ref)
		case 1:
			r.DisownAll()
		case 2:
			r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: edition{r.bank, s.pick(1 << 20)}, Whole: s.whole}})
		}
		ctx, cancel := context.WithCancel(context.Background())
		if s.chance(0.05) {
			time.AfterFunc(time.Duration(s.pick(100))*time.Millisecond, cancel)
		}
		duplicate := c.Key != "" && s.chance(0.2)
		var wait sync.WaitGroup
		if duplicate {
			other := rigs[s.pick(2)]
			wait.Go(func() { s.compare(other, c) })
		}
		o.outcome, o.err = r.Handle(ctx, c)
		cancel()
		wait.Wait()
		if duplicate {
			o.harmless = false // the duplicate may have done it
		}
		if o.err == nil {
			break
		}
		o.harmless = o.harmless && (strings.Contains(o.err.Error(), "nothing came of it") || strings.Contains(o.err.Error(), "not carried out"))
		time.Sleep(100 * time.Millisecond)
	}
	o.end = s.clock.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, o)
}

// compare sends a duplicate. What it answers is judged by the checks on the journal.
func (s *sim) compare(r *rig, c actors.Command) {
	if o, err := r.Handle(context.Background(), c); err == nil && o.Repeated {
		s.mu.Lock()
		s.totals.repeated++
		s.mu.Unlock()
	}
}

type simIn struct {
	method string
	amount int64
}

type simOut struct{ sequence, balance int64 }

// check looks at the journal and the history.
func (s *sim) check(total *simTotals) {
	t := s.t
	found := make(map[string]journal.Event)
	for id, events := range s.stored {
		for k, ev := range events {
			if ev.Sequence != int64(k+1) {
				t.Errorf("%s: event %d stands at %d", id, ev.Sequence, k+1)
			}
			_, tag, _ := strings.Cut(string(ev.Payload.Data), ":")
			if _, twice := found[tag]; twice {
				t.Errorf("%s: %s was applied twice", id, tag)
			}
			found[tag] = ev
		}
	}
	s.checkEffects()
	var history []porcupine.Operation
	for n, o := range s.history {
		ev, stored := found[o.tag]
		in := simIn{method: o.method, amount: o.amount}
		if o.method == "spend" {
			in.amount = -o.amount
		}
		out := simOut{sequence: o.outcome.Sequence}
		end := o.end
		switch {
		case o.err != nil && stored:
			if o.harmless {
				t.Errorf("%s: %s is in the journal, though its caller was told otherwise: %v", o.id, o.tag, o.err)
			}
			s.totals.unknown++
			end, out.sequence, out.balance = 1<<40, ev.Sequence, s.balance(o.id, ev.Sequence)
		case o.err != nil:
			s.totals.failed++
			continue
		case o.outcome.Failure != nil:
			// A refusal leaves no record. An attempt that was still under way elsewhere may have succeeded after it.
			if stored && o.harmless {
				t.Errorf("%s: %s is in the journal, though it was refused", o.id, o.tag)
			}
			if stored && o.outcome.Sequence >= ev.Sequence {
				t.Errorf("%s: %s was refused at %d, where it had been applied at %d", o.id, o.tag, o.outcome.Sequence, ev.Sequence)
			}
			if stored {
				history = append(history, porcupine.Operation{ClientId: len(s.history) + n, Input: [2]any{o.id, in}, Call: o.call, Return: 1 << 40,
					Output: simOut{ev.Sequence, s.balance(o.id, ev.Sequence)}})
			}
			in.method = "get"
			fmt.Sscan(o.outcome.Failure.Message, &out.balance)
		case o.method == "get":
			out.balance = number(o.outcome.Reply)
		case o.method == "nudge":
			in.method = "get" // as far as the balance is concerned
			out.balance = number(o.outcome.Reply)
			s.totals.nudges++
		default:
			s.totals.acked++
			out.balance = number(o.outcome.Reply)
			if !stored || ev.Sequence != o.outcome.Sequence {
				t.Errorf("%s: %s was acknowledged at %d (repeated: %v), and is not there but at %d", o.id, o.tag, o.outcome.Sequence, o.outcome.Repeated, ev.Sequence)
			}
		}
		if o.err == nil && o.outcome.Repeated {
			s.totals.repeated++
		}
		history = append(history, porcupine.Operation{ClientId: n, Input: [2]any{o.id, in}, Call: o.call, Output: out, Return: end})
	}
	switch porcupine.CheckOperationsTimeout(simModel, history, 20*time.Second) {
	case porcupine.Illegal:
		t.Errorf("the history is not linearizable")
	case porcupine.Unknown:
		t.Error("the check took too long")
	}
	total.acked += s.totals.acked
	total.nudges += s.totals.nudges
	total.ahead += s.totals.ahead
	total.failed += s.totals.failed
	total.unknown += s.totals.unknown
	total.repeated += s.totals.repeated
	total.conflicts += s.totals.conflicts
	total.struck += s.totals.struck
}

// balance of an entity at a sequence.
func (s *sim) balance(id string, sequence int64) (sum int64) {
	for _, ev := range s.stored[id][:sequence] {
		if s.whole {
			sum = 0
		}
		sum += number(&ev.Payload)
	}
	return sum
}

var simModel = porcupine.Model{
	Init: func() any { return simOut{} },
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[any][]porcupine.Operation)
		for _, o := range history {
			in := o.Input.([2]any)
			o.Input = in[1]
			parts[in[0]] = append(parts[in[0]], o)
		}
		var all [][]porcupine.Operation
		for _, p := range parts {
			all = append(all, p)
		}
		return all
	},
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(simOut), input.(simIn), output.(simOut)
		if in.method == "get" {
			return s == out, s
		}
		next := simOut{sequence: s.sequence + 1, balance: s.balance + in.amount}
		return next == out, next
	},
}

// TestModelCatches makes sure that the checks of the simulation can fail.
func TestModelCatches(t *testing.T) {
	t.Parallel()
	at := func(client int, call, end int64, method string, n, sequence, balance int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: end, Input: [2]any{"e", simIn{method, n}}, Output: simOut{sequence, balance}}
	}
	stale := []porcupine.Operation{at(0, 1, 2, "add", 5, 1, 5), at(1, 3, 4, "get", 0, 0, 0)}
	if porcupine.CheckOperations(simModel, stale) {
		t.Error("a stale read passes")
	}
	lost := []porcupine.Operation{at(0, 1, 2, "add", 5, 1, 5), at(1, 3, 4, "add", 5, 1, 5)}
	if porcupine.CheckOperations(simModel, lost) {
		t.Error("a lost update passes")
	}
}
