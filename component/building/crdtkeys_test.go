package building

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/crdt"
)

// values runs the only node of a journal until the test ends.
func values(t testing.TB, j journal.Journal) *replica.Values {
	t.Helper()
	group, err := slot.New(slot.Config{Cells: j, Group: "test"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Config{Cells: j, Group: "test", Membership: node.MembersOf(group)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := replica.NewValues(replica.ValuesConfig{Replicas: n})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var works sync.WaitGroup
	works.Go(func() { _ = group.Run(ctx) })
	works.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		works.Wait()
	})
	return v
}

var allTypes = map[string]string{
	"crdt.g-": "gcounter", "crdt.p-": "pncounter", "crdt.s-": "gset", "crdt.o-": "orset",
	"crdt.r-": "lwwregister", "crdt.f-": "flag", "crdt.m-": "ormap", "crdt.v-": "vote",
}

// replicatedStore is a rig whose state store has replicated keys of all types.
func replicatedStore(t testing.TB) *rig {
	t.Helper()
	j := memory.Open()
	r := start(t, nil)
	r.Attach(Runtime{Journal: j, Values: values(t, j)})
	settings := maps.Clone(allTypes)
	settings["maxReply"] = "100Ki"
	if err := r.init(r.ctx, settings); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) say(key, value string, change ...func(*components.SetRequest)) error {
	req := &components.SetRequest{Key: key, Value: []byte(value)}
	for _, c := range change {
		c(req)
	}
	_, err := r.state.Set(r.ctx, req)
	return err
}

func (r *rig) shows(t *testing.T, key, want string) {
	t.Helper()
	resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: key})
	if err != nil || string(resp.Data) != want || resp.Etag != nil || want != "" && resp.ContentType != "application/json" {
		t.Errorf("%s is %s (%v), want %s", key, resp, err, want)
	}
}

func TestReplicatedKeys(t *testing.T) {
	t.Parallel()
	r := replicatedStore(t)
	strong := func(s *components.SetRequest) {
		s.Options = &components.StateOptions{Consistency: components.StateOptions_CONSISTENCY_STRONG}
	}
	for _, key := range []string{"g-1", "shop||g-1", "name.space||g-1"} {
		r.shows(t, key, "")
		for range 3 {
			if err := r.say(key, `{"increment":2}`); err != nil {
				t.Fatal(err)
			}
		}
		r.shows(t, key, "6")
	}
	for key, x := range map[string][2]string{
		"p-": {`{"decrement":2}`, `-2`}, "s-": {`{"add":["b","a"]}`, `["a","b"]`}, "o-": {`{"add":["b","a"],"remove":["c"]}`, `["a","b"]`},
		"r-": {`{"a": 1}`, `{"a":1}`}, "f-": {`true`, `true`}, "v-": {`{"vote":true}`, `{"for":1,"total":1,"self":true}`},
		"m-": {`{"put":{"k":{"increment":1},"l":{"add":["x"]}}}`, `{"k":1,"l":["x"]}`},
	} {
		if err := r.say(key+"x", x[0], strong); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		r.shows(t, key+"x", x[1])
	}

	// Deleted, it does not exist, and begins anew.
	for range 2 {
		if _, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: "g-1", Options: &components.StateOptions{Consistency: components.StateOptions_CONSISTENCY_STRONG}}); err != nil {
			t.Fatal(err)
		}
	}
	r.shows(t, "g-1", "")
	if err := r.say("g-1", `{"increment":1}`); err != nil {
		t.Fatal(err)
	}
	r.shows(t, "g-1", "1")
	r.shows(t, "shop||g-1", "6")
}

