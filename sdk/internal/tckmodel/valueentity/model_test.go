package valueentity_test

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/tckmodel/valueentity"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// The cases V-M01 to V-M19 of Cloudstate's conformance tests, over a real gRPC connection. Replies must be exactly
// equal, so to a peer that announces no extension nothing of them may be sent.

const (
	service = "cloudstate.tck.model.valueentity.ValueEntityTckModel"
	two     = "cloudstate.tck.model.valueentity.ValueEntityTwo"
)

func TestDiscovery(t *testing.T) { // V-M01, V-M02
	t.Parallel()
	client := cloudstate.NewEntityDiscoveryClient(sdktest.Serve(t, valueentity.Model, valueentity.Two, valueentity.Configured))
	spec, err := client.Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2, ProxyName: "tck"})
	if err != nil {
		t.Fatal(err)
	}
	want := []*cloudstate.Entity{
		{EntityType: "cloudstate.valueentity.ValueEntity", ServiceName: service, PersistenceId: "value-entity-tck-model"},
		{EntityType: "cloudstate.valueentity.ValueEntity", ServiceName: two, PersistenceId: "value-entity-tck-model-two"},
		{EntityType: "cloudstate.valueentity.ValueEntity", ServiceName: "cloudstate.tck.model.valueentity.ValueEntityConfigured",
			PersistenceId: "value-entity-configured", PassivationStrategy: &cloudstate.EntityPassivationStrategy{
				Strategy: &cloudstate.EntityPassivationStrategy_Timeout{Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: 100}}}},
	}
	if d := cmp.Diff(want, spec.GetEntities(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// frame is one step of a case: what the proxy sends, and the exact answer if there is one.
type frame struct {
	in   *pb.ValueEntityStreamIn
	want *pb.ValueEntityStreamOut
}

type action = *valueentity.RequestAction

func TestModel(t *testing.T) {
	t.Parallel()
	const no = "expected failure"
	tests := []struct {
		name    string
		streams [][]frame // each ends by the proxy's half-close
	}{
		{"V-M03 initial empty state", [][]frame{{start(""), command(1, reply(1, ""))}}},
		{"V-M04 update state", [][]frame{{start(""), command(1, set(reply(1, "A"), "A"), update("A")), command(2, reply(2, "A"))}}},
		{"V-M05 delete state", [][]frame{{start(""), command(1, set(reply(1, "A"), "A"), update("A")),
			command(2, gone(reply(2, "")), del()), command(3, reply(3, ""))}}},
		{"V-M06 multiple update states", [][]frame{{start(""),
			command(1, set(reply(1, "C"), "C"), update("A"), update("B"), update("C")), command(2, reply(2, "C"))}}},
		{"V-M07 multiple update states and delete states", [][]frame{{start(""),
			command(1, gone(reply(1, "")), update("A"), update("B"), del()), command(2, reply(2, ""))}}},
		{"V-M08 update, delete and update states", [][]frame{{start(""),
			command(1, set(reply(1, "B"), "B"), update("A"), del(), update("B")), command(2, reply(2, "B"))}}},
		{"V-M09 rehydration after passivation", [][]frame{{start(""),
			command(1, set(reply(1, "A"), "A"), update("A")),
			command(2, set(reply(2, "B"), "B"), update("B")),
			command(3, set(reply(3, "C"), "C"), update("C")),
			command(4, set(reply(4, "D"), "D"), update("D")),
		}, {start("D"), command(1, set(reply(1, "E"), "E"), update("E")), command(2, reply(2, "E"))}}},
		{"V-M10 multiple side effects", [][]frame{{start(""),
			command(1, effects(reply(1, ""), false, "1", "2", "3"), effect("1"), effect("2"), effect("3"))}}},
		{"V-M11 side effect to second service", [][]frame{{start(""), command(1, set(reply(1, "X"), "X"), update("X")),
			command(2, effects(reply(2, "X"), false, "id"), effect("id")), command(3, reply(3, "X"))}}},
		{"V-M12 multiple side effects and state", [][]frame{{start(""),
			command(1, effects(set(reply(1, "E"), "E"), false, "1", "2", "3"),
				update("A"), update("B"), update("C"), update("D"), update("E"), effect("1"), effect("2"), effect("3"))}}},
		{"V-M13 synchronous side effect", [][]frame{{start(""), command(1, effects(reply(1, ""), true, "id"), synchronous("id"))}}},
		{"V-M14 forward to second service", [][]frame{{start(""), command(1, set(reply(1, "X"), "X"), update("X")),
			command(2, forwarded(2, "id"), forward("id")), command(3, reply(3, "X"))}}},
		{"V-M15 forward with updated state", [][]frame{{start(""),
			command(1, set(forwarded(1, "id"), "A"), update("A"), forward("id"))}}},
		{"forward with deleted state", [][]frame{{start("A"),
			command(1, gone(forwarded(1, "id")), del(), forward("id")), command(2, reply(2, ""))}}},
		{"V-M16 forward and side effect", [][]frame{{start(""),
			command(1, effects(forwarded(1, "id"), false, "id"), effect("id"), forward("id"))}}},
		{"V-M17 failure action", [][]frame{{start(""), command(1, failure(1, no), fail(no))}}},
		{"V-M18 connection after failure action", [][]frame{{start(""), command(1, set(reply(1, "A"), "A"), update("A")),
			command(2, failure(2, no), fail(no)), command(3, reply(3, "A"))}}},
		{"V-M19 failure action do not allow side effects", [][]frame{{start(""), command(1, failure(1, no), effect("id"), fail(no))}}},
		{"a failure rolls back", [][]frame{{start("A"), command(1, failure(1, no), update("B"), fail(no)), command(2, reply(2, "A")),
			command(3, failure(3, no), del(), fail(no)), command(4, reply(4, "A"))}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := pb.NewValueEntityClient(sdktest.Serve(t, valueentity.Model, valueentity.Two, valueentity.Configured))
			for i, frames := range test.streams {
				stream, err := client.Handle(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range frames {
					if err := stream.Send(f.in); err != nil {
						t.Fatal(err)
					}
					if f.want == nil {
						continue
					}
					got, err := stream.Recv()
					if err != nil {
						t.Fatalf("stream %d: %v", i, err)
					}
					if d := cmp.Diff(f.want, got, protocmp.Transform()); d != "" {
						t.Errorf("stream %d: %s", i, d)
					}
				}
				stream.CloseSend()
				if out, err := stream.Recv(); !errors.Is(err, io.EOF) {
					t.Errorf("stream %d: after the half-close came %v, %v", i, out, err)
				}
			}
		})
	}
}

// What the proxy sends.

func start(state string) frame {
	init := &pb.ValueEntityInit{ServiceName: service, EntityId: "entity-1", State: new(pb.ValueEntityInitState)}
	if state != "" {
		init.State.Value = pack(&valueentity.Persisted{Value: state})
	}
	return frame{in: &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Init{Init: init}}}
}

func command(id int64, want *pb.ValueEntityStreamOut, actions ...action) frame {
	return frame{in: &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Command{Command: &cloudstate.Command{EntityId: "entity-1",
		Id: id, Name: "Process", Payload: pack(&valueentity.Request{Id: "entity-1", Actions: actions})}}}, want: want}
}

func update(value string) action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Update{Update: &valueentity.Update{Value: value}}}
}

