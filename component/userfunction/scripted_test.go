package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bufbuild/protocompile"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	shopProto = `syntax = "proto3"; package shop; import "cloudstate/entity_key.proto"; import "cloudstate/eventing.proto";
message Line { string cart = 1 [(.cloudstate.entity_key) = true]; string product = 2; }
message Cart { repeated Line lines = 1; }
service Cart1 { rpc Add(Line) returns (Line); rpc Get(Line) returns (Cart); }
service Cart2 { rpc Add(Line) returns (Line); }
service News { rpc Add(Line) returns (Line) { option (.cloudstate.eventing) = { out: { topic: "lines" } }; } }
service Act {
  rpc Unary(Line) returns (Line); rpc In(stream Line) returns (Line); rpc Out(Line) returns (stream Line); rpc Both(stream Line) returns (stream Line);
}`
	keyProto = `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { bool entity_key = 1080; }`
	eventingProto = `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { Eventing eventing = 1081; }
message Eventing { EventSource in = 1; EventDestination out = 2; }
message EventSource { string consumer_group = 1; oneof source { string topic = 2; string event_log = 3; } }
message EventDestination { oneof destination { string topic = 1; } }`
)

var shopSet = sync.OnceValue(func() []byte {
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"shop.proto": shopProto, "cloudstate/entity_key.proto": keyProto, "cloudstate/eventing.proto": eventingProto}),
	})}
	compiled, err := compiler.Compile(context.Background(), "shop.proto")
	if err != nil {
		panic(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	var add func(f protoreflect.FileDescriptor)
	seen := make(map[string]bool)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(compiled[0])
	b, err := proto.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
})

// spec of the services shop.<name>.
func spec(extensions []string, services ...string) *cloudstate.EntitySpec {
	s := &cloudstate.EntitySpec{
		Proto:       shopSet(),
		ServiceInfo: &cloudstate.ServiceInfo{ServiceName: "shop", ProtocolMinorVersion: 2, Extensions: extensions},
	}
	for _, name := range services {
		s.Entities = append(s.Entities, &cloudstate.Entity{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "shop." + name, PersistenceId: name})
	}
	return s
}

// ofKind changes that of services of a spec.
func ofKind(s *cloudstate.EntitySpec, k actors.Kind, services ...string) *cloudstate.EntitySpec {
	for _, e := range s.Entities {
		if slices.Contains(services, strings.TrimPrefix(e.ServiceName, "shop.")) {
			e.EntityType = catalog.EntityType(k)
		}
	}
	return s
}

type (
	in  = eventsourced.EventSourcedStreamIn
	out = eventsourced.EventSourcedStreamOut
)

// scripted is a user function that follows a script over real gRPC and writes down what goes over the wire.
type scripted struct {
	cloudstate.UnimplementedEntityDiscoveryServer
	eventsourced.UnimplementedEventSourcedServer

	// hold, if set, keeps discovery waiting until it is closed.
	hold    chan struct{}
	waiting atomic.Int32
	// handle is called for each stream, and so is value for those of value entities, crdt for those of replicated ones, and
	// action for calls of actions.
	handle func(s *wire) error
	value  func(s *valueWire) error
	crdt   func(s *crdtWire) error
	action func(s *actionWire) error

	mu       sync.Mutex
	spec     *cloudstate.EntitySpec
	asked    []*cloudstate.ProxyInfo
	reported []string
	lines    []*notes
	active   int

	options []grpc.ServerOption
	server  *grpc.Server
}

// start serves on an address; "" chooses one. It returns the address.
func (f *scripted) start(t testing.TB, address string) string {
	t.Helper()
	network, at := "tcp", address
	if address == "" {
		at = "127.0.0.1:0"
	} else if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	f.server = grpc.NewServer(f.options...)
	cloudstate.RegisterEntityDiscoveryServer(f.server, f)
	eventsourced.RegisterEventSourcedServer(f.server, f)
	valueentity.RegisterValueEntityServer(f.server, valueServer{f: f})
	crdt.RegisterCrdtServer(f.server, crdtServer{f: f})
	protocol.RegisterActionProtocolServer(f.server, actionServer{f: f})
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.server.Serve(l) })
	t.Cleanup(func() { f.server.Stop(); serving.Wait() })
	if network == "unix" {
		return address
	}
	return l.Addr().String()
}

func (f *scripted) announce(s *cloudstate.EntitySpec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spec = s
}

func (f *scripted) Discover(ctx context.Context, info *cloudstate.ProxyInfo) (*cloudstate.EntitySpec, error) {
	if f.hold != nil {
		f.waiting.Add(1)
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, info)
	return f.spec, nil
}

func (f *scripted) ReportError(_ context.Context, e *cloudstate.UserFunctionError) (*emptypb.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reported = append(f.reported, e.GetMessage())
	return &emptypb.Empty{}, nil
}

func (f *scripted) reports() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reported)
}

func (f *scripted) Handle(stream grpc.BidiStreamingServer[in, out]) error {
	s := &wire{stream: stream}
	return f.serve(stream.Context(), &s.notes, func() error { return f.handle(s) })
}

// serve one stream and note its end.
func (f *scripted) serve(ctx context.Context, n *notes, handle func() error) error {
	f.mu.Lock()
	f.active++
	f.lines = append(f.lines, n)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.active--
	}()
	err := handle()
	if ctx.Err() == nil {
		n.notef("<- end %s", status.Code(err))
	}
	return err
}

// valueServer serves value entities.
type valueServer struct {
	valueentity.UnimplementedValueEntityServer
	f *scripted
}

func (v valueServer) Handle(stream grpc.BidiStreamingServer[valueIn, valueOut]) error {
	s := &valueWire{stream: stream}
	return v.f.serve(stream.Context(), &s.notes, func() error { return v.f.value(s) })
}

// opened counts the streams so far.
func (f *scripted) opened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lines)
}

// wait until all streams are over.
func (f *scripted) wait(t testing.TB) {
	t.Helper()
	eventually(t, "all streams are over", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.active == 0
	})
}

// transcript of all streams, when they are over.
func (f *scripted) transcript(t testing.TB) string {
	t.Helper()
	f.wait(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for i, l := range f.lines {
		fmt.Fprintf(&b, "stream %d\n", i+1)
		for _, text := range l.texts {
			b.WriteString("  " + text + "\n")
		}
	}
	return b.String()
}

// notes are what goes over a stream.
type notes struct{ texts []string }

func (l *notes) notef(format string, args ...any) {
	l.texts = append(l.texts, fmt.Sprintf(format, args...))
}

// wireOf is one stream of a scripted user function.
type wireOf[In, Out any] struct {
	notes
	stream grpc.BidiStreamingServer[In, Out]
}

type (
	valueIn   = valueentity.ValueEntityStreamIn
	valueOut  = valueentity.ValueEntityStreamOut
	wire      = wireOf[in, out]
	valueWire = wireOf[valueIn, valueOut]
)

func text(v any) string {
	m := v.(proto.Message)
	s := prototext.MarshalOptions{Resolver: new(protoregistry.Types)}.Format(m)
	return strings.Join(strings.Fields(s), " ") // prototext puts spaces in at random
}

func (l *wireOf[In, Out]) recv() (*In, error) {
	m, err := l.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		l.notef("-> half-close")
	case err != nil:
		l.notef("-> %s", status.Code(err))
	default:
		l.notef("-> %s", text(m))
	}
	return m, err
}

func (l *wireOf[In, Out]) send(m *Out) error {
	l.notef("<- %s", text(m))
	return l.stream.Send(m)
}

// hang reads nothing until the stream is cancelled.
func (l *wireOf[In, Out]) hang() error {
	<-l.stream.Context().Done()
	l.notef("-> %s", status.FromContextError(l.stream.Context().Err()).Code())
	return l.stream.Context().Err()
}

// stepOf answers one command. An error ends the stream with it; errHalt ends it with OK.
type stepOf[In, Out any] func(l *wireOf[In, Out], c *cloudstate.Command) error

type (
	step      = stepOf[in, out]
	valueStep = stepOf[valueIn, valueOut]
)

var errHalt = errors.New("halt")

// follow takes beginnings as they come and answers the n-th command of all streams by the n-th step.
func follow(steps ...step) func(l *wire) error { return following(steps) }

func following[In, Out any](steps []stepOf[In, Out]) func(l *wireOf[In, Out]) error {
	return func(l *wireOf[In, Out]) error {
		for {
			m, err := l.recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			c := any(m).(interface{ GetCommand() *cloudstate.Command }).GetCommand()
			if c == nil {
				continue
			}
			s := steps[0]
			if len(steps) > 1 {
				steps = steps[1:]
			}
			if err := s(l, c); errors.Is(err, errHalt) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// answer sends a reply to the current command, changed by f.
func answer(f func(r *eventsourced.EventSourcedReply)) step {
	return func(l *wire, c *cloudstate.Command) error {
		r := &eventsourced.EventSourcedReply{CommandId: c.GetId()}
		f(r)
		return l.send(&out{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: r}})
	}
}

func message(m *out) step { return func(l *wire, _ *cloudstate.Command) error { return l.send(m) } }

func topLevel(f *cloudstate.Failure) step {
	return message(&out{Message: &eventsourced.EventSourcedStreamOut_Failure{Failure: f}})
}

// payload of type shop.Line with a product.
func payload(product string) actors.Payload {
	return actors.Payload{TypeURL: "type.googleapis.com/shop.Line", ContentType: actors.ContentProtobuf, Data: append([]byte{0x12, byte(len(product))}, product...)}
}

func replies(product string) *cloudstate.ClientAction {
	return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{Payload: toAny(payload(product))}}}
}

func fails(f *cloudstate.Failure) *cloudstate.ClientAction {
	return &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{Failure: f}}
}

func events(list ...engine.Event) iter.Seq2[engine.Event, error] {
	return func(yield func(engine.Event, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func ref(id string) actors.Ref { return actors.Ref{Service: "shop.Cart1", ID: id} }

func turn(method, product string) engine.Turn {
	return engine.Turn{Command: actors.Command{Ref: ref("c1"), Method: method, Payload: payload(product)}, Sequence: 7}
}
