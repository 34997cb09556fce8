package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/tests/harness"
)

// scripted is a user function that no library would let one write: Add writes an event and replies how many there are,
// the other commands break the protocol, each in its way.
type scripted struct {
	cloudstate.UnimplementedEntityDiscoveryServer
	eventsourced.UnimplementedEventSourcedServer
	address string

	mu       sync.Mutex
	services []string
	reported []string
	server   *grpc.Server
	serving  sync.WaitGroup
}

var scriptedCommands = []string{
	"Add", "WrongID", "TwoReplies", "NoType", "Failure", "Empty", "End", "Abort", "Effect", "Forward",
}

func startScripted(t *testing.T, services ...string) *scripted {
	t.Helper()
	f := &scripted{address: "127.0.0.1:0"}
	f.start(t, services...)
	t.Cleanup(f.stop)
	return f
}

// start serves, at the same address each time.
func (f *scripted) start(t *testing.T, services ...string) {
	t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.address, f.services, f.server = l.Addr().String(), services, grpc.NewServer()
	cloudstate.RegisterEntityDiscoveryServer(f.server, f)
	eventsourced.RegisterEventSourcedServer(f.server, f)
	server := f.server
	f.serving.Go(func() { _ = server.Serve(l) })
}

func (f *scripted) stop() {
	f.mu.Lock()
	server := f.server
	f.mu.Unlock()
	server.Stop()
	f.serving.Wait()
}

func (f *scripted) Discover(context.Context, *cloudstate.ProxyInfo) (*cloudstate.EntitySpec, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &cloudstate.EntitySpec{ServiceInfo: &cloudstate.ServiceInfo{
		ServiceName: "scripted", ProtocolMinorVersion: 2, Extensions: []string{"json"},
	}}
	for _, name := range f.services {
		e := &cloudstate.Entity{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: name, PersistenceId: strings.TrimPrefix(name, "persistence:")}
		if strings.HasPrefix(name, "persistence:") {
			e.ServiceName = "test.v1.Reserved"
		}
		for _, c := range scriptedCommands {
			e.Methods = append(e.Methods, &cloudstate.Method{Name: c})
		}
		s.Entities = append(s.Entities, e)
	}
	return s, nil
}

func (f *scripted) ReportError(_ context.Context, e *cloudstate.UserFunctionError) (*emptypb.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reported = append(f.reported, e.GetMessage())
	return &emptypb.Empty{}, nil
}

func (f *scripted) reports() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.reported, "\n")
}

// number is a JSON payload.
func number(n int) *anypb.Any {
	text := fmt.Sprint(n)
	return &anypb.Any{TypeUrl: "json.cloudstate.io/number", Value: append([]byte{10, byte(len(text))}, text...)}
}

func (f *scripted) Handle(g eventsourced.EventSourced_HandleServer) error {
	events := 0
	for {
		in, err := g.Recv()
		if err != nil {
			return nil
		}
		if in.GetEvent() != nil {
			events++
		}
		if in.GetCommand() == nil {
			continue
		}
		id := in.GetCommand().GetId()
		reply := &eventsourced.EventSourcedReply{
			CommandId:    id,
			ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{Payload: number(events + 1)}}},
			Events:       []*anypb.Any{number(events + 1)},
		}
		out := &eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: reply}}
		switch in.GetCommand().GetName() {
		case "Add":
			events++
		case "WrongID":
			reply.CommandId += 7
		case "TwoReplies":
			events++
			if err := g.Send(out); err != nil {
				return nil
			}
		case "NoType":
			reply.Events[0].TypeUrl = ""
		case "Failure":
			out.Message = &eventsourced.EventSourcedStreamOut_Failure{Failure: &cloudstate.Failure{CommandId: id, Description: "a secret of the handler"}}
		case "Empty":
			out.Message = nil
		case "End":
			return nil
		case "Abort":
			return status.Error(codes.Internal, "a secret of the handler")
		case "Effect":
			reply.SideEffects = []*cloudstate.SideEffect{{ServiceName: "test.v1.Scripted", CommandName: "Add", Payload: number(1)}}
		case "Forward":
			reply.ClientAction.Action = &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{ServiceName: "test.v1.Scripted", CommandName: "Add", Payload: number(1)}}
		}
		if err := g.Send(out); err != nil {
			return nil
		}
	}
}

