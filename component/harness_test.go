package component

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer takes log lines from many goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// process is a component at work, as a sidecar sees it.
type process struct {
	*Component
	t      *testing.T
	folder string
	log    *buffer
	conn   *grpc.ClientConn
	// stop ends it and returns what Run did.
	stop func() error
	// fails is in the error that Run is to return, if any.
	fails string
}

// begin runs a component until the test's end. Its base settings are those given, on a free admin port, in the folder.
func begin(t *testing.T, folder string, base map[string]string, change ...func(*Config)) *process {
	t.Helper()
	all := map[string]string{"socketFolder": folder, "adminAddress": "127.0.0.1:0", "daprGrpcEndpoint": "127.0.0.1:1"}
	maps.Copy(all, base)
	p := &process{t: t, folder: folder, log: &buffer{}}
	c := Config{Base: []map[string]string{all}, Log: slog.New(slog.NewTextHandler(p.log, nil))}
	for _, f := range change {
		f(&c)
	}
	var err error
	if p.Component, err = New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		if p.conn != nil {
			p.conn.Close()
		}
		return err
	})
	t.Cleanup(func() {
		if err := p.stop(); (err != nil) != (p.fails != "") || err != nil && !strings.Contains(err.Error(), p.fails) {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Logf("the log:\n%s", p.log)
		}
	})
	select {
	case <-p.Serving():
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	if p.admin != nil {
		<-p.admin.Ready()
	}
	p.conn, err = grpc.NewClient("unix:"+filepath.Join(folder, "entities.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func instance(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-component-instance", name)
}

// init is the sidecar's Init of a state.entities component named entities.
func (p *process) init(settings map[string]string) error { return p.initAs("entities", settings) }

func (p *process) initAs(name string, settings map[string]string) error {
	_, err := components.NewStateStoreClient(p.conn).Init(instance(p.t.Context(), name),
		&components.InitRequest{Metadata: &components.MetadataRequest{Properties: settings}})
	return err
}

func (p *process) mustInit(settings map[string]string) {
	p.t.Helper()
	if err := p.init(settings); err != nil {
		p.t.Fatalf("Init with %v: %v", settings, err)
	}
}

func (p *process) initBinding(settings map[string]string) error {
	_, err := components.NewOutputBindingClient(p.conn).Init(instance(p.t.Context(), "binding"),
		&components.OutputBindingInitRequest{Metadata: &components.MetadataRequest{Properties: settings}})
	return err
}

func (p *process) set(key, value string) error {
	_, err := components.NewStateStoreClient(p.conn).Set(instance(p.t.Context(), "entities"), &components.SetRequest{Key: key, Value: []byte(value)})
	return err
}

func (p *process) get(key string) (string, error) {
	r, err := components.NewStateStoreClient(p.conn).Get(instance(p.t.Context(), "entities"), &components.GetRequest{Key: key})
	return string(r.GetData()), err
}

// invoke is a command through the binding.
func (p *process) invoke(service, id, command string) (string, error) {
	r, err := components.NewOutputBindingClient(p.conn).Invoke(instance(p.t.Context(), "binding"), &components.InvokeRequest{
		Operation: "invoke", Metadata: map[string]string{"service": service, "id": id, "command": command},
	})
	return string(r.GetData()), err
}

// ready asks for readiness: "" or everything that is not ok.
func (p *process) ready() string {
	p.t.Helper()
	var body struct {
		Ready  bool
		Checks map[string]string
	}
	text := p.http("/readyz")
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		p.t.Fatalf("%v in %s", err, text)
	}
	var bad []string
	for name, what := range body.Checks {
		if what != "ok" {
			bad = append(bad, name+": "+what)
		}
	}
	slices.Sort(bad)
	return strings.Join(bad, "\n")
}

func (p *process) http(path string) string {
	p.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := client.Get("http://" + p.admin.Address() + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// eventually waits for something that takes a while.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// text of an error as the sidecar gets it.
func text(err error) string { return status.Convert(err).Message() }

// sidecar is as much of daprd's API as a component sees: the metadata, and one actor stream.
type sidecar struct {
	runtime.UnimplementedDaprServer
	address string

	mu         sync.Mutex
	components []*runtime.RegisteredComponents
	refusal    error
	streams    chan *stream
	asked      int
	// invoked takes the invocations of actors elsewhere, which get no answer. Nil refuses them.
	invoked chan struct{}
}

// stream is an actor stream that has been registered.
type stream struct {
	types []string
	calls chan *runtime.SubscribeActorEventsResponseAlpha1
	out   chan *runtime.SubscribeActorEventsRequestAlpha1
}

func beginSidecar(t *testing.T, listed ...*runtime.RegisteredComponents) *sidecar {
	t.Helper()
	s := &sidecar{components: listed, streams: make(chan *stream, 16)}
	s.address = serve(t, func(g *grpc.Server) { runtime.RegisterDaprServer(g, s) })
	return s
}

// serve runs a gRPC server on loopback until the test's end.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return l.Addr().String()
}

func (s *sidecar) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *sidecar) GetMetadata(context.Context, *runtime.GetMetadataRequest) (*runtime.GetMetadataResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.refusal != nil {
		return nil, s.refusal
	}
	return &runtime.GetMetadataResponse{
		Id: "shop", RegisteredComponents: s.components,
		ActorRuntime: &runtime.ActorRuntime{RuntimeStatus: runtime.ActorRuntime_INITIALIZING, HostReady: true},
	}, nil
}

