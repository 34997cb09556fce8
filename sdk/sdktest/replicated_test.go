package sdktest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

type count = *replicated.Counter

const (
	plus   sdk.Method[int64, int64]    = "test.v1.Count/Plus"
	drop   sdk.Method[string, string]  = "test.v1.Count/Drop"
	listen sdk.StreamOut[int64, int64] = "test.v1.Count/Listen"
)

var counts = replicated.Entity[count]{
	Service: "test.v1.Count",
	Write:   replicated.All,
	Commands: []replicated.Command[count]{
		replicated.Handle(plus, func(_ context.Context, t *replicated.Turn[count], n int64) (int64, error) {
			if n > 100 {
				t.Write(replicated.Majority)
			}
			t.Data().Add(n)
			return t.Data().Value(), nil
		}),
		replicated.Handle(drop, func(_ context.Context, t *replicated.Turn[count], _ string) (string, error) {
			t.Delete()
			return t.ID(), nil
		}),
		replicated.Stream(listen, replicated.Watch[count, int64, int64]{
			Next: func(c count, most int64) (int64, bool, bool) { return c.Value(), true, c.Value() < most },
		}),
	},
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := sdktest.Cluster(t, counts, "c", 3)
	w := sdktest.Watch(c.Node(2), listen, 1000)
	sdktest.Do(c.Node(0), plus, 1)
	c.Partition(2)
	if got := sdktest.Do(c.Node(0), plus, 2); sdk.CodeOf(got.Err) != sdk.CodeDeadlineExceeded || got.Level != replicated.All || len(got.Events) != 1 {
		t.Errorf("a change for all of three nodes, of which two are there: %+v", got)
	}
	if got := sdktest.Do(c.Node(1), plus, 101); got.Err != nil || got.Reply != 104 {
		t.Errorf("a change for most of three nodes, of which two are there: %+v", got)
	}
	if got := sdktest.Do(c.Node(2), plus, 200); sdk.CodeOf(got.Err) != sdk.CodeDeadlineExceeded {
		t.Errorf("a change for most of three nodes, of which one is there: %+v", got)
	}
	if got := sdktest.Do(c.Node(2), plus, 0); got.Err != nil || got.Reply != 201 || len(got.Events) != 0 {
		t.Errorf("no change: %+v", got)
	}
	c.Partition(1)
	if got := sdktest.Do(c.Node(0), plus, 500); sdk.CodeOf(got.Err) != sdk.CodeDeadlineExceeded {
		t.Errorf("a change where all are apart: %+v", got)
	}
	c.Converge() // each with itself
	c.Heal()
	c.Converge()
	if got := w.Replies(); len(got) != 4 || got[3] != 804 || w.Ended() {
		t.Errorf("told %v", got)
	}
	c.Node(2).Reopen()
	if !w.Ended() || sdktest.Data[count](c.Node(2)).Value() != 804 {
		t.Error("a stream goes on in a node that was opened anew, or the data is gone")
	}
}

// A deletion wins over what was done elsewhere meanwhile, and the entity begins anew on all nodes.
func TestClusterDeletes(t *testing.T) {
	t.Parallel()
	c := sdktest.Cluster(t, counts, "c", 2)
	w := sdktest.Watch(c.Node(1), listen, 1000)
	sdktest.Do(c.Node(0), plus, 1)
	c.Partition(0)
	sdktest.Do(c.Node(0), drop, "")
	sdktest.Do(c.Node(0), plus, 5)
	sdktest.Do(c.Node(1), plus, 7)
	c.Heal()
	c.Converge()
	if got := sdktest.Do(c.Node(1), plus, 1).Reply; got != 6 || !w.Ended() {
		t.Errorf("the new one is %d", got)
	}
}

func TestReplicatedMisuse(t *testing.T) {
	t.Parallel()
	e := entity(keep, emit)
	for want, f := range map[string]func(testing.TB){
		"no replicated entity":         func(t testing.TB) { sdktest.Cluster(t, e, "c", 3) },
		"0 is no number":               func(t testing.TB) { sdktest.Cluster(t, counts, "c", 0) },
		"there are no Commands":        func(t testing.TB) { sdktest.Cluster(t, replicated.Entity[count]{Service: "a.B"}, "c", 1) },
		"there is no node 3":           func(t testing.TB) { sdktest.Cluster(t, counts, "c", 3).Partition(3) },
		"has no past":                  func(t testing.TB) { sdktest.New(t, counts, "c").Given(5) },
		"has no snapshots":             func(t testing.TB) { sdktest.New(t, counts, "c").Snapshot() },
		"is not replicated":            func(t testing.TB) { sdktest.Data[count](sdktest.New(t, e, "c")) },
		"the data is *replicated.Coun": func(t testing.TB) { sdktest.Data[*replicated.Flag](sdktest.New(t, counts, "c")) },
		"is no streamed command":       func(t testing.TB) { sdktest.Watch(sdktest.New(t, e, "c"), listen, 0) },
		"the stream has ended":         func(t testing.TB) { sdktest.Watch(sdktest.New(t, counts, "c"), listen, 0).Cancel() },
	} {
		if got := record(t, f); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
