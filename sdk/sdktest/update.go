package sdktest

import (
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/crdt"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// toDelta puts an update on the wire.
func toDelta(u *crdt.Update) *pb.CrdtDelta {
	switch u.Kind {
	case crdt.GCounter:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gcounter{Gcounter: &pb.GCounterDelta{Increment: u.Increment}}}
	case crdt.PNCounter:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Pncounter{Pncounter: &pb.PNCounterDelta{Change: u.Change}}}
	case crdt.GSet:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Gset{Gset: &pb.GSetDelta{Added: toAnys(u.Added)}}}
	case crdt.ORSet:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Orset{Orset: &pb.ORSetDelta{
			Cleared: u.Cleared, Removed: toAnys(u.Removed), Added: toAnys(u.Added),
		}}}
	case crdt.LWWRegister:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Lwwregister{Lwwregister: &pb.LWWRegisterDelta{Value: toAny(u.Value)}}}
	case crdt.Flag:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Flag{Flag: &pb.FlagDelta{Value: u.On}}}
	case crdt.ORMap:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Ormap{Ormap: &pb.ORMapDelta{
			Cleared: u.Cleared, Removed: toAnys(u.Removed), Updated: toEntries(u.Changed), Added: toEntries(u.Put),
		}}}
	case crdt.Vote:
		return &pb.CrdtDelta{Delta: &pb.CrdtDelta_Vote{Vote: &pb.VoteDelta{
			SelfVote: u.Self, VotesFor: int32(u.Votes), TotalVoters: int32(u.Voters),
		}}}
	default:
		return nil
	}
}

func toAny(k crdt.Key) *anypb.Any {
	url, value := k.Split()
	return &anypb.Any{TypeUrl: url, Value: []byte(value)}
}

func toAnys(keys []crdt.Key) (out []*anypb.Any) {
	for _, k := range keys {
		out = append(out, toAny(k))
	}
	return out
}

func toEntries(entries []crdt.Entry) (out []*pb.ORMapEntryDelta) {
	for _, e := range entries {
		out = append(out, &pb.ORMapEntryDelta{Key: toAny(e.Key), Delta: toDelta(e.Update)})
	}
	return out
}

// toUpdate reads what an entity says.
func toUpdate(d *pb.CrdtDelta) *crdt.Update {
	switch d := d.GetDelta().(type) {
	case *pb.CrdtDelta_Gcounter:
		return &crdt.Update{Kind: crdt.GCounter, Increment: d.Gcounter.GetIncrement()}
	case *pb.CrdtDelta_Pncounter:
		return &crdt.Update{Kind: crdt.PNCounter, Change: d.Pncounter.GetChange()}
	case *pb.CrdtDelta_Gset:
		return &crdt.Update{Kind: crdt.GSet, Added: toKeys(d.Gset.GetAdded())}
	case *pb.CrdtDelta_Orset:
		return &crdt.Update{
			Kind: crdt.ORSet, Cleared: d.Orset.GetCleared(), Removed: toKeys(d.Orset.GetRemoved()), Added: toKeys(d.Orset.GetAdded()),
		}
	case *pb.CrdtDelta_Lwwregister:
		return &crdt.Update{
			Kind: crdt.LWWRegister, Value: toKey(d.Lwwregister.GetValue()), Clock: crdt.Clock(d.Lwwregister.GetClock()),
			Custom: d.Lwwregister.GetCustomClockValue(),
		}
	case *pb.CrdtDelta_Flag:
		return &crdt.Update{Kind: crdt.Flag, On: d.Flag.GetValue()}
	case *pb.CrdtDelta_Ormap:
		return &crdt.Update{
			Kind: crdt.ORMap, Cleared: d.Ormap.GetCleared(), Removed: toKeys(d.Ormap.GetRemoved()),
			Changed: toUpdates(d.Ormap.GetUpdated()), Put: toUpdates(d.Ormap.GetAdded()),
		}
	case *pb.CrdtDelta_Vote:
		return &crdt.Update{Kind: crdt.Vote, Self: d.Vote.GetSelfVote()}
	default:
		return new(crdt.Update)
	}
}

func toKey(a *anypb.Any) crdt.Key { return crdt.MakeKey(a.GetTypeUrl(), a.GetValue()) }

func toKeys(payloads []*anypb.Any) (out []crdt.Key) {
	for _, a := range payloads {
		out = append(out, toKey(a))
	}
	return out
}

func toUpdates(entries []*pb.ORMapEntryDelta) (out []crdt.Entry) {
	for _, e := range entries {
		out = append(out, crdt.Entry{Key: toKey(e.GetKey()), Update: toUpdate(e.GetDelta())})
	}
	return out
}
