package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// Commands carries out what comes in.
type Commands interface {
	actors.Handler
	actors.Streamer
}

// Config of a Gateway. Commands is needed.
type Config struct {
	// Address is host:port. Defaults to 127.0.0.1:9000.
	Address string
	// Commands carries out commands, wherever their entities live.
	Commands Commands
	// Outcomes finds the outcome of the command that had the key. Defaults to nil: nobody can ask.
	Outcomes func(ctx context.Context, ref actors.Ref, key string) (actors.Outcome, bool, error)

	// MaxMessage bounds a message either way, in bytes. Defaults to 16 MiB.
	MaxMessage int
	// MaxStreams bounds the calls at a time on one connection. Defaults to 250.
	MaxStreams int
	// MaxConnections bounds the connections; one more is closed at once. Defaults to 4096.
	MaxConnections int
	// MaxHeader bounds the headers of a request, in bytes. Defaults to 64 KiB.
	MaxHeader int
	// HeaderTimeout is how long the headers of a request may take from their first byte on, and a connection to send
	// that byte. Defaults to 10 s.
	HeaderTimeout time.Duration
	// BodyTimeout is how long a request may take to send its one message, and a caller over HTTP to take 64 KiB of an
	// answer. Defaults to 30 s.
	BodyTimeout time.Duration
	// IdleTimeout is how long a connection may stay without a call. Defaults to 5 min.
	IdleTimeout time.Duration
	// Heartbeat is after how long a silent stream of server-sent events gets a comment, which keeps those on the way from
	// closing it. Defaults to 15 s.
	Heartbeat time.Duration
	// DrainTimeout is how long calls get to end when Run is told to stop. Defaults to 10 s.
	DrainTimeout time.Duration

	// Origins are those from which browsers may call, such as https://shop.example; "*" are all. Defaults to none.
	Origins []string

	// Log defaults to slog.Default.
	Log *slog.Logger
	// Observe is told of every call that named a method: protocol is grpc, grpc-web or http, code a gRPC code by name. It
	// may be called from many goroutines at once. Defaults to telling nobody.
	Observe func(protocol, service, method, code string, took time.Duration)
}

func (c Config) withDefaults() Config {
	c.Address = cmp.Or(c.Address, "127.0.0.1:9000")
	c.MaxMessage = cmp.Or(c.MaxMessage, 16<<20)
	c.MaxStreams = cmp.Or(c.MaxStreams, 250)
	c.MaxConnections = cmp.Or(c.MaxConnections, 4096)
	c.MaxHeader = cmp.Or(c.MaxHeader, 64<<10)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Second)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, 30*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 5*time.Minute)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	report := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("configure the gateway: "+format, args...))
	}
	if c.Commands == nil {
		report("Commands is not set")
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		report("the address %q is not host:port", c.Address)
	}
	for name, n := range map[string]int{
		"MaxMessage": c.MaxMessage, "MaxStreams": c.MaxStreams, "MaxConnections": c.MaxConnections, "MaxHeader": c.MaxHeader,
		"HeaderTimeout": int(c.HeaderTimeout), "BodyTimeout": int(c.BodyTimeout),
		"IdleTimeout": int(c.IdleTimeout), "Heartbeat": int(c.Heartbeat), "DrainTimeout": int(c.DrainTimeout),
	} {
		if n < 0 {
			report("%s is negative", name)
		}
	}
	if c.MaxMessage > 1<<30 || c.MaxHeader > 16<<20 || c.MaxStreams > 1<<20 {
		report("MaxMessage may be 1 GiB, MaxHeader 16 MiB and MaxStreams 1048576 at most")
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			report("the origin %q is neither * nor scheme://host", o)
		}
	}
	return errors.Join(problems...)
}