// Many keys in one request: each for itself, replicated or not, in the order in which they stand.
func TestReplicatedBulk(t *testing.T) {
	t.Parallel()
	r := replicatedStore(t)
	var items []*components.SetRequest
	for i := range 50 {
		items = append(items, &components.SetRequest{Key: fmt.Sprintf("p-%d", i%20), Value: []byte(`{"increment":1}`)},
			&components.SetRequest{Key: fmt.Sprintf("plain-%d", i%20), Value: fmt.Appendf(nil, "%d", i)})
	}
	items = append(items, &components.SetRequest{Key: "o-", Value: []byte(`{"add":["a"]}`)}, &components.SetRequest{Key: "o-", Value: []byte(`{"remove":["a"]}`)})
	if _, err := r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: items}); err != nil {
		t.Fatal(err)
	}
	ask := &components.BulkGetRequest{}
	for i := range 20 {
		ask.Items = append(ask.Items, &components.GetRequest{Key: fmt.Sprintf("p-%d", i)}, &components.GetRequest{Key: fmt.Sprintf("plain-%d", i)})
	}
	ask.Items = append(ask.Items, &components.GetRequest{Key: "o-"}, &components.GetRequest{Key: "s-none"},
		&components.GetRequest{Key: "p-1", Metadata: map[string]string{"history": "true"}})
	resp, err := r.state.BulkGet(r.ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	for n, item := range resp.Items[:40] {
		i, want := n/2, "3"
		if i >= 10 {
			want = "2"
		}
		if n%2 == 1 {
			if want = fmt.Sprint(i + 20); i < 10 {
				want = fmt.Sprint(i + 40)
			}
		}
		if string(item.Data) != want || item.Error != "" || item.Key != ask.Items[n].Key {
			t.Errorf("%v, want %s", item, want)
		}
	}
	if rest := resp.Items[40:]; string(rest[0].Data) != "[]" || rest[1].Data != nil || rest[1].Error != "" || !strings.Contains(rest[2].Error, "no past") {
		t.Errorf("%v", rest)
	}

	// A bad one stops all of them before any is written.
	_, err = r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{
		{Key: "p-0", Value: []byte(`{"increment":1}`)}, {Key: "plain-0", Value: []byte("x")}, {Key: "p-1", Value: []byte(`7`)},
	}})
	wantCode(t, err, codes.InvalidArgument)
	r.shows(t, "p-0", "3")
	// One that cannot be carried out leaves the others done.
	_, err = r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{
		{Key: "p-2", Value: []byte(`{"increment":9223372036854775807}`)}, {Key: "p-0", Value: []byte(`{"increment":1}`)},
	}})
	wantCode(t, err, codes.OutOfRange)
	r.shows(t, "p-0", "4")
	r.shows(t, "p-2", "3")
	_, err = r.state.BulkDelete(r.ctx, &components.BulkDeleteRequest{Items: []*components.DeleteRequest{{Key: "p-0"}, {Key: "plain-0"}, {Key: "p-none"}}})
	if err != nil {
		t.Error(err)
	}
	r.shows(t, "p-0", "")
	r.shows(t, "plain-0", "")
}

