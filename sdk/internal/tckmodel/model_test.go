package tckmodel_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/tckmodel"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// The cases E-M01 to E-M21 of Cloudstate's conformance tests, over a real gRPC connection. Replies must be exactly equal, so to a peer that announces no extension nothing of them may be sent.

const service = "cloudstate.tck.model.EventSourcedTckModel"

func connect(t *testing.T) *grpc.ClientConn {
	return sdktest.Serve(t, tckmodel.Model, tckmodel.Two, tckmodel.Configured)
}

func TestDiscovery(t *testing.T) { // E-M01, E-M02
	t.Parallel()
	client := cloudstate.NewEntityDiscoveryClient(connect(t))
	for range 2 { // every call gets the same answer
		spec, err := client.Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2, ProxyName: "tck"})
		if err != nil {
			t.Fatal(err)
		}
		want := []*cloudstate.Entity{
			{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: service, PersistenceId: "event-sourced-tck-model"},
			{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "cloudstate.tck.model.EventSourcedTwo",
				PersistenceId: "cloudstate.tck.model.EventSourcedTwo"},
			{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "cloudstate.tck.model.EventSourcedConfigured",
				PersistenceId: "event-sourced-configured", PassivationStrategy: &cloudstate.EntityPassivationStrategy{
					Strategy: &cloudstate.EntityPassivationStrategy_Timeout{Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: 100}}}},
		}
		if d := cmp.Diff(want, spec.GetEntities(), protocmp.Transform()); d != "" {
			t.Error(d)
		}
		info := spec.GetServiceInfo()
		if info.GetProtocolMajorVersion() != 0 || info.GetProtocolMinorVersion() != 2 || len(info.GetExtensions()) != 0 {
			t.Errorf("service info %v", info)
		}
		var files descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(spec.GetProto(), &files); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files.GetFile() {
			names = append(names, f.GetName())
		}
		if d := cmp.Diff([]string{"google/protobuf/descriptor.proto", "cloudstate/entity_key.proto", "google/api/http.proto", "google/api/annotations.proto", "tckmodel.proto"}, names); d != "" {
			t.Error(d)
		}
	}
}

// frame is one step of a case: what the proxy sends, and the exact answer if there is one.
type frame struct {
	in   *pb.EventSourcedStreamIn
	want *pb.EventSourcedStreamOut
}

