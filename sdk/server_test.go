package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	actionpb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	tally struct{ N int }
	added struct{ N int }
	seen  struct {
		Key      string
		Metadata map[string]string
		Bytes    []byte
	}
)

const (
	add   sdk.Method[int, string]    = "test.v1.Tally/Add"
	do    sdk.Method[string, string] = "test.v1.Tally/Do"
	about sdk.Method[struct{}, seen] = "test.v1.Tally/About"
)

// entity counts; the command Do runs f.
func entity(f func(ctx context.Context, in string) string) eventsourced.Entity[tally] {
	type turn = eventsourced.Turn[tally]
	return eventsourced.Entity[tally]{
		Service: "test.v1.Tally",
		Idle:    1500 * time.Millisecond,
		Commands: []eventsourced.Command[tally]{
			eventsourced.Handle(add, func(_ context.Context, t *turn, n int) (string, error) {
				t.Emit(added{n})
				return strings.Repeat("x", t.State().N), nil
			}),
			eventsourced.Handle(do, func(ctx context.Context, t *turn, in string) (string, error) { return f(ctx, in), nil }),
			eventsourced.Handle(about, func(_ context.Context, t *turn, _ struct{}) (seen, error) {
				s := seen{Key: t.IdempotencyKey(), Metadata: map[string]string{}}
				for _, e := range t.Metadata() {
					s.Metadata[e.Key] += e.Text
					s.Bytes = append(s.Bytes, e.Bytes...)
				}
				s.Metadata["got"] = t.Metadata().Get("TRACEPARENT") + t.Metadata().Get("none")
				return s, nil
			}),
		},
		Events: []eventsourced.Event[tally]{eventsourced.On("added", func(s *tally, e added) { s.N += e.N })},
	}
}

// server is one under test, in memory.
type server struct {
	conn *grpc.ClientConn
	log  *bytes.Buffer // read it after stop
	stop func() error  // stops it and returns what Serve returned
}

func start(t *testing.T, config sdk.Config, definitions ...sdk.Definition) *server {
	t.Helper()
	s := &server{log: new(bytes.Buffer)}
	config.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	srv := sdk.NewServer(config)
	if err := srv.Register(definitions...); err != nil {
		t.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { served <- srv.Serve(ctx, lis) })
	s.stop = sync.OnceValue(func() error { cancel(); wg.Wait(); return <-served })
	conn, err := grpc.NewClient("passthrough:///", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() { s.stop(); conn.Close() })
	return s
}

// open begins a stream for the entity "t".
func (s *server) open(t *testing.T) grpc.BidiStreamingClient[pb.EventSourcedStreamIn, pb.EventSourcedStreamOut] {
	t.Helper()
	stream, err := pb.NewEventSourcedClient(s.conn).Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{
		Init: &pb.EventSourcedInit{ServiceName: "test.v1.Tally", EntityId: "t"}}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func command(id int64, name, input string) *pb.EventSourcedStreamIn {
	return &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{Command: &cloudstate.Command{
		EntityId: "t", Id: id, Name: name, Payload: jsonAny("in", input)}}}
}

func jsonAny(name, text string) *anypb.Any {
	return &anypb.Any{TypeUrl: "json.cloudstate.io/" + name, Value: protowire.AppendString([]byte{0x0a}, text)}
}

// text of the reply.
func text(out *pb.EventSourcedStreamOut) string {
	value := out.GetReply().GetClientAction().GetReply().GetPayload().GetValue()
	if len(value) == 0 {
		return ""
	}
	b, _ := protowire.ConsumeBytes(value[1:])
	return string(b)
}

