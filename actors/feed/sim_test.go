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

// TestSimulation lets consumers crash, stop and be replaced while they still run, on a journal that fails in every way,
// while events come. Every event is handled or parked, in the order of its entity, and the cursor never passes one that is
// neither.
func TestSimulation(t *testing.T) {
	t.Parallel()
	var total simTotals
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rounds := rapid.IntRange(1, 8).Draw(rt, "rounds")
		trouble := rapid.Float64Range(0, 0.15).Draw(rt, "trouble")
		s := &sim{random: rand.New(rand.NewPCG(seed, 1)), handled: map[string]int64{}}
		synctest.Test(t, func(t *testing.T) { s.run(t, rounds, trouble) })
		if len(s.problems) > 0 {
			rt.Fatal(strings.Join(s.problems, "\n"))
		}
		total.tries += s.totals.tries
		total.again += s.totals.again
		total.parked += s.totals.parked
		total.replaced += s.totals.replaced
		total.struck += s.totals.struck
	})
	t.Logf("%+v", total)
	if total.again == 0 || total.parked == 0 || total.replaced == 0 || total.struck == 0 {
		t.Error("the simulation did not reach what it is for")
	}
}

type simTotals struct{ tries, again, parked, replaced, struck int }

type sim struct {
	memory *memory.Journal

	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	handled  map[string]int64 // by entity: the newest event that was handled or parked, all before it included
	problems []string
	totals   simTotals
}

func (s *sim) problemf(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func poison(e journal.Event) bool { return e.Ref.ID == "e1" && e.Sequence%5 == 2 }

// life is one run of a consumer, until it crashes.
type life struct {
	*journaltest.Faulty
	sim  *sim
	mu   sync.Mutex // guards dead
	dead bool
}

func (l *life) gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

var errDead = errors.New("this process is no more")

func (l *life) Put(ctx context.Context, c journal.Cell) (int64, error) {
	if l.gone() {
		return 0, errDead
	}
	if strings.HasPrefix(c.Key, "cursor/") {
		l.sim.check(c)
	}
	return l.Faulty.Put(ctx, c)
}

func (l *life) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	if l.gone() {
		return nil, after, errDead
	}
	return l.Faulty.Tail(ctx, services, after, limit)
}

// check what the cursor is to say.
func (s *sim) check(c journal.Cell) {
	var to saved
	if err := json.Unmarshal(c.Value, &to); err != nil {
		s.problemf("the cursor is %q", c.Value)
	}
	events, _, err := s.memory.Tail(context.Background(), []string{service}, journal.Position{}, 0)
	if err != nil {
		s.problemf("tail: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.absorb(e.Ref.ID)
		if e.Position.Ordinal <= to.Ordinal && e.Sequence > s.handled[e.Ref.ID] {
			s.problemf("the cursor goes to %d, and event %d of %s at %d is not handled", to.Ordinal, e.Sequence, e.Ref.ID, e.Position.Ordinal)
		}
	}
}

// done with an event, which must be the next of its entity, or one that was done before.
func (s *sim) done(id string, sequence int64) {
	s.absorb(id)
	if sequence > s.handled[id]+1 {
		s.problemf("event %d of %s was done after event %d", sequence, id, s.handled[id])
	}
	s.handled[id] = max(s.handled[id], sequence)
}

// absorb what was parked, whether the consumer was told so or not.
func (s *sim) absorb(id string) {
	for {
		e := journal.Event{Ref: actors.Ref{Service: service, ID: id}, Sequence: s.handled[id] + 1}
		config := trial{group: group}
		cell, err := s.memory.Cell(context.Background(), parkedPrefix+config.suffix(&e))
		if err != nil || cell.Version == 0 {
			return
		}
		if !poison(e) {
			s.problemf("event %d of %s was parked: %s", e.Sequence, id, cell.Value)
		}
		s.handled[id]++
		s.totals.parked++
	}
}

func (l *life) handle(ctx context.Context, e journal.Event) error {
	s := l.sim
	s.mu.Lock()
	pause, fails := time.Duration(s.random.IntN(30))*time.Millisecond, s.random.Float64() < 0.1
	s.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.tries++
	switch {
	case l.gone():
		return errDead
	case poison(e):
		return actors.Errorf(actors.InvalidArgument, "poison")
	case fails:
		return actors.Errorf(actors.Unavailable, "not now")
	}
	if e.Sequence <= s.handled[e.Ref.ID] {
		s.totals.again++
	}
	s.done(e.Ref.ID, e.Sequence)
	return nil
}

func (s *sim) run(t *testing.T, rounds int, trouble float64) {
	s.memory = memory.Open()
	var runs sync.WaitGroup
	var lives []*life
	var cancels []context.CancelFunc
	start := func(trouble float64, last bool) {
		l := &life{Faulty: journaltest.NewFaulty(s.memory), sim: s}
		l.Chance(s.random.Uint64(), journaltest.Rates{
			Lost: trouble, LostReply: trouble, Late: trouble, Slow: trouble, Delay: 300 * time.Millisecond,
		})
		c, err := New(Config{
			Tailer: l, Cells: l, Group: group, Service: service, Handle: l.handle, MaxTries: 1000, MaxBackoff: time.Second,
			Batch: 1 + s.random.IntN(8), Concurrency: 1 + s.random.IntN(4), Drain: time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		runs.Go(func() {
			for ctx.Err() == nil && !l.gone() {
				err := c.Run(ctx)
				if errors.Is(err, ErrReplaced) {
					s.mu.Lock()
					s.totals.replaced++
					s.mu.Unlock()
					if !last {
						return
					}
					// A claim of an earlier one was carried out late. Who has the lease begins again.
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
		lives, cancels = append(lives, l), append(cancels, cancel)
	}
	appends := func() {
		for range s.pick(12) {
			time.Sleep(time.Duration(s.pick(40)) * time.Millisecond)
			add(t, s.memory, service, fmt.Sprint("e", s.pick(4)))
			add(t, s.memory, "other", "x")
		}
	}
	appends()
	for range rounds {
		s.mu.Lock()
		start(trouble, false)
		s.mu.Unlock()
		appends()
		time.Sleep(time.Duration(s.pick(1500)) * time.Millisecond)
		newest := len(lives) - 1
		switch s.pick(3) {
		case 0: // crash
			lives[newest].mu.Lock()
			lives[newest].dead = true
			lives[newest].mu.Unlock()
			cancels[newest]()
		case 1: // stop
			cancels[newest]()
		default: // the next one begins while it still runs
		}
	}
	s.mu.Lock()
	start(0, true)
	s.mu.Unlock()
	appends()
	time.Sleep(20 * time.Second)
	for _, cancel := range cancels {
		cancel()
	}
	runs.Wait()
	time.Sleep(time.Second) // late calls
	events, end, err := s.memory.Tail(context.Background(), []string{service}, journal.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		s.absorb(e.Ref.ID)
		if e.Sequence > s.handled[e.Ref.ID] {
			s.problemf("event %d of %s was not handled", e.Sequence, e.Ref.ID)
		}
	}
	at := cursor{fenced{cells: s.memory, key: "cursor/" + part(group) + "/" + part(service)}}
	if to, _, err := at.load(context.Background()); err != nil || to != end {
		s.problemf("in the end the cursor is at %v, and the journal at %v (%v)", to, end, err)
	}
	for _, l := range lives {
		s.totals.struck += l.Struck()
	}
}

func (s *sim) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}
