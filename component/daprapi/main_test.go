package daprapi

import (
	"context"
	"net"
	"sync"
	"testing"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sidecar is a scripted one. Real ones are used where actors are hosted, in the tests of actorhost.
type sidecar struct {
	runtime.UnimplementedDaprServer
	invoke   func(context.Context, *runtime.InvokeActorRequest) ([]byte, error)
	metadata func() (*runtime.GetMetadataResponse, error)
	shutdown func() error

	mu    sync.Mutex
	last  *runtime.InvokeActorRequest
	token []string
}

func (s *sidecar) InvokeActor(ctx context.Context, r *runtime.InvokeActorRequest) (*runtime.InvokeActorResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	s.last, s.token = proto.CloneOf(r), md.Get("dapr-api-token")
	s.mu.Unlock()
	data, err := s.invoke(ctx, r)
	return &runtime.InvokeActorResponse{Data: data}, err
}

func (s *sidecar) GetMetadata(context.Context, *runtime.GetMetadataRequest) (*runtime.GetMetadataResponse, error) {
	return s.metadata()
}

func (s *sidecar) Shutdown(context.Context, *runtime.ShutdownRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, s.shutdown()
}

// start serves the sidecar on a port of its own, and returns a client of it.
func (s *sidecar) start(t *testing.T, config Config) *Client {
	t.Helper()
	return serveOn(t, s, config)
}

// serveOn does so with any.
func serveOn(t *testing.T, s runtime.DaprServer, config Config) *Client {
	t.Helper()
	c, _ := serve(t, s, config)
	return c
}

func serve(t *testing.T, s runtime.DaprServer, config Config) (*Client, *grpc.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	runtime.RegisterDaprServer(server, s)
	var group sync.WaitGroup
	// It returns nil when the server is stopped.
	group.Go(func() { _ = server.Serve(l) })
	config.Endpoint = l.Addr().String()
	c, err := Dial(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		group.Wait()
	})
	return c, server
}
