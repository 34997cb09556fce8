package replica

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dapr-entities/entities/actors"
)

// Host lets user functions work with this node's copies of replicated entities. Its methods may be called from many
// goroutines at once.
//
// An entity that is in use has one session of its user function and one open Replica. Commands are given to the session as
// they come, many may be unanswered. What others change is told to it when nothing is unanswered, all at once.
type Host struct {
	config      Config
	activations chan struct{}
	toSweep     chan struct{}
	// ctx ends when sessions and activations are to be given up.
	ctx    context.Context
	cancel context.CancelFunc

	workers sync.WaitGroup

	// mu is never held while a session or a replica is called.
	mu        sync.Mutex
	services  map[string]*hosted
	instances map[actors.Ref]*instance
	// unanswered calls that were given to sessions, the one that waits for longest first.
	unanswered *simplelru.LRU[*call, struct{}]
	// callers are in Handle and Stream. inflight commands wait for their first answer, streams have had theirs,
	// confirming writes were applied, leftovers are at work.
	callers, inflight, streams, confirming, leftovers int
	buffered, resting                                 int
	sweepAt                                           time.Time
	ran, stopping                                     bool
	// quiet is closed when stopping has come to its end. It is nil unless somebody waits.
	quiet chan struct{}
	// after is called once the mutex is released.
	after []func()
}

var (
	_ actors.Handler  = (*Host)(nil)
	_ actors.Streamer = (*Host)(nil)
)

// hosted is a service that is served, and its idle instances, the one that is idle for longest first.
type hosted struct {
	Service
	inflight, streams int
	idle              *simplelru.LRU[*instance, struct{}]
}

// same reports whether a session of s is as good as one of o.
func (s *hosted) same(o *Service) bool {
	a, b := reflect.ValueOf(s.Function), reflect.ValueOf(o.Function)
	return s.Persistence == o.Persistence && a.Comparable() && b.Comparable() && a.Equal(b)
}

// New makes a host. It does its work while Run runs.
func New(c Config) (*Host, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the host of replicated entities: %w", err)
	}
	h := &Host{
		config:      c,
		activations: make(chan struct{}, c.MaxActivations),
		toSweep:     make(chan struct{}, 1),
		services:    make(map[string]*hosted),
		instances:   make(map[actors.Ref]*instance),
	}
	h.unanswered, _ = simplelru.NewLRU[*call, struct{}](math.MaxInt, nil)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// knock wakes whoever waits at a bell of capacity 1, now or soon.
