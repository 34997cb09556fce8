package building

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

var firstWrite = &components.StateOptions{Concurrency: components.StateOptions_CONCURRENCY_FIRST_WRITE}

func etag(s string) *components.Etag { return &components.Etag{Value: s} }

func (r *rig) set(key, value string, tag *components.Etag, o *components.StateOptions) error {
	_, err := r.state.Set(r.ctx, &components.SetRequest{Key: key, Value: []byte(value), Etag: tag, Options: o})
	return err
}

func (r *rig) del(key string, tag *components.Etag) error {
	_, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: key, Etag: tag})
	return err
}

// value returns "<nothing>" for a key that is not there, else value@etag.
func (r *rig) value(t testing.TB, key string) string {
	t.Helper()
	resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetEtag() == nil {
		if len(resp.GetData()) > 0 {
			t.Errorf("%s has data and no ETag", key)
		}
		return "<nothing>"
	}
	return string(resp.GetData()) + "@" + resp.GetEtag().GetValue()
}

func (r *rig) want(t testing.TB, key, value string) {
	t.Helper()
	if got := r.value(t, key); got != value {
		t.Errorf("%s is %s, want %s", key, got, value)
	}
}

// wantEtagError checks the form by which daprd knows an ETag error.
func wantEtagError(t testing.TB, err error, code codes.Code) {
	t.Helper()
	st := status.Convert(err)
	details := st.Details()
	if st.Code() != code || len(details) != 1 {
		t.Errorf("%v, details %v; want %v with one", err, details, code)
		return
	}
	bad, ok := details[0].(*errdetails.BadRequest)
	if !ok || len(bad.GetFieldViolations()) != 1 || bad.GetFieldViolations()[0].GetField() != "etag" {
		t.Errorf("wrong detail: %v", details[0])
	}
}

