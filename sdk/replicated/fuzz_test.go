package replicated

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// FuzzApply: no delta panics, and data that took one says what it is in one way only.
func FuzzApply(f *testing.F) {
	entry := &pb.ORMapEntryDelta{Key: text("s"), Delta: setDelta(&pb.ORSetDelta{Added: []*anypb.Any{{TypeUrl: "p.cloudstate.io/int64"}}})}
	nested := &pb.ORMapEntryDelta{Key: text("m"), Delta: mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{entry}})}
	for _, d := range []*pb.CrdtDelta{
		mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{entry, nested}, Removed: []*anypb.Any{text("c")}}),
		mapDelta(&pb.ORMapDelta{Cleared: true, Updated: []*pb.ORMapEntryDelta{entry}}),
		entry.GetDelta(), flagDelta(true), new(Counter).value(), new(GCounter).value(), new(Vote).value(),
		growDelta(&pb.GSetDelta{Added: []*anypb.Any{text("a"), nil}}),
		{Delta: &pb.CrdtDelta_Lwwregister{Lwwregister: &pb.LWWRegisterDelta{Value: text("a"), Clock: pb.CrdtClock_CUSTOM}}},
	} {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var deltas [2]pb.CrdtDelta
		if proto.Unmarshal(first, &deltas[0]) != nil || proto.Unmarshal(second, &deltas[1]) != nil {
			return
		}
		for _, kind := range []string{"c", "g", "s", "t", "r", "f", "v", "m"} {
			data := keys(kind)
			if data.apply(&deltas[0]) != nil || data.apply(&deltas[1]) != nil {
				continue
			}
			if data.delta() != nil {
				t.Fatalf("what others did is said again: %v", data.delta())
			}
			again := keys(kind)
			if err := again.apply(data.value()); err != nil || !proto.Equal(again.value(), data.value()) {
				t.Fatalf("%v comes back as %v, %v", data.value(), again.value(), err)
			}
		}
	})
}