func TestDiscoveryOfJSONServices(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{Name: "tally", Version: "1.2.3"}, entity(nil))
	client := cloudstate.NewEntityDiscoveryClient(s.conn)
	discover := func(extensions ...string) *cloudstate.EntitySpec {
		spec, err := client.Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2, Extensions: extensions})
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	want := &cloudstate.EntitySpec{
		Entities: []*cloudstate.Entity{{
			EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "test.v1.Tally", PersistenceId: "test.v1.Tally",
			PassivationStrategy: &cloudstate.EntityPassivationStrategy{
				Strategy: &cloudstate.EntityPassivationStrategy_Timeout{Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: 1500}}},
			Methods: []*cloudstate.Method{{Name: "Add", Input: "Add.in", Output: "Add.out"}, {Name: "Do", Input: "Do.in", Output: "Do.out"},
				{Name: "About", Input: "About.in", Output: "About.out"}},
		}},
		ServiceInfo: &cloudstate.ServiceInfo{ServiceName: "tally", ServiceVersion: "1.2.3", ServiceRuntime: runtime.Version(),
			SupportLibraryName: "entities-go", SupportLibraryVersion: sdk.Version, ProtocolMinorVersion: 2,
			Extensions: []string{"codes", "metadata", "sequence", "idempotency", "events", "json", "targets", "pipeline", "delayed"}},
	}
	if d := cmp.Diff(want, discover("codes", "json"), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	want.Entities[0].Methods, want.ServiceInfo.Extensions = nil, nil
	if d := cmp.Diff(want, discover(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestExtensionsFollowTheLastDiscovery(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, entity(nil))
	for _, extensions := range [][]string{nil, {"events"}, {"codes"}, {"events", "unheard-of"}, {}} {
		if extensions != nil {
			if _, err := cloudstate.NewEntityDiscoveryClient(s.conn).Discover(t.Context(), &cloudstate.ProxyInfo{Extensions: extensions}); err != nil {
				t.Fatal(err)
			}
		}
		stream := s.open(t)
		stream.Send(command(1, "Add", "2"))
		out, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if len(extensions) > 0 && extensions[0] == "events" {
			want = []string{"added"}
		}
		if d := cmp.Diff(want, out.GetReply().GetEventNames()); d != "" {
			t.Errorf("after %v: %s", extensions, d)
		}
		stream.CloseSend()
	}
}

func TestWhatComesBesideACommand(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, entity(nil))
	stream := s.open(t)
	in := command(1, "About", "{}")
	in.GetCommand().IdempotencyKey = "k-1"
	in.GetCommand().Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{
		{Key: "Traceparent", Value: &cloudstate.MetadataEntry_StringValue{StringValue: "00-1"}},
		{Key: "bin", Value: &cloudstate.MetadataEntry_BytesValue{BytesValue: []byte("b")}},
	}}
	stream.Send(in)
	out, err := stream.Recv()
	if want := `{"Key":"k-1","Metadata":{"Traceparent":"00-1","bin":"","got":"00-1"},"Bytes":"Yg=="}`; err != nil || text(out) != want {
		t.Errorf("got %s, %v, want %s", text(out), err, want)
	}
}

func TestHealthAndReportedErrors(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, entity(nil))
	health, err := grpc_health_v1.NewHealthClient(s.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Error(health, err)
	}
	if _, err := cloudstate.NewEntityDiscoveryClient(s.conn).ReportError(t.Context(), &cloudstate.UserFunctionError{Message: "no key field"}); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil || !strings.Contains(s.log.String(), "no key field") {
		t.Error(err, s.log)
	}
}

func TestStopWaitsForTurnsAndNotForIdleStreams(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, sdk.Config{}, entity(func(context.Context, string) string { close(entered); <-leave; return "done" }))
	busy, idle := s.open(t), s.open(t)
	idle.Send(command(1, "Add", "1"))
	if _, err := idle.Recv(); err != nil {
		t.Fatal(err)
	}
	busy.Send(command(1, "Do", `""`))
	<-entered
	stopped := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { stopped <- s.stop() })
	defer wg.Wait()
	if _, err := idle.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("idle stream: %v", err)
	}
	select {
	case err := <-stopped:
		t.Errorf("stopped during a turn: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	if out, err := busy.Recv(); err != nil || text(out) != `"done"` {
		t.Errorf("busy stream: %v, %v", out, err)
	}
	if _, err := busy.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("busy stream afterwards: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopCancelsWhatOutlastsTheDrain(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan struct{})
	s := start(t, sdk.Config{DrainTimeout: 10 * time.Millisecond}, entity(func(ctx context.Context, _ string) string {
		close(entered)
		<-ctx.Done()
		close(left)
		return ""
	}))
	stream := s.open(t)
	stream.Send(command(1, "Do", `""`))
	<-entered
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "still running after 10ms") {
		t.Errorf("stop: %v", err)
	}
	<-left
}

