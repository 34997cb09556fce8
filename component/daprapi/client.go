// Package daprapi is the one client of the sidecar: it invokes actors, asks the sidecar what it has loaded, and stops
// it. Texts and metadata that the Dapr SDK drops matter here, so it speaks Dapr's generated protocol directly.
package daprapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Config says where the sidecar is. The zero value is the sidecar beside this process.
type Config struct {
	// Endpoint of the sidecar's gRPC API: host:port, http://host:port, https://host:port (with TLS) or unix:///path.
	// Defaults to $DAPR_GRPC_ENDPOINT, then to 127.0.0.1:$DAPR_GRPC_PORT, then to 127.0.0.1:50001.
	Endpoint string
	// Token is sent as dapr-api-token with every call. Defaults to $DAPR_API_TOKEN.
	Token string
	// Timeout of an invocation whose command has no deadline. Defaults to 1 minute.
	Timeout time.Duration
	// MaxRequest is the largest actor invocation in bytes, metadata included. A larger one would end the actor stream
	// of the sidecar that hosts the entity, so it is refused here. Defaults to 4 MiB less 64 KiB: what daprd's
	// --max-body-size, which defaults to 4 MiB, lets through.
	MaxRequest int
	// MaxReply is the largest answer of the sidecar in bytes. Defaults to 64 MiB.
	MaxReply int
	// Getenv reads the environment. Defaults to os.Getenv.
	Getenv func(string) string
}

func (c Config) withDefaults() Config {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Endpoint == "" {
		c.Endpoint = c.Getenv("DAPR_GRPC_ENDPOINT")
	}
	if c.Endpoint == "" {
		c.Endpoint = net.JoinHostPort("127.0.0.1", cmp.Or(c.Getenv("DAPR_GRPC_PORT"), "50001"))
	}
	c.Token = cmp.Or(c.Token, c.Getenv("DAPR_API_TOKEN"))
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.MaxRequest = cmp.Or(c.MaxRequest, 4<<20-64<<10)
	c.MaxReply = cmp.Or(c.MaxReply, 64<<20)
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("the invocation timeout %v is negative", c.Timeout))
	}
	if c.MaxRequest < 0 {
		errs = append(errs, fmt.Errorf("the largest request, %d bytes, is negative", c.MaxRequest))
	}
	if c.MaxReply < 0 || c.MaxReply > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("the largest reply, %d bytes, is not between 0 and %d", c.MaxReply, math.MaxInt32))
	}
	if strings.ContainsAny(c.Token, "\r\n") {
		errs = append(errs, errors.New("the API token contains a line break"))
	}
	return errors.Join(errs...)
}

// Client is a connection to the sidecar. It may be used by many goroutines at once.
type Client struct {
	config Config
	target string
	secure bool
	conn   *grpc.ClientConn
	dapr   runtime.DaprClient
	// calls that begin now.
	calls    atomic.Pointer[calls]
	stop     context.CancelFunc
	watching sync.WaitGroup
}

// Dial makes a client. It does not wait for the sidecar: see WaitReady.
func Dial(config Config) (*Client, error) {
	c := &Client{config: config.withDefaults()}
	if err := c.config.validate(); err != nil {
		return nil, fmt.Errorf("configure the Dapr client: %w", err)
	}
	var err error
	if c.target, c.secure, err = parseEndpoint(c.config.Endpoint); err != nil {
		return nil, err
	}
	if c.conn, err = c.Connect(); err != nil {
		return nil, err
	}
	c.dapr = runtime.NewDaprClient(c.conn)
	c.calls.Store(newCalls())
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.watching.Go(func() { c.watch(ctx) })
	return c, nil
}

// Endpoint is where the sidecar is looked for.
func (c *Client) Endpoint() string { return c.config.Endpoint }

// Close ends the connection and all calls in progress.
func (c *Client) Close() error {
	c.stop()
	c.watching.Wait()
	return c.conn.Close()
}