// Gateway serves the user function's methods. Its methods may be called from many goroutines at once.
type Gateway struct {
	config Config
	log    *slog.Logger
	routes atomic.Pointer[routes]
	health *health
	ready  chan struct{}

	mu      sync.Mutex
	address net.Addr
	// over is the gRPC server for calls that come on a connection of net/http, while Run runs.
	over atomic.Pointer[grpc.Server]
	// calls are those in net/http, which forgets about connections with HTTP/2 when it shuts down.
	calls tally
}

// New makes a gateway that is not running and serves nothing.
func New(c Config) (*Gateway, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{config: c, log: c.Log, ready: make(chan struct{})}
	g.health = newHealth(g)
	return g, nil
}

// Check reports everything in a catalog that cannot be served: each problem names the method and the rule.
func (g *Gateway) Check(c *catalog.Catalog) error {
	_, err := compile(c)
	return err
}

// Update serves another catalog from now on. Calls in flight go on with what they began with. On an error, which is
// Check's, everything stays as it was.
func (g *Gateway) Update(c *catalog.Catalog) error {
	r, err := compile(c)
	if err != nil {
		return err
	}
	g.routes.Store(r)
	g.health.changed()
	return nil
}

// Ready is closed when it listens.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Address is where it listens, once Ready is closed; nil before.
func (g *Gateway) Address() net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.address
}

// Run serves until ctx ends; then it takes no more, says so to whoever watches its health, and lets calls end for
// DrainTimeout before it cuts them off. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", g.config.Address)
	if err != nil {
		return fmt.Errorf("listen for the gateway: %w; give it another address", err)
	}
	g.mu.Lock()
	g.address = l.Addr()
	g.mu.Unlock()

	native, over := g.newGRPC(), g.newGRPC()
	g.over.Store(over)
	web := g.newHTTP()
	s := newSorter(g, l)
	var running sync.WaitGroup
	ended := make(chan error, 3)
	for what, serve := range map[string]func() error{
		"accept connections": s.run,
		"serve gRPC":         func() error { return native.Serve(s.native) },
		"serve HTTP":         func() error { return web.Serve(s.web) },
	} {
		running.Go(func() {
			err := serve()
			if ctx.Err() == nil {
				ended <- fmt.Errorf("%s: %w", what, cmp.Or(err, errors.New("it ended by itself")))
			}
		})
	}
	close(g.ready)
	g.log.Info("serving the gateway", "address", l.Addr().String())
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = nil
	}
	g.health.stop()
	s.stop()
	g.drain(ctx, native, web)
	over.Stop()
	running.Wait()
	s.wait()
	return err
}

// drain lets calls end, and cuts off what does not in time.
func (g *Gateway) drain(ctx context.Context, native *grpc.Server, web *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.DrainTimeout)
	defer cancel()
	var draining sync.WaitGroup
	draining.Go(func() {
		stopped := make(chan struct{})
		draining.Go(func() { native.GracefulStop(); close(stopped) })
		select {
		case <-stopped:
		case <-ctx.Done():
			native.Stop()
		}
	})
	draining.Go(func() {
		err := web.Shutdown(ctx)
		select {
		case <-g.calls.none():
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			web.Close()
		}
	})
	draining.Wait()
}

// newHTTP makes the server for everything but native gRPC.
func (g *Gateway) newHTTP() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           http.HandlerFunc(g.serveHTTP),
		Protocols:         protocols,
		ReadHeaderTimeout: g.config.HeaderTimeout,
		IdleTimeout:       g.config.IdleTimeout,
		MaxHeaderBytes:    g.config.MaxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: g.config.MaxStreams,
			SendPingTimeout:      time.Minute,
			WriteByteTimeout:     g.config.BodyTimeout,
		},
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// tally counts calls and tells when there are none.
type tally struct {
	mu    sync.Mutex
	n     int
	empty chan struct{}
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n += n; t.n == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

func (t *tally) none() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	none := t.empty
	if t.n == 0 {
		close(none)
		t.empty = nil
	}
	return none
}