func TestSetGetDelete(t *testing.T) {
	t.Parallel()
	r := store(t, nil, nil)
	r.want(t, "k", "<nothing>")
	for i, value := range []string{"a", "", "\x00\xff"} {
		if err := r.set("k", value, nil, nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "k", value+"@"+strconv.Itoa(i+1))
	}
	for range 2 { // the second finds nothing, and adds nothing
		if err := r.del("k", nil); err != nil {
			t.Fatal(err)
		}
		r.want(t, "k", "<nothing>")
	}
	if err := r.set("k", "again", nil, nil); err != nil {
		t.Fatal(err)
	}
	r.want(t, "k", "again@5")
	if err := r.del("never", nil); err != nil {
		t.Error(err)
	}

	for _, contentType := range []*components.SetRequest{
		{Key: "ct", ContentType: "text/plain"}, {Key: "ct", Metadata: map[string]string{"ContentType": "text/plain"}},
	} {
		contentType.Value = []byte("x")
		if _, err := r.state.Set(r.ctx, contentType); err != nil {
			t.Fatal(err)
		}
		if resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: "ct"}); err != nil || resp.GetContentType() != "text/plain" {
			t.Errorf("%v, %v", resp, err)
		}
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	r := store(t, nil, map[string]string{"actorStateStore": "true"})
	f, err := r.state.Features(r.ctx, &components.FeaturesRequest{})
	if err != nil || !slices.Equal(f.GetFeatures(), []string{"ETAG", "TRANSACTIONAL", "TTL"}) {
		t.Errorf("%v, %v", f, err)
	}
	if m, err := r.state.MultiMaxSize(r.ctx, &components.MultiMaxSizeRequest{}); err != nil || m.GetMaxSize() != MaxTransaction {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := components.NewQueriableStateStoreClient(r.conn).Query(r.ctx, &components.QueryRequest{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}

func TestEtags(t *testing.T) { onEach(t, testEtags) }

func testEtags(t *testing.T, j Journal) {
	r := store(t, j, nil)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	wantEtagError(t, r.set("k", "x", etag("1"), nil), codes.FailedPrecondition) // there is none
	ok(r.set("k", "1", etag(""), firstWrite))                                   // must not exist
	wantEtagError(t, r.set("k", "x", etag(""), firstWrite), codes.FailedPrecondition)
	wantEtagError(t, r.set("k", "x", nil, firstWrite), codes.FailedPrecondition)
	ok(r.set("k", "2", etag("1"), firstWrite))
	wantEtagError(t, r.set("k", "x", etag("1"), firstWrite), codes.FailedPrecondition)
	wantEtagError(t, r.set("k", "x", etag("9999999"), nil), codes.FailedPrecondition)
	ok(r.set("k", "3", etag("2"), nil)) // an ETag counts without first-write
	wantEtagError(t, r.del("k", etag("2")), codes.FailedPrecondition)
	r.want(t, "k", "3@3")
	ok(r.del("k", etag("3")))
	wantEtagError(t, r.del("k", etag("4")), codes.FailedPrecondition) // the sequence of the deletion is no ETag
	wantEtagError(t, r.set("k", "x", etag("4"), nil), codes.FailedPrecondition)
	ok(r.set("k", "5", nil, firstWrite)) // deleted is not existing
	r.want(t, "k", "5@5")
	for _, bad := range []string{"bad-etag", "0", "-1", "01", "+5", " 5", "5.0", "99999999999999999999"} {
		wantEtagError(t, r.set("k", "x", etag(bad), nil), codes.InvalidArgument)
		wantEtagError(t, r.del("k", etag(bad)), codes.InvalidArgument)
	}
	r.want(t, "k", "5@5")
}

func TestBulk(t *testing.T) {
	t.Parallel()
	r := store(t, nil, nil)
	var sets []*components.SetRequest
	var gets []*components.GetRequest
	for i := range 2*bulk + 1 {
		key := "k" + strconv.Itoa(i)
		sets = append(sets, &components.SetRequest{Key: key, Value: []byte(key)})
		gets = append(gets, &components.GetRequest{Key: key})
	}
	if _, err := r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: sets}); err != nil {
		t.Fatal(err)
	}
	gets = append(gets, &components.GetRequest{Key: "absent"}, &components.GetRequest{Key: ""})
	got, err := r.state.BulkGet(r.ctx, &components.BulkGetRequest{Items: gets})
	if err != nil || len(got.GetItems()) != len(gets) {
		t.Fatal(len(got.GetItems()), err)
	}
	for i, item := range got.GetItems()[:len(sets)] {
		if item.GetKey() != sets[i].GetKey() || string(item.GetData()) != item.GetKey() || item.GetEtag().GetValue() != "1" || item.GetError() != "" {
			t.Fatalf("%v", item)
		}
	}
	if absent := got.GetItems()[len(sets)]; absent.GetKey() != "absent" || absent.GetEtag() != nil || absent.GetError() != "" {
		t.Errorf("%v", absent)
	}
	if empty := got.GetItems()[len(sets)+1]; empty.GetError() != "the key is empty" {
		t.Errorf("%v", empty)
	}

	// Each key for itself: the wrong ETag of one does not keep the other.
	_, err = r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{
		{Key: "k0", Value: []byte("x"), Etag: etag("7")}, {Key: "k1", Value: []byte("y"), Etag: etag("1")},
	}})
	wantEtagError(t, err, codes.FailedPrecondition)
	r.want(t, "k0", "k0@1")
	r.want(t, "k1", "y@2")
	_, err = r.state.BulkDelete(r.ctx, &components.BulkDeleteRequest{Items: []*components.DeleteRequest{
		{Key: "k0", Etag: etag("1")}, {Key: "k1", Etag: etag("1")}, {Key: "absent"},
	}})
	wantEtagError(t, err, codes.FailedPrecondition)
	r.want(t, "k0", "<nothing>")
	r.want(t, "k1", "y@2")
	// What cannot be asked for at all is refused before anything is done.
	_, err = r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{{Key: "k1", Value: []byte("z")}, {Key: ""}}})
	wantCode(t, err, codes.InvalidArgument)
	r.want(t, "k1", "y@2")
}

func setOp(key, value string, tag *components.Etag) *components.TransactionalStateOperation {
	return &components.TransactionalStateOperation{Request: &components.TransactionalStateOperation_Set{
		Set: &components.SetRequest{Key: key, Value: []byte(value), Etag: tag},
	}}
}

