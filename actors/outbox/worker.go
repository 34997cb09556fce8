package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// Worker carries out the effects of the lanes that it holds. It may be used from many goroutines at once.
type Worker struct {
	config  Config
	bell    chan struct{}
	settled chan settling
	sources sync.WaitGroup

	mu       sync.Mutex // guards what follows
	ran      bool
	stopping bool
	lanes    map[int]*lane
	ready    []*source // found, and not begun yet
	active   map[actors.Ref]bool
	// ended are the sources that ended since the journal was asked last: its answer may be older than their end.
	ended map[actors.Ref]bool
	// more says that the last answer was not empty.
	more bool
	// sourced are the services whose effects are to be carried out.
	sourced []string

	fruitless time.Time // of Run alone: when hidden sources were last looked for in vain
}

// lane that is held.
type lane struct {
	valid func() bool
	// tries is the context of its tries; cut ends it.
	tries   context.Context
	cut     context.CancelFunc
	leaving bool
	working sync.WaitGroup // its sources that have begun; none begins once it is leaving
}

// source is what is to be done for one source, in order.
type source struct {
	ref     actors.Ref
	lane    *lane
	effects []journal.Pending
}

// New makes a Worker, which does nothing before Run is called and lanes are held.
func New(config Config) (*Worker, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("carry out effects: %w", err)
	}
	return &Worker{
		config: config, bell: make(chan struct{}, 1), settled: make(chan settling, config.Concurrency),
		lanes: map[int]*lane{}, active: map[actors.Ref]bool{}, ended: map[actors.Ref]bool{},
	}, nil
}

// Names of the lanes, to be shared out by leases.
func Names() []string {
	names := make([]string, journal.Lanes)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// Serve says which services' effects are to be carried out: nobody can carry out those of another user function. Before it
// is called all are.
func (w *Worker) Serve(services []string) {
	w.mu.Lock()
	w.sourced = append(make([]string, 0, len(services)), services...)
	w.mu.Unlock()
	w.Ring()
}

// services is nil for all.
func (w *Worker) services() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sourced
}

// Ring says that there may be something to do. It never waits.
func (w *Worker) Ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// Work holds the lane that the lease is named after until ctx ends, and returns when nothing of it is on its way any
// more. It is a lease.Config's Work.
func (w *Worker) Work(ctx context.Context, held *lease.Held) error {
	n, err := strconv.Atoi(held.Name())
	if err != nil || n < 0 || n >= journal.Lanes {
		return fmt.Errorf("carry out effects: there is no lane %q", held.Name())
	}
	return w.hold(ctx, n, held.Valid, held.Lost())
}

func (w *Worker) hold(ctx context.Context, number int, valid func() bool, lost <-chan struct{}) error {
	l := &lane{valid: valid}
	l.tries, l.cut = context.WithCancel(context.WithoutCancel(ctx))
	defer l.cut()
	w.mu.Lock()
	if w.lanes[number] != nil {
		w.mu.Unlock()
		return fmt.Errorf("carry out effects: lane %d is held already", number)
	}
	w.lanes[number] = l
	w.mu.Unlock()
	w.Ring()
	<-ctx.Done()
	w.mu.Lock()
	l.leaving = true
	delete(w.lanes, number)
	w.mu.Unlock()
	finish := time.AfterFunc(w.config.Drain, l.cut)
	defer finish.Stop()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		l.working.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-lost:
		l.cut()
		<-done
	}
	return nil
}

// Run carries out effects until ctx ends. It returns when no try and no settlement is on its way any more. It can be
// called once.
func (w *Worker) Run(ctx context.Context) error {
	w.mu.Lock()
	again := w.ran
	w.ran = true
	w.mu.Unlock()
	if again {
		return errors.New("carry out effects: the worker was run before")
	}
	var settler sync.WaitGroup
	settler.Go(func() { w.settle(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.bell:
		}
		err := w.round(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			w.config.Log.Warn("effects cannot be carried out now: the journal does not say which are due", logError, err)
		} else if err == nil && failing {
			w.config.Log.Info("effects are carried out again")
		}
		failing = err != nil
		timer.Reset(w.config.Poll)
	}
	w.mu.Lock()
	w.stopping, w.ready = true, nil
	w.mu.Unlock()
	finish := time.AfterFunc(w.config.Drain, w.cut)
	defer finish.Stop()
	w.sources.Wait()
	close(w.settled)
	settler.Wait()
	return nil
}

// cut the tries of all lanes.
func (w *Worker) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		l.cut()
	}
}

