package engine

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dapr-entities/entities/actors"
)

// Engine holds the placed entities of this host. Its methods may be called from many goroutines at once.
type Engine struct {
	config      Config
	activations chan struct{}
	// ctx ends when turns and activations are to be given up.
	ctx    context.Context
	cancel context.CancelFunc
	timers sync.Pool

	// Doorbells, of capacity 1.
	toCommit, toCheck, toSweep, gathered chan struct{}

	workers sync.WaitGroup

	mu        sync.Mutex
	services  map[string]*service
	instances map[actors.Ref]*instance
	owned     map[actors.Ref]struct{}
	// appends and questions wait for the next batch.
	appends   []*work
	questions []question
	// tick counts what was sent to the journal.
	tick uint64
	// turning counts the turns that sessions are handling; batched is how many appends the batch before had; gathering
	// says that a batch waits for more.
	turning   int
	batched   int
	gathering bool
	inflight  int
	buffered  int
	resting   int
	sweepAt   time.Time
	ran       bool
	stopping  bool
	// quiet is closed when stopping has come to its end. It is nil unless somebody waits.
	quiet chan struct{}
	// after is called once the mutex is released.
	after []func()
}

// New makes an engine. It does its work while Run runs.
func New(c Config) (*Engine, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the engine: %w", err)
	}
	c.Observer.fill()
	e := &Engine{
		config:      c,
		activations: make(chan struct{}, c.MaxActivations),
		toCommit:    make(chan struct{}, 1),
		gathered:    make(chan struct{}, 1),
		toCheck:     make(chan struct{}, 1),
		toSweep:     make(chan struct{}, 1),
		services:    make(map[string]*service),
		instances:   make(map[actors.Ref]*instance),
		owned:       make(map[actors.Ref]struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// ring a doorbell.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// unlock releases the mutex and then does what must not be done under it.
func (e *Engine) unlock() {
	after := e.after
	e.after = nil
	e.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// Serve replaces the set of services. Names are distinct, and each has a Function. Entities whose service has another
// function now, or is gone, are passivated after the running turn.
func (e *Engine) Serve(services []Service) {
	e.mu.Lock()
	defer e.unlock()
	set := make(map[string]*service, len(services))
	for _, s := range services {
		if s.Persistence == "" {
			s.Persistence = s.Name
		}
		if s.Idle <= 0 {
			s.Idle = e.config.Idle
		}
		if old := e.services[s.Name]; old != nil && old.same(&s) {
			old.Idle = s.Idle
			set[s.Name] = old
			continue
		}
		// The bound is kept over all services together, so the list itself has none.
		idle, _ := simplelru.NewLRU[*instance, struct{}](math.MaxInt, nil)
		set[s.Name] = &service{Service: s, idle: idle}
	}
	old := e.services
	e.services = set
	for name, s := range old {
		if set[name] == s {
			continue
		}
		for _, i := range s.idle.Keys() {
			e.passivate(i, Replaced)
		}
	}
	ring(e.toSweep)
}

// Own says that the entity is placed here.
func (e *Engine) Own(ref actors.Ref) {
	e.mu.Lock()
	defer e.unlock()
	e.owned[ref] = struct{}{}
	if i := e.instances[ref]; i != nil {
		i.leave = false
	}
}

// Owned reports whether the entity is placed here.
func (e *Engine) Owned(ref actors.Ref) bool {
	e.mu.Lock()
	defer e.unlock()
	_, ok := e.owned[ref]
	return ok
}

// Disown says that the entity is no longer placed here. It is passivated after the running turn and what is queued.
func (e *Engine) Disown(ref actors.Ref) {
	e.mu.Lock()
	defer e.unlock()
	delete(e.owned, ref)
	if i := e.instances[ref]; i != nil {
		e.dismiss(i)
	}
}

// DisownAll disowns every entity.
func (e *Engine) DisownAll() {
	e.mu.Lock()
	defer e.unlock()
	e.owned = make(map[actors.Ref]struct{})
	for _, i := range e.instances {
		e.dismiss(i)
	}
}

func (e *Engine) dismiss(i *instance) {
	i.leave = true
	if i.resting {
		e.passivate(i, Disowned)
	}
}