func (s *sidecar) InvokeActor(ctx context.Context, _ *runtime.InvokeActorRequest) (*runtime.InvokeActorResponse, error) {
	if s.invoked == nil {
		return nil, status.Error(codes.Unimplemented, "nobody is elsewhere")
	}
	s.invoked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *sidecar) SubscribeActorEventsAlpha1(g runtime.Dapr_SubscribeActorEventsAlpha1Server) error {
	first, err := g.Recv()
	if err != nil {
		return err
	}
	err = g.Send(&runtime.SubscribeActorEventsResponseAlpha1{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InitialResponse{
		InitialResponse: &runtime.SubscribeActorEventsResponseInitialAlpha1{},
	}})
	if err != nil {
		return err
	}
	st := &stream{
		types: first.GetInitialRequest().GetEntities(),
		calls: make(chan *runtime.SubscribeActorEventsResponseAlpha1),
		out:   make(chan *runtime.SubscribeActorEventsRequestAlpha1, 16),
	}
	if len(st.types) == 0 {
		return nil
	}
	s.streams <- st
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(st.out)
		for {
			m, err := g.Recv()
			if err != nil {
				return
			}
			st.out <- m
		}
	})
	for {
		select {
		case <-g.Context().Done():
			return g.Context().Err()
		case m := <-st.calls:
			if err := g.Send(m); err != nil {
				return err
			}
		}
	}
}

// invoke sends a command down the stream.
func (s *stream) invoke(id, actorType, actor, method string) {
	s.calls <- &runtime.SubscribeActorEventsResponseAlpha1{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InvokeRequest{
		InvokeRequest: &runtime.SubscribeActorEventsResponseInvokeRequestAlpha1{Id: id, ActorType: actorType, ActorId: actor, Method: method},
	}}
}

func component(name, typ string) *runtime.RegisteredComponents {
	return &runtime.RegisteredComponents{Name: name, Type: typ, Version: "v1"}
}

// userFunction has services with two commands: Add writes an event, Wait does too, when it is let go.
type userFunction struct {
	cloudstate.UnimplementedEntityDiscoveryServer
	eventsourced.UnimplementedEventSourcedServer
	address  string
	services []string
	minor    int32
	waiting  chan struct{}
	letGo    chan struct{}
}

func beginFunction(t *testing.T, services ...string) *userFunction {
	t.Helper()
	f := &userFunction{services: services, minor: 2, waiting: make(chan struct{}, 16), letGo: make(chan struct{})}
	f.address = serve(t, func(g *grpc.Server) {
		cloudstate.RegisterEntityDiscoveryServer(g, f)
		eventsourced.RegisterEventSourcedServer(g, f)
	})
	return f
}

func (f *userFunction) Discover(context.Context, *cloudstate.ProxyInfo) (*cloudstate.EntitySpec, error) {
	s := &cloudstate.EntitySpec{ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: f.minor, Extensions: []string{"json"}}}
	for _, name := range f.services {
		s.Entities = append(s.Entities, &cloudstate.Entity{
			EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: name, PersistenceId: name,
			Methods: []*cloudstate.Method{{Name: "Add"}, {Name: "Wait"}},
		})
	}
	return s, nil
}

func (f *userFunction) ReportError(context.Context, *cloudstate.UserFunctionError) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (f *userFunction) Handle(g eventsourced.EventSourced_HandleServer) error {
	events := 0
	for {
		in, err := g.Recv()
		if err != nil {
			return nil
		}
		if in.GetEvent() != nil {
			events++
		}
		c := in.GetCommand()
		if c == nil {
			continue
		}
		if c.GetName() == "Wait" {
			f.waiting <- struct{}{}
			select {
			case <-f.letGo:
			case <-g.Context().Done():
				return nil
			}
		}
		events++
		payload := &anypb.Any{TypeUrl: "json.cloudstate.io/n", Value: append([]byte{10, byte(len(fmt.Sprint(events)))}, fmt.Sprint(events)...)}
		err = g.Send(&eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: &eventsourced.EventSourcedReply{
			CommandId:    c.GetId(),
			ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{Payload: payload}}},
			Events:       []*anypb.Any{payload},
		}}})
		if err != nil {
			return nil
		}
	}
}
