package sdk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// Config of a Server. The zero value works.
type Config struct {
	// Name and Version of the program, for the proxy's logs. Name defaults to the name of the executable.
	Name    string
	Version string
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// MaxMessageBytes is the largest message taken or sent: a command, an event, a snapshot, or a reply with all its
	// events. Defaults to 16 MiB.
	MaxMessageBytes int
	// DrainTimeout is how long turns may go on when the server stops. Then their contexts end. Defaults to 10 s.
	DrainTimeout time.Duration
}

// Server serves definitions to a proxy by the inverted protocol: the proxy calls, over plaintext HTTP/2. Make one with
// NewServer, then Register, then Serve once.
type Server struct {
	config Config

	mu       sync.Mutex
	entities map[string]*def.Entity
	order    []string
	problems []error
	served   bool
}

// NewServer makes a server that serves nothing yet.
func NewServer(config Config) *Server {
	if config.Name == "" {
		config.Name = executable()
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.MaxMessageBytes = cmp.Or(config.MaxMessageBytes, 16<<20)
	config.DrainTimeout = cmp.Or(config.DrainTimeout, 10*time.Second)
	return &Server{config: config, entities: make(map[string]*def.Entity)}
}

// Address is where ListenAndServe listens unless told otherwise: $HOST:$PORT, by default 127.0.0.1:8080.
func Address() string {
	return net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8080"))
}

// ListenAndServe listens on a TCP address, Address() if it is empty, and serves as Serve does.
func (s *Server) ListenAndServe(ctx context.Context, address string) error {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(address, Address()))
	if err != nil {
		return err
	}
	return s.Serve(ctx, lis)
}

// Serve answers the proxy until ctx ends. It then takes no more commands, lets the turns in flight finish, ends all
// streams, and returns nil. Turns that outlast DrainTimeout are cancelled, and the error says so. Serve closes lis. It
// may be called once.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	defer lis.Close()
	s.mu.Lock()
	again, entities, order, problems := s.served, s.entities, s.order, s.problems
	s.served = true
	s.mu.Unlock()
	switch {
	case again:
		return errors.New("serve: the server has served before; make another one")
	case len(problems) > 0:
		return fmt.Errorf("serve: %w", errors.Join(problems...))
	case len(order) == 0:
		return errors.New("serve: nothing is registered")
	}
	spec, err := describe(s.config, entities, order)
	if err != nil {
		return err
	}

	stopping := make(chan struct{})
	streams := &streams{entities: entities, log: s.config.Logger, stopping: stopping}
	health := health.NewServer()
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(s.config.MaxMessageBytes),
		grpc.MaxSendMsgSize(s.config.MaxMessageBytes),
		// Fixed windows: gRPC would otherwise measure the line with pings, and the component is next to us.
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(16<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	cloudstate.RegisterEntityDiscoveryServer(server, &discovery{spec: spec, peer: &streams.peer, log: s.config.Logger})
	eventsourced.RegisterEventSourcedServer(server, eventSourced{streams: streams})
	valueentity.RegisterValueEntityServer(server, valueEntity{streams: streams})
	crdt.RegisterCrdtServer(server, replicated{streams: streams})
	action.RegisterActionProtocolServer(server, actions{streams: streams})
	grpc_health_v1.RegisterHealthServer(server, health)

	var owned sync.WaitGroup
	failed := make(chan error, 1)
	owned.Go(func() { failed <- server.Serve(lis) })
	s.config.Logger.Info("serving entities", "address", lis.Addr().String(), "services", order)

	select {
	case err := <-failed:
		server.Stop()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	health.Shutdown()
	close(stopping)
	drained := make(chan struct{})
	owned.Go(func() {
		server.GracefulStop()
		close(drained)
	})
	select {
	case <-drained:
		owned.Wait()
		streams.workers.Wait()
		return nil
	case <-time.After(s.config.DrainTimeout):
		// A handler that ignores its context cannot be waited for.
		server.Stop()
		return fmt.Errorf("stop: turns were still running after %v and have been cancelled", s.config.DrainTimeout)
	}
}
