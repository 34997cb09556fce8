package actorhost

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// fake is a sidecar that a test scripts. It speaks the protocol of the actor stream and nothing else.
type fake struct {
	runtime.UnimplementedDaprServer
	t       *testing.T
	streams chan *fakeStream
	servers sync.WaitGroup

	mu       sync.Mutex
	server   *grpc.Server
	listener *bufconn.Listener
	refusal  error
	status   runtime.ActorRuntime_ActorRuntimeStatus
	active   []string
	attempts []time.Time
	released int
}

// fakeStream is an open stream. Closing end ends it from the sidecar's side.
type fakeStream struct {
	runtime.Dapr_SubscribeActorEventsAlpha1Server
	t       *testing.T
	initial *runtime.SubscribeActorEventsRequestInitialAlpha1
	end     chan error
}

// bubble runs a test with a fake sidecar and a host in fake time.
func bubble(t *testing.T, config Config, test func(t *testing.T, f *fake, h *hosted)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, streams: make(chan *fakeStream, 16), status: runtime.ActorRuntime_INITIALIZING}
		f.serve()
		h := &hosted{t: t, entities: &entities{}, services: &services{now: cart(t, "Order", "Cart")}}
		config.Dial = func() (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					f.mu.Lock()
					l := f.listener
					f.mu.Unlock()
					return l.DialContext(ctx)
				}))
		}
		config.Catalog, config.Entities = h.services.get, h.entities
		if config.Log == nil {
			config.Log = testLog(t)
		}
		var err error
		if h.Stream, err = New(config); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() {
			if err := h.Run(ctx); err != nil {
				t.Errorf("Run returned %v", err)
			}
		})
		h.stop = sync.OnceFunc(func() {
			cancel()
			run.Wait()
		})
		test(t, f, h)
		h.stop()
		f.server.Stop()
		f.servers.Wait()
	})
}

// serve starts a server, in place of the one before.
func (f *fake) serve() {
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	runtime.RegisterDaprServer(s, f)
	f.mu.Lock()
	f.server, f.listener = s, l
	f.mu.Unlock()
	// It returns nil when the server is stopped.
	f.servers.Go(func() { _ = s.Serve(l) })
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) GetMetadata(context.Context, *runtime.GetMetadataRequest) (*runtime.GetMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &runtime.GetMetadataResponse{ActorRuntime: &runtime.ActorRuntime{RuntimeStatus: f.status}}
	for _, a := range f.active {
		r.ActorRuntime.ActiveActors = append(r.ActorRuntime.ActiveActors, &runtime.ActiveActorsCount{Type: a})
	}
	return r, nil
}

func (f *fake) SubscribeActorEventsAlpha1(stream runtime.Dapr_SubscribeActorEventsAlpha1Server) error {
	f.mu.Lock()
	f.attempts = append(f.attempts, time.Now())
	refusal := f.refusal
	f.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if len(first.GetInitialRequest().GetEntities()) == 0 {
		f.set(func() { f.released++ })
		return stream.Send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InitialResponse{}})
	}
	s := &fakeStream{stream, f.t, first.GetInitialRequest(), make(chan error, 1)}
	f.streams <- s
	select {
	case <-stream.Context().Done():
		return stream.Context().Err()
	case err := <-s.end:
		return err
	}
}

// accept waits for a stream and registers it.
func (f *fake) accept() *fakeStream {
	f.t.Helper()
	s := <-f.streams
	s.send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InitialResponse{
		InitialResponse: &runtime.SubscribeActorEventsResponseInitialAlpha1{},
	}})
	synctest.Wait()
	return s
}

func (s *fakeStream) send(m *request) {
	s.t.Helper()
	if err := s.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s *fakeStream) receive() *response {
	s.t.Helper()
	m, err := s.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *fakeStream) invoke(id, actorType, actorID, method, data string) {
	s.t.Helper()
	s.send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InvokeRequest{
		InvokeRequest: &runtime.SubscribeActorEventsResponseInvokeRequestAlpha1{
			Id: id, ActorType: actorType, ActorId: actorID, Method: method, Data: []byte(data),
		},
	}})
}

func (s *fakeStream) deactivate(id, actorType, actorID string) {
	s.t.Helper()
	s.send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_DeactivateRequest{
		DeactivateRequest: &runtime.SubscribeActorEventsResponseDeactivateRequestAlpha1{
			Id: id, ActorType: actorType, ActorId: actorID,
		},
	}})
}
