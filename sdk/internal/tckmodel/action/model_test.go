package action_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/tckmodel/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// The cases A-M01 to A-M34 of Cloudstate's conformance tests over a real gRPC connection. Responses must be exactly
// equal, so to a peer that announces no extension nothing of them may be sent.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	model = "cloudstate.tck.model.action.ActionTckModel"
	two   = "cloudstate.tck.model.action.ActionTwo"
)

func connect(t *testing.T) *grpc.ClientConn { return sdktest.Serve(t, action.Definitions()...) }

func TestDiscovery(t *testing.T) { // A-M01
	t.Parallel()
	spec, err := cloudstate.NewEntityDiscoveryClient(connect(t)).Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []*cloudstate.Entity{
		{EntityType: "cloudstate.action.ActionProtocol", ServiceName: model},
		{EntityType: "cloudstate.action.ActionProtocol", ServiceName: two},
	}
	if d := cmp.Diff(want, spec.GetEntities(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// variants are the effects that a case is repeated with.
var variants = []struct {
	name    string
	effects []*action.ProcessStep
	want    []*cloudstate.SideEffect
}{
	{"", nil, nil},
	{" with an effect", steps(effect("other", false)), []*cloudstate.SideEffect{wanted("other", false)}},
	{" with a synchronous effect", steps(effect("another", true)), []*cloudstate.SideEffect{wanted("another", true)}},
	{" with several effects", steps(effect("a", false), effect("b", false), effect("c", false)),
		[]*cloudstate.SideEffect{wanted("a", false), wanted("b", false), wanted("c", false)}},
}

// outcomes are the things that a group can come to.
var outcomes = []struct {
	name string
	step func(text string) *action.ProcessStep
	want func(text string) *pb.ActionResponse
}{
	{"reply", reply, func(text string) *pb.ActionResponse {
		return &pb.ActionResponse{Response: &pb.ActionResponse_Reply{Reply: &cloudstate.Reply{Payload: pack(&action.Response{Message: text})}}}
	}},
	{"no reply", func(string) *action.ProcessStep { return nil }, func(string) *pb.ActionResponse { return new(pb.ActionResponse) }},
	{"forward", forward, func(id string) *pb.ActionResponse {
		return &pb.ActionResponse{Response: &pb.ActionResponse_Forward{Forward: &cloudstate.Forward{
			ServiceName: two, CommandName: "Call", Payload: pack(&action.OtherRequest{Id: id})}}}
	}},
	{"failure", fail, func(text string) *pb.ActionResponse {
		return &pb.ActionResponse{Response: &pb.ActionResponse_Failure{Failure: &cloudstate.Failure{Description: text}}}
	}},
}

func TestUnary(t *testing.T) { // A-M02 to A-M17
	t.Parallel()
	client := pb.NewActionProtocolClient(connect(t))
	for _, outcome := range outcomes {
		for i, v := range variants {
			text := fmt.Sprint(i)
			in := command("ProcessUnary", group(append(steps(outcome.step(text)), v.effects...)...))
			got, err := client.HandleUnary(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			want := outcome.want(text)
			want.SideEffects = v.want
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Errorf("%s%s: %s", outcome.name, v.name, d)
			}
		}
	}
	later := command("ProcessUnary", group(reply("one"), fail("two"), reply("three")))
	got, err := client.HandleUnary(t.Context(), later)
	if d := cmp.Diff(outcomes[0].want("three"), got, protocmp.Transform()); d != "" || err != nil {
		t.Errorf("the last step does not count: %v %s", err, d)
	}
}

func TestStreamedIn(t *testing.T) { // A-M18 to A-M26
	t.Parallel()
	client := pb.NewActionProtocolClient(connect(t))
	effects := [][]*action.ProcessStep{steps(effect("a", false)), steps(effect("b", true)), steps(effect("c", false), effect("d", false))}
	want := []*cloudstate.SideEffect{wanted("a", false), wanted("b", true), wanted("c", false), wanted("d", false)}
	run := func(name string, want *pb.ActionResponse, requests ...*action.Request) {
		stream, err := client.HandleStreamedIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(command("ProcessStreamedIn", nil))
		for _, r := range requests {
			stream.Send(&pb.ActionCommand{Payload: pack(r)})
		}
		got, err := stream.CloseAndRecv()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	run("no requests", new(pb.ActionResponse))
	for _, outcome := range outcomes {
		run(outcome.name, outcome.want("one"), group(steps(outcome.step("one"))...))
		with := outcome.want("two")
		with.SideEffects = want
		run(outcome.name+" with effects", with, group(append(steps(outcome.step("two")), effects[0]...)...), group(effects[1]...), group(effects[2]...))
	}
}

func TestStreamedOut(t *testing.T) { // A-M27 to A-M30
	t.Parallel()
	client := pb.NewActionProtocolClient(connect(t))
	for _, outcome := range outcomes {
		request := new(action.Request)
		for i, v := range variants {
			request.Groups = append(request.Groups, group(append(steps(outcome.step(fmt.Sprint(i))), v.effects...)...).GetGroups()...)
		}
		stream, err := client.HandleStreamedOut(t.Context(), command("ProcessStreamedOut", request))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range variants {
			want := outcome.want(fmt.Sprint(i))
			want.SideEffects = v.want
			got, err := stream.Recv()
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" || err != nil {
				t.Errorf("%s%s: %v %s", outcome.name, v.name, err, d)
			}
		}
		if out, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last response came %v, %v", outcome.name, out, err)
		}
	}
}

func TestStreamed(t *testing.T) { // A-M31 to A-M34
	t.Parallel()
	client := pb.NewActionProtocolClient(connect(t))
	for _, outcome := range outcomes {
		stream, err := client.HandleStreamed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		expect := func(text string, effects []*cloudstate.SideEffect) {
			want := outcome.want(text)
			want.SideEffects = effects
			got, err := stream.Recv()
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" || err != nil {
				t.Errorf("%s %s: %v %s", outcome.name, text, err, d)
			}
		}
		stream.Send(command("ProcessStreamed", nil))
		for i, v := range variants {
			text := fmt.Sprint(i)
			stream.Send(&pb.ActionCommand{Payload: pack(group(append(steps(outcome.step(text)), v.effects...)...))})
			expect(text, v.want)
		}
		both := group(steps(outcome.step("five"))...)
		both.Groups = append(both.Groups, group(append(steps(outcome.step("six")), variants[1].effects...)...).GetGroups()...)
		stream.Send(&pb.ActionCommand{Payload: pack(both)})
		expect("five", nil)
		expect("six", variants[1].want)
		stream.CloseSend()
		if out, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the half-close came %v, %v", outcome.name, out, err)
		}
	}
}

