package userfunction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Config of a Client. The zero value is usable.
type Config struct {
	// Address of the user function: host:port, or unix:path. Defaults to 127.0.0.1:8080.
	Address string
	// Name and Version are told to the user function. They default to entities and dev.
	Name, Version string
	// Catalog options, by which specs are checked.
	Catalog catalog.Options
	// MaxMessage is the largest message in either direction, in bytes. Defaults to 12 MiB.
	MaxMessage int
	// RetryMin and RetryMax bound how long to wait between two tries to reach the user function, give or take a fifth.
	// They default to 1 s and 10 s.
	RetryMin, RetryMax time.Duration
	// Rediscover is how often a user function is asked again what it serves; it is asked after each reconnection
	// anyway. Defaults to 10 s, -1 turns it off.
	Rediscover time.Duration
	// DiscoverTimeout bounds one discovery call. Defaults to 10 s.
	DiscoverTimeout time.Duration
	// CloseGrace is how long the user function may take to end the stream of a closed session before the stream is
	// cancelled. Defaults to 2 s.
	CloseGrace time.Duration
	// MaxClosing is how many closed sessions may use their grace at a time; others are cancelled at once. Defaults to
	// 1024.
	MaxClosing int
	// MaxCalls is how many commands of actions may be carried out at a time; others are refused. Defaults to 10,000.
	MaxCalls int
	// CommandTimeout is for those commands of actions that are not streamed and have no deadline. Defaults to 1 minute.
	CommandTimeout time.Duration
	// Check, if set, is asked about a new catalog before OnChange is called, from the same goroutine. An error refuses
	// the user function's spec like any other mistake in it: it is told to the user function, and Ready says it.
	Check func(c *catalog.Catalog) error
	// OnChange is called from Run, one call at a time: after the first discovery that came out well, and whenever what
	// is served has changed. function gives the Function of a service by its full name, nil for a service that has
	// none. Functions of an earlier call go on working as long as the user function understands them.
	OnChange func(c *catalog.Catalog, function func(service string) engine.Function)
	// Observe, if set, is told of every attempt at discovery: ok, unreachable or invalid.
	Observe func(result string)
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Address = cmp.Or(c.Address, "127.0.0.1:8080")
	c.Name = cmp.Or(c.Name, "entities")
	c.Version = cmp.Or(c.Version, "dev")
	c.MaxMessage = cmp.Or(c.MaxMessage, 12<<20)
	c.RetryMin = cmp.Or(c.RetryMin, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, max(c.RetryMin, 10*time.Second))
	c.Rediscover = cmp.Or(c.Rediscover, 10*time.Second)
	c.DiscoverTimeout = cmp.Or(c.DiscoverTimeout, 10*time.Second)
	c.CloseGrace = cmp.Or(c.CloseGrace, 2*time.Second)
	c.MaxClosing = cmp.Or(c.MaxClosing, 1024)
	c.MaxCalls = cmp.Or(c.MaxCalls, 10_000)
	c.CommandTimeout = cmp.Or(c.CommandTimeout, time.Minute)
	if c.Check == nil {
		c.Check = func(*catalog.Catalog) error { return nil }
	}
	if c.Catalog.Supported == nil {
		c.Catalog.Supported = catalog.Supported()
	}
	if c.OnChange == nil {
		c.OnChange = func(*catalog.Catalog, func(string) engine.Function) {}
	}
	if c.Observe == nil {
		c.Observe = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
		if strings.Trim(path, "/") == "" {
			problems = append(problems, fmt.Errorf("the address %q has no path; write unix:/run/app.sock", c.Address))
		}
	} else if host, port, err := net.SplitHostPort(c.Address); err != nil || host == "" || port == "" {
		problems = append(problems, fmt.Errorf("the address %q is neither host:port nor unix:path", c.Address))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"RetryMin", c.RetryMin}, {"RetryMax", c.RetryMax}, {"DiscoverTimeout", c.DiscoverTimeout}, {"CloseGrace", c.CloseGrace}, {"CommandTimeout", c.CommandTimeout}} {
		if d.value < 0 {
			problems = append(problems, fmt.Errorf("%s is negative: %v", d.name, d.value))
		}
	}
	if c.RetryMax < c.RetryMin {
		problems = append(problems, fmt.Errorf("RetryMax %v is less than RetryMin %v", c.RetryMax, c.RetryMin))
	}
	if c.MaxMessage < 0 || c.MaxClosing < 0 || c.MaxCalls < 0 {
		problems = append(problems, fmt.Errorf("MaxMessage %d, MaxClosing %d or MaxCalls %d is negative", c.MaxMessage, c.MaxClosing, c.MaxCalls))
	}
	return errors.Join(problems...)
}

