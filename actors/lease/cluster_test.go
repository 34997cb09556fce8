package lease

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// cluster is some members on one journal, and what their works do.
type cluster struct {
	t       *testing.T
	journal *memory.Journal

	mu       sync.Mutex // guards what follows
	members  []*member
	works    map[string]*member // by name, who works for it
	held     map[string]*Held
	why      map[string]error
	overlaps int
	begun    int
	slow     time.Duration
	stops    func() time.Duration // how long a work takes to stop
}

type member struct {
	*Leases
	name    string
	cells   *faultyCells
	cluster *cluster
	cancel  context.CancelFunc
	done    chan struct{}
	crashed bool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{t: t, journal: memory.Open(), works: map[string]*member{}, held: map[string]*Held{}, why: map[string]error{}}
}

func (c *cluster) start(name string, names ...string) *member {
	m := &member{name: name, cluster: c, cells: &faultyCells{inner: c.journal}, done: make(chan struct{})}
	var err error
	m.Leases, err = New(Config{Cells: m.cells, Group: "g", Member: name, Work: m.work, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := m.Names(names); err != nil {
		c.t.Fatal(err)
	}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(m.done)
		if err := m.Run(ctx); err != nil {
			c.t.Error(err)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, m)
	return m
}

func (m *member) work(ctx context.Context, held *Held) error {
	c := m.cluster
	c.mu.Lock()
	if m.crashed {
		c.mu.Unlock()
		<-ctx.Done()
		return nil
	}
	if c.works[held.Name()] != nil {
		c.overlaps++
	}
	c.begun++
	c.works[held.Name()], c.held[held.Name()] = m, held
	slow, stops := c.slow, c.stops
	c.mu.Unlock()
	<-ctx.Done()
	if stops != nil {
		slow = stops()
	}
	time.Sleep(slow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.works[held.Name()] == m {
		delete(c.works, held.Name())
	}
	c.why[held.Name()] = context.Cause(ctx)
	return nil
}

// working returns what a member works for.
func (c *cluster) working(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for n, m := range c.works {
		if m.name == name {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (m *member) stop() {
	m.cancel()
	<-m.done
}

// crash ends a member without a word: nothing of it reaches the journal any more, and its works are nobody's.
func (m *member) crash() {
	m.cells.set(func(f *faultyCells) { f.down, f.dead = true, true })
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.crashed = true
	for name, worker := range m.cluster.works {
		if worker == m {
			delete(m.cluster.works, name)
		}
	}
	m.cancel()
}

// end of the test.
func (c *cluster) end() {
	c.mu.Lock()
	members, overlaps := c.members, c.overlaps
	c.mu.Unlock()
	for _, m := range members {
		m.cancel()
	}
	for _, m := range members {
		<-m.done
		m.cells.late.Wait()
	}
	if overlaps > 0 {
		c.t.Errorf("two members worked for one name %d times", overlaps)
	}
}

var errDown = errors.New("the journal is down")

// faultyCells is one member's way to the journal.
type faultyCells struct {
	inner journal.Cells
	late  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	down   bool
	dead   bool // nothing that is on its way arrives either
	hangs  bool
	random *rand.Rand
	// trouble is the share of calls that are slow, and of those that are lost in one way or another.
	trouble float64
}

func (f *faultyCells) set(change func(*faultyCells)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// through returns whether a call is carried out, and whether its answer arrives.
func (f *faultyCells) through(ctx context.Context, write func(context.Context)) (carried, answered bool) {
	f.mu.Lock()
	down, hangs, slow := f.down, f.hangs, time.Duration(0)
	kind := 1.0
	if f.random != nil {
		if f.random.Float64() < f.trouble {
			slow = time.Duration(f.random.Int64N(int64(3 * time.Second)))
		}
		kind = f.random.Float64() / max(f.trouble, 1e-9)
	}
	f.mu.Unlock()
	if down && hangs {
		<-ctx.Done()
		return false, false
	}
	if down {
		return false, false
	}
	sleep(ctx, slow)
	switch {
	case kind < 0.3:
		return false, false
	case kind < 0.6:
		return true, false
	case kind < 1 && write != nil: // carried out when nobody thinks of it any more
		f.late.Go(func() {
			time.Sleep(2 * slow)
			f.mu.Lock()
			dead := f.dead
			f.mu.Unlock()
			if !dead {
				write(context.WithoutCancel(ctx))
			}
		})
		return false, false
	case ctx.Err() != nil:
		return true, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.down, !f.down
}

func (f *faultyCells) Cell(ctx context.Context, key string) (journal.Cell, error) {
	if _, ok := f.through(ctx, nil); !ok {
		return journal.Cell{}, errDown
	}
	return f.inner.Cell(ctx, key)
}

func (f *faultyCells) Put(ctx context.Context, c journal.Cell) (version int64, err error) {
	carried, answered := f.through(ctx, func(ctx context.Context) { _, _ = f.inner.Put(ctx, c) })
	if carried {
		version, err = f.inner.Put(context.WithoutCancel(ctx), c)
	}
	if !answered {
		return 0, errDown
	}
	return version, err
}

// PutEach is for others; a lease is put alone.
func (f *faultyCells) PutEach(context.Context, []journal.Cell) ([]journal.PutResult, error) {
	return nil, errors.ErrUnsupported
}

func (f *faultyCells) Remove(ctx context.Context, key string, version int64) (err error) {
	carried, answered := f.through(ctx, func(ctx context.Context) { _ = f.inner.Remove(ctx, key, version) })
	if carried {
		err = f.inner.Remove(context.WithoutCancel(ctx), key, version)
	}
	if !answered {
		return errDown
	}
	return err
}

func (f *faultyCells) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	if _, ok := f.through(ctx, nil); !ok {
		return nil, errDown
	}
	return f.inner.Cells(ctx, prefix, after, min(limit, 3)) // pages are small here
}
