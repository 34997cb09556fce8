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
	comp := &Component{config: c, settings: settings, log: c.Log, metrics: admin.NewMetrics(), starts: make(chan start)}
	comp.building, err = building.New(building.Config{
		Folder: settings.SocketFolder, Name: settings.SocketName, Mode: settings.SocketMode,
		Base:         c.Base,
		OnInit:       func(ctx context.Context, s config.Config) error { return comp.start(ctx, s, false) },
		OnClient:     func(ctx context.Context, s config.Config) error { return comp.start(ctx, s, true) },
		MaxMessage:   int(settings.MaxMessage),
		DrainTimeout: settings.DrainTimeout,
		Observe:      comp.metrics.Request,
		Logger:       c.Log,
	})
	if err != nil {
		return nil, err
	}
	comp.admin, err = admin.New(admin.Config{
		Address: settings.AdminAddress,
		Pprof:   settings.Pprof,
		Metrics: comp.metrics,
		Checks:  comp.checks,
		Log:     c.Log,
	})
	if err != nil {
		return nil, err
	}
	return comp, nil
}

// Serving is closed when a sidecar may be started.
func (c *Component) Serving() <-chan struct{} { return c.building.Ready() }

// Run serves until ctx ends, then stops in order: not ready any more, no new commands, turns and appends finish, the
// journal closes. It returns nil after such an end. It may be called once.
func (c *Component) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.building.Run(ctx) })
	g.Go(func() error { return c.admin.Run(ctx) })
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

// supervise owns the running host, of which there is one at most.
func (c *Component) supervise(ctx context.Context) error {
	var (
		current *host
		stop    context.CancelFunc
		ended   chan error
	)
	// The end of ctx must reach the host in order, so the host does not live below it.
	finish := func() error {
		if current == nil {
			return nil
		}
		c.building.Attach(building.Runtime{})
		c.host.Store(nil)
		stop()
		err := <-ended
		current = nil
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return finish()
		case err := <-ended:
			current = nil
			c.host.Store(nil)
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
				var below context.Context
				below, stop = context.WithCancel(context.WithoutCancel(ctx))
				current, ended = next, make(chan error, 1)
				go func() { ended <- next.Run(below) }() // finish or the case above waits for it
				c.host.Store(next)
				c.building.Attach(next.runtime())
			}
			s.reply <- err
		}
	}
}

// checks are what readiness asks.
func (c *Component) checks() map[string]error {
	if h := c.host.Load(); h != nil {
		return h.checks()
	}
	return map[string]error{"configuration": errors.New(
		"nothing has said what to host: waiting for the sidecar to initialise the component state.entities")}
}
