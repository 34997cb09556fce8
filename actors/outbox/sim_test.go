package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/lease"
)

// TestSimulation lets components share the lanes by leases, stop and crash, on a journal that fails in every way. Every
// effect is carried out or parked, always under its id, and for the first time in the order of its source.
func TestSimulation(t *testing.T) {
	t.Parallel()
	var total simTotals
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rounds := rapid.IntRange(1, 5).Draw(rt, "rounds")
		trouble := rapid.Float64Range(0, 0.15).Draw(rt, "trouble")
		s := &sim{random: rand.New(rand.NewPCG(seed, 1)), kept: map[string][]string{}, next: map[string]int{}, delayed: map[string]bool{}}
		synctest.Test(t, func(t *testing.T) { s.run(t, rounds, trouble) })
		if len(s.problems) > 0 {
			rt.Fatal(strings.Join(s.problems, "\n"))
		}
		total.tries += s.totals.tries
		total.again += s.totals.again
		total.parked += s.totals.parked
		total.struck += s.totals.struck
	})
	t.Logf("%+v", total)
	if total.again == 0 || total.parked == 0 || total.struck == 0 {
		t.Error("the simulation did not reach what it is for")
	}
}

type simTotals struct{ tries, again, parked, struck int }

type sim struct {
	memory *memory.Journal

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	kept     map[string][]string // by source, ids in order, without delayed ones
	next     map[string]int      // by source, how many of them were carried out or parked, none left out
	delayed  map[string]bool     // by id, whether it was carried out
	problems []string
	totals   simTotals
}

func (s *sim) problemf(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *sim) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func poison(id string) bool { return strings.HasSuffix(id, "3") }

// component is one that dies without a word.
type component struct {
	*journaltest.Faulty
	sim  *sim
	stop context.CancelFunc
	// mortal ones may crash in the middle of a try.
	mortal bool
	mu     sync.Mutex // guards dead
	dead   bool
}

var errDead = errors.New("this process is no more")

func (c *component) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *component) crash() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	c.stop()
}

func (c *component) Due(ctx context.Context, services []string, lanes []int, limit int) ([]journal.Pending, error) {
	if c.gone() {
		return nil, errDead
	}
	return c.Faulty.Due(ctx, services, lanes, limit)
}

func (c *component) Settle(ctx context.Context, settlements []journal.Settlement) error {
	if c.gone() {
		return errDead
	}
	return c.Faulty.Settle(ctx, settlements)
}

func (c *component) Put(ctx context.Context, cell journal.Cell) (int64, error) {
	if c.gone() {
		return 0, errDead
	}
	return c.Faulty.Put(ctx, cell)
}

func (c *component) Remove(ctx context.Context, key string, version int64) error {
	if c.gone() {
		return errDead
	}
	return c.Faulty.Remove(ctx, key, version)
}

