package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// sharing is a journal, and what the consumers of one group have seen of it.
type sharing struct {
	t      *testing.T
	memory *memory.Journal

	mu      sync.Mutex // guards what follows
	seen    []string   // consumer id:sequence of every try
	current map[string]int64
	busy    map[string]string
}

func newSharing(t *testing.T) *sharing {
	return &sharing{t: t, memory: memory.Open(), current: map[string]int64{}, busy: map[string]string{}}
}

// begin a subscription. What it returns ends it.
func (s *sharing) begin(change func(*SubscriptionConfig)) (*Subscription, func()) {
	s.t.Helper()
	c := SubscriptionConfig{
		Tailer: s.memory, Cells: s.memory, Group: group, Sources: []string{service}, Lanes: 8, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	sub, err := Subscribe(c)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := sub.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	return sub, sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// consume until the function that is returned is called, which waits for the end. Each try checks that its entity's
// events come one at a time, and none before the one before it.
func (s *sharing) consume(sub *Subscription, name string, handle func(ctx context.Context, e journal.Event) error) func() {
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		err := sub.Consume(ctx, 0, func(ctx context.Context, e journal.Event) error {
			key := e.Ref.String()
			s.mu.Lock()
			s.seen = append(s.seen, fmt.Sprintf("%s %s:%d", name, e.Ref.ID, e.Sequence))
			if other, busy := s.busy[key]; busy {
				s.t.Errorf("%s gets event %d of %s while %s has one", name, e.Sequence, key, other)
			}
			s.busy[key] = name
			s.mu.Unlock()
			var err error
			if handle != nil {
				err = handle(ctx, e)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.busy, key)
			if err == nil || actors.CodeOf(err).Lasting() {
				if e.Sequence > s.current[key]+1 {
					s.t.Errorf("%s gets event %d of %s after event %d", name, e.Sequence, key, s.current[key])
				}
				s.current[key] = e.Sequence
			}
			return err
		})
		if err != nil {
			s.t.Error(err)
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

func (s *sharing) add(ids ...string) {
	s.t.Helper()
	add(s.t, s.memory, service, ids...)
}

// got returns what was tried since it was last asked.
func (s *sharing) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	slices.Sort(seen)
	return seen
}

// users returns how many tries each consumer had of what was got.
func users(got []string) map[string]int {
	count := map[string]int{}
	for _, g := range got {
		name, _, _ := strings.Cut(g, " ")
		count[name]++
	}
	return count
}

func many(n, each int) (ids []string) {
	for range each {
		for i := range n {
			ids = append(ids, fmt.Sprint("e", i))
		}
	}
	return ids
}

// Consumers of one process share its lanes, those of several theirs; each entity stays with one while nobody comes or goes.
func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		one, endOne := s.begin(nil)
		two, endTwo := s.begin(nil)
		stop := []func(){s.consume(one, "a", nil), s.consume(one, "b", nil), s.consume(two, "c", nil)}
		time.Sleep(10 * time.Second)
		s.add(many(100, 3)...)
		time.Sleep(time.Second)
		got := s.got()
		if len(got) != 300 {
			t.Errorf("%d events were handled", len(got))
		}
		by := map[string]string{}
		for _, g := range got {
			name, event, _ := strings.Cut(g, " ")
			id, _, _ := strings.Cut(event, ":")
			if by[id] == "" {
				by[id] = name
			}
			if by[id] != name {
				t.Errorf("%s went to %s and to %s", id, by[id], name)
			}
		}
		if u := users(got); u["a"] == 0 || u["b"] == 0 || u["c"] == 0 {
			t.Errorf("the consumers have %v", u)
		}
		// Who leaves leaves his lanes to the others, at once.
		stop[2]()
		endTwo()
		stop[0]()
		s.add(many(100, 1)...)
		time.Sleep(2 * time.Second)
		if u := users(s.got()); u["b"] != 100 {
			t.Errorf("after the others have left the consumers have %v", u)
		}
		// Who pauses too.
		three, endThree := s.begin(nil)
		stop = append(stop, s.consume(three, "d", nil))
		one.Pause()
		time.Sleep(10 * time.Second)
		s.add(many(100, 1)...)
		time.Sleep(2 * time.Second)
		if u := users(s.got()); u["d"] != 100 {
			t.Errorf("during a pause the consumers have %v", u)
		}
		one.Resume()
		time.Sleep(10 * time.Second)
		s.add(many(100, 1)...)
		time.Sleep(2 * time.Second)
		if u := users(s.got()); u["d"] == 0 || u["b"] == 0 || u["b"]+u["d"] != 100 {
			t.Errorf("after the pause the consumers have %v", u)
		}
		for _, f := range append(stop, endOne, endThree) {
			f()
		}
		// Nothing is left over, and nothing comes again.
		four, endFour := s.begin(nil)
		defer endFour()
		defer s.consume(four, "e", nil)()
		time.Sleep(10 * time.Second)
		same(t, "after a restart", s.got())
	})
}