// round begins sources, and asks the journal for more while there is room for them.
func (w *Worker) round(ctx context.Context) error {
	limit := w.config.Batch
	for {
		lanes := w.begin()
		if len(lanes) == 0 {
			return nil
		}
		effects, err := w.due(ctx, lanes, limit)
		if err != nil {
			return err
		}
		found := w.sort(effects, lanes)
		switch {
		case len(effects) < limit:
			if !found && limit > w.config.Batch {
				w.fruitless = time.Now()
			}
			w.begin()
			return nil
		case found:
		case limit >= maxGrowth*w.config.Batch:
			w.fruitless = time.Now()
			return nil
		case limit > w.config.Batch || time.Since(w.fruitless) >= searchEvery*w.config.Poll:
			limit *= 2 // sources that are being worked on fill the answer, and hide others
		default:
			return nil
		}
	}
}

// To look behind sources with many effects, up to maxGrowth batches are asked for at once. When there was nothing behind
// them, that is not done again for so many polls: it is a lot to read for nothing.
const (
	maxGrowth   = 16
	searchEvery = 10
)

func (w *Worker) due(ctx context.Context, lanes map[int]*lane, limit int) ([]journal.Pending, error) {
	effects, err := w.config.Outbox.Due(ctx, w.services(), slices.Sorted(maps.Keys(lanes)), limit)
	if err != nil {
		return nil, fmt.Errorf("ask which effects are due: %w", err)
	}
	oldest := time.Duration(0)
	for i := range effects {
		oldest = max(oldest, waited(&effects[i]))
	}
	w.config.Observer.Due(len(effects), oldest)
	return effects, nil
}

// waited is how long ago an effect was to be carried out for the first time, more or less.
func waited(p *journal.Pending) time.Duration {
	if p.Due.After(p.Since) {
		return max(0, time.Since(p.Due))
	}
	return max(0, time.Since(p.Since))
}

// begin begins sources that are ready, and returns the lanes about which to ask if there is room for more.
func (w *Worker) begin() map[int]*lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = slices.DeleteFunc(w.ready, func(s *source) bool { return s.lane.leaving })
	for len(w.ready) > 0 && len(w.active) < w.config.Concurrency {
		s := w.ready[0]
		w.ready = w.ready[1:]
		w.active[s.ref] = true
		s.lane.working.Add(1)
		w.sources.Go(func() { w.work(s) })
	}
	if len(w.ready) > 0 || len(w.active) == w.config.Concurrency || w.stopping {
		return nil
	}
	clear(w.ended)
	return maps.Clone(w.lanes)
}

// sort an answer of the journal by sources, and keep those that can be begun.
func (w *Worker) sort(effects []journal.Pending, lanes map[int]*lane) (found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.more = len(effects) > 0
	sources := map[actors.Ref]*source{}
	for _, p := range effects {
		if w.active[p.Source] || w.ended[p.Source] {
			continue
		}
		s := sources[p.Source]
		if s == nil {
			s = &source{ref: p.Source, lane: lanes[journal.Lane(p.Source)]}
			if s.lane == nil {
				continue
			}
			sources[p.Source] = s
			w.ready = append(w.ready, s)
			found = true
		}
		s.effects = append(s.effects, p)
	}
	return found
}

// over reports whether nothing new is to be begun in a lane.
func (w *Worker) over(l *lane) bool {
	w.mu.Lock()
	over := w.stopping || l.leaving
	w.mu.Unlock()
	return over || !l.valid()
}

// end of the work for a source.
func (w *Worker) end(s *source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.active, s.ref)
	w.ended[s.ref] = true
	s.lane.working.Done()
	if w.more || len(w.ready) > 0 {
		w.Ring()
	}
}