func TestModel(t *testing.T) {
	t.Parallel()
	fail := func(text string) *tckmodel.RequestAction {
		return &tckmodel.RequestAction{Action: &tckmodel.RequestAction_Fail{Fail: &tckmodel.Fail{Message: text}}}
	}
	tests := []struct {
		name    string
		streams [][]frame // each ends by the proxy's half-close
	}{
		{"E-M03 initial empty state", [][]frame{{start(nil), command(1, reply(1, ""))}}},
		{"E-M04 single emitted event", [][]frame{{start(nil), command(1, reply(1, "A", "A"), emit("A")...), command(2, reply(2, "A"))}}},
		{"E-M05 multiple emitted events", [][]frame{{start(nil), command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, reply(2, "ABC"))}}},
		{"E-M06 multiple emitted events and snapshots", [][]frame{{start(nil),
			command(1, reply(1, "A", "A"), emit("A")...),
			command(2, reply(2, "AB", "B"), emit("B")...),
			command(3, reply(3, "ABC", "C"), emit("C")...),
			command(4, reply(4, "ABCD", "D"), emit("D")...),
			command(5, snapshot(reply(5, "ABCDE", "E")), emit("E")...),
			command(6, reply(6, "ABCDEFGH", "F", "G", "H"), emit("F", "G", "H")...),
			command(7, snapshot(reply(7, "ABCDEFGHIJ", "I", "J")), emit("I", "J")...),
			command(8, reply(8, "ABCDEFGHIJK", "K"), emit("K")...),
			command(9, reply(9, "ABCDEFGHIJK"))}}},
		{"E-M07 initial snapshot", [][]frame{{start(&pb.EventSourcedSnapshot{SnapshotSequence: 5, Snapshot: persisted("ABCDE")}),
			command(1, reply(1, "ABCDE"))}}},
		{"E-M08 initial snapshot and events", [][]frame{{start(&pb.EventSourcedSnapshot{SnapshotSequence: 5, Snapshot: persisted("ABCDE")}),
			event(6, "F"), event(7, "G"), command(1, reply(1, "ABCDEFG"))}}},
		{"E-M09 rehydration after passivation", [][]frame{{start(nil),
			command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, snapshot(reply(2, "ABCDE", "D", "E")), emit("D", "E")...),
			command(3, reply(3, "ABCDEF", "F"), emit("F")...),
			command(4, reply(4, "ABCDEFG", "G"), emit("G")...),
		}, {start(&pb.EventSourcedSnapshot{SnapshotSequence: 5, Snapshot: persisted("ABCDE")}), event(6, "F"), event(7, "G"),
			command(1, reply(1, "ABCDEFG"))}}},
		{"a snapshot holds the events after the multiple", [][]frame{{start(nil),
			command(1, snapshot(reply(1, "ABCDEFG", "A", "B", "C", "D", "E", "F", "G")), emit("A", "B", "C", "D", "E", "F", "G")...)}}},
		{"E-M10 forward to second service", [][]frame{{start(nil), command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, forward(2, "id"), forwardTo("id")), command(3, reply(3, "ABC"))}}},
		{"E-M11 forward with emitted events", [][]frame{{start(nil),
			command(1, forward(1, "id", "A"), append(emit("A"), forwardTo("id"))...)}}},
		{"E-M12 forward with emitted events and snapshot", [][]frame{{start(nil),
			command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, withSnapshot(forward(2, "id", "D", "E"), "ABCDE"), append(emit("D", "E"), forwardTo("id"))...)}}},
		{"E-M13 reply with side effect", [][]frame{{start(nil), command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, effects(reply(2, "ABC"), false, "id"), effectOn(false, "id")...), command(3, reply(3, "ABC"))}}},
		{"E-M14 synchronous side effect", [][]frame{{start(nil),
			command(1, effects(reply(1, ""), true, "id"), effectOn(true, "id")...)}}},
		{"E-M15 forward and side effect", [][]frame{{start(nil),
			command(1, effects(forward(1, "id"), false, "id"), append(effectOn(false, "id"), forwardTo("id"))...)}}},
		{"E-M16 reply with multiple side effects", [][]frame{{start(nil),
			command(1, effects(reply(1, ""), false, "1", "2", "3"), effectOn(false, "1", "2", "3")...)}}},
		{"E-M17 reply with multiple side effects, events, and snapshot", [][]frame{{start(nil),
			command(1, effects(snapshot(reply(1, "ABCDE", "A", "B", "C", "D", "E")), false, "1", "2", "3"),
				append(emit("A", "B", "C", "D", "E"), effectOn(false, "1", "2", "3")...)...)}}},
		{"E-M18 failure action", [][]frame{{start(nil), command(1, failure(1, "expected failure", false), fail("expected failure"))}}},
		{"E-M19 connection after failure action", [][]frame{{start(nil), command(1, reply(1, "A", "A"), emit("A")...),
			command(2, failure(2, "expected failure", false), fail("expected failure")), command(3, reply(3, "A"))}}},
		{"E-M20 failure actions do not retain emitted events", [][]frame{{start(nil),
			command(1, reply(1, "ABC", "A", "B", "C"), emit("A", "B", "C")...),
			command(2, failure(2, "failure 1", true), append(emit("4", "5"), fail("failure 1"))...),
		}, {start(nil), event(1, "A"), event(2, "B"), event(3, "C"),
			command(1, reply(1, "ABCD", "D"), emit("D")...),
			command(2, failure(2, "failure 2", true), append(emit("6"), fail("failure 2"), emit("7")[0])...),
		}, {start(nil), event(1, "A"), event(2, "B"), event(3, "C"), event(4, "D"),
			command(1, snapshot(reply(1, "ABCDE", "E")), emit("E")...)}}},
		{"E-M21 failure actions do not allow side effects", [][]frame{{start(nil),
			command(1, failure(1, "expected failure", false), append(effectOn(false, "id"), fail("expected failure"))...)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := pb.NewEventSourcedClient(connect(t))
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

func start(s *pb.EventSourcedSnapshot) frame {
	return frame{in: &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{
		Init: &pb.EventSourcedInit{ServiceName: service, EntityId: "entity-1", Snapshot: s}}}}
}

func event(sequence int64, value string) frame {
	return frame{in: &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Event{
		Event: &pb.EventSourcedEvent{Sequence: sequence, Payload: persisted(value)}}}}
}

func command(id int64, want *pb.EventSourcedStreamOut, actions ...*tckmodel.RequestAction) frame {
	return frame{in: &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{Command: &cloudstate.Command{
		EntityId: "entity-1", Id: id, Name: "Process", Payload: pack(&tckmodel.Request{Id: "entity-1", Actions: actions})}}}, want: want}
}

