package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
)

// TestSharedSimulation lets components come, crash, pause and stop, and consumers in them come and go, on a journal that
// fails in every way, while events come. What an entity's consumers see, whoever they are, goes on from event to event:
// it may step back, never forward over one; two never have the entity at once; no cursor passes what is neither handled nor
// parked; and in the end everything was.
func TestSharedSimulation(t *testing.T) {
	t.Parallel()
	var total shareTotals
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rounds := rapid.IntRange(1, 8).Draw(rt, "rounds")
		trouble := rapid.Float64Range(0, 0.1).Draw(rt, "trouble")
		s := &shareSim{random: rand.New(rand.NewPCG(seed, 2)), at: map[string]int64{}, most: map[string]int64{}, busy: map[string]*component{}}
		synctest.Test(t, func(t *testing.T) { s.run(t, rounds, trouble) })
		if len(s.problems) > 0 {
			rt.Fatal(strings.Join(s.problems, "\n"))
		}
		total.add(s.totals)
	})
	t.Logf("%+v", total)
	if total.Again == 0 || total.Parked == 0 || total.Moved == 0 || total.Struck == 0 {
		t.Error("the simulation did not reach what it is for")
	}
}

type shareTotals struct{ Tries, Again, Parked, Moved, Struck int }

func (t *shareTotals) add(o shareTotals) {
	t.Tries += o.Tries
	t.Again += o.Again
	t.Parked += o.Parked
	t.Moved += o.Moved
	t.Struck += o.Struck
}

const simLanes = 4

type shareSim struct {
	memory *memory.Journal

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	at       map[string]int64 // by entity: the event that was handled last
	most     map[string]int64 // the newest that was handled or parked, all before it included
	busy     map[string]*component
	problems []string
	totals   shareTotals
}

func (s *shareSim) problemf(format string, args ...any) {
	if len(s.problems) < 20 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

func (s *shareSim) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// component is one with a subscription, until it crashes.
type component struct {
	*journaltest.Faulty
	sim    *shareSim
	sub    *Subscription
	cancel context.CancelFunc
	stop   []context.CancelFunc // of its consumers
	mu     sync.Mutex           // guards dead
	dead   bool
}

func (c *component) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *component) Cell(ctx context.Context, key string) (journal.Cell, error) {
	if c.gone() {
		return journal.Cell{}, errDead
	}
	return c.Faulty.Cell(ctx, key)
}

func (c *component) Put(ctx context.Context, cell journal.Cell) (int64, error) {
	if c.gone() {
		return 0, errDead
	}
	c.sim.check(cell)
	return c.Faulty.Put(ctx, cell)
}

func (c *component) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	if c.gone() {
		return nil, errDead
	}
	for _, cell := range cells {
		c.sim.check(cell)
	}
	return c.Faulty.PutEach(ctx, cells)
}

func (c *component) Remove(ctx context.Context, key string, version int64) error {
	if c.gone() {
		return errDead
	}
	return c.Faulty.Remove(ctx, key, version)
}

func (c *component) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	if c.gone() {
		return nil, after, errDead
	}
	return c.Faulty.Tail(ctx, services, after, limit)
}

