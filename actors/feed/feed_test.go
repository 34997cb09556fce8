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

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestMain(m *testing.M) {
	// The PostgreSQL that tests share ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest.(*Server).Restart.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}

const service, group = "shop/cart", "mails"

// rig is a journal, and what a consumer's handler has seen of it.
type rig struct {
	t       *testing.T
	memory  *memory.Journal
	journal *journaltest.Faulty
	config  Config

	mu     sync.Mutex // guards what follows
	seen   []string   // id:sequence of every try
	began  time.Time
	tries  map[string][]time.Duration
	handle func(ctx context.Context, e journal.Event, try int) error
	cancel context.CancelFunc
	done   chan error
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, memory: memory.Open(), began: time.Now(), tries: map[string][]time.Duration{}}
	r.journal = journaltest.NewFaulty(r.memory)
	r.config = Config{
		Tailer: r.journal, Cells: r.journal, Group: group, Service: service, Log: slog.New(slog.DiscardHandler),
		Handle: func(ctx context.Context, e journal.Event) error {
			key := fmt.Sprintf("%s:%d", e.Ref.ID, e.Sequence)
			r.mu.Lock()
			r.seen = append(r.seen, key)
			r.tries[key] = append(r.tries[key], time.Since(r.began))
			try, handle := len(r.tries[key]), r.handle
			r.mu.Unlock()
			if handle == nil {
				return nil
			}
			return handle(ctx, e, try)
		},
	}
	if change != nil {
		change(&r.config)
	}
	return r
}

func (r *rig) start() *Consumer {
	r.t.Helper()
	c, err := New(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	r.done = done
	go func() { done <- c.Run(ctx) }()
	return c
}

func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

func (r *rig) append(ids ...string) {
	r.t.Helper()
	add(r.t, r.memory, service, ids...)
}

func add(t testing.TB, j *memory.Journal, service string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		result := j.Append(context.Background(), []journal.Append{{
			Ref: actors.Ref{Service: service, ID: id}, Expected: journal.AnySequence, Command: fmt.Sprint(time.Now().UnixNano(), id),
			Events: []journal.Event{{Name: "happened", Payload: actors.Payload{TypeURL: "x", ContentType: actors.ContentJSON, Data: []byte("{}")}}},
		}})[0]
		if result.Status != journal.Committed {
			t.Fatal(result.Status, result.Err)
		}
	}
}

func (r *rig) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func (r *rig) parked() (list []Parked) {
	r.t.Helper()
	list, err := List(r.t.Context(), r.memory, group, service, "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFeeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Concurrency, c.Batch = 1, 2 })
		r.append("a", "b", "c", "a", "b")
		add(t, r.memory, "other", "a")
		c := r.start()
		synctest.Wait()
		same(t, "handled", r.got(), "a:1", "b:1", "c:1", "a:2", "b:2")
		r.append("a")
		c.Ring()
		synctest.Wait()
		same(t, "handled after a ring", r.got()[5:], "a:3")
		r.append("a")
		time.Sleep(time.Second)
		r.stop()
		// The cursor says that nothing is left, also of the end.
		r.append("d")
		r.start()
		time.Sleep(time.Second)
		same(t, "handled after a restart", r.got()[6:], "a:4", "d:1")
		r.stop()
	})
}

func TestFromNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.From, c.Batch = Now, 2 })
		r.append("a", "a", "a", "a", "a")
		r.start()
		synctest.Wait()
		r.stop()
		r.append("a") // while nobody consumes: it is remembered where now was
		r.start()
		synctest.Wait()
		same(t, "handled", r.got(), "a:6")
		r.stop()
	})
}

