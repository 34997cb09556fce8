package tck

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
	"github.com/dapr-entities/entities/tests/harness"
)

// modelPackage is the program with the model services of our SDK.
const modelPackage = "sdk/internal/tckmodel/cmd/tckmodel"

// startModel starts the model services and returns their address.
func startModel(t *testing.T) string {
	t.Helper()
	cluster := harness.Test(t, harness.ClusterConfig{})
	handler, err := cluster.StartHandler(t.Context(), harness.HandlerOptions{Package: modelPackage, Name: "model"})
	if err != nil {
		t.Fatal(err)
	}
	return handler.Address
}

// proxy is a component with everything around it: callers come to its gateway, and the interceptor is in front of the
// model services.
type proxy struct {
	*service
	*interceptor
	host    *harness.Host
	gateway *grpc.ClientConn
	url     string
}

// startProxy starts the interceptor in front of the model services, and a component with its sidecar.
func startProxy(t *testing.T, address string) *proxy {
	t.Helper()
	p := &proxy{service: connect(t, address), interceptor: intercept(t, address)}
	p.start(t, startSystem(t), harness.HostOptions{Journal: "memory:"})
	return p
}

// system is what the hosts of entities have in common.
type system struct {
	*harness.Cluster
	placement string
}

func startSystem(t *testing.T) *system {
	t.Helper()
	s := &system{Cluster: harness.Test(t, harness.ClusterConfig{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	placement, err := s.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.placement = placement.Address
	return s
}

// start puts a component with its sidecar in front of the user function.
func (p *proxy) start(t *testing.T, s *system, options harness.HostOptions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	gateway := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p.url = "http://" + gateway
	options.Placement = s.placement
	metadata := map[string]string{"userFunction": p.interceptor.address, "gatewayAddress": gateway}
	maps.Copy(metadata, options.Metadata)
	options.Metadata = metadata
	if options.ActorTypes == nil {
		options.ActorTypes = []string{
			"EventSourcedTckModel", "EventSourcedTwo", "EventSourcedConfigured", "ValueEntityTckModel", "ValueEntityTwo", "ValueEntityConfigured",
		}
	}
	if p.host, err = s.StartHost(ctx, options); err != nil {
		t.Fatal(err)
	}
	if p.gateway, err = grpc.NewClient(gateway, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.gateway.Close() })
}

// call is a unary call by gRPC; the answer is in the JSON form of protobuf.
func (p *proxy) call(t *testing.T, method string, request *anypb.Any) (proto.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out []byte
	in := request.GetValue()
	if err := p.gateway.Invoke(ctx, method, &in, &out, grpc.ForceCodec(raw{})); err != nil {
		return nil, err
	}
	return p.decode(t, strings.TrimSuffix(request.GetTypeUrl()[len(typePrefix):], "Request")+"Response", out), nil
}

// decode makes a message of bytes. The answers of all models are called Response, but for the other requests' of actions.
func (p *proxy) decode(t *testing.T, name string, data []byte) proto.Message {
	t.Helper()
	name = strings.Replace(name, "OtherResponse", "Response", 1)
	m := p.message(t, name, `{}`)
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// replies holds if a call is answered with a text.
func (p *proxy) replies(t *testing.T, method string, request *anypb.Any, model, text string) {
	t.Helper()
	got, err := p.call(t, method, request)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	equal(t, "the reply to "+method, p.message(t, model+"Response", fmt.Sprintf(`{"message":%q}`, text)), got)
}

// fails holds if a call is answered with a failure of that text.
func (p *proxy) fails(t *testing.T, method string, request *anypb.Any, text string) {
	t.Helper()
	got, err := p.call(t, method, request)
	if err == nil {
		t.Fatalf("%s was answered with %v, want the failure %q", method, got, text)
	}
	if said := status.Convert(err).Message(); said != text {
		t.Errorf("%s failed with %q, want %q", method, said, text)
	}
}

// post is a call by HTTP. It holds if the answer is as wanted, to the byte.
func (p *proxy) post(t *testing.T, path, body string, code int, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	if answer.StatusCode != code || string(got) != want {
		t.Errorf("POST %s %s: %d %s, want %d %s", path, body, answer.StatusCode, got, code, want)
	}
	if media := answer.Header.Get("Content-Type"); code == http.StatusOK && media != "application/json" {
		t.Errorf("POST %s: the content type is %q", path, media)
	}
}

// The messages that are seen on the way, as they are to be.

func (p *proxy) eventInit(service, id string) proto.Message {
	return &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: &eventsourced.EventSourcedInit{
		ServiceName: service, EntityId: id,
	}}}
}

func eventCommand(c *cloudstate.Command) proto.Message {
	return &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Command{Command: c}}
}

