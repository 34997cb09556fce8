package actorhost

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"github.com/dapr-entities/entities/actors"
)

// ChannelConfig of a Channel. Address is needed.
type ChannelConfig struct {
	// Address to listen at: what the sidecar has as --app-port, on the loopback interface as a rule.
	Address string
	// Upstream is where everything goes that is not for entities: the app behind this host. There need not be one.
	Upstream *url.URL
	// Token that the sidecar shows with every request, if the app has one (APP_API_TOKEN). The app checks its own.
	Token string
	// MaxRequest is the largest command in bytes. Defaults to 16 MiB.
	MaxRequest int
}

// Channel is the host that the sidecar dials: it stands where an HTTP app would, answers what concerns its entities, and
// passes everything else on to the app behind it.
//
//	GET    /dapr/config                         our actor types, beside those of the app
//	PUT    /actors/<type>/<id>/method/<method>  a command, if the type is ours
//	DELETE /actors/<type>/<id>                  the entity may be placed elsewhere
//	GET    /healthz                             ours and the app's
//	*                                           the app
//
// The sidecar reads the configuration once, when it has begun. So the port opens when the types are known and the app
// listens, which is what the sidecar waits for; types that change later want the sidecar to be started again.
type Channel struct {
	config  Config
	channel ChannelConfig
	log     *slog.Logger
	app     *app
	updated chan struct{}

	// ctx ends when commands are to be given up.
	ctx      context.Context
	inFlight atomic.Int64
	stopping atomic.Bool

	mu sync.Mutex
	// types that the sidecar was told last; nil before.
	types []string
	ready error
}

var _ Host = (*Channel)(nil)

// NewChannel makes a host that the sidecar dials. Nothing happens before Run. Of config, Dial, IdleTimeout and DrainTimeout
// mean here what they mean for a stream; Dial is used to find out whether the sidecar knows this host already, and need not be
// there.
func NewChannel(config Config, channel ChannelConfig) (*Channel, error) {
	config = config.withDefaults()
	if channel.MaxRequest == 0 {
		channel.MaxRequest = 16 << 20
	}
	problems := []error{config.validate()}
	if _, _, err := net.SplitHostPort(channel.Address); err != nil {
		problems = append(problems, fmt.Errorf("the address %q is not of the form host:port", channel.Address))
	}
	if channel.MaxRequest < 1 {
		problems = append(problems, fmt.Errorf("the largest request, %d bytes, is less than 1", channel.MaxRequest))
	}
	if u := channel.Upstream; u != nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		problems = append(problems, errors.New("the upstream is not of the form http://host:port"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the app channel: %w", err)
	}
	c := &Channel{config: config, channel: channel, log: config.Log, updated: make(chan struct{}, 1), ready: errNotRunning}
	if channel.Upstream != nil {
		c.app = newApp(channel.Upstream, c.log)
	}
	return c, nil
}

// Update implements Host.
func (c *Channel) Update() {
	select {
	case c.updated <- struct{}{}:
	default:
	}
}

var (
	errUndiscovered = errors.New("the user function has not been found yet; the app port opens when it has")
	errNoApp        = errors.New("the app behind this host does not listen yet; the app port opens when it does")
	errUnasked      = errors.New("the sidecar has not asked for the actor types yet; is its --app-port the one of this host, and its --app-protocol http?")
	errOutdated     = errors.New("the actor types have changed since the sidecar asked for them; start the sidecar again")
)

// Ready implements Host.
func (c *Channel) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

func (c *Channel) setReady(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = err
}

// Run implements Host.
func (c *Channel) Run(ctx context.Context) error {
	defer c.setReady(errNotRunning)
	if !c.await(ctx) {
		return nil
	}
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	listener, err := c.listen(ctx)
	if err != nil || listener == nil {
		return err
	}
	c.setReady(errUnasked)
	server := &http.Server{
		Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return c.ctx },
		ErrorLog:    slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		Protocols:   new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // --app-protocol h2c
	c.log.Info("entities are hosted behind the sidecar's app channel", "address", listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }() // waited for below
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx) })
	watching.Go(func() { c.look(ctx) })
	select {
	case err = <-ended:
		cancel()
	case <-ctx.Done():
		c.stopping.Store(true)
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), max(0, c.config.StopTimeout))
		err = server.Shutdown(stop)
		done()
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil // what was left is cut off, as with a stream
		}
		err = errors.Join(err, server.Close())
		if serving := <-ended; !errors.Is(serving, http.ErrServerClosed) {
			err = errors.Join(err, serving)
		}
	}
	cancel()
	watching.Wait()
	c.config.Observe(false)
	c.config.disownAll()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the app channel at %s: %w", c.channel.Address, err)
	}
	return nil
}

