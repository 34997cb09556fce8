package building

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/config"
)

// Config of a Server. OnInit is required; everything else has a default.
type Config struct {
	// Folder, Name and Mode of the socket. Default to those of config.Default.
	Folder string
	Name   string
	Mode   fs.FileMode
	// Base holds the layers of settings under the metadata of an Init: environment, then flags.
	Base []map[string]string

	// OnInit starts the runtime, or replaces a running one, with the settings of a state.entities component. It is
	// called by one goroutine at a time, and not for an Init that changes nothing. Its error is what the sidecar and its
	// operator read; after one, the next Init calls it again whatever its settings are. It must not call the sidecar,
	// which serves nothing before its components are initialised, must return soon after ctx has ended, and must not
	// keep ctx.
	OnInit func(ctx context.Context, c config.Config) error
	// OnClient is told of a bindings.entities component's settings, under the same rules. Without a host they are what a
	// pure client has. May be nil.
	OnClient func(ctx context.Context, c config.Config) error
	// InitTimeout bounds OnInit and OnClient. Defaults to 30 s: the sidecar sets no limit, and initialises its
	// components one after the other.
	InitTimeout time.Duration

	// MaxMessage is the size of a request on the wire. Defaults to 64 MiB: it has to be set before an Init says what
	// a command or a value may have, which is checked later.
	MaxMessage int
	// MaxStreams is the number of requests in progress on one connection; the sidecar makes one connection for each
	// component. Defaults to 10,000.
	MaxStreams uint32
	// DrainTimeout is how long requests get to end when Run is told to stop. Defaults to that of config.Default.
	DrainTimeout time.Duration

	// Observe, if set, is told of every request that is no stream.
	Observe func(method string, code codes.Code, took time.Duration)
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	d := config.Default()
	setDefault(&c.Folder, d.SocketFolder)
	setDefault(&c.Name, d.SocketName)
	setDefault(&c.Mode, d.SocketMode)
	setDefault(&c.InitTimeout, 30*time.Second)
	setDefault(&c.MaxMessage, 64<<20)
	setDefault(&c.MaxStreams, 10_000)
	setDefault(&c.DrainTimeout, d.DrainTimeout)
	setDefault(&c.Logger, slog.Default())
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	var problems []error
	if c.OnInit == nil {
		problems = append(problems, errors.New("building: OnInit is missing"))
	}
	if c.InitTimeout < 0 || c.DrainTimeout < 0 || c.MaxMessage < 0 {
		problems = append(problems, errors.New("building: a timeout or size is negative"))
	}
	if c.Mode&^0o777 != 0 {
		problems = append(problems, fmt.Errorf("building: %v is not a file mode", c.Mode))
	}
	return errors.Join(problems...)
}

// Server is the pluggable component. Its methods may be called from many goroutines at once.
type Server struct {
	config    Config
	logger    *slog.Logger
	runtime   atomic.Pointer[Runtime]
	instances *instances
	ready     chan struct{}
	// stopping ends when Run was told to stop.
	stopping context.Context
	stop     context.CancelFunc
	readers  sync.WaitGroup // of streams

	mu       sync.Mutex
	replaced chan struct{} // closed when another runtime is attached
}

// New makes a server that is not running.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	folder, err := filepath.Abs(c.Folder)
	if err != nil {
		return nil, fmt.Errorf("find the socket folder: %w", err)
	}
	s := &Server{config: c, logger: c.Logger, ready: make(chan struct{}), replaced: make(chan struct{})}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.instances = newInstances(c, &initFile{path: filepath.Join(folder, "."+c.Name, "init.json"), logger: c.Logger})
	return s, nil
}

// Attach puts the building blocks on a runtime, in place of the one before; requests in progress end on that one. The
// zero Runtime detaches: requests are then answered Unavailable, and subscriptions wait for the next one.
func (s *Server) Attach(r Runtime) {
	if r.Journal != nil {
		r.Journal = share(r.Journal)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runtime.Store(&r)
	close(s.replaced)
	s.replaced = make(chan struct{})
}

// attached returns the runtime, nil if there was none yet, and what is closed when there is another.
func (s *Server) attached() (*Runtime, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runtime.Load(), s.replaced
}

// Ready is closed when the sidecar can see the socket.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves the socket until ctx ends, then lets requests in progress end and removes the socket. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	defer s.readers.Wait()
	l, err := listen(s.config.Folder, s.config.Name, s.config.Mode)
	if err != nil {
		return err
	}
	defer l.release()
	g := s.register()
	served := make(chan error, 1)
	serving := make(chan struct{})
	go func() { // Run waits for it
		close(serving)
		served <- g.Serve(l)
	}()
	<-serving
	if err := l.publish(); err != nil {
		g.Stop()
		return errors.Join(err, <-served, l.withdraw())
	}
	s.logger.Info("serving the socket", "path", l.path)
	close(s.ready)

	select {
	case err := <-served:
		g.Stop()
		return errors.Join(fmt.Errorf("serve %s: %w", l.path, err), l.withdraw())
	case <-ctx.Done():
	}
	// First out of the folder, so that a sidecar that starts now does not find a socket that is about to close.
	err = l.withdraw()
	s.stop() // streams, which have no end of their own
	late := time.AfterFunc(s.config.DrainTimeout, g.Stop)
	g.GracefulStop()
	late.Stop()
	return errors.Join(err, <-served)
}

// streamWorkers is about as many requests as are in progress at a time under load. Their stacks take 1 MiB.
const streamWorkers = 64

func (s *Server) register() *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(s.config.MaxMessage),
		grpc.MaxConcurrentStreams(s.config.MaxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		// Goroutines that stay: to begin one for each request, and to grow its stack, takes a sixth of a request's time.
		// Where all are busy there are others.
		grpc.NumStreamWorkers(streamWorkers),
		// Fixed windows: gRPC would otherwise measure the line with pings, and this is a socket of the same machine.
		grpc.InitialWindowSize(4<<20),
		grpc.InitialConnWindowSize(16<<20),
		grpc.ChainUnaryInterceptor(s.observe, s.contain),
		grpc.StreamInterceptor(s.containStream),
	)
	store := &stateStore{server: s}
	components.RegisterStateStoreServer(g, store)
	components.RegisterTransactionalStateStoreServer(g, store)
	components.RegisterTransactionalStoreMultiMaxSizeServer(g, store)
	components.RegisterOutputBindingServer(g, &binding{server: s})
	components.RegisterInputBindingServer(g, &input{server: s})
	components.RegisterPubSubServer(g, &pubsub{server: s, gates: map[string]*gate{}})
	reflection.Register(g) // both versions: daprd speaks v1alpha
	return g
}

func (s *Server) observe(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	actors.GrowStack()
	began := time.Now()
	resp, err := next(ctx, req)
	if s.config.Observe != nil {
		s.config.Observe(info.FullMethod, status.Code(err), time.Since(began))
	}
	return resp, err
}

// contain turns a panic into an error of the one request.
func (s *Server) contain(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer s.recover(info.FullMethod, func(e error) { resp, err = nil, e })
	return next(ctx, req)
}

func (s *Server) containStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recover(info.FullMethod, func(e error) { err = e })
	return next(srv, stream)
}

func (s *Server) recover(method string, fail func(error)) {
	if p := recover(); p != nil {
		s.logger.Error("panic in a request", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		fail(status.Error(codes.Internal, "the component failed while it handled the request; its log has the stack"))
	}
}