func (p *proxy) eventReply(t *testing.T, n int64, want answer) proto.Message {
	t.Helper()
	r := &eventsourced.EventSourcedReply{
		CommandId: n, ClientAction: p.clientAction(t, modelES, eventSourcedTwo, n, want), SideEffects: p.sideEffects(t, modelES, eventSourcedTwo, want.effects),
	}
	for _, v := range want.events {
		r.Events = append(r.Events, p.persisted(t, modelES, v))
	}
	if want.snapshot != "" {
		r.Snapshot = p.persisted(t, modelES, want.snapshot)
	}
	return &eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: r}}
}

func (p *proxy) valueInit(service, id string) proto.Message {
	return &valueentity.ValueEntityStreamIn{Message: &valueentity.ValueEntityStreamIn_Init{Init: &valueentity.ValueEntityInit{
		ServiceName: service, EntityId: id, State: &valueentity.ValueEntityInitState{},
	}}}
}

func valueCommand(c *cloudstate.Command) proto.Message {
	return &valueentity.ValueEntityStreamIn{Message: &valueentity.ValueEntityStreamIn_Command{Command: c}}
}

func (p *proxy) valueReply(t *testing.T, n int64, want answer) proto.Message {
	t.Helper()
	r := &valueentity.ValueEntityReply{
		CommandId: n, ClientAction: p.clientAction(t, modelV, valueTwo, n, want), SideEffects: p.sideEffects(t, modelV, valueTwo, want.effects),
	}
	switch {
	case want.delete:
		r.StateAction = &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Delete{Delete: &valueentity.ValueEntityDelete{}}}
	case want.update != "":
		r.StateAction = &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Update{
			Update: &valueentity.ValueEntityUpdate{Value: p.persisted(t, modelV, want.update)},
		}}
	}
	return &valueentity.ValueEntityStreamOut{Message: &valueentity.ValueEntityStreamOut_Reply{Reply: r}}
}

// second is a command to a service's Call.
func (p *proxy) second(t *testing.T, model, id string, n int64) *cloudstate.Command {
	t.Helper()
	return &cloudstate.Command{EntityId: id, Id: n, Name: "Call", Payload: p.any(t, model+"Request", fmt.Sprintf(`{"id":%q}`, id))}
}

func (p *proxy) processRequest(t *testing.T, model, id string, steps ...step) *anypb.Any {
	t.Helper()
	return p.any(t, model+"Request", fmt.Sprintf(`{"id":%q,"actions":%s}`, id, list(steps)))
}

// givenAction is given without the metadata, which are the transport's business.
func (x *exchange) givenAction(t *testing.T, want *action.ActionCommand) {
	t.Helper()
	got := proto.CloneOf(x.take(t, &x.in, "to").(*action.ActionCommand))
	got.Metadata = nil
	equal(t, "a command by "+x.path, want, got)
}

func (x *exchange) answeredAction(t *testing.T, want *action.ActionResponse) {
	t.Helper()
	got := proto.CloneOf(x.take(t, &x.out, "of").(*action.ActionResponse))
	for _, m := range got.GetSideEffects() {
		m.Metadata = nil
	}
	if r := got.GetReply(); r != nil {
		r.Metadata = nil
	}
	if f := got.GetForward(); f != nil {
		f.Metadata = nil
	}
	equal(t, "a response by "+x.path, want, got)
}