func knock(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// unlock releases the mutex and then does what must not be done under it.
func (h *Host) unlock() {
	after := h.after
	h.after = nil
	h.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// Serve replaces the set of services. Names are distinct, and each has a Function. Of entities whose service has another
// function now, or is gone, the open streams are ended and the unanswered commands are waited for; then they are
// passivated.
func (h *Host) Serve(services []Service) {
	h.mu.Lock()
	defer h.unlock()
	set := make(map[string]*hosted, len(services))
	for _, s := range services {
		if s.Persistence == "" {
			s.Persistence = s.Name
		}
		if s.Idle <= 0 {
			s.Idle = h.config.Idle
		}
		if old := h.services[s.Name]; old != nil && old.same(&s) {
			old.Idle = s.Idle
			set[s.Name] = old
			continue
		}
		// The bound is kept over all services together, so the list itself has none.
		idle, _ := simplelru.NewLRU[*instance, struct{}](math.MaxInt, nil)
		set[s.Name] = &hosted{Service: s, idle: idle}
	}
	h.services = set
	for _, i := range h.instances {
		if set[i.service.Name] != i.service {
			h.interrupt(i)
		}
	}
	knock(h.toSweep)
}

// Handle implements actors.Handler. An end of ctx, or the deadline, stops the waiting but not what the user function has
// begun; its effects are left over then.
//
// After an error nothing came of the command, unless it is DeadlineExceeded, Canceled or Unavailable and says so. The
// other codes are Aborted (the session ended before the answer), ResourceExhausted (a limit, with its setting), NotFound
// (the entity is deleted), Unimplemented (no such service), InvalidArgument (the id), and those of the session. A write
// that was applied but could not be confirmed is an outcome with a failure.
func (h *Host) Handle(ctx context.Context, command actors.Command) (actors.Outcome, error) {
	c, err := h.admit(command, false)
	if err != nil {
		return actors.Outcome{}, err
	}
	defer h.dismiss(c)
	timer := time.NewTimer(time.Until(c.deadline))
	defer timer.Stop()
	a, err := h.take(ctx, c, timer.C)
	if err != nil {
		return actors.Outcome{}, err
	}
	return a.outcome, a.err
}

// dismiss ends the part of c's caller.
func (h *Host) dismiss(c *call) {
	h.forget(c)
	h.mu.Lock()
	defer h.unlock()
	h.callers--
	h.hush()
}

// admit takes a command, if there is room for it.
func (h *Host) admit(command actors.Command, streamed bool) (*call, error) {
	if err := h.inspect(&command); err != nil {
		return nil, err
	}
	c := &call{command: command, streamed: streamed, size: commandSize(&command), bell: make(chan struct{}, 1), deadline: command.Deadline}
	latest := time.Now().Add(h.config.CommandTimeout)
	if !streamed && (c.deadline.IsZero() || c.deadline.After(latest)) {
		c.deadline, c.command.Deadline = latest, latest
	}
	h.mu.Lock()
	defer h.unlock()
	ref := command.Ref
	if h.stopping {
		return nil, actors.Errorf(actors.Unavailable, "%s is not carried out here: the host is shutting down; try again", ref)
	}
	s := h.services[ref.Service]
	if s == nil {
		return nil, h.unknown(ref.Service)
	}
	i := h.instances[ref]
	switch {
	case i != nil && i.load() >= h.config.MaxQueued:
		return nil, h.late(s, settingQueued, h.config.MaxQueued, fmt.Sprintf("%s has %d commands waiting", ref, i.load()))
	case s.inflight >= h.config.MaxInFlight:
		return nil, h.late(s, settingInFlight, h.config.MaxInFlight, fmt.Sprintf("%s has %d commands in flight", s.Name, s.inflight))
	case streamed && s.streams >= h.config.MaxStreams:
		return nil, h.late(s, settingStreams, h.config.MaxStreams, fmt.Sprintf("%s has %d streamed commands open", s.Name, s.streams))
	case h.buffered > 0 && h.buffered+c.size > h.config.MaxBuffered:
		return nil, h.late(s, settingBuffered, h.config.MaxBuffered, fmt.Sprintf("the commands in flight hold %d bytes", h.buffered))
	}
	h.callers++
	h.inflight++
	h.buffered += c.size
	s.inflight++
	c.waiting, c.service = true, s
	if i == nil {
		i = &instance{id: ref.ID, service: s}
		h.instances[ref] = i
	}
	c.instance = i
	h.wake(i)
	i.leave = ""
	i.queue = append(i.queue, c)
	h.run(i)
	return c, nil
}

// inspect refuses what is too large or cannot be named.
func (h *Host) inspect(c *actors.Command) error {
	if err := actors.ValidateID(c.ID); err != nil {
		return err
	}
	if n := len(c.Payload.Data); n > h.config.MaxMessage {
		return h.tooMuch(c.Service, settingMessage, h.config.MaxMessage, fmt.Sprintf("the payload of %s to %s has %d bytes", c.Method, c.Ref, n))
	}
	if n := metadataSize(c.Metadata); n > h.config.MaxMetadata {
		return h.tooMuch(c.Service, settingMetadata, h.config.MaxMetadata, fmt.Sprintf("the metadata of %s to %s has %d bytes", c.Method, c.Ref, n))
	}
	return nil
}

func (h *Host) tooMuch(service, setting string, limit int, what string) *actors.Error {
	h.config.Observer.Limited(service, setting)
	return actors.Errorf(actors.ResourceExhausted, "%s; the limit is %d (%s)", what, limit, setting)
}

// limited tells the observer. The mutex is held.
func (h *Host) limited(s *hosted, setting string) {
	h.after = append(h.after, func() { h.config.Observer.Limited(s.Name, setting) })
}

func (h *Host) late(s *hosted, setting string, limit int, what string) error {
	h.limited(s, setting)
	return actors.Errorf(actors.ResourceExhausted, "%s; the limit is %d (%s); try again later", what, limit, setting)
}

func (h *Host) unknown(name string) error {
	known := make([]string, 0, len(h.services))
	for n := range h.services {
		known = append(known, n)
	}
	if len(known) == 0 {
		return actors.Errorf(actors.Unimplemented, "there is no replicated service %s here, nor any other: the user function was not discovered", name)
	}
	slices.Sort(known)
	return actors.Errorf(actors.Unimplemented, "there is no replicated service %s here; there are %s", name, strings.Join(known, ", "))
}