// check what a lane's cell is to say.
func (s *shareSim) check(c journal.Cell) {
	var lane int
	if n, err := fmt.Sscanf(c.Key, "lane/"+group+"/%d", &lane); n != 1 || err != nil {
		return
	}
	var w written
	if err := json.Unmarshal(c.Value, &w); err != nil {
		s.problemf("the cell of lane %d is %q", lane, c.Value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range w.Places {
		events, _, err := s.memory.Tail(context.Background(), p.Services, journal.Position{}, 0)
		if err != nil {
			s.problemf("tail: %v", err)
		}
		for _, e := range events {
			s.absorb(e.Ref)
			if laneOf(e.Ref, simLanes) == lane && e.Position.Compare(p.position()) <= 0 && e.Sequence > s.most[e.Ref.String()] {
				s.problemf("the cursor of lane %d goes to %v, and event %d of %s at %v is not handled", lane, p.place, e.Sequence, e.Ref, e.Position)
			}
		}
	}
}

// absorb what was parked.
func (s *shareSim) absorb(ref actors.Ref) {
	for {
		e := journal.Event{Ref: ref, Sequence: s.most[ref.String()] + 1}
		parking := trial{group: group}
		cell, err := s.memory.Cell(context.Background(), parkedPrefix+parking.suffix(&e))
		if err != nil || cell.Version == 0 {
			return
		}
		if !poison(e) {
			s.problemf("event %d of %s was parked: %s", e.Sequence, ref, cell.Value)
		}
		s.most[ref.String()]++
		s.totals.Parked++
	}
}

func (c *component) handle(ctx context.Context, e journal.Event) error {
	s, key := c.sim, e.Ref.String()
	s.mu.Lock()
	if other := s.busy[key]; other != nil && !other.gone() {
		s.problemf("event %d of %s comes while another one of it is being handled", e.Sequence, key)
	}
	s.busy[key] = c
	pause, fails := time.Duration(s.random.IntN(30))*time.Millisecond, s.random.Float64()
	s.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] == c {
		delete(s.busy, key)
	}
	s.totals.Tries++
	switch {
	case c.gone():
		return errDead
	case ctx.Err() != nil:
		return ctx.Err()
	case poison(e):
		return actors.Errorf(actors.InvalidArgument, "poison")
	case fails < 0.05:
		return actors.Errorf(actors.Unavailable, "not now")
	case fails < 0.08:
		return ErrGone
	}
	s.absorb(e.Ref)
	before := s.at[key]
	for next := before + 1; next <= e.Sequence; next++ {
		if next < e.Sequence && !poison(journal.Event{Ref: e.Ref, Sequence: next}) {
			s.problemf("event %d of %s comes after event %d", e.Sequence, key, before)
			break
		}
	}
	if e.Sequence <= s.most[key] {
		s.totals.Again++
	}
	if e.Sequence > s.most[key]+1 {
		s.problemf("event %d of %s comes, and no more than %d are handled or parked", e.Sequence, key, s.most[key])
	}
	s.at[key], s.most[key] = e.Sequence, max(s.most[key], e.Sequence)
	if fails < 0.11 {
		return errors.New("it was done, but who knows")
	}
	return nil
}

func (s *shareSim) begin(t *testing.T, runs *sync.WaitGroup, trouble float64) *component {
	c := &component{Faulty: journaltest.NewFaulty(s.memory), sim: s}
	s.mu.Lock()
	c.Chance(s.random.Uint64(), journaltest.Rates{Lost: trouble, LostReply: trouble, Late: trouble, Slow: trouble, Delay: 300 * time.Millisecond})
	config := SubscriptionConfig{
		Tailer: c, Cells: c, Group: group, Sources: []string{service, "other"}, Lanes: simLanes, MaxTries: 1000, MaxBackoff: time.Second,
		Batch: 1 + s.random.IntN(8), Window: 4 + s.random.IntN(40), Concurrency: 1 + s.random.IntN(4), Drain: time.Second,
		LeaseTimeout: 2 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
	s.mu.Unlock()
	var err error
	if c.sub, err = Subscribe(config); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	runs.Go(func() {
		if err := c.sub.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *component) consume(t *testing.T, runs *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = append(c.stop, cancel)
	runs.Go(func() {
		if err := c.sub.Consume(ctx, 0, c.handle); err != nil {
			t.Error(err)
		}
	})
}

// end it: orderly, in either order, or not.
func (c *component) end(crash, consumersFirst bool) {
	if crash {
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
	}
	if !consumersFirst {
		c.cancel()
	}
	for _, stop := range c.stop {
		stop()
	}
	c.cancel()
}

func (s *shareSim) run(t *testing.T, rounds int, trouble float64) {
	s.memory = memory.Open()
	var runs sync.WaitGroup
	var living, all []*component
	appends := func() {
		for range s.pick(30) {
			time.Sleep(time.Duration(s.pick(30)) * time.Millisecond)
			add(t, s.memory, []string{service, "other", "third"}[s.pick(3)], fmt.Sprint("e", s.pick(6)))
		}
	}
	begin := func(trouble float64) {
		c := s.begin(t, &runs, trouble)
		living, all = append(living, c), append(all, c)
		for range 1 + s.pick(2) {
			c.consume(t, &runs)
		}
	}
	appends()
	begin(trouble)
	for range rounds {
		if len(living) == 0 || s.pick(2) == 0 {
			begin(trouble)
		}
		appends()
		time.Sleep(time.Duration(s.pick(3000)) * time.Millisecond)
		n := s.pick(len(living))
		c := living[n]
		switch s.pick(7) {
		case 0, 1:
			c.end(true, false)
			living = append(living[:n], living[n+1:]...)
		case 2:
			c.end(false, s.pick(2) == 0)
			living = append(living[:n], living[n+1:]...)
		case 3:
			c.sub.Pause()
			appends()
			c.sub.Resume()
		case 4:
			c.stop[len(c.stop)-1]()
		default:
			c.consume(t, &runs)
		}
		s.totals.Moved++
	}
	begin(0)
	appends()
	time.Sleep(40 * time.Second)
	for _, c := range living {
		c.end(false, false)
	}
	runs.Wait()
	time.Sleep(time.Second) // late calls
	for _, c := range all {
		s.totals.Struck += c.Struck()
	}
	events, _, err := s.memory.Tail(context.Background(), []string{service, "other"}, journal.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		s.absorb(e.Ref)
		if e.Sequence > s.most[e.Ref.String()] {
			s.problemf("event %d of %s was not handled", e.Sequence, e.Ref)
		}
	}
}
