package userfunction

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/crdt"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

func element(s string) *anypb.Any {
	a := &anypb.Any{TypeUrl: "p.cloudstate.io/string"}
	if s != "" {
		a.Value = append([]byte{0x0a, byte(len(s))}, s...)
	}
	return a
}

func elements(list ...string) []*anypb.Any {
	var anys []*anypb.Any
	for _, s := range list {
		anys = append(anys, element(s))
	}
	return anys
}

func keysOf(list ...string) []crdt.Key {
	var keys []crdt.Key
	for _, a := range elements(list...) {
		keys = append(keys, crdt.MakeKey(a.TypeUrl, a.Value))
	}
	return keys
}

func mapDelta(m *protocol.ORMapDelta) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Ormap{Ormap: m}}
}

func setDelta(m *protocol.ORSetDelta) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Orset{Orset: m}}
}

func addedSet(list ...*anypb.Any) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Gset{Gset: &protocol.GSetDelta{Added: list}}}
}

func registerDelta(r *protocol.LWWRegisterDelta) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Lwwregister{Lwwregister: r}}
}

func increment(by uint64) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Gcounter{Gcounter: &protocol.GCounterDelta{Increment: by}}}
}

// deltas, with the updates that they are.
var deltas = []struct {
	name   string
	delta  *protocol.CrdtDelta
	update crdt.Update
}{
	{"gcounter", increment(1<<63 + 1), crdt.Update{Kind: crdt.GCounter, Increment: 1<<63 + 1}},
	{"gcounter without a change", increment(0), crdt.Update{Kind: crdt.GCounter}},
	{"pncounter", counts(math.MinInt64), crdt.Update{Kind: crdt.PNCounter, Change: math.MinInt64}},
	{"gset", addedSet(elements("a", "")...), crdt.Update{Kind: crdt.GSet, Added: keysOf("a", "")}},
	{"orset", setDelta(&protocol.ORSetDelta{Cleared: true, Removed: elements("a"), Added: elements("a", "b")}),
		crdt.Update{Kind: crdt.ORSet, Cleared: true, Removed: keysOf("a"), Added: keysOf("a", "b")}},
	{"equal bytes of two types", addedSet(element("a"), &anypb.Any{TypeUrl: "x/y", Value: element("a").Value}),
		crdt.Update{Kind: crdt.GSet, Added: append(keysOf("a"), crdt.MakeKey("x/y", []byte("\x0a\x01a")))}},
	{"register", registerDelta(&protocol.LWWRegisterDelta{Value: element("a")}), crdt.Update{Kind: crdt.LWWRegister, Value: keysOf("a")[0]}},
	{"register with a clock", registerDelta(&protocol.LWWRegisterDelta{Value: element("a"), Clock: protocol.CrdtClock_CUSTOM_AUTO_INCREMENT, CustomClockValue: -7}),
		crdt.Update{Kind: crdt.LWWRegister, Value: keysOf("a")[0], Clock: crdt.ClockAutoIncrement, Custom: -7}},
	{"register with a custom clock", registerDelta(&protocol.LWWRegisterDelta{Value: element("a"), Clock: protocol.CrdtClock_CUSTOM, CustomClockValue: 7}),
		crdt.Update{Kind: crdt.LWWRegister, Value: keysOf("a")[0], Clock: crdt.ClockCustom, Custom: 7}},
	{"register that is reversed", registerDelta(&protocol.LWWRegisterDelta{Value: element(""), Clock: protocol.CrdtClock_REVERSE}),
		crdt.Update{Kind: crdt.LWWRegister, Value: keysOf("")[0], Clock: crdt.ClockReverse}},
	{"register without a value", registerDelta(&protocol.LWWRegisterDelta{Value: &anypb.Any{}}), crdt.Update{Kind: crdt.LWWRegister}},
	{"flag", &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Flag{Flag: &protocol.FlagDelta{Value: true}}}, crdt.Update{Kind: crdt.Flag, On: true}},
	{"vote", &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Vote{Vote: &protocol.VoteDelta{SelfVote: true}}}, crdt.Update{Kind: crdt.Vote, Self: true}},
	{"ormap", mapDelta(&protocol.ORMapDelta{
		Cleared: true, Removed: elements("r"),
		Updated: []*protocol.ORMapEntryDelta{{Key: element("u"), Delta: counts(-3)}},
		Added: []*protocol.ORMapEntryDelta{
			{Key: element("empty"), Delta: setDelta(&protocol.ORSetDelta{})},
			{Key: element("m"), Delta: mapDelta(&protocol.ORMapDelta{Added: []*protocol.ORMapEntryDelta{{Key: element("n"), Delta: increment(1)}}})},
		},
	}), crdt.Update{Kind: crdt.ORMap, Cleared: true, Removed: keysOf("r"),
		Changed: []crdt.Entry{{Key: keysOf("u")[0], Update: &crdt.Update{Kind: crdt.PNCounter, Change: -3}}},
		Put: []crdt.Entry{
			{Key: keysOf("empty")[0], Update: &crdt.Update{Kind: crdt.ORSet}},
			{Key: keysOf("m")[0], Update: &crdt.Update{Kind: crdt.ORMap, Put: []crdt.Entry{{Key: keysOf("n")[0], Update: &crdt.Update{Kind: crdt.GCounter, Increment: 1}}}}},
		}}},
	{"eight maps", nested(8), *nestedUpdate(8)},
}