// One that fails waits with its entity, while others go on; then it is parked, and its entity goes on.
func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxTries = 4 })
		r.handle = func(_ context.Context, e journal.Event, try int) error {
			switch {
			case e.Ref.ID == "a/1" && e.Sequence == 1 && try <= 4:
				return errors.New("no mail today")
			case e.Ref.ID == "b" && e.Sequence == 1:
				return actors.Errorf(actors.NotFound, "no such address")
			}
			return nil
		}
		r.append("a/1", "a/1", "b", "b", "c")
		r.start()
		time.Sleep(10 * time.Millisecond)
		got := r.got()
		slices.Sort(got)
		same(t, "at once", got, "a/1:1", "b:1", "b:2", "c:1")
		if at := r.cursor(); at.Ordinal != 0 {
			t.Errorf("the cursor is at %v, before what fails is handled or parked", at)
		}
		time.Sleep(time.Minute)
		same(t, "in the end", r.got()[4:], "a/1:1", "a/1:1", "a/1:1", "a/1:2")
		want := []Parked{
			{Group: group, Service: service, ID: "a/1", Sequence: 1, Name: "happened", Ordinal: 1, Problem: "INTERNAL: no mail today", Tries: 4},
			{Group: group, Service: service, ID: "b", Sequence: 1, Name: "happened", Ordinal: 3, Problem: "NOT_FOUND: no such address", Tries: 1},
		}
		list := r.parked()
		for i := range list {
			if i < len(want) {
				want[i].Key, want[i].Time = list[i].Key, list[i].Time
			}
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Fatalf("parked (-want +got):\n%s", diff)
		}
		if list[0].Key != "parked/feed/mails/shop%2Fcart/a%2F1/1" {
			t.Errorf("its key is %s", list[0].Key)
		}
		// Released ones are tried again: one succeeds now, the other does not.
		for _, p := range list {
			if err := Release(t.Context(), r.memory, p.Key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		got = r.got()[8:]
		slices.Sort(got)
		same(t, "after the release", got, "a/1:1", "b:1")
		if list = r.parked(); len(list) != 1 || list[0].ID != "b" {
			t.Errorf("parked: %+v", list)
		}
		if err := Discard(t.Context(), r.memory, list[0].Key); err != nil || len(r.parked()) != 0 {
			t.Errorf("discard: %v, %v", err, r.parked())
		}
		for _, err := range []error{Discard(t.Context(), r.memory, list[0].Key), Release(t.Context(), r.memory, list[0].Key)} {
			if actors.CodeOf(err) != actors.NotFound {
				t.Errorf("an event that is not parked: %v", err)
			}
		}
		if err := Release(t.Context(), r.memory, "cursor/x"); actors.CodeOf(err) != actors.InvalidArgument {
			t.Errorf("another cell: %v", err)
		}
		left, err := r.memory.Cells(t.Context(), releasedPrefix, "", 0)
		if err != nil || len(left) != 0 {
			t.Errorf("left of released events: %v, %v", left, err)
		}
		r.stop()
	})
}

func (r *rig) cursor() journal.Position {
	r.t.Helper()
	c := cursor{fenced{cells: r.memory, key: "cursor/" + part(group) + "/" + part(service)}}
	at, _, err := c.load(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

// An entity whose event is tried again and again does not stop the others, as far as the window reaches; and the window
// ends.
func TestWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Batch, c.MaxTries = 10, 1000 })
		r.handle = func(_ context.Context, e journal.Event, _ int) error {
			if e.Ref.ID == "bad" {
				return errors.New("never")
			}
			return nil
		}
		r.append("bad")
		for i := range 100 {
			r.append(fmt.Sprint("good", i))
		}
		r.start()
		time.Sleep(time.Minute)
		good := 0
		for _, key := range r.got() {
			if strings.HasPrefix(key, "good") {
				good++
			}
		}
		if good != windowBatches*10-1 {
			t.Errorf("%d good ones were handled", good)
		}
		r.stop()
	})
}

// Who was replaced ends when it would move the cursor, and does not move it.
func TestReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		time.Sleep(time.Second)
		zombie, cancel := r.done, r.cancel
		defer cancel()
		r.start()
		time.Sleep(time.Second)
		r.append("a")
		err := <-zombie
		if !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), group) {
			t.Errorf("the one that was replaced ended with %v", err)
		}
		r.append("a")
		time.Sleep(time.Second)
		r.stop()
		if at := r.cursor(); at.Ordinal != 2 {
			t.Errorf("the cursor is at %v", at)
		}
	})
}

// Tries may end within Drain; what is cut is not counted, and comes again.
func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Drain, c.MaxTries = 3*time.Second, 1 })
		r.handle = func(ctx context.Context, e journal.Event, _ int) error {
			took := 2 * time.Second
			if e.Ref.ID == "b" {
				took = 50 * time.Second
			}
			select {
			case <-time.After(took):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r.append("a", "b", "a")
		r.start()
		time.Sleep(time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it stopped after %s", took)
		}
		if at := r.cursor(); at.Ordinal != 1 || len(r.parked()) != 0 {
			t.Errorf("the cursor is at %v, parked %v", at, r.parked())
		}
		r.handle = nil
		r.start()
		time.Sleep(time.Second)
		got := r.got()[2:]
		slices.Sort(got)
		same(t, "after the restart", got, "a:2", "b:1")
		r.stop()
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Service: strings.Repeat("s", MaxGroupBytes+1), From: 7, MaxTries: -1, Backoff: time.Hour, Drain: -2})
	for _, part := range []string{"Tailer", "Cells", "Handle", "From", "Group", "Service is", "MaxTries", "MaxBackoff", "Drain"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error says nothing of %s: %v", part, err)
		}
	}
}

// The longest names still make keys that a journal takes.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	c := trial{group: strings.Repeat("/", MaxGroupBytes)}
	for _, id := range []string{strings.Repeat("/", actors.MaxIDBytes), strings.Repeat("é", actors.MaxIDBytes/2)} {
		key := releasedPrefix + c.suffix(&journal.Event{Ref: actors.Ref{Service: strings.Repeat("%", MaxGroupBytes), ID: id}, Sequence: 1 << 62})
		if len(key) > journal.MaxCellKeyBytes {
			t.Errorf("a key has %d bytes", len(key))
		}
	}
}
