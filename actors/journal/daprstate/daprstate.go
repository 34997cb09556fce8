package daprstate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Config of a Journal. Only Store is needed.
type Config struct {
	Store Store
	// Prefix of all keys, of letters, digits, dot, hyphen and underscore. Journals with different prefixes share a store and
	// nothing else. Defaults to "entities".
	Prefix string
	// Parallel is how many streams are written to at the same time. Defaults to 32.
	Parallel int
	// Timeout bounds what a call does when its own context has ended: finding out what became of its last write. Defaults
	// to 5 s.
	Timeout time.Duration
	// Quiet is how long a stream must not have been written to before it is taken off the lists of those to be looked at. It
	// is also how late the events of a process that died come in Tail. Defaults to 5 s.
	Quiet time.Duration
	// MaxOpen is how many streams may be written to before events are in the feed. Defaults to 512.
	MaxOpen int
	// Log defaults to nowhere.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "entities")
	c.Parallel = cmp.Or(c.Parallel, 32)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Quiet = cmp.Or(c.Quiet, 5*time.Second)
	c.MaxOpen = cmp.Or(c.MaxOpen, 512)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("there is no state store"))
	}
	if escape(c.Prefix) != c.Prefix {
		errs = append(errs, fmt.Errorf("the prefix %q has more than letters, digits, dots, hyphens and underscores, or more than %d of them", c.Prefix, maxNameBytes))
	}
	if c.Parallel < 0 || c.Timeout < 0 || c.Quiet < 0 {
		errs = append(errs, errors.New("parallel, timeout and quiet cannot be negative"))
	}
	if c.MaxOpen < 16 || c.MaxOpen > 4096 {
		errs = append(errs, fmt.Errorf("%d open streams are not between 16 and 4096", c.MaxOpen))
	}
	return errors.Join(errs...)
}

// Journal is a journal in a state store of Dapr.
type Journal struct {
	config Config
	store  Store
	slots  chan struct{} // of Parallel
	// background is what goes on when a call has returned. Close waits for it.
	background sync.WaitGroup

	checking sync.Mutex
	id       atomic.Pointer[string] // nil before the store was found good

	calls  sync.RWMutex // held for reading by every call, for writing by Close
	closed bool

	streams, cells, wanted *index
	feed                   feed
	sources                *lru.Cache[string, actors.Ref] // of effects, by id
	watch                  watch
	locks                  locks
}

var _ journal.Journal = (*Journal)(nil)

// maxSources is of how many effects it is remembered where they are.
const maxSources = 1 << 16

// New makes a journal. It asks the store for nothing: the first call that needs it does, and Ping.
func New(config Config) (*Journal, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("configure the journal in a Dapr state store: %w", err)
	}
	sources, err := lru.New[string, actors.Ref](maxSources)
	if err != nil {
		return nil, err
	}
	j := &Journal{config: config, store: config.Store, slots: make(chan struct{}, config.Parallel), sources: sources}
	j.streams, j.cells, j.wanted = newIndex(j, "streams"), newIndex(j, "cells"), newIndex(j, "effects")
	j.feed.j, j.watch.seen, j.locks.held = j, map[string]sighting{}, map[actors.Ref]*lock{}
	j.feed.work = combiner[request]{j: j, run: j.feed.run}
	return j, nil
}

// enter begins a call. Whoever gets no error calls leave.
func (j *Journal) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.calls.RLock()
	if j.closed {
		j.calls.RUnlock()
		return journal.ErrClosed
	}
	if err := j.ready(ctx); err != nil {
		j.calls.RUnlock()
		return err
	}
	return nil
}

func (j *Journal) leave() { j.calls.RUnlock() }

// ready makes sure, once, that the store is what this journal needs, and that it is the journal's.
func (j *Journal) ready(ctx context.Context) error {
	if j.id.Load() != nil {
		return nil
	}
	j.checking.Lock()
	defer j.checking.Unlock()
	if j.id.Load() != nil {
		return nil
	}
	if err := j.store.Check(ctx); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	if err := j.probe(ctx); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	var id string
	err := j.update(ctx, j.key("journal"), func(r record) ([]byte, error) {
		if r.version > 0 {
			d := decoder{data: r.body}
			id = d.text()
			return nil, cmp.Or(d.end(), errSame)
		}
		id = rand.Text()
		var e encoder
		e.text(id)
		return e.data, nil
	})
	if err != nil {
		return fmt.Errorf("%w: name the journal: %w", journal.ErrUnavailable, err)
	}
	j.id.Store(&id)
	return nil
}

// probe tries what everything here hangs on: that of all who save a key with the same ETag, one at most is heard.
func (j *Journal) probe(ctx context.Context) error {
	r := record{key: j.key("b", "probe-"+rand.Text())}
	defer j.discard([]string{r.key})
	save := func(etag, value string) error {
		return j.store.Save(ctx, Item{Key: r.key, Value: []byte(value), ETag: etag})
	}
	read := func() (Item, error) { return j.getOne(ctx, r.key) }
	if err := save("", "1"); err != nil {
		return fmt.Errorf("try the state store: %w", err)
	}
	first, err := read()
	if err != nil {
		return fmt.Errorf("try the state store: %w", err)
	}
	if first.ETag == "" || string(first.Value) != "1" {
		return errors.New("the state store does not return what was saved a moment before, or has no ETags: it cannot hold a journal")
	}
	_ = save("", "2") // has to fail
	if err := save(first.ETag, "3"); err != nil {
		return fmt.Errorf("the state store does not keep the first of two writers, or fails: it cannot hold a journal: %w", err)
	}
	_ = save(first.ETag, "4") // has to fail
	last, err := read()
	if err != nil {
		return fmt.Errorf("try the state store: %w", err)
	}
	if string(last.Value) != "3" || last.ETag == first.ETag {
		return errors.New("the state store lets a write pass whose ETag is out of date: it cannot hold a journal")
	}
	return nil
}

// ID implements journal.Journal.
func (j *Journal) ID(ctx context.Context) (string, error) {
	if err := j.enter(ctx); err != nil {
		return "", err
	}
	defer j.leave()
	return *j.id.Load(), nil
}

// Ping implements journal.Journal. It writes.
func (j *Journal) Ping(ctx context.Context) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	return j.put(ctx, []Item{{Key: j.key("b", "ping"), Value: []byte("ping")}})
}

// Close implements journal.Journal. The store is not closed.
func (j *Journal) Close() error {
	j.calls.Lock()
	j.closed = true
	j.calls.Unlock()
	j.background.Wait()
	return nil
}

// slot limits how many streams are written to at once.
func (j *Journal) slot(ctx context.Context) error {
	select {
	case j.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (j *Journal) free() { <-j.slots }

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