func nested(maps int) *protocol.CrdtDelta {
	d := counts(1)
	for range maps {
		d = mapDelta(&protocol.ORMapDelta{Updated: []*protocol.ORMapEntryDelta{{Key: element("k"), Delta: d}}})
	}
	return d
}

func nestedUpdate(maps int) *crdt.Update {
	u := &crdt.Update{Kind: crdt.PNCounter, Change: 1}
	for range maps {
		u = &crdt.Update{Kind: crdt.ORMap, Changed: []crdt.Entry{{Key: keysOf("k")[0], Update: u}}}
	}
	return u
}

var sameKey = gocmp.Comparer(func(a, b crdt.Key) bool { return a == b })

func TestDeltas(t *testing.T) {
	t.Parallel()
	for _, x := range deltas {
		got, err := fromDelta(x.delta)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if diff := gocmp.Diff(x.update, *got, sameKey); diff != "" {
			t.Errorf("%s: %s", x.name, diff)
		}
		if diff := gocmp.Diff(x.delta, toDelta(&x.update), protocmp.Transform()); diff != "" {
			t.Errorf("%s, told: %s", x.name, diff)
		}
	}
	told := toDelta(&crdt.Update{Kind: crdt.Vote, Self: true, Votes: 2, Voters: 3})
	if v := told.GetVote(); v.GetVotesFor() != 2 || v.GetTotalVoters() != 3 {
		t.Error(told)
	}
	// The counts of a vote are not the user function's to say, and a register may be written without a value.
	if u, err := fromDelta(told); err != nil || u.Votes != 0 || u.Voters != 0 || !u.Self {
		t.Error(u, err)
	}
	if u, err := fromDelta(registerDelta(&protocol.LWWRegisterDelta{})); err != nil || u.Value != (crdt.Key{}) {
		t.Error(u, err)
	}
}

func TestDeltasThatCannotBe(t *testing.T) {
	t.Parallel()
	entry := func(k *anypb.Any, d *protocol.CrdtDelta) *protocol.CrdtDelta {
		return mapDelta(&protocol.ORMapDelta{Added: []*protocol.ORMapEntryDelta{{Key: element("first"), Delta: counts(1)}, {Key: k, Delta: d}}})
	}
	for _, x := range []struct {
		says  string
		delta *protocol.CrdtDelta
	}{
		{"an empty delta", nil},
		{"an empty delta", &protocol.CrdtDelta{}},
		{"added value 2 of 2 is missing", addedSet(element("a"), nil)},
		{"removed value 1 of 1 is missing, or has no type URL", setDelta(&protocol.ORSetDelta{Removed: []*anypb.Any{{Value: []byte("s3cret")}}})},
		{"added value 3 of 3 was there before", addedSet(element("s3cret"), element("b"), element("s3cret"))},
		{"added value 2 of 2 was there before", entry(element("first"), counts(1))},
		{"added value 2 of 2 is missing", entry(nil, counts(1))},
		{"added entry 2 of 2: ", entry(element("k"), nil)},
		{"updated value 1 of 1 is missing", mapDelta(&protocol.ORMapDelta{Updated: []*protocol.ORMapEntryDelta{nil}})},
		{"removed value 1 of 1 is missing", mapDelta(&protocol.ORMapDelta{Removed: []*anypb.Any{nil}})},
		{"the unknown sort 9", registerDelta(&protocol.LWWRegisterDelta{Value: element("s3cret"), Clock: 9})},
		{"more than 8 maps around it", nested(9)},
		{"more than 8 maps around it", nested(5000)},
	} {
		u, err := fromDelta(x.delta)
		if err == nil || u != nil || !errors.Is(err, errBroken) || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, %v", x.says, u, err)
		}
	}
}

// What is understood can be told, and means the same; nothing makes it panic.
func FuzzDelta(f *testing.F) {
	for _, x := range deltas {
		b, err := proto.Marshal(x.delta)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := new(protocol.CrdtDelta)
		if proto.Unmarshal(b, d) != nil {
			return
		}
		u, err := fromDelta(d)
		if err != nil {
			if u != nil || !errors.Is(err, errBroken) {
				t.Fatal(u, err)
			}
			return
		}
		again, err := fromDelta(toDelta(u))
		if diff := gocmp.Diff(u, again, sameKey, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Fatal(fmt.Sprint(err), diff)
		}
	})
}