// Keys of log attributes.
const (
	keyAddress   = "address"
	keyService   = "service"
	keyServices  = "services"
	keyID        = "id"
	keyMethod    = "method"
	keyCommandID = "command_id"
	keyDetail    = "detail"
	keyError     = "error"
)

// ErrAbsent matches what Ready says as long as no user function has ever answered. Not every application has one.
var ErrAbsent = errors.New("no user function has answered")

// Client of one user function. It is the handler of its actions: an actors.Handler and an actors.Streamer. Its methods,
// but for Run, may be called from many goroutines at once.
type Client struct {
	config Config
	log    *slog.Logger
	// closing runs the ends of sessions, reporting tells the user function about its mistakes, listening hears what it says
	// in sessions of replicated entities: all outlive their callers.
	closing, reporting, listening group
	// met says that the user function behind the connection has been told who we are. One that was started anew may not
	// send what belongs to extensions before that, so that sessions have to wait.
	met atomic.Bool
	// served is what the user function serves; it does not cease to be when the user function goes.
	served atomic.Pointer[served]
	// calls of actions at work, and their goroutines.
	calls   atomic.Int64
	feeding group

	mu    sync.Mutex
	state state
}

// New checks the config. It starts nothing.
func New(config Config) (*Client, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	c := &Client{config: config, log: config.Logger.With(keyAddress, config.Address)}
	c.closing.limit = config.MaxClosing
	c.feeding.limit = config.MaxCalls
	c.reporting.limit = maxReports
	c.listening.limit = math.MaxInt // whoever opens sessions bounds them
	c.state = state{kind: waiting, err: fmt.Errorf("%w at %s yet; start it there, or say where it listens with the setting userFunction",
		ErrAbsent, config.Address)}
	return c, nil
}

// Run keeps in touch with the user function until ctx ends, and returns nil then. Whatever happens to the user function
// is no reason to return. Close sessions before ctx ends: those that are open then are cut off.
func (c *Client) Run(ctx context.Context) error {
	// Two connections, because a user function may limit the streams on one: sessions must not crowd out discovery.
	control, err := c.dial()
	if err != nil {
		return fmt.Errorf("prepare the connection to the user function at %s: %w", c.config.Address, err)
	}
	sessions, err := c.dial()
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the connection to the user function at %s: %w", c.config.Address, err), control.Close())
	}
	c.closing.open()
	c.reporting.open()
	c.listening.open()
	c.feeding.open()
	d := discovery{client: c, control: control, sessions: sessions, stub: cloudstate.NewEntityDiscoveryClient(control)}
	d.run(ctx)
	c.met.Store(false)
	c.enter(state{kind: waiting, err: fmt.Errorf("the connection to the user function at %s is shut down", c.config.Address)})
	c.closing.wait()
	c.reporting.wait()
	err = errors.Join(sessions.Close(), control.Close())
	c.feeding.wait() // calls end with their connection
	c.listening.wait()
	if err != nil {
		return fmt.Errorf("close the connection to the user function: %w", err)
	}
	return nil
}

// maxReports is how many reports may be on their way at a time; others are left to our log.
const maxReports = 16

// pingAfter is how long a silent connection is trusted. gRPC servers take it ill to be pinged more often than every five
// minutes and then hang up on all sessions, so this is no way to notice soon that a user function hangs; asking again
// what it serves is.
const pingAfter = 6 * time.Minute

// The bytes that the user function may send before they are read: on one session, and on all together.
const (
	streamWindow = 1 << 20
	connWindow   = 16 << 20
)

func (c *Client) dial() (*grpc.ClientConn, error) {
	target := c.config.Address
	if !strings.HasPrefix(target, "unix:") {
		target = "dns:///" + target
	}
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(), // the user function is next to us
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
		// With windows of its own choosing gRPC measures the line all the time, with pings that cost more than many
		// a command. There is nothing to find out about a line that never leaves the machine.
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(c.config.MaxMessage), grpc.MaxCallSendMsgSize(c.config.MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: 20 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: c.config.RetryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: c.config.RetryMax},
			MinConnectTimeout: c.config.DiscoverTimeout,
		}),
	)
}

// Ready says why commands cannot be given to the user function now; nil means that they can. The text is for an operator.
func (c *Client) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.err
}

// enter changes the state and reports whether that is news.
func (c *Client) enter(s state) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.state.kind != s.kind || s.kind == refused && c.state.err.Error() != s.err.Error()
	c.state = s
	return news
}

// state of the user function, as far as we know.
type state struct {
	kind kind
	err  error
}

type kind int

const (
	waiting kind = iota // not there, or not any more
	silent              // waiting, and said so
	refused             // there, with a spec that cannot be served
	ready
)