// A user function that breaks the protocol hurts the command at hand and nothing else: not the entity, whose events are
// what they were, and not its neighbour.
func TestBrokenProtocol(t *testing.T) {
	t.Parallel()
	f := startScripted(t, "test.v1.Scripted")
	s := prepare(t)
	s.host(t, harness.HostOptions{Metadata: map[string]string{"userFunction": f.address}, ActorTypes: []string{"Scripted"}})
	add := func(id, want string) {
		t.Helper()
		if a := s.actor(t, "Scripted", id, "Add", ""); a.status != 200 || a.body != want {
			t.Errorf("Add to %s: %d %s, want %s", id, a.status, a.body, want)
		}
	}
	add("neighbour", "1")
	neighbour := 1
	for command, want := range map[string]struct{ code, text string }{
		"WrongID": {"UNKNOWN", "Unexpected entity reply"},
		"NoType":  {"UNKNOWN", "Unexpected entity reply"},
		"Failure": {"UNKNOWN", "Unexpected entity failure"},
		"Empty":   {"UNKNOWN", "Unexpected entity message"},
		"End":     {"UNKNOWN", "Unexpected entity termination"},
		"Abort":   {"UNKNOWN", "Unexpected entity termination"},
		"Effect":  {"INVALID_ARGUMENT", "test.v1.Scripted.Add is not addressed to an entity"},
		"Forward": {"INVALID_ARGUMENT", "test.v1.Scripted.Add is not addressed to an entity"},
	} {
		add(command, "1")
		a := s.actor(t, "Scripted", command, command, "")
		if a.status == 200 || a.code != want.code || !strings.Contains(a.text, want.text) || strings.Contains(a.body, "a secret") {
			t.Errorf("%s: %+v", command, a)
		}
		r := s.binding(t, "invoke", "", map[string]string{"service": "test.v1.Scripted", "id": command, "command": command})
		if r.OK() || !strings.Contains(string(r.Body), want.text) || strings.Contains(string(r.Body), "a secret") {
			t.Errorf("%s by binding: %d %s", command, r.Status, r.Body)
		}
		add(command, "2")
		neighbour++
		add("neighbour", fmt.Sprint(neighbour))
	}
	// The second reply is found when the next command is given; the first was as good as any.
	if a := s.actor(t, "Scripted", "two", "TwoReplies", ""); a.status != 200 || a.body != "1" {
		t.Errorf("two replies: %+v", a)
	}
	err := harness.Poll(within(t, 20*time.Second), 50*time.Millisecond, func(context.Context) error {
		if a := s.actor(t, "Scripted", "two", "Add", ""); a.status != 200 || a.body != "2" {
			return fmt.Errorf("after two replies: %+v", a)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	// A user function that is away is said to be away, and is missed no longer than it is.
	f.stop()
	if a := s.actor(t, "Scripted", "neighbour", "Add", ""); a.code != "UNAVAILABLE" || !strings.Contains(a.text, f.address) {
		t.Errorf("without a user function: %+v", a)
	}
	f.start(t, "test.v1.Scripted")
	err = harness.Poll(within(t, 30*time.Second), 100*time.Millisecond, func(context.Context) error {
		if a := s.actor(t, "Scripted", "neighbour", "Add", ""); a.status != 200 || a.body != fmt.Sprint(neighbour+1) {
			return fmt.Errorf("when it is back: %+v", a)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A user function that comes back with other services is hosted as it is now; one that comes back broken is told so, and
// what was hosted stays.
func TestRediscovery(t *testing.T) {
	t.Parallel()
	f := startScripted(t, "test.v1.First", "test.v1.Kept")
	s := prepare(t)
	s.host(t, harness.HostOptions{Metadata: map[string]string{"userFunction": f.address}, ActorTypes: []string{"First", "Kept"}})
	if a := s.actor(t, "Kept", "a", "Add", ""); a.body != "1" {
		t.Fatalf("Add: %+v", a)
	}

	f.stop()
	f.start(t, "test.v1.Kept", "test.v1.Second")
	hosted := func(want ...string) {
		t.Helper()
		err := harness.Poll(within(t, 40*time.Second), 100*time.Millisecond, func(ctx context.Context) error {
			m, err := s.dapr.Metadata(ctx)
			if err != nil {
				return err
			}
			var got []string
			for _, a := range m.ActorRuntime.ActiveActors {
				if a.Type != "EntitiesJournal" { // is always there
					got = append(got, a.Type)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || !m.ActorRuntime.HostReady {
				return fmt.Errorf("daprd hosts %v, want %v", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	hosted("Kept", "Second")
	eventually := func(actorType, id, want string) {
		t.Helper()
		err := harness.Poll(within(t, 30*time.Second), 100*time.Millisecond, func(context.Context) error {
			if a := s.actor(t, actorType, id, "Add", ""); a.status != 200 || a.body != want {
				return fmt.Errorf("Add to %s/%s: %+v, want %s", actorType, id, a, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	eventually("Second", "a", "1")
	eventually("Kept", "a", "2")
	r := s.binding(t, "invoke", "", map[string]string{"service": "test.v1.First", "id": "a", "command": "Add"})
	if r.OK() || !strings.Contains(string(r.Body), "test.v1.Kept, test.v1.Second") {
		t.Errorf("a service that is gone: %d %s", r.Status, r.Body)
	}

	f.stop()
	f.start(t, "persistence:state/entities")
	err := harness.Poll(within(t, 30*time.Second), 100*time.Millisecond, func(context.Context) error {
		if !strings.Contains(f.reports(), "state/entities") {
			return errors.New("the user function was not told what is wrong")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	ready, err := harness.NewClient(s.Component.Admin).Do(within(t, 10*time.Second), "GET", "/readyz", nil, nil)
	if err != nil || ready.OK() || !strings.Contains(string(ready.Body), "announces what cannot be served") {
		t.Errorf("readiness: %v, %d %s", err, ready.Status, ready.Body)
	}
	hosted("Kept", "Second")
	f.stop()
	f.start(t, "test.v1.Kept", "test.v1.Second")
	eventually("Kept", "a", "3")
}
