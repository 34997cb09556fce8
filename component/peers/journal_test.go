package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/replica"
)

// ear hears batches.
type ear struct {
	mu    sync.Mutex
	heard map[string]time.Time // the first time
	order []string
}

func (e *ear) deliver(batch []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard == nil {
		e.heard = map[string]time.Time{}
	}
	if _, again := e.heard[string(batch)]; !again {
		e.heard[string(batch)] = time.Now()
		e.order = append(e.order, string(batch))
	}
}

func (e *ear) at(batch string) (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.heard[batch]
	return at, ok
}

// all but what begun has published.
func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.order), func(text string) bool { return text == beginning })
}

// until waits for something to be so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("waited for %s", what)
		}
	}
}

// deliver runs a bus until the test ends.
func deliver(t testing.TB, bus replica.Bus) *ear {
	t.Helper()
	e := &ear{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx, e.deliver) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

const beginning = "the beginning"

// begun waits until all hear what is published now: a bus begins at the present.
func begun(t testing.TB, deltas journal.Deltas, group string, ears ...*ear) {
	t.Helper()
	bus := journalBus(t, deltas, group, nil)
	until(t, beginning, func() bool {
		if err := bus.Publish(within(t), []byte(beginning)); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(ears, func(e *ear) bool { _, ok := e.at(beginning); return !ok })
	})
}

func shared(t testing.TB, url string) *postgres.Journal {
	t.Helper()
	j, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func journalBus(t testing.TB, deltas journal.Deltas, group string, change func(*JournalConfig)) *Journal {
	t.Helper()
	config := JournalConfig{Deltas: deltas, Group: group, Log: quiet}
	if change != nil {
		change(&config)
	}
	b, err := NewJournal(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestJournalBus has some members of two groups publish from many goroutines. Each hears what the others of its group say,
// soon, and in the order of each goroutine.
func TestJournalBus(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	groups := []string{"one", "one", "one", "two"}
	var buses []*Journal
	var ears []*ear
	for _, group := range groups {
		b := journalBus(t, shared(t, url), group, nil)
		buses, ears = append(buses, b), append(ears, deliver(t, b))
	}
	begun(t, shared(t, url), "one", ears[:3]...)
	begun(t, shared(t, url), "two", ears[3])
	const lanes, each = 4, 40
	sent := make([]map[string]time.Time, len(buses))
	var wg sync.WaitGroup
	for i, b := range buses {
		sent[i] = map[string]time.Time{}
		var mu sync.Mutex
		for lane := range lanes {
			wg.Go(func() {
				for n := range each {
					text := fmt.Sprint(i, "/", lane, "/", n)
					if err := b.Publish(within(t), []byte(text)); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					sent[i][text] = time.Now()
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
	var took []time.Duration
	for to, e := range ears {
		for from := range buses {
			if from == to || groups[from] != groups[to] {
				continue
			}
			for text, at := range sent[from] {
				until(t, text, func() bool { _, ok := e.at(text); return ok })
				heard, _ := e.at(text)
				took = append(took, heard.Sub(at))
			}
		}
		want := 2 * lanes * each
		if groups[to] == "two" {
			want = 0
		}
		if got := e.all(); len(got) != want {
			t.Errorf("%d hears %d batches, want %d", to, len(got), want)
		}
		last := map[string]int{}
		for _, text := range e.all() {
			var i, lane, n int
			if _, err := fmt.Sscanf(text, "%d/%d/%d", &i, &lane, &n); err != nil {
				t.Fatal(err)
			}
			who := fmt.Sprint(i, "/", lane)
			if next, known := last[who]; n != next || !known && n != 0 {
				t.Fatalf("%s in place of number %d", text, next)
			}
			last[who] = n + 1
		}
	}
	slices.Sort(took)
	t.Logf("from published to delivered: median %s, p99 %s, longest %s", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

// failing writes and bells of a journal.
type failing struct {
	*postgres.Journal
	mu   sync.Mutex
	puts int  // that many fail
	late bool // after they were carried out
}

var errFailing = errors.New("injected")

func (f *failing) PutDeltas(ctx context.Context, group string, origin, first int64, deltas [][]byte) error {
	f.mu.Lock()
	fails, late := f.puts > 0, f.late
	f.puts--
	f.mu.Unlock()
	if fails && !late {
		return errFailing
	}
	if err := f.Journal.PutDeltas(ctx, group, origin, first, deltas); err != nil || !fails {
		return err
	}
	return errFailing
}

func (f *failing) RingDeltas(context.Context, string) error { return errFailing }

// Without bells batches come by polling; a write that fails, or only seems to, leaves no gap that hides the next.
func TestJournalBusInTrouble(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	f := &failing{Journal: shared(t, url)}
	a := journalBus(t, f, "g", nil)
	b := journalBus(t, shared(t, url), "g", nil)
	deliver(t, a)
	hears := deliver(t, b)
	begun(t, f.Journal, "g", hears)
	for i, late := range []bool{false, true} {
		f.mu.Lock()
		f.puts, f.late = 2, late
		f.mu.Unlock()
		for n := range 4 {
			text := fmt.Sprint(i, "/", n)
			err := a.Publish(within(t), []byte(text))
			if (err != nil) != (n < 2) || (a.Err() != nil) != (n < 2) {
				t.Errorf("%s: %v, %v", text, err, a.Err())
			}
			if err == nil || late {
				until(t, text, func() bool { _, ok := hears.at(text); return ok })
			}
		}
	}
	if got := len(hears.all()); got != 6 {
		t.Errorf("%d batches are heard, want 6", got)
	}
}

func TestJournalBusLimits(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	j := shared(t, url)
	a := journalBus(t, j, "g", func(c *JournalConfig) { c.MaxBatch, c.Retention = 1000, time.Second })
	hears := deliver(t, journalBus(t, j, "g", nil))
	deliver(t, a)
	begun(t, j, "g", hears)
	most := strings.Repeat("x", 1000)
	if err := a.Publish(within(t), []byte(most)); err != nil {
		t.Error(err)
	}
	if err := a.Publish(within(t), []byte(most+"x")); err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("one too big: %v", err)
	}
	until(t, "the biggest", func() bool { _, ok := hears.at(most); return ok })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	<-a.turn // somebody writes for ever
	if err := a.Publish(over, []byte("never")); !errors.Is(err, context.Canceled) || len(a.queue) != 0 {
		t.Errorf("%v, %d wait", err, len(a.queue))
	}
	a.turn <- struct{}{}
	until(t, "the end of the retention", func() bool {
		last, err := j.LastDeltas(within(t), "g")
		return err == nil && len(last) == 0
	})
	// A cursor does not stand in the way of an origin that goes on.
	if err := a.Publish(within(t), []byte("later")); err != nil {
		t.Error(err)
	}
	until(t, "what comes later", func() bool { _, ok := hears.at("later"); return ok })
	_, err := NewJournal(JournalConfig{MaxBatch: -1, Poll: -1})
	for _, word := range []string{"Postgres", "Group", "MaxBatch", "Poll"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not reported: %v", word, err)
		}
	}
}

// A database that goes away and comes back.
func TestJournalBusReconnects(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.Start(within(t), postgrestest.Options{})
	if errors.Is(err, postgrestest.ErrNoPrograms) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	a, b := journalBus(t, shared(t, server.URL()), "g", nil), journalBus(t, shared(t, server.URL()), "g", nil)
	deliver(t, a)
	hears := deliver(t, b)
	begun(t, shared(t, server.URL()), "g", hears)
	for round := range 2 {
		text := fmt.Sprint("round ", round)
		until(t, text, func() bool { return a.Publish(within(t), []byte(text)) == nil })
		until(t, text, func() bool { _, ok := hears.at(text); return ok })
		if round == 0 {
			server.Kill()
			time.Sleep(300 * time.Millisecond)
			if err := server.Restart(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "no error", func() bool { return a.Err() == nil && b.Err() == nil })
}