func TestTwo(t *testing.T) {
	t.Parallel()
	in := &pb.ActionCommand{ServiceName: two, Name: "Call", Payload: pack(&action.OtherRequest{Id: "x"})}
	got, err := pb.NewActionProtocolClient(connect(t)).HandleUnary(t.Context(), in)
	if d := cmp.Diff(outcomes[0].want(""), got, protocmp.Transform()); d != "" || err != nil {
		t.Error(d, err)
	}
}

func command(name string, in *action.Request) *pb.ActionCommand {
	c := &pb.ActionCommand{ServiceName: model, Name: name}
	if in != nil {
		c.Payload = pack(in)
	}
	return c
}

func group(steps ...*action.ProcessStep) *action.Request {
	return &action.Request{Groups: []*action.ProcessGroup{{Steps: steps}}}
}

// steps leaves out the nil ones.
func steps(all ...*action.ProcessStep) (some []*action.ProcessStep) {
	for _, s := range all {
		if s != nil {
			some = append(some, s)
		}
	}
	return some
}

func reply(text string) *action.ProcessStep {
	return &action.ProcessStep{Step: &action.ProcessStep_Reply{Reply: &action.Reply{Message: text}}}
}

func forward(id string) *action.ProcessStep {
	return &action.ProcessStep{Step: &action.ProcessStep_Forward{Forward: &action.Forward{Id: id}}}
}

func fail(text string) *action.ProcessStep {
	return &action.ProcessStep{Step: &action.ProcessStep_Fail{Fail: &action.Fail{Message: text}}}
}

func effect(id string, synchronous bool) *action.ProcessStep {
	return &action.ProcessStep{Step: &action.ProcessStep_Effect{Effect: &action.SideEffect{Id: id, Synchronous: synchronous}}}
}

func wanted(id string, synchronous bool) *cloudstate.SideEffect {
	return &cloudstate.SideEffect{ServiceName: two, CommandName: "Call", Payload: pack(&action.OtherRequest{Id: id}), Synchronous: synchronous}
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil || !strings.HasPrefix(a.GetTypeUrl(), "type.googleapis.com/") {
		panic(err)
	}
	return a
}
