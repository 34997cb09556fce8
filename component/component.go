// Package component is the process: the only place that knows all the parts and puts them together.
//
//	sidecar ──── building (state, binding) ──┐        ┌── actorhost ──── sidecar
//	                                         ▼        ▼
//	                           dispatch ─► engine ─► userfunction ──── user function
//	                              │           └────► journal
//	                              └─► daprapi ──── sidecar ─► the host that owns the entity
//
// A Component serves its socket from the first moment on and begins to host when it is told what: by the sidecar's Init,
// by the Init that it remembers from before a restart, or by its own flags. Each Init that says something else replaces
// the running host.
package component

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/building"
	"github.com/dapr-entities/entities/component/config"
)

// Config of a Component. Its zero value waits for a sidecar at the default socket.
type Config struct {
	// Base holds the layers of settings under the metadata of an Init: environment, then flags.
	Base []map[string]string
	// Standalone begins to host from Base, without waiting for an Init.
	Standalone bool
	// Version is told to user functions and shown.
	Version string
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Component is the whole process. See the package.
type Component struct {
	config   Config
	settings config.Config
	log      *slog.Logger
	building *building.Server
	admin    *admin.Server
	metrics  *admin.Metrics
	starts   chan start
	host     atomic.Pointer[host]
	// problem is why there is no host, if one was tried.
	problem  atomic.Pointer[error]
	stopping atomic.Bool
	// incarnation is this process, whichever host it runs.
	incarnation string
}

// start asks for a host with these settings.
type start struct {
	ctx      context.Context
	settings config.Config
	// client asks for no more than a way to other hosts, if there is no host yet.
	client bool
	reply  chan error
}

// New makes a component that is not running.
func New(c Config) (*Component, error) {
	settings, err := config.Resolve(config.Process, c.Base...)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	comp := &Component{
		config: c, settings: settings, log: c.Log, metrics: admin.NewMetrics(), starts: make(chan start),
		incarnation: rand.Text(),
	}
	comp.building, err = building.New(building.Config{
		Folder: settings.SocketFolder, Name: settings.SocketName, Mode: settings.SocketMode,
		Base:         c.Base,
		OnInit:       func(ctx context.Context, s config.Config) error { return comp.start(ctx, s, false) },
		OnClient:     func(ctx context.Context, s config.Config) error { return comp.start(ctx, s, true) },
		MaxMessage:   max(64<<20, int(settings.MaxMessage)), // an Init may allow more than was known here
		DrainTimeout: settings.DrainTimeout,
		Observe:      comp.observeRequest,
		Logger:       c.Log,
	})
	if err != nil {
		return nil, err
	}
	comp.metrics.Gauges(comp.gauges())
	if settings.AdminAddress == "" {
		return comp, nil
	}
	comp.admin, err = admin.New(admin.Config{
		Address: settings.AdminAddress, Pprof: settings.Pprof, Metrics: comp.metrics, Logger: c.Log,
	})
	if err != nil {
		return nil, err
	}
	comp.addChecks()
	comp.admin.Parked(func() admin.Parked {
		if h := comp.host.Load(); h != nil && h.journal != nil {
			return parked{h}
		}
		return nil
	})
	comp.serveOperations()
	return comp, nil
}

// Serving is closed when a sidecar may be started.
func (c *Component) Serving() <-chan struct{} { return c.building.Ready() }

// Run serves until ctx ends, then stops in the order of a command's way: not ready any more, the socket takes no more and
// answers what it has, the host does the same, the journal closes, and health is the last to be served. It returns nil
// after such an end, an error if it takes longer than the grace period. It may be called once.
func (c *Component) Run(ctx context.Context) error {
	hosting, stopHosting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHosting()
	watched, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { c.stopping.Store(true) })()
	g.Go(func() error {
		defer stopHosting()
		return c.building.Run(ctx)
	})
	g.Go(func() error {
		defer stopWatching()
		return c.supervise(hosting)
	})
	if c.admin != nil {
		g.Go(func() error { return c.admin.Run(watched) })
	}
	g.Go(func() error { return c.begin(ctx) })
	done := make(chan error, 1)
	go func() { done <- g.Wait() }() // waited for, except when the process ends with work left
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(c.settings.GracePeriod):
		return fmt.Errorf("stop: it takes longer than gracePeriod (%s); what is left is cut off", c.settings.GracePeriod)
	}
}

// start hands the settings to supervise and waits until the host runs or cannot.
func (c *Component) start(ctx context.Context, settings config.Config, client bool) error {
	s := start{ctx: ctx, settings: settings, client: client, reply: make(chan error, 1)}
	select {
	case c.starts <- s:
	case <-ctx.Done():
		return fmt.Errorf("start: another start or stop is still under way: %w", ctx.Err())
	}
	select {
	case err := <-s.reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("start: %w", ctx.Err())
	}
}

// running is a host at work.
type running struct {
	*host
	cancel context.CancelFunc
	ended  chan error
}

// launch starts a host's work. The end of ctx must reach the host in order, so the host does not live below ctx.
func launch(ctx context.Context, h *host) *running {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{h, cancel, make(chan error, 1)}
	go func() { r.ended <- h.Run(ctx) }() // whoever holds r waits for it
	return r
}

// supervise owns the running host, of which there is one at most, and its journal.
func (c *Component) supervise(ctx context.Context) error {
	var current *running
	for {
		var ended chan error
		if current != nil {
			ended = current.ended
		}
		select {
		case <-ctx.Done():
			return c.finish(current, nil)
		case err := <-ended:
			current.ended <- err
			return errors.Join(errors.New("the host has ended"), c.finish(current, nil))
		case s := <-c.starts:
			next, err := c.replace(ctx, current, s)
			current = next
			s.reply <- err
		}
	}
}

// replace brings the host to what s asks for and returns the one that runs then. Settings that cannot be had leave the
// host before them at work: whoever mistypes a password in a running system wants to be told, and wants his entities.
func (c *Component) replace(ctx context.Context, current *running, s start) (*running, error) {
	if current != nil {
		if s.client && !current.client {
			return current, nil // the host is the better client
		}
		if s.client == current.client && current.settings.Equal(s.settings) {
			return current, nil
		}
	}
	var kept journal.Journal
	if current != nil && sameJournal(current.settings, s.settings) {
		kept = current.journal
	}
	next, err := open(s.ctx, c, s.settings, s.client, kept)
	if err != nil {
		c.problem.Store(&err)
		if current != nil {
			c.log.Warn("new settings cannot be had; the old ones go on", keyError, err)
		}
		return current, err
	}
	if err := c.finish(current, kept); err != nil {
		c.log.Error("stop the host that is replaced", keyError, err)
	}
	c.log.Info("started", "role", next.role(), "journal", next.journalScheme(), "sidecar", s.settings.DaprGRPCEndpoint)
	current = launch(ctx, next)
	c.problem.Store(nil)
	c.host.Store(next)
	c.building.Attach(next.runtime())
	return current, nil
}

// finish stops a host and closes its journal, unless that is kept for the next one.
func (c *Component) finish(current *running, kept journal.Journal) error {
	if current == nil {
		return nil
	}
	c.building.Attach(building.Runtime{})
	c.host.Store(nil)
	current.cancel()
	err := <-current.ended
	if current.journal != nil && current.journal != kept {
		if closing := current.journal.Close(); closing != nil {
			err = errors.Join(err, fmt.Errorf("close the journal: %w", closing))
		}
	}
	return err
}

const keyError = "error"