func TestReplicatedRefusals(t *testing.T) {
	t.Parallel()
	r := replicatedStore(t)
	if err := r.say("p-", `{"increment":1}`); err != nil {
		t.Fatal(err)
	}
	if err := r.say("m-", `{"put":{"k":{"add":["a"]}}}`); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*components.SetRequest)) func(string) error {
		return func(value string) error { return r.say("p-", value, change) }
	}
	to := func(key string) func(string) error { return func(value string) error { return r.say(key, value) } }
	for name, x := range map[string]struct {
		do    func(string) error
		value string
		want  string
	}{
		"value":       {to("p-"), `7`, `set "p-": a pncounter takes an operation, not a number: write {"increment": 2} or {"decrement": 1}`},
		"no JSON":     {to("p-"), `increment 2`, "it is not JSON"},
		"other type":  {to("m-"), `{"put":{"k":{"increment":1}}}`, "was written as another type"},
		"ETag":        {with(func(r *components.SetRequest) { r.Etag = &components.Etag{Value: "1"} }), `{"increment":1}`, `"p-" is replicated (pncounter) and takes no ETag`},
		"first-write": {with(func(r *components.SetRequest) { r.Options = &components.StateOptions{Concurrency: 1} }), `{"increment":1}`, "takes no first-write"},
		"TTL":         {with(func(r *components.SetRequest) { r.Metadata = map[string]string{"ttlInSeconds": "9"} }), `{"increment":1}`, "it does not expire"},
		"bad TTL":     {with(func(r *components.SetRequest) { r.Metadata = map[string]string{"ttlInSeconds": "soon"} }), `{"increment":1}`, "want a number of seconds"},
		"long key":    {to("p-" + strings.Repeat("x", 1000)), `{"increment":1}`, "too long"},
		"transaction": {func(string) error {
			_, err := r.state.Transact(r.ctx, &components.TransactionalStateRequest{Operations: []*components.TransactionalStateOperation{
				{Request: &components.TransactionalStateOperation_Set{Set: &components.SetRequest{Key: "plain", Value: []byte("1")}}},
				{Request: &components.TransactionalStateOperation_Delete{Delete: &components.DeleteRequest{Key: "p-"}}},
			}})
			return err
		}, "", `the transaction writes "p-", which is replicated (pncounter)`},
		"deletion with ETag": {func(string) error {
			_, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: "p-", Etag: &components.Etag{Value: "1"}})
			return err
		}, "", "takes no ETag"},
		"version": {func(string) error {
			_, err := r.state.Get(r.ctx, &components.GetRequest{Key: "p-", Metadata: map[string]string{"version": "1"}})
			return err
		}, "", `"p-" is replicated (pncounter) and has no past: it keeps no versions; leave the metadata version out`},
		"asOf": {func(string) error {
			_, err := r.state.Get(r.ctx, &components.GetRequest{Key: "p-", Metadata: map[string]string{"asof": "2020-01-01T00:00:00Z"}})
			return err
		}, "", "leave the metadata asOf out"},
	} {
		err := x.do(x.value)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v\ndoes not say: %s", name, err, x.want)
		}
		if details := status.Convert(err).Details(); len(details) != 1 || !strings.Contains(fmt.Sprint(details[0]), "ENTITIES_INVALID_ARGUMENT") {
			t.Errorf("%s: the sidecar would not understand %v", name, details)
		}
	}
	// What asks for nothing is no mistake.
	for _, change := range []func(*components.SetRequest){
		func(r *components.SetRequest) { r.Etag = &components.Etag{} },
		func(r *components.SetRequest) { r.Metadata = map[string]string{"ttlInSeconds": "-1"} },
		func(r *components.SetRequest) { r.Options = &components.StateOptions{Concurrency: 2, Consistency: 1} },
	} {
		if err := r.say("p-", `{"increment":1}`, change); err != nil {
			t.Error(err)
		}
	}
	r.shows(t, "p-", "4")
	r.shows(t, "plain", "")

	// A set that does not fit into an answer is refused there.
	item := strings.Repeat("x", 40<<10)
	for i := range 3 {
		if err := r.say("s-", fmt.Sprintf(`{"add":["%d%s"]}`, i, item)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.state.Get(r.ctx, &components.GetRequest{Key: "s-"})
	wantCode(t, err, codes.ResourceExhausted)
	wantCode(t, r.say("s-", fmt.Sprintf(`{"add":["%s"]}`, item+item)), codes.ResourceExhausted)
}

// A setting that says something else than it did is no reason to read nonsense.
func TestReplicatedOtherType(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	v := values(t, j)
	if err := v.Update(t.Context(), stateRef("likes"), &crdt.Update{Kind: crdt.Flag, On: true}, replica.Local); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil)
	if err := r.init(r.ctx, map[string]string{"crdt.likes": "gcounter"}); err != nil {
		t.Fatal(err)
	}
	r.Attach(Runtime{Journal: j})
	wantCode(t, r.say("likes", `{"increment":1}`), codes.Unavailable)
	r.Attach(Runtime{Journal: j, Values: v})
	wantCode(t, r.say("likes", `{"increment":1}`), codes.InvalidArgument)
	_, err := r.state.Get(r.ctx, &components.GetRequest{Key: "likes"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "was written as a flag") {
		t.Error(err)
	}
	if _, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: "likes"}); err != nil {
		t.Fatal(err)
	}
	if err := r.say("likes", `{"increment":1}`); err != nil {
		t.Fatal(err)
	}
	r.shows(t, "likes", "1")
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	c, err := config.FromMetadata(map[string]string{"crdt.likes": "gcounter", "crdt.likes/": "orset", "crdt.x": "vote"})
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{config: c}
	for key, want := range map[string]crdt.Kind{
		"likes": crdt.GCounter, "likes-1": crdt.GCounter, "likes/1": crdt.ORSet, "x": crdt.Vote, "like": 0, "Likes": 0, "my-likes": 0,
		"shop||likes": crdt.GCounter, "shop||likes/1": crdt.ORSet, "likes||k": 0, "shop||Actor||1||likes": 0, "": 0, "shop||": 0,
	} {
		if got := i.kindOf(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	if (&instance{}).kindOf("likes") != 0 {
		t.Error("there are no replicated keys")
	}
}

// hesitant never confirms.
type hesitant struct{ Values }

func (hesitant) Update(ctx context.Context, ref actors.Ref, _ *crdt.Update, level replica.Level) error {
	if level == replica.Local {
		return nil
	}
	return &actors.Error{Code: actors.DeadlineExceeded, Message: "writing to " + ref.String() + ": not confirmed", Cause: replica.ErrUnconfirmed}
}

// What strong consistency could not be had for is told as that.
func TestReplicatedUnconfirmed(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.Attach(Runtime{Journal: memory.Open(), Values: hesitant{}})
	if err := r.init(r.ctx, allTypes); err != nil {
		t.Fatal(err)
	}
	if err := r.say("g-", `{"increment":1}`); err != nil {
		t.Error(err)
	}
	err := r.say("g-", `{"increment":1}`, func(s *components.SetRequest) {
		s.Options = &components.StateOptions{Consistency: components.StateOptions_CONSISTENCY_STRONG}
	})
	wantCode(t, err, codes.DeadlineExceeded)
	if !strings.Contains(fmt.Sprint(status.Convert(err).Details()), "504") {
		t.Error(err)
	}
}

// Concurrent writers of one store never get in each other's way.
func TestReplicatedConcurrently(t *testing.T) {
	t.Parallel()
	r := replicatedStore(t)
	var all sync.WaitGroup
	began := time.Now()
	for i := range 16 {
		all.Go(func() {
			for n := range 50 {
				if err := r.say("p-hot", `{"increment":1}`); err != nil {
					t.Error(err)
				}
				if err := r.say("s-hot", fmt.Sprintf(`{"add":["%d/%d"]}`, i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d writes in %v", 16*100, time.Since(began))
	r.shows(t, "p-hot", "800")
	resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: "s-hot"})
	if err != nil || strings.Count(string(resp.Data), `"`) != 1600 {
		t.Error(err, len(resp.GetData()))
	}
}