// Who leaves finishes what he has begun, as far as Drain lets him, and nobody else gets the entity before.
func TestHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		sub, end := s.begin(func(c *SubscriptionConfig) { c.Drain = 3 * time.Second })
		defer end()
		slow := func(ctx context.Context, e journal.Event) error {
			took := 2 * time.Second
			if e.Ref.ID == "stuck" {
				took = time.Hour
			}
			select {
			case <-time.After(took):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		stop := s.consume(sub, "a", slow)
		time.Sleep(time.Second)
		s.add("stuck", "slow", "slow", "stuck")
		time.Sleep(time.Second)
		began := time.Now()
		defer s.consume(sub, "b", nil)()
		stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the consumer was gone after %s", took)
		}
		time.Sleep(time.Second)
		same(t, "tries", s.got(), "a slow:1", "a stuck:1", "b slow:2", "b stuck:1", "b stuck:2")
		if list, err := List(t.Context(), s.memory, group, "", "", 0); err != nil || len(list) > 0 {
			t.Errorf("parked: %v, %v", list, err)
		}
	})
}

// What fails is tried again, then parked, and can be released; what nobody is there for is not a try.
func TestSharedFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		var mu sync.Mutex
		gone := 5
		sub, end := s.begin(func(c *SubscriptionConfig) { c.MaxTries = 3 })
		defer end()
		defer s.consume(sub, "x", func(_ context.Context, e journal.Event) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Ref.ID == "bad" && e.Sequence == 1:
				return errors.New("no mail today")
			case e.Ref.ID == "worse":
				return actors.Errorf(actors.NotFound, "no such address")
			case e.Ref.ID == "away" && gone > 0:
				gone--
				return fmt.Errorf("send: %w", ErrGone)
			}
			return nil
		})()
		s.mu.Lock()
		s.current[service+"/bad"] = 1 // it will be parked
		s.mu.Unlock()
		s.add("bad", "bad", "worse", "away")
		time.Sleep(time.Minute)
		same(t, "tries", s.got(), "x away:1", "x away:1", "x away:1", "x away:1", "x away:1", "x away:1",
			"x bad:1", "x bad:1", "x bad:1", "x bad:2", "x worse:1")
		list, err := List(t.Context(), s.memory, group, service, "", 0)
		if err != nil || len(list) != 2 || list[0].Tries != 3 || list[1].Tries != 1 {
			t.Fatalf("parked: %+v, %v", list, err)
		}
		for _, p := range list {
			if err := Release(t.Context(), s.memory, p.Key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		same(t, "after the release", s.got(), "x bad:1", "x bad:1", "x bad:1", "x worse:1")
		if list, err = List(t.Context(), s.memory, group, "", "", 0); err != nil || len(list) != 2 {
			t.Errorf("parked: %+v, %v", list, err)
		}
	})
}

