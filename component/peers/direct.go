package peers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// DirectConfig of a Direct. Listen and Self are needed, and Key or TLS unless Listen is on the loopback interface: whoever
// can ask can change entities.
type DirectConfig struct {
	// Listen is the host:port to listen at.
	Listen string
	// Advertise is the host:port at which others find this process. Defaults to Listen with the port that was found free
	// if Listen has port 0; needed if Listen is on all interfaces.
	Advertise string
	// Key that all members share, MinKeyBytes at least. Each question proves that its sender has it, and each answer. It
	// protects from strangers, not from listeners: what is said is not encrypted.
	Key []byte
	// TLS in both directions.
	TLS *TLSConfig
	// Self is who this process is at present, and whether it is a member.
	Self func() (slot.Member, bool)
	// Otherwise takes the questions to members that have no address. Without it they fail.
	Otherwise replica.Peers
	// MaxMessage is the largest question or answer in bytes. Defaults to 72 MiB: a whole entity and what is around it.
	MaxMessage int
	// Concurrency is how many questions are being answered at a time; more are refused. Defaults to 64.
	Concurrency int
	// Window is how far the clocks of two members may be apart, if there is a Key. Defaults to 1 minute.
	Window time.Duration
	// Idle is how long a connection is kept that nobody uses. Defaults to 5 minutes.
	Idle time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// MinKeyBytes is how long a key is at least.
const MinKeyBytes = 16

// Direct asks other members by gRPC, and answers them. It may be used from many goroutines at once.
type Direct struct {
	config   DirectConfig
	address  string
	listener net.Listener
	proofs   *proofs // nil without a key
	files    *files  // nil without TLS
	answers  chan struct{}

	mu     sync.Mutex
	answer func(context.Context, []byte) ([]byte, error) // nil unless Run runs
	conns  map[string]*conn
	told   time.Time // when the log was last told of a refusal
}

type conn struct {
	*grpc.ClientConn
	used time.Time
}

var _ replica.Peers = (*Direct)(nil)

// NewDirect listens, and answers when Run is called. It has to be closed if Run is not.
func NewDirect(config DirectConfig) (*Direct, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("configure the way to other members: %w", err)
	}
	d := &Direct{config: config, answers: make(chan struct{}, config.Concurrency), conns: map[string]*conn{}}
	if len(config.Key) > 0 {
		d.proofs = &proofs{key: config.Key, window: config.Window}
	}
	if config.TLS != nil {
		d.files = &files{config: *config.TLS}
		if _, err := d.files.load(); err != nil {
			return nil, fmt.Errorf("configure the way to other members: %w", err)
		}
	}
	var err error
	if d.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return nil, fmt.Errorf("listen for other members: %w", err)
	}
	d.address = cmp.Or(config.Advertise, d.listener.Addr().String())
	return d, nil
}

func (c *DirectConfig) validate() error {
	c.MaxMessage, c.Concurrency = cmp.Or(c.MaxMessage, 72<<20), cmp.Or(c.Concurrency, 64)
	c.Window, c.Idle = cmp.Or(c.Window, time.Minute), cmp.Or(c.Idle, 5*time.Minute)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	var problems []error
	host, _, err := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	switch {
	case err != nil:
		problems = append(problems, fmt.Errorf("Listen is %.100q; write host:port", c.Listen))
	case len(c.Key) == 0 && c.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		problems = append(problems, errors.New("the port would be open to everybody: give a shared key or certificates, or listen at 127.0.0.1"))
	case c.Advertise == "" && (host == "" || ip != nil && ip.IsUnspecified()):
		problems = append(problems, fmt.Errorf("Listen is %s, where nobody can find it; say in Advertise at which host:port others do", c.Listen))
	}
	if c.Advertise != "" {
		if host, port, err := net.SplitHostPort(c.Advertise); err != nil || host == "" || port == "" || port == "0" || len(c.Advertise) > slot.MaxAddressBytes {
			problems = append(problems, fmt.Errorf("Advertise is %.100q; write host:port, in at most %d bytes", c.Advertise, slot.MaxAddressBytes))
		}
	}
	if n := len(c.Key); n > 0 && n < MinKeyBytes {
		problems = append(problems, fmt.Errorf("the shared key has %d bytes; at least %d are needed", n, MinKeyBytes))
	}
	if c.Self == nil {
		problems = append(problems, errors.New("Self is not set"))
	}
	if c.MaxMessage < 1 || c.MaxMessage > 1<<30 || c.Concurrency < 1 || c.Concurrency > 1<<16 {
		problems = append(problems, fmt.Errorf("MaxMessage is %d and Concurrency %d; 1 to %d and 1 to %d are possible", c.MaxMessage, c.Concurrency, 1<<30, 1<<16))
	}
	if c.Window < time.Second || c.Idle < time.Second {
		problems = append(problems, fmt.Errorf("Window is %s and Idle %s; at least a second is needed", c.Window, c.Idle))
	}
	if c.TLS != nil {
		problems = append(problems, c.TLS.validate())
	}
	return errors.Join(problems...)
}

