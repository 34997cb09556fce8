package eventlogeventing_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	model "github.com/dapr-entities/entities/sdk/internal/tckmodel/eventlogeventing"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const pkg = "cloudstate.tck.model.eventlogeventing."

// TestDiscovery: the options of the .proto file reach the proxy.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	conn := sdktest.Serve(t, model.Definitions()...)
	spec, err := cloudstate.NewEntityDiscoveryClient(conn).Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []*cloudstate.Entity{
		{EntityType: "cloudstate.action.ActionProtocol", ServiceName: pkg + "EventLogSubscriberModel"},
		{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: pkg + "EventSourcedEntityOne", PersistenceId: "eventlogeventing-one"},
		{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: pkg + "EventSourcedEntityTwo", PersistenceId: "eventlogeventing-two"},
	}
	if d := cmp.Diff(want, spec.GetEntities(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(spec.GetProto(), set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	for method, log := range map[string]string{"ProcessEventOne": "eventlogeventing-one", "ProcessEventTwo": "eventlogeventing-one",
		"Effect": "", "ProcessAnyEvent": "eventlogeventing-two"} {
		d, err := files.FindDescriptorByName(protoreflect.FullName(pkg + "EventLogSubscriberModel." + method))
		if err != nil {
			t.Fatal(err)
		}
		eventing, _ := proto.GetExtension(d.Options(), cloudstate.E_Eventing).(*cloudstate.Eventing)
		if got := eventing.GetIn().GetEventLog(); got != log {
			t.Errorf("%s takes from %q, want %q", method, got, log)
		}
	}
}

// TestEmittedJSON: the event of EV-P03 is one that the proxy knows for JSON.
func TestEmittedJSON(t *testing.T) {
	t.Parallel()
	stream, err := pb.NewEventSourcedClient(sdktest.Serve(t, model.Definitions()...)).Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.CloseSend()
	in, _ := anypb.New(&model.JsonEvent{Id: "e", Message: "some json message"})
	stream.Send(&pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{
		Init: &pb.EventSourcedInit{ServiceName: pkg + "EventSourcedEntityTwo", EntityId: "e"}}})
	stream.Send(&pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{
		Command: &cloudstate.Command{EntityId: "e", Id: 1, Name: "EmitJsonEvent", Payload: in}}})
	out, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	want := &anypb.Any{TypeUrl: "json.cloudstate.io/said", Value: []byte("\x0a\x1f" + `{"message":"some json message"}`)}
	if d := cmp.Diff([]*anypb.Any{want}, out.GetReply().GetEvents(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestSubscriber(t *testing.T) { // EV-P01 to EV-P03, and the streamed method that they leave out
	t.Parallel()
	from := func(entity string) sdktest.InvokeOption { return sdktest.Deliver(action.Event{Subject: entity}) }
	reply := &model.ProcessStep{Step: &model.ProcessStep_Reply{Reply: &model.Reply{Message: "some message"}}}
	forward := &model.ProcessStep{Step: &model.ProcessStep_Forward{Forward: &model.Forward{Message: "some message"}}}
	forwarded := sdktest.CallOf(t, model.Effect.With(&model.EffectRequest{Id: "e:2", Message: "some message"}))

	one := sdktest.Invoke(t, model.Subscriber, model.ProcessEventOne, &model.EventOne{Step: reply}, from("e:1"))
	if d := cmp.Diff(&model.Response{Id: "e:1", Message: "some message"}, one.Reply, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	two := sdktest.Invoke(t, model.Subscriber, model.ProcessEventOne, &model.EventOne{Step: forward}, from("e:2"))
	if d := cmp.Diff(&forwarded, two.Forward); d != "" {
		t.Error(d)
	}
	type message struct {
		Message string `json:"message"`
	}
	event := sdktest.Any(t, "said", message{"some json message"})
	three := sdktest.Invoke(t, model.Subscriber, model.ProcessAnyEvent, event, from("e:3"))
	if d := cmp.Diff(&model.Response{Id: "e:3", Message: "some json message"}, three.Reply, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	several := sdktest.InvokeOut(t, model.Subscriber, model.ProcessEventTwo,
		&model.EventTwo{Step: []*model.ProcessStep{reply, forward}}, from("e:2"))
	if len(several) != 2 || several[0].Reply.GetId() != "e:2" || several[1].Forward == nil || several[1].Forward.Method != "Effect" {
		t.Errorf("got %+v", several)
	}
	if got := sdktest.Invoke(t, model.Subscriber, model.ProcessEventOne, new(model.EventOne)); sdk.CodeOf(got.Err) != sdk.CodeFailedPrecondition {
		t.Errorf("a call that is no event: %+v", got)
	}
}