// await returns when there is something to say to the sidecar, and false if ctx ends before.
func (c *Channel) await(ctx context.Context) bool {
	said := time.Now()
	for {
		switch {
		case len(c.config.actorTypes()) == 0:
			c.setReady(errUndiscovered)
		case c.app != nil && !c.app.listens(ctx):
			c.setReady(errNoApp)
		default:
			return ctx.Err() == nil
		}
		if time.Since(said) > patience {
			said = time.Now()
			c.log.Warn("the sidecar waits for the app port", keyReason, c.Ready())
		}
		select {
		case <-ctx.Done():
			return false
		case <-c.updated:
		case <-time.After(retryFirst):
		}
	}
}

// listen waits for the port, which the host before this one may still have. Its listener is nil if ctx has ended.
func (c *Channel) listen(ctx context.Context) (net.Listener, error) {
	for tries := 1; ; tries++ {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.channel.Address)
		if err == nil || ctx.Err() != nil {
			return listener, nil //nolint:nilerr // the end of ctx is no fault
		}
		if tries == 10 {
			return nil, fmt.Errorf("listen at the app port %s: %w", c.channel.Address, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryFirst):
		}
	}
}

// watch says when the sidecar's knowledge is out of date.
func (c *Channel) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		case <-c.updated:
		}
		c.mu.Lock()
		if c.types != nil {
			was := c.ready
			c.ready = nil
			if !slices.Equal(c.types, c.config.actorTypes()) {
				c.ready = errOutdated
			}
			if c.ready != nil && was == nil {
				c.log.Warn("new actor types are not hosted", keyReason, c.ready)
			}
		}
		c.mu.Unlock()
	}
}

// look whether the sidecar knows the types already: one that has begun before this host does not ask again.
func (c *Channel) look(ctx context.Context) {
	if c.config.Dial == nil {
		return
	}
	conn, err := c.config.Dial()
	if err != nil {
		c.log.Debug("ask the sidecar for its actor types", keyError, err)
		return
	}
	defer conn.Close()
	for errors.Is(c.Ready(), errUnasked) {
		within, done := context.WithTimeout(c.ctx, unregisterTimeout)
		m, err := runtime.NewDaprClient(conn).GetMetadata(within, &runtime.GetMetadataRequest{})
		done()
		var known []string
		for _, a := range m.GetActorRuntime().GetActiveActors() {
			known = append(known, a.GetType())
		}
		types := c.config.actorTypes()
		missing := slices.ContainsFunc(types, func(t string) bool { return !slices.Contains(known, t) })
		if err == nil && !missing && errors.Is(c.Ready(), errUnasked) {
			c.told(types)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// asked is what the sidecar was told just now. One that asks again has begun anew, and has let go of all entities.
func (c *Channel) asked(types []string) {
	c.mu.Lock()
	again := c.types != nil
	c.mu.Unlock()
	if again {
		c.config.disownAll()
	}
	c.told(types)
}

// told remembers what the sidecar knows.
func (c *Channel) told(types []string) {
	c.mu.Lock()
	c.types, c.ready = types, nil
	c.mu.Unlock()
	c.log.Info("entities are hosted", keyTypes, types)
	c.config.Observe(true)
}

// admit counts a command, or says why it cannot be taken.
func (c *Channel) admit(v invocation) error {
	switch {
	case c.stopping.Load():
		return actors.Errorf(actors.Unavailable, "%s of %s: this host is stopping; repeat the command", v.method, v.ref)
	case c.inFlight.Add(1) > int64(c.config.MaxInFlight):
		c.inFlight.Add(-1)
		return actors.Errorf(actors.ResourceExhausted,
			"%s of %s: this host is handling %d commands already; repeat the command later, or raise maxInFlight",
			v.method, v.ref, c.config.MaxInFlight)
	}
	return nil
}

// trusted reports whether a request shows the app's token.
func (c *Channel) trusted(r *http.Request) bool {
	return c.channel.Token == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("dapr-api-token")), []byte(c.channel.Token)) == 1
}