// One that begins with Now misses nothing of what happens after its group was there, whoever is there to see it; and a
// source may come to mean more.
func TestSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		var mu sync.Mutex
		known := []string{"shop/a"}
		change := func(c *SubscriptionConfig) {
			c.From, c.Sources = Now, []string{"shop/*"}
			c.Resolve = func(context.Context, string) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				if known == nil {
					return nil, errors.New("not now")
				}
				return slices.Clone(known), nil
			}
		}
		add(t, s.memory, "shop/a", "x", "x")
		_, end := s.begin(change)
		time.Sleep(time.Second)
		end()
		add(t, s.memory, "shop/a", "x")
		add(t, s.memory, "shop/b", "y", "y")
		s.current["shop/a/x"] = 2
		var sub *Subscription
		sub, end = s.begin(change)
		stop := s.consume(sub, "c", nil)
		time.Sleep(10 * time.Second)
		same(t, "of the first service", s.got(), "c x:3")
		mu.Lock()
		known = append(known, "shop/b")
		mu.Unlock()
		time.Sleep(10 * time.Second)
		same(t, "of the second", s.got(), "c y:1", "c y:2")
		mu.Lock()
		known = nil
		mu.Unlock()
		add(t, s.memory, "shop/b", "y")
		time.Sleep(10 * time.Second)
		same(t, "while nobody knows what it means", s.got(), "c y:3")
		stop()
		end()
		// Another source begins where it is told to.
		mu.Lock()
		known = []string{"other"}
		mu.Unlock()
		add(t, s.memory, "other", "z")
		sub, end = s.begin(func(c *SubscriptionConfig) {
			change(c)
			c.From, c.Sources, c.Lanes = Beginning, []string{"other"}, 3
		})
		defer end()
		defer s.consume(sub, "c", nil)()
		time.Sleep(10 * time.Second)
		same(t, "of another source", s.got(), "c z:1")
		if sub.plan.Lanes != 8 {
			t.Errorf("the group has %d lanes now", sub.plan.Lanes)
		}
	})
}

// An entity that stands still holds up nobody but its own lane, and that one only as far as its part of the window.
func TestSharedWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		sub, end := s.begin(func(c *SubscriptionConfig) { c.Window, c.Batch, c.MaxTries = 80, 7, 1000 })
		defer end()
		defer s.consume(sub, "c", func(_ context.Context, e journal.Event) error {
			if e.Ref.ID == "bad" {
				return errors.New("never")
			}
			return nil
		})()
		s.add("bad")
		s.add(many(200, 3)...)
		time.Sleep(time.Minute)
		held, want := 0, 0
		for i := range 200 {
			ref := actors.Ref{Service: service, ID: fmt.Sprint("e", i)}
			if laneOf(ref, 8) == laneOf(actors.Ref{Service: service, ID: "bad"}, 8) {
				held += 3
			} else {
				want += 3
			}
		}
		good := 0
		for _, g := range s.got() {
			if !strings.Contains(g, "bad") {
				good++
			}
		}
		if held < 10 || good != want+9 {
			t.Errorf("%d events were handled, of %d in other lanes and %d in its own", good, want, held)
		}
	})
}

func TestSubscriptionConfig(t *testing.T) {
	t.Parallel()
	_, err := Subscribe(SubscriptionConfig{Sources: []string{""}, Lanes: MaxLanes + 1, Window: -1, Save: -1, From: 9})
	for _, part := range []string{"Tailer", "Cells", "Group", "source", "Lanes", "Window", "Save", "From"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error says nothing of %s: %v", part, err)
		}
	}
	_, err = Subscribe(SubscriptionConfig{Tailer: memory.Open(), Cells: memory.Open(), Group: strings.Repeat("/", MaxGroupBytes), Sources: []string{"x"}})
	if err != nil {
		t.Error(err)
	}
}

// The lanes of entities are for ever.
func TestLaneOf(t *testing.T) {
	t.Parallel()
	count := make([]int, 32)
	for i := range 32_000 {
		count[laneOf(actors.Ref{Service: "shop.cart.Cart", ID: fmt.Sprint("cart-", i)}, 32)]++
	}
	for lane, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("lane %d has %d of 32000 entities", lane, n)
		}
	}
	for id, want := range map[string]int{"": 20, "a": 30, "cart-1": 12} {
		if got := laneOf(actors.Ref{Service: "shop.cart.Cart", ID: id}, 32); got != want {
			t.Errorf("%q is in lane %d now, and was in %d", id, got, want)
		}
	}
}