func delOp(key string, tag *components.Etag) *components.TransactionalStateOperation {
	return &components.TransactionalStateOperation{Request: &components.TransactionalStateOperation_Delete{
		Delete: &components.DeleteRequest{Key: key, Etag: tag},
	}}
}

func (r *rig) transact(ops ...*components.TransactionalStateOperation) error {
	_, err := r.state.Transact(r.ctx, &components.TransactionalStateRequest{Operations: ops})
	return err
}

func TestTransact(t *testing.T) { onEach(t, testTransact) }

func testTransact(t *testing.T, j Journal) {
	r := store(t, j, nil)
	if err := r.transact(); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	if err := r.transact(delOp("a", nil), setOp("a", "1", nil), delOp("a", nil), setOp("b", "1", nil), delOp("c", nil)); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a", "<nothing>")
	r.want(t, "b", "1@1")
	if err := r.transact(setOp("b", "2", nil), setOp("a", "2", nil), setOp("a", "3", nil)); err != nil {
		t.Fatal(err)
	}
	r.want(t, "a", "3@4")
	r.want(t, "b", "2@2")
	// An ETag in the middle is that of the state after the operations before it.
	if err := r.transact(setOp("b", "3", etag("2")), setOp("b", "4", etag("3"))); err != nil {
		t.Fatal(err)
	}
	r.want(t, "b", "4@4")
	// All or nothing.
	wantEtagError(t, r.transact(setOp("a", "x", nil), setOp("b", "x", etag("3")), setOp("new", "x", nil)), codes.FailedPrecondition)
	wantCode(t, r.transact(setOp("a", "x", nil), setOp("", "x", nil)), codes.InvalidArgument)
	wantCode(t, r.transact(setOp("a", "x", nil), &components.TransactionalStateOperation{}), codes.InvalidArgument)
	_, err := r.state.Transact(r.ctx, &components.TransactionalStateRequest{
		Operations: []*components.TransactionalStateOperation{setOp("a", "x", nil)}, Metadata: map[string]string{"ttlInSeconds": "soon"},
	})
	wantCode(t, err, codes.InvalidArgument)
	r.want(t, "a", "3@4")
	r.want(t, "b", "4@4")
	r.want(t, "new", "<nothing>")
	var many []*components.TransactionalStateOperation
	for i := range MaxTransaction {
		many = append(many, setOp("m"+strconv.Itoa(i), "x", nil))
	}
	if err := r.transact(many...); err != nil {
		t.Error(err)
	}
	wantCode(t, r.transact(append(many, setOp("a", "x", nil))...), codes.InvalidArgument)
	r.want(t, "m0", "x@1")
	r.want(t, "a", "3@4")
}

func TestCounters(t *testing.T) { onEach(t, testCounters) }