func del() action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Delete{Delete: new(valueentity.Delete)}}
}

func forward(id string) action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Forward{Forward: &valueentity.Forward{Id: id}}}
}

func effect(id string) action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Effect{Effect: &valueentity.Effect{Id: id}}}
}

func synchronous(id string) action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Effect{Effect: &valueentity.Effect{Id: id, Synchronous: true}}}
}

func fail(text string) action {
	return &valueentity.RequestAction{Action: &valueentity.RequestAction_Fail{Fail: &valueentity.Fail{Message: text}}}
}

// What it expects.

func answer(id int64, action *cloudstate.ClientAction) *pb.ValueEntityStreamOut {
	return &pb.ValueEntityStreamOut{Message: &pb.ValueEntityStreamOut_Reply{Reply: &pb.ValueEntityReply{CommandId: id, ClientAction: action}}}
}

func reply(id int64, message string) *pb.ValueEntityStreamOut {
	return answer(id, &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{
		Reply: &cloudstate.Reply{Payload: pack(&valueentity.Response{Message: message})}}})
}

func forwarded(id int64, target string) *pb.ValueEntityStreamOut {
	return answer(id, &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
		ServiceName: two, CommandName: "Call", Payload: pack(&valueentity.Request{Id: target})}}})
}

func failure(id int64, text string) *pb.ValueEntityStreamOut {
	return answer(id, &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{
		Failure: &cloudstate.Failure{CommandId: id, Description: text}}})
}

func set(out *pb.ValueEntityStreamOut, value string) *pb.ValueEntityStreamOut {
	out.GetReply().StateAction = &pb.ValueEntityAction{Action: &pb.ValueEntityAction_Update{
		Update: &pb.ValueEntityUpdate{Value: pack(&valueentity.Persisted{Value: value})}}}
	return out
}

func gone(out *pb.ValueEntityStreamOut) *pb.ValueEntityStreamOut {
	out.GetReply().StateAction = &pb.ValueEntityAction{Action: &pb.ValueEntityAction_Delete{Delete: new(pb.ValueEntityDelete)}}
	return out
}

func effects(out *pb.ValueEntityStreamOut, synchronous bool, ids ...string) *pb.ValueEntityStreamOut {
	for _, id := range ids {
		out.GetReply().SideEffects = append(out.GetReply().SideEffects, &cloudstate.SideEffect{
			ServiceName: two, CommandName: "Call", Payload: pack(&valueentity.Request{Id: id}), Synchronous: synchronous})
	}
	return out
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}