// Connect makes a further connection with the same settings, for streams whose end says something about the sidecar.
// The caller closes it.
func (c *Client) Connect() (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if c.secure {
		security = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(c.config.MaxReply),
			grpc.MaxCallSendMsgSize(math.MaxInt32),
		),
		// Many turns share one connection: with the default windows of 64 KiB one large reply would hold them all up.
		grpc.WithInitialWindowSize(4 << 20),
		grpc.WithInitialConnWindowSize(16 << 20),
		// daprd comes back within a second of a reload; gRPC's own back-off would look again after two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		// A frozen sidecar is noticed. daprd closes connections that ping more often than every 8 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
	}
	if !c.secure {
		options = append(options, grpc.WithNoProxy())
	}
	if c.config.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(token(c.config.Token)))
	}
	conn, err := grpc.NewClient(c.target, options...)
	if err != nil {
		return nil, fmt.Errorf("dial the sidecar at %q: %w", c.config.Endpoint, err)
	}
	return conn, nil
}

// token is Dapr's API token. It goes over plain connections too: the sidecar is on the same host.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"dapr-api-token": string(t)}, nil
}

func (token) RequireTransportSecurity() bool { return false }

// parseEndpoint turns an endpoint into a gRPC target.
func parseEndpoint(endpoint string) (target string, secure bool, err error) {
	bad := func(why string) (string, bool, error) {
		return "", false, fmt.Errorf("the Dapr endpoint %s; write host:port, https://host:port or unix:///path", why)
	}
	if !strings.Contains(endpoint, "://") {
		if strings.HasPrefix(endpoint, "unix:") || strings.HasPrefix(endpoint, "dns:") {
			return endpoint, false, nil
		}
		endpoint = "grpc://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		// The parser's error would repeat the endpoint, which may hold a password.
		return bad("is not a URL")
	case u.User != nil:
		return bad("holds credentials; the token has a setting of its own")
	case u.Scheme == "unix" || u.Scheme == "dns" || u.Scheme == "passthrough":
		return endpoint, false, nil
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "grpc" && u.Scheme != "grpcs":
		return bad(fmt.Sprintf("has the scheme %q", u.Scheme))
	case u.Hostname() == "":
		return bad("names no host")
	case strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "["):
		return bad("has too many colons")
	case u.Path != "" && u.Path != "/":
		return bad(fmt.Sprintf("has the path %q", u.Path))
	}
	secure = u.Scheme == "https" || u.Scheme == "grpcs" || u.Query().Get("tls") == "true"
	port := u.Port()
	if port == "" {
		port = "50001"
		if u.Scheme == "http" || u.Scheme == "https" {
			port = map[bool]string{false: "80", true: "443"}[secure]
		}
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}

// WaitReady returns when the sidecar answers, or with ctx. A sidecar that answers with a refusal is not waited for.
func (c *Client) WaitReady(ctx context.Context) error {
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.dapr.GetMetadata(attempt, &runtime.GetMetadataRequest{})
		cancel()
		switch status.Code(err) {
		case codes.OK:
			return nil
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
			if ctx.Err() == nil || last == nil {
				last = err
			}
		default:
			return c.refused("wait for", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the sidecar at %s: %w (%s)", c.config.Endpoint, ctx.Err(),
				status.Convert(last).Message())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Shutdown asks the sidecar to stop.
func (c *Client) Shutdown(ctx context.Context) error {
	if _, err := c.dapr.Shutdown(ctx, &runtime.ShutdownRequest{}); err != nil {
		return c.refused("shut down", err)
	}
	return nil
}

func (c *Client) refused(doing string, err error) error {
	s := status.Convert(err)
	hint := ""
	switch s.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		hint = "; give the component the sidecar's API token in DAPR_API_TOKEN"
	case codes.Unavailable:
		hint = "; is daprd running, and is this its gRPC port?"
	}
	return fmt.Errorf("%s the sidecar at %s: %w%s", doing, c.config.Endpoint, err, hint)
}
