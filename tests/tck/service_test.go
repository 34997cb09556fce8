package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// How long an answer may take, and a stream after its last message.
const patience = 3 * time.Second

// service is a user function under test.
type service struct {
	conn *grpc.ClientConn
	spec *cloudstate.EntitySpec
	*messages

	// partial allows the user function to lack services, whose cases are then skipped.
	partial bool
}

// proxyInfo is what Cloudstate's proxy said: it knows of no extension.
func proxyInfo() *cloudstate.ProxyInfo {
	return &cloudstate.ProxyInfo{
		ProtocolMajorVersion: 0, ProtocolMinorVersion: 2, ProxyName: "cloudstate-tck", ProxyVersion: "1",
		SupportedEntityTypes: []string{
			"cloudstate.action.ActionProtocol", "cloudstate.crdt.Crdt", "cloudstate.eventsourced.EventSourced",
			"cloudstate.valueentity.ValueEntity",
		},
	}
}

// connect discovers the user function at an address, which may still be starting.
func connect(t *testing.T, address string) *service {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	spec, err := cloudstate.NewEntityDiscoveryClient(conn).Discover(ctx, proxyInfo(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("discover the user function at %s: %v", address, err)
	}
	return &service{conn: conn, spec: spec, messages: newMessages(t, spec)}
}

// entity is what the user function announced for a service; if that is nothing, the test ends.
func (s *service) entity(t *testing.T, name string) *cloudstate.Entity {
	t.Helper()
	for _, e := range s.spec.GetEntities() {
		if e.GetServiceName() == name {
			if !s.service(name) {
				t.Fatalf("%s is announced, but not described", name)
			}
			return e
		}
	}
	if !s.partial {
		t.Fatalf("the user function does not have the service %s", name)
	}
	t.Skipf("the user function does not have the service %s", name)
	return nil
}

// TestService is the service half.
func TestService(t *testing.T) {
	if address := os.Getenv("TCK_SERVICE"); address != "" {
		s := connect(t, address)
		s.partial = true
		s.testService(t)
		return
	}
	connect(t, startModel(t)).testService(t)
}

func (s *service) testService(t *testing.T) {
	t.Run("discovery", func(t *testing.T) { testDiscovery(t, s) })
	t.Run("event sourced", func(t *testing.T) { testEventSourced(t, s) })
	t.Run("value", func(t *testing.T) { testValue(t, s) })
	t.Run("action", func(t *testing.T) { testAction(t, s) })
	t.Run("replicated", func(t *testing.T) { testReplicated(t, s) })
}

// testDiscovery asks again, as every restarted proxy does.
func testDiscovery(t *testing.T, s *service) {
	again, err := cloudstate.NewEntityDiscoveryClient(s.conn).Discover(t.Context(), proxyInfo())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the spec of a second discovery", s.spec, again)
	info := s.spec.GetServiceInfo()
	if info.GetProtocolMajorVersion() != 0 || info.GetProtocolMinorVersion() != 2 {
		t.Errorf("protocol %d.%d, want 0.2", info.GetProtocolMajorVersion(), info.GetProtocolMinorVersion())
	}
	if len(info.GetExtensions()) > 0 {
		t.Errorf("extensions %v to a proxy that knows none", info.GetExtensions())
	}
	for _, e := range s.spec.GetEntities() {
		if !s.service(e.GetServiceName()) {
			t.Errorf("%s is not in the descriptors", e.GetServiceName())
		}
	}
}

var entities atomic.Int64

// fresh is an entity id that nobody has used.
func fresh() string { return fmt.Sprintf("entity-%d", entities.Add(1)) }

func equal(t *testing.T, what string, want, got proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// bidi is a stream of any of the protocol's services.
type bidi[In, Out any] struct {
	grpc.BidiStreamingClient[In, Out]
	cancel context.CancelFunc
}

func open[In, Out any](
	t *testing.T, call func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[In, Out], error),
) *bidi[In, Out] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := call(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &bidi[In, Out]{stream, cancel}
}

func (b *bidi[In, Out]) send(t *testing.T, m *In) {
	t.Helper()
	if err := b.Send(m); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func (b *bidi[In, Out]) receive(t *testing.T) *Out {
	t.Helper()
	late := time.AfterFunc(patience, b.cancel)
	defer late.Stop()
	m, err := b.Recv()
	if err != nil {
		t.Fatalf("no answer within %v: %v", patience, err)
	}
	return m
}

// passivate closes our side: the user function ends its own with OK and says nothing more.
func (b *bidi[In, Out]) passivate(t *testing.T) {
	t.Helper()
	if err := b.CloseSend(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, b.cancel)
	defer late.Stop()
	if m, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end of the commands: %v, %v; want the end", m, err)
	}
}