func emit(values ...string) (actions []*tckmodel.RequestAction) {
	for _, v := range values {
		actions = append(actions, &tckmodel.RequestAction{Action: &tckmodel.RequestAction_Emit{Emit: &tckmodel.Emit{Value: v}}})
	}
	return actions
}

func reply(id int64, message string, events ...string) *pb.EventSourcedStreamOut {
	r := &pb.EventSourcedReply{CommandId: id, ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{
		Reply: &cloudstate.Reply{Payload: pack(&tckmodel.Response{Message: message})}}}}
	for _, e := range events {
		r.Events = append(r.Events, persisted(e))
	}
	return &pb.EventSourcedStreamOut{Message: &pb.EventSourcedStreamOut_Reply{Reply: r}}
}

func forwardTo(id string) *tckmodel.RequestAction {
	return &tckmodel.RequestAction{Action: &tckmodel.RequestAction_Forward{Forward: &tckmodel.Forward{Id: id}}}
}

func effectOn(synchronous bool, ids ...string) (actions []*tckmodel.RequestAction) {
	for _, id := range ids {
		actions = append(actions, &tckmodel.RequestAction{Action: &tckmodel.RequestAction_Effect{
			Effect: &tckmodel.Effect{Id: id, Synchronous: synchronous}}})
	}
	return actions
}

// forward is a reply that hands the command on to the second service.
func forward(id int64, target string, events ...string) *pb.EventSourcedStreamOut {
	out := reply(id, "", events...)
	out.GetReply().ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
		ServiceName: "cloudstate.tck.model.EventSourcedTwo", CommandName: "Call", Payload: pack(&tckmodel.Request{Id: target})}}}
	return out
}

// effects adds those on the second service.
func effects(out *pb.EventSourcedStreamOut, synchronous bool, ids ...string) *pb.EventSourcedStreamOut {
	for _, id := range ids {
		out.GetReply().SideEffects = append(out.GetReply().SideEffects, &cloudstate.SideEffect{
			ServiceName: "cloudstate.tck.model.EventSourcedTwo", CommandName: "Call",
			Payload: pack(&tckmodel.Request{Id: id}), Synchronous: synchronous})
	}
	return out
}

func withSnapshot(out *pb.EventSourcedStreamOut, state string) *pb.EventSourcedStreamOut {
	out.GetReply().Snapshot = persisted(state)
	return out
}

// snapshot adds one of the state that the reply shows.
func snapshot(out *pb.EventSourcedStreamOut) *pb.EventSourcedStreamOut {
	var shown tckmodel.Response
	if err := out.GetReply().GetClientAction().GetReply().GetPayload().UnmarshalTo(&shown); err != nil {
		panic(err)
	}
	out.GetReply().Snapshot = persisted(shown.GetMessage())
	return out
}

func failure(id int64, text string, restart bool) *pb.EventSourcedStreamOut {
	return &pb.EventSourcedStreamOut{Message: &pb.EventSourcedStreamOut_Reply{Reply: &pb.EventSourcedReply{
		CommandId: id, ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Failure{
			Failure: &cloudstate.Failure{CommandId: id, Description: text, Restart: restart}}}}}}
}

func persisted(value string) *anypb.Any { return pack(&tckmodel.Persisted{Value: value}) }

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil || !strings.HasPrefix(a.GetTypeUrl(), "type.googleapis.com/") {
		panic(err)
	}
	return a
}
