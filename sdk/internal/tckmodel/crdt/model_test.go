package crdt_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// The cases C-M03 to C-M82 are in tests/tck, which runs them against any user function.

func TestDiscovery(t *testing.T) { // C-M01, C-M02
	t.Parallel()
	client := cloudstate.NewEntityDiscoveryClient(sdktest.Serve(t, crdt.Model, crdt.Two, crdt.Configured))
	spec, err := client.Discover(t.Context(), &cloudstate.ProxyInfo{ProtocolMinorVersion: 2, ProxyName: "tck"})
	if err != nil {
		t.Fatal(err)
	}
	const kind, pkg = "cloudstate.crdt.Crdt", "cloudstate.tck.model.crdt."
	want := []*cloudstate.Entity{
		{EntityType: kind, ServiceName: pkg + "CrdtTckModel", PersistenceId: "crdt-tck-model"},
		{EntityType: kind, ServiceName: pkg + "CrdtTwo", PersistenceId: pkg + "CrdtTwo"},
		{EntityType: kind, ServiceName: pkg + "CrdtConfigured",
			PersistenceId: "crdt-configured", PassivationStrategy: &cloudstate.EntityPassivationStrategy{
				Strategy: &cloudstate.EntityPassivationStrategy_Timeout{Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: 100}}}},
	}
	if d := cmp.Diff(want, spec.GetEntities(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

var kinds = []string{"GCounter", "PNCounter", "GSet", "ORSet", "LWWRegister", "Flag", "ORMap", "Vote"}

// anything draws an update of data of that kind.
func anything(t *rapid.T, kind string, deep int) *crdt.Update {
	n := rapid.IntRange(0, 4).Draw(t, "n")
	element := fmt.Sprint(n)
	switch kind {
	case "GCounter":
		return &crdt.Update{Update: &crdt.Update_Gcounter{Gcounter: &crdt.GCounterUpdate{Increment: uint64(n)}}}
	case "PNCounter":
		return &crdt.Update{Update: &crdt.Update_Pncounter{Pncounter: &crdt.PNCounterUpdate{Change: int64(n) - 2}}}
	case "GSet":
		return &crdt.Update{Update: &crdt.Update_Gset{Gset: &crdt.GSetUpdate{Add: element}}}
	case "ORSet":
		u := new(crdt.ORSetUpdate)
		switch rapid.IntRange(0, 5).Draw(t, "set") {
		case 0:
			u.Action = &crdt.ORSetUpdate_Clear{Clear: true}
		case 1, 2:
			u.Action = &crdt.ORSetUpdate_Remove{Remove: element}
		default:
			u.Action = &crdt.ORSetUpdate_Add{Add: element}
		}
		return &crdt.Update{Update: &crdt.Update_Orset{Orset: u}}
	case "LWWRegister":
		u := &crdt.LWWRegisterUpdate{Value: element, Clock: &crdt.LWWRegisterClock{
			ClockType: crdt.LWWRegisterClockType(rapid.IntRange(0, 3).Draw(t, "clock")), CustomClockValue: int64(n),
		}}
		return &crdt.Update{Update: &crdt.Update_Lwwregister{Lwwregister: u}}
	case "Flag":
		return &crdt.Update{Update: &crdt.Update_Flag{Flag: new(crdt.FlagUpdate)}}
	case "Vote":
		return &crdt.Update{Update: &crdt.Update_Vote{Vote: &crdt.VoteUpdate{SelfVote: n > 1}}}
	}
	few := []string{"PNCounter", "ORSet", "LWWRegister", rapid.SampledFrom(kinds).Draw(t, "any")}
	if deep > 0 {
		few = append(few, "ORMap", "ORMap")
	}
	inner := rapid.SampledFrom(few).Draw(t, "inner")
	key := inner + "-1"
	u := new(crdt.ORMapUpdate)
	switch rapid.IntRange(0, 7).Draw(t, "map") {
	case 0:
		if n > 1 {
			return anything(t, kind, deep)
		}
		u.Action = &crdt.ORMapUpdate_Clear{Clear: true}
	case 1, 2:
		u.Action = &crdt.ORMapUpdate_Remove{Remove: key}
	case 3:
		u.Action = &crdt.ORMapUpdate_Add{Add: key}
	default:
		u.Action = &crdt.ORMapUpdate_Update{Update: &crdt.ORMapEntryUpdate{Key: key, Update: anything(t, inner, deep-1)}}
	}
	return &crdt.Update{Update: &crdt.Update_Ormap{Ormap: u}}
}

// Three nodes do anything to an entity, with partitions in between, and end up with the same.
func TestConverges(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				id := kind + "-1"
				c := sdktest.Cluster(t, crdt.Model, id, 3)
				for range rapid.IntRange(1, 25).Draw(rt, "steps") {
					switch rapid.IntRange(0, 9).Draw(rt, "step") {
					case 0:
						c.Partition(rapid.IntRange(0, 2).Draw(rt, "apart"))
					case 1:
						c.Heal()
					case 2:
						c.Node(rapid.IntRange(0, 2).Draw(rt, "again")).Reopen()
					default:
						in := &crdt.Request{Id: id}
						for range rapid.IntRange(0, 4).Draw(rt, "actions") {
							in.Actions = append(in.Actions, &crdt.RequestAction{Action: &crdt.RequestAction_Update{Update: anything(rt, kind, 2)}})
						}
						if rapid.IntRange(0, 5).Draw(rt, "fails") == 0 {
							in.Actions = append(in.Actions, &crdt.RequestAction{Action: &crdt.RequestAction_Fail{Fail: &crdt.Fail{Message: "no"}}})
						}
						got := sdktest.Do(c.Node(rapid.IntRange(0, 2).Draw(rt, "node")), crdt.Process, in)
						if got.Err != nil && sdk.CodeOf(got.Err) != sdk.CodeUnknown {
							rt.Fatal(got.Err)
						}
					}
					if t.Failed() {
						rt.FailNow()
					}
				}
				c.Heal()
				c.Converge()
				if t.Failed() {
					rt.FailNow()
				}
			})
		})
	}
}