func TestAHandlerThatEndsItsGoroutineBreaksItsStreamOnly(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, entity(func(context.Context, string) string { runtime.Goexit(); return "" }))
	other, stream := s.open(t), s.open(t)
	stream.Send(command(1, "Do", `""`))
	if out, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("%v, %v", out, err)
	}
	other.Send(command(1, "Add", "1"))
	if out, err := other.Recv(); err != nil || text(out) != `"x"` {
		t.Errorf("%v, %v", out, err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestPanicStaysInside(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, entity(func(context.Context, string) string { panic("secret") }))
	stream := s.open(t)
	stream.Send(command(1, "Do", `""`))
	out, err := stream.Recv()
	if err != nil || out.GetFailure().GetCommandId() != 1 || strings.Contains(out.String(), "secret") {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream goes on: %v", err)
	}
	s.stop()
	for _, want := range []string{"secret", "server_test.go", "service=test.v1.Tally", "id=t", "command=Do"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, s.log)
		}
	}
}

func TestMessageSizes(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{MaxMessageBytes: 2000}, entity(func(_ context.Context, in string) string { return in + in }))
	for size, code := range map[int]codes.Code{900: codes.OK, 1200: codes.ResourceExhausted, 3000: codes.ResourceExhausted} {
		stream := s.open(t)
		stream.Send(command(1, "Do", `"`+strings.Repeat("x", size)+`"`))
		if _, err := stream.Recv(); status.Code(err) != code {
			t.Errorf("%d bytes in, twice as many out: %v", size, err)
		}
	}
}

func TestServeTwiceAndNothing(t *testing.T) {
	t.Parallel()
	if err := sdk.NewServer(sdk.Config{}).ListenAndServe(t.Context(), "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "nothing is registered") {
		t.Error(err)
	}
	srv := sdk.NewServer(sdk.Config{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.Register(entity(nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Serve(ctx, bufconn.Listen(1)); err != nil {
		t.Error(err)
	}
	if err := srv.Serve(t.Context(), bufconn.Listen(1)); err == nil || !strings.Contains(err.Error(), "has served before") {
		t.Error(err)
	}
	if err := srv.ListenAndServe(t.Context(), "127.0.0.1:nowhere"); err == nil {
		t.Error("an address that is none")
	}
}

func TestAddress(t *testing.T) {
	t.Setenv("HOST", "")
	t.Setenv("PORT", "")
	if got := sdk.Address(); got != "127.0.0.1:8080" {
		t.Error(got)
	}
	t.Setenv("HOST", "::1")
	t.Setenv("PORT", "99")
	if got := sdk.Address(); got != "[::1]:99" {
		t.Error(got)
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for c := range sdk.Code(17) {
		if got, ok := sdk.ParseCode(c.String()); got != c || !ok {
			t.Errorf("%d: %v", c, got)
		}
	}
	if _, ok := sdk.ParseCode("CODE_17"); ok || sdk.Code(17).String() != "CODE_17" || sdk.Code(-1).String() != "CODE_-1" {
		t.Error("17 is a code")
	}
	cause := io.ErrUnexpectedEOF
	err := sdk.Errorf(sdk.CodeDataLoss, "read: %w", cause)
	for e, want := range map[error]sdk.Code{nil: sdk.CodeOK, err: sdk.CodeDataLoss, cause: sdk.CodeUnknown, context.Canceled: sdk.CodeCanceled,
		context.DeadlineExceeded: sdk.CodeDeadlineExceeded} {
		if got := sdk.CodeOf(e); got != want {
			t.Errorf("%v: %v, want %v", e, got, want)
		}
	}
}

// BenchmarkTurn is a command that emits an event, over gRPC in memory.
func BenchmarkTurn(b *testing.B) {
	conn := sdktest.Serve(b, entity(nil))
	stream, err := pb.NewEventSourcedClient(conn).Handle(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	stream.Send(&pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{
		Init: &pb.EventSourcedInit{ServiceName: "test.v1.Tally", EntityId: "t"}}})
	b.ReportAllocs()
	var id int64
	for b.Loop() {
		id++
		stream.Send(command(id, "Add", "0"))
		if _, err := stream.Recv(); err != nil {
			b.Fatal(err)
		}
	}
	stream.CloseSend()
}

// BenchmarkAction is a unary call of an action, over gRPC in memory.
func BenchmarkAction(b *testing.B) {
	const do sdk.Method[int, int] = "test.v1.Echo/Do"
	client := actionpb.NewActionProtocolClient(sdktest.Serve(b, action.Service{Service: "test.v1.Echo", Methods: []action.Method{
		action.Handle(do, func(_ context.Context, _ *action.Turn, n int) (int, error) { return n, nil }),
	}}))
	in := toEcho("Do", "1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.HandleUnary(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
