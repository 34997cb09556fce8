package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/tests/harness"
)

const (
	fedService   = "test.v1.Fed"
	fedConsumers = 4
	// fedKills is how many there are at the least.
	fedKills = 3
	// fedLife is how many events a consumer has had when it is killed.
	fedLife = 30
)

// TestFeed: two writers commit events to one Postgres at the same time, while four consumers, each an app with a sidecar
// and a component, share them through an input binding, and one of the four is killed again and again. Afterwards every
// event was delivered, and what was delivered of each entity, to whomever, went on from event to event: it may have
// stepped back, never over one. FEED_EVENTS says how many events.
func TestFeed(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for a minute; run without -short")
	}
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d: run it again with -run TestFeed -seed %d", s, s)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	db := startServer(ctx, t)
	cluster := harness.Test(t, harness.ClusterConfig{})
	t.Cleanup(func() { save(t, s, filepath.Join(cluster.Folder(), "log"), nil) })
	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}

	events := fromEnvironment("FEED_EVENTS", 6000)
	f := newFed(s, min(1000, max(1, events/20)))
	begin := func(name string) *fedConsumer {
		c := f.consumer(name)
		t.Cleanup(c.Close)
		var err error
		c.host, err = cluster.StartHost(ctx, harness.HostOptions{
			Name: name, AppID: "reader", Placement: placement.Address, Journal: db.URL(),
			// The patience of a busy machine: what a sidecar has when its component loses a lane is still delivered.
			Metadata: map[string]string{"host": "false", "leaseTimeout": "10s"},
			Input:    map[string]string{"services": fedService, "maxDeliveries": "1000000", "ackTimeout": "5m"},
			Daprd:    harness.DaprdOptions{AppPort: c.Listener.Addr().(*net.TCPAddr).Port},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var lasting []*fedConsumer
	for i := range fedConsumers - 1 {
		lasting = append(lasting, begin(fmt.Sprint("consumer-", i)))
	}
	victim := begin("victim-0")

	enough := make(chan struct{})
	failed := make(chan error, 2)
	var writers sync.WaitGroup
	defer func() {
		cancel()
		writers.Wait()
	}()
	for w := range uint64(2) {
		writers.Go(func() { failed <- f.write(ctx, db.URL(), rand.New(rand.NewPCG(s, w+2)), events/2, enough) })
	}
	kills := max(fedKills, events/10_000)
	for kill := range kills {
		err := harness.Poll(ctx, 20*time.Millisecond, func(context.Context) error {
			if n := victim.count(); n < fedLife {
				return fmt.Errorf("%s has had %d events", victim.name, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		victim.die()
		victim = begin(fmt.Sprint("victim-", kill+1))
	}
	close(enough)
	for range 2 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	err = harness.Poll(ctx, 50*time.Millisecond, func(context.Context) error { return f.missing() })
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Logf("%d events of %d entities, written in %s; %d deliveries were repeats; %d kills; all had come %s after the last was written; by consumer: %v",
		f.total(), len(f.written), f.wrote.Round(time.Millisecond), f.repeats, kills, time.Since(began).Round(10*time.Millisecond), f.had)
	if err := errors.Join(append(f.problems, err)...); err != nil {
		t.Error(err)
	}
	for _, c := range lasting {
		if f.had[c.name] == 0 {
			t.Errorf("%s had nothing", c.name)
		}
	}
	if f.repeats == 0 {
		t.Error("the run proves nothing: nothing was delivered twice")
	}
}

// fed is what was written, and what was delivered.
type fed struct {
	mu       sync.Mutex
	random   *rand.Rand
	written  []int64 // by entity
	wrote    time.Duration
	at, most []int64 // by entity: what was delivered last, and up to which all were
	had      map[string]int
	repeats  int
	problems []error
}

func newFed(seed uint64, entities int) *fed {
	return &fed{
		random: rand.New(rand.NewPCG(seed, 1)), had: map[string]int{},
		written: make([]int64, entities), at: make([]int64, entities), most: make([]int64, entities),
	}
}

// write so many events as fast as it goes, and then some more until it is enough.
func (f *fed) write(ctx context.Context, url string, random *rand.Rand, events int, enough <-chan struct{}) error {
	j, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		return err
	}
	defer j.Close()
	began := time.Now()
	for n := 0; ; {
		size := min(50, max(10, events-n))
		batch := make([]journal.Append, 0, size)
		for i := range size {
			batch = append(batch, journal.Append{
				Ref:      actors.Ref{Service: fedService, ID: fmt.Sprintf("e%d", random.IntN(len(f.written)))},
				Expected: journal.AnySequence, Command: fmt.Sprintf("%d-%d", random.Uint64(), n+i),
				Events: []journal.Event{{Name: "fed", Payload: actors.Payload{
					TypeURL: "json.cloudstate.io/fed", ContentType: actors.ContentJSON, Data: fmt.Appendf(nil, `{"n":%d}`, n+i),
				}}},
			})
		}
		for i, r := range j.Append(ctx, batch) {
			if r.Status != journal.Committed {
				return fmt.Errorf("write an event: %s: %w", r.Status, r.Err)
			}
			number, err := strconv.Atoi(batch[i].Ref.ID[1:])
			if err != nil {
				return err
			}
			f.mu.Lock()
			f.written[number]++
			f.mu.Unlock()
		}
		if n += size; n < events {
			continue
		}
		f.mu.Lock()
		if f.wrote == 0 {
			f.wrote = time.Since(began)
		}
		f.mu.Unlock()
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (f *fed) total() (n int64) {
	for _, w := range f.written {
		n += w
	}
	return n
}

// missing says how much was not delivered yet.
func (f *fed) missing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var done int64
	for _, n := range f.most {
		done += n
	}
	if total := f.total(); done != total {
		return fmt.Errorf("%d of %d events were delivered", done, total)
	}
	return nil
}

// deliver notes one, and decides whether the app likes it.
func (f *fed) deliver(to, id string, sequence int64) (likes bool) {
	f.had[to]++
	n, err := strconv.Atoi(id[min(1, len(id)):])
	if err != nil || n < 0 || n >= len(f.at) {
		f.problemf("%s is told of %q", to, id)
		return false
	}
	if sequence > f.at[n]+1 || sequence < 1 {
		f.problemf("%s is told of event %d of %s after event %d", to, sequence, id, f.at[n])
	}
	if sequence <= f.most[n] {
		f.repeats++
	}
	f.at[n], f.most[n] = sequence, max(f.most[n], sequence)
	return f.random.IntN(200) > 0
}

func (f *fed) problemf(format string, args ...any) {
	if len(f.problems) < 20 {
		f.problems = append(f.problems, fmt.Errorf(format, args...))
	}
}

// fedConsumer is an app, with its sidecar and component.
type fedConsumer struct {
	*httptest.Server
	fed  *fed
	name string
	dead bool // under fed's mu
	host *harness.Host
}

func (f *fed) consumer(name string) *fedConsumer {
	c := &fedConsumer{fed: f, name: name}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+harness.InputName, func(w http.ResponseWriter, r *http.Request) {
		sequence, err := strconv.ParseInt(r.Header.Get("sequence"), 10, 64)
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case c.dead: // nobody is there to be told
		case err != nil || r.Header.Get("service") != fedService || r.Header.Get("name") != "fed":
			f.problemf("%s is told of %v", c.name, r.Header)
		case f.deliver(c.name, r.Header.Get("id"), sequence):
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	c.Server = httptest.NewServer(mux)
	return c
}

func (c *fedConsumer) count() int {
	c.fed.mu.Lock()
	defer c.fed.mu.Unlock()
	return c.fed.had[c.name]
}

// die as a whole, at once.
func (c *fedConsumer) die() {
	c.fed.mu.Lock()
	c.dead = true
	c.fed.mu.Unlock()
	c.host.Component.Kill()
	c.host.Daprd.Kill()
}
