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

	"golang.org/x/sync/errgroup"

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
		MaxMessage:   int(settings.MaxMessage),
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
	return comp, nil
}

// Serving is closed when a sidecar may be started.
func (c *Component) Serving() <-chan struct{} { return c.building.Ready() }

// Run serves until ctx ends, then stops in order: not ready any more, no new commands, turns and appends finish, the
// journal closes. It returns nil after such an end. It may be called once.
func (c *Component) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.building.Run(ctx) })
	if c.admin != nil {
		g.Go(func() error { return c.admin.Run(ctx) })
	}
	g.Go(func() error { return c.supervise(ctx) })
	g.Go(func() error {
		if c.config.Standalone {
			return c.start(ctx, c.settings, false)
		}
		return c.resume(ctx)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
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

// supervise owns the running host, of which there is one at most.
func (c *Component) supervise(ctx context.Context) error {
	var current *running
	finish := func() error {
		if current == nil {
			return nil
		}
		defer func() { current = nil }()
		c.building.Attach(building.Runtime{})
		c.host.Store(nil)
		current.cancel()
		return <-current.ended
	}
	for {
		var ended chan error
		if current != nil {
			ended = current.ended
		}
		select {
		case <-ctx.Done():
			return finish()
		case err := <-ended:
			c.host.Store(nil)
			current.cancel()
			return fmt.Errorf("host entities: %w", err)
		case s := <-c.starts:
			if s.client && current != nil {
				s.reply <- nil // the host is the better client
				continue
			}
			if err := finish(); err != nil {
				c.log.Error("stop the host that is replaced", "error", err)
			}
			next, err := open(s.ctx, c, s.settings, s.client)
			if err == nil {
				current = launch(ctx, next)
				c.host.Store(next)
				c.building.Attach(next.runtime())
			}
			s.reply <- err
		}
	}
}