// Handle implements actors.Handler. The id of an effect says whose it is and which: source, slash, number.
func (c *component) Handle(ctx context.Context, command actors.Command) (actors.Outcome, error) {
	s := c.sim
	select {
	case <-time.After(time.Duration(s.pick(30)) * time.Millisecond):
	case <-ctx.Done():
		return actors.Outcome{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone() {
		return actors.Outcome{}, errDead
	}
	s.totals.tries++
	id := command.Key
	if string(command.Payload.Data) != id {
		s.problemf("the effect %q came under the id %s", command.Payload.Data, id)
	}
	fails := s.random.Float64() < 0.1
	if _, delayed := s.delayed[id]; delayed {
		if !fails {
			s.delayed[id] = true
		}
	} else {
		source, _, _ := strings.Cut(id, "/")
		switch i := slices.Index(s.kept[source], id); {
		case i > s.next[source]:
			s.problemf("%s came before %s", id, s.kept[source][s.next[source]])
		case i < s.next[source]:
			s.totals.again++
		case !fails:
			s.next[source]++
		}
	}
	switch {
	case fails:
		return actors.Outcome{}, actors.Errorf(actors.Unavailable, "not now")
	case c.mortal && s.random.Float64() < 0.02: // carried out, and nobody was told
		c.crash()
		return actors.Outcome{}, nil
	case poison(id):
		return actors.Outcome{Failure: actors.Errorf(actors.InvalidArgument, "poison")}, nil
	}
	return actors.Outcome{}, nil
}

func (s *sim) keep(t *testing.T) {
	for range s.pick(15) {
		time.Sleep(time.Duration(s.pick(100)) * time.Millisecond)
		s.mu.Lock()
		source := fmt.Sprint("s", s.random.IntN(6))
		e := actors.Effect{Ref: actors.Ref{Service: "to", ID: "t"}, Method: "do", ID: fmt.Sprintf("%s/%d", source, len(s.kept[source]))}
		if s.random.IntN(4) == 0 {
			e.ID = fmt.Sprintf("%s/later/%d", source, len(s.delayed))
			e.Delay = time.Duration(1 + s.random.IntN(int(time.Second)))
			s.delayed[e.ID] = false
		} else {
			s.kept[source] = append(s.kept[source], e.ID)
		}
		s.mu.Unlock()
		e.Payload = actors.Payload{TypeURL: "x", ContentType: actors.ContentJSON, Data: []byte(e.ID)}
		if err := s.memory.Enqueue(context.Background(), actors.Ref{Service: "from", ID: source}, []actors.Effect{e}); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *sim) run(t *testing.T, rounds int, trouble float64) {
	s.memory = memory.Open()
	var running sync.WaitGroup
	var all []*component
	start := func(trouble float64, mortal bool) {
		c := &component{Faulty: journaltest.NewFaulty(s.memory), sim: s, mortal: mortal}
		s.mu.Lock()
		c.Chance(s.random.Uint64(), journaltest.Rates{Lost: trouble, LostReply: trouble, Late: trouble, Slow: trouble, Delay: 300 * time.Millisecond})
		config := Config{
			Outbox: c, Handler: c, MaxTries: 1000, MaxBackoff: time.Second, Batch: 1 + s.random.IntN(8), Concurrency: 1 + s.random.IntN(4),
			Drain: time.Second, Log: slog.New(slog.DiscardHandler),
		}
		s.mu.Unlock()
		w, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		l, err := lease.New(lease.Config{Cells: c, Group: "effects", Member: fmt.Sprint("m", len(all)), Work: w.Work, Log: config.Log})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Names(Names()); err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, c.stop = context.WithCancel(context.Background())
		for _, run := range []func(context.Context) error{w.Run, l.Run} {
			running.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all = append(all, c)
	}
	for range rounds {
		start(trouble, true)
		c, end, after := all[s.pick(len(all))], s.pick(3), time.Duration(s.pick(800))*time.Millisecond
		running.Go(func() { // in the middle of it
			time.Sleep(after)
			switch end {
			case 0:
				c.crash()
			case 1:
				c.stop()
			}
		})
		s.keep(t)
		time.Sleep(time.Duration(s.pick(8000)) * time.Millisecond)
	}
	start(0, false)
	s.keep(t)
	for _, c := range all {
		c.Chance(0, journaltest.Rates{})
	}
	time.Sleep(40 * time.Second)
	for _, c := range all {
		c.stop()
		s.totals.struck += c.Struck()
	}
	running.Wait()
	s.settled(t)
}

// settled checks the end: what is not carried out is parked, and nothing else is left.
func (s *sim) settled(t *testing.T) {
	for source, ids := range s.kept {
		if s.next[source] != len(ids) {
			s.problemf("%d of the %d effects of %s were carried out", s.next[source], len(ids), source)
		}
	}
	for id, done := range s.delayed {
		if !done {
			s.problemf("%s was not carried out", id)
		}
	}
	lanes := make([]int, journal.Lanes)
	for n := range lanes {
		lanes[n] = n
	}
	if left, err := s.memory.Due(t.Context(), nil, lanes, 0); err != nil || len(left) > 0 {
		s.problemf("%d effects are left (%v)", len(left), err)
	}
	parked, err := s.memory.Parked(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.totals.parked = len(parked)
	poisoned := 0
	for id := range s.delayed {
		if poison(id) {
			poisoned++
		}
	}
	for _, id := range slices.Concat(slices.Collect(maps.Values(s.kept))...) {
		if poison(id) {
			poisoned++
		}
	}
	if len(parked) != poisoned {
		s.problemf("%d effects are parked, and %d are poison", len(parked), poisoned)
	}
}