// Address at which others can ask this process.
func (d *Direct) Address() string { return d.address }

// Close lets go of the port and of all connections. Run does it, too.
func (d *Direct) Close() {
	_ = d.listener.Close() // closed twice as a rule
	d.mu.Lock()
	defer d.mu.Unlock()
	for address, c := range d.conns {
		_ = c.Close()
		delete(d.conns, address)
	}
}

// Ask implements replica.Peers.
func (d *Direct) Ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	if to.Address == "" && d.config.Otherwise != nil {
		return d.config.Otherwise.Ask(ctx, to, request)
	}
	answer, err := d.ask(ctx, to, request)
	if err != nil {
		return nil, fmt.Errorf("ask the member in slot %d at %q: %w", to.Slot, to.Address, err)
	}
	return answer, nil
}

func (d *Direct) ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	if to.Address == "" {
		return nil, errors.New("it has no address; set peerAddress there")
	}
	if len(request) > d.config.MaxMessage {
		return nil, fmt.Errorf("the question has %d bytes; at most %d are allowed", len(request), d.config.MaxMessage)
	}
	c, err := d.connect(to.Address)
	if err != nil {
		return nil, err
	}
	target := name(to)
	ctx = metadata.AppendToOutgoingContext(ctx, headerTo, target)
	nonce := rand.Text()
	if d.proofs != nil {
		ctx = metadata.AppendToOutgoingContext(ctx, headerProof, d.proofs.ofQuestion(target, nonce, time.Now(), request))
	}
	var header metadata.MD
	in, out := &message{request}, &message{}
	if err := c.Invoke(ctx, methodAsk, in, out, grpc.Header(&header)); err != nil {
		return nil, errors.New(status.Convert(err).Message() + " (" + status.Code(err).String() + ")")
	}
	if d.proofs != nil && !d.proofs.isOfAnswer(first(header, headerProof), nonce, out.data) {
		return nil, errors.New("its answer does not prove that it has the shared key; is another process at that address?")
	}
	return out.data, nil
}

// connect returns a connection to an address, which others use, too.
func (d *Direct) connect(address string) (*conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.conns[address]; c != nil {
		c.used = time.Now()
		return c, nil
	}
	security := insecure.NewCredentials()
	if d.files != nil {
		security = credentials.NewTLS(d.files.client())
	}
	made, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(d.config.MaxMessage), grpc.MaxCallSendMsgSize(d.config.MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithIdleTimeout(d.config.Idle),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, err
	}
	c := &conn{made, time.Now()}
	d.conns[address] = c
	return c, nil
}

// sweep closes the connections to members that are not asked any more.
func (d *Direct) sweep(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for address, c := range d.conns {
		if now.Sub(c.used) > 2*d.config.Idle {
			_ = c.Close()
			delete(d.conns, address)
		}
	}
}

func (d *Direct) security() grpc.ServerOption {
	if d.files == nil {
		return grpc.Creds(insecure.NewCredentials())
	}
	return grpc.Creds(credentials.NewTLS(d.files.server()))
}

func name(m slot.Member) string { return fmt.Sprintf("%d.%d", m.Slot, m.Epoch) }