func testCounters(t *testing.T, j Journal) {
	r := store(t, j, nil)
	if err := r.transact(setOp("a", "0", nil), setOp("b", "0", nil)); err != nil {
		t.Fatal(err)
	}
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				text, tag, _ := strings.Cut(r.value(t, "a"), "@")
				n, _ := strconv.Atoi(text)
				next := strconv.Itoa(n + 1)
				err := r.transact(setOp("a", next, etag(tag)), setOp("b", next, nil))
				if err == nil {
					done++
				} else if status.Code(err) != codes.FailedPrecondition {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	total := strconv.Itoa(workers * rounds)
	want := total + "@" + strconv.Itoa(workers*rounds+1)
	r.want(t, "a", want)
	r.want(t, "b", want)
}

// TestStateModel compares the store with a map, over random requests.
func TestStateModel(t *testing.T) { onEach(t, testStateModel) }

func testStateModel(t *testing.T, j Journal) {
	r := store(t, j, nil)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		type entry struct {
			value    string
			sequence int
			there    bool
		}
		model := map[string]entry{}
		key := rapid.Map(rapid.SampledFrom([]string{"a", "b", "c"}), func(s string) string { return fmt.Sprint(run, s) })
		// apply does to m what the store should do, and reports whether it should.
		apply := func(m map[string]entry, k, value, tag string, fresh, del bool) bool {
			e := m[k]
			if tag != "" && (!e.there || tag != strconv.Itoa(e.sequence)) || tag == "" && fresh && !del && e.there {
				return false
			}
			if !del || e.there {
				m[k] = entry{value, e.sequence + 1, !del}
			}
			return true
		}
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			var ops []*components.TransactionalStateOperation
			next, allowed := maps.Clone(model), true
			for range rapid.IntRange(1, 4).Draw(rt, "operations") {
				k, value := key.Draw(rt, "key"), rapid.StringN(0, 5, 20).Draw(rt, "value")
				del, fresh := rapid.Bool().Draw(rt, "delete"), rapid.Bool().Draw(rt, "fresh")
				tag := rapid.SampledFrom([]string{"", "", "1", "2", strconv.Itoa(next[k].sequence + 1)}).Draw(rt, "etag")
				if tag == strconv.Itoa(next[k].sequence+1) {
					tag = strconv.Itoa(max(1, next[k].sequence))
				}
				o := setOp(k, value, etag(tag))
				if fresh {
					o.GetSet().Options = firstWrite
				}
				if del {
					o = delOp(k, etag(tag))
				}
				ops = append(ops, o)
				allowed = allowed && apply(next, k, value, tag, fresh, del)
			}
			err := r.transact(ops...)
			if (err == nil) != allowed {
				rt.Fatalf("%v: %v, want allowed: %v", ops, err, allowed)
			}
			if allowed {
				model = next
			}
		}
		got, want := map[string]string{}, map[string]string{}
		for _, s := range []string{"a", "b", "c"} {
			k := fmt.Sprint(run, s)
			got[k], want[k] = r.value(t, k), "<nothing>"
			if e := model[k]; e.there {
				want[k] = e.value + "@" + strconv.Itoa(e.sequence)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// TestHistory pins what state keys look like in the journal.
func TestHistory(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	r := store(t, j, nil)
	for _, err := range []error{r.set("k", "v", nil, nil), r.del("k", nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []journal.Event
	for e, err := range j.Read(context.Background(), actors.Ref{Service: "state/entities", ID: "k"}, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 2 || got[0].Name != "set" || !bytes.Equal(got[0].Payload.Data, []byte("v")) || got[1].Name != "deleted" ||
		got[0].Command == got[1].Command || !strings.HasPrefix(got[0].Command, "state-") {
		t.Errorf("%+v", got)
	}
}

func FuzzSet(f *testing.F) {
	f.Add("k", "1", "v", true, "", false)
	f.Add("app||k", "", "", false, "10", true)
	f.Add("\x00", "01", "x", true, "-1", false)
	r := store(f, nil, nil)
	f.Fuzz(func(t *testing.T, key, tag, value string, first bool, ttl string, del bool) {
		o := &components.StateOptions{}
		if first {
			o = firstWrite
		}
		metadata := map[string]string{"ttlInSeconds": ttl}
		q := set(&components.SetRequest{Key: key, Value: []byte(value), Etag: etag(tag), Options: o, Metadata: metadata})
		if del {
			q = deletion(&components.DeleteRequest{Key: key, Etag: etag(tag), Options: o, Metadata: metadata})
		}
		err := q.validate(maxResponse, time.Now())
		if err != nil {
			if code := status.Code(stateStatus(err)); code != codes.InvalidArgument && code != codes.ResourceExhausted {
				t.Errorf("%v", err)
			}
			return
		}
		if q.expects > 0 && strconv.FormatInt(q.expects, 10) != tag || q.expects > 0 && q.fresh || del && !q.expires.IsZero() || ttl == "" && !q.expires.IsZero() {
			t.Errorf("%+v", q)
		}
		err = (&writing{journal: r.runtime.Load().Journal, writes: group([]op{q.op})}).run(context.Background())
		if err != nil && status.Code(stateStatus(err)) != codes.FailedPrecondition {
			t.Errorf("%v", err)
		}
	})
}
