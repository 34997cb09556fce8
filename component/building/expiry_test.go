package building

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

func (r *rig) setTTL(t testing.TB, key, value, ttl string) {
	t.Helper()
	_, err := r.state.Set(r.ctx, &components.SetRequest{Key: key, Value: []byte(value), Metadata: map[string]string{"ttlInSeconds": ttl}})
	if err != nil {
		t.Fatal(err)
	}
}

// expireTime is what a Get says about when the value expires.
func (r *rig) expireTime(t testing.TB, key string) string {
	t.Helper()
	resp, err := r.ask(key)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetMetadata()["ttlExpireTime"]
}

func TestExpiry(t *testing.T) { onEach(t, testExpiry) }

func testExpiry(t *testing.T, j Journal) {
	r := store(t, j, nil)
	// The times that answers give.
	began := time.Now()
	r.setTTL(t, "hour", "x", "3600")
	at, err := time.Parse(time.RFC3339, r.expireTime(t, "hour"))
	if d := at.Sub(began); err != nil || d < time.Hour-time.Second || d > time.Hour+10*time.Second || at.Location() != time.UTC {
		t.Errorf("it expires after %v, %v", d, err)
	}
	got, err := r.state.BulkGet(r.ctx, &components.BulkGetRequest{Items: []*components.GetRequest{{Key: "hour"}}})
	if err != nil || got.GetItems()[0].GetMetadata()["ttlExpireTime"] != at.Format(time.RFC3339) {
		t.Errorf("%v, %v", got, err)
	}
	// What removes an expiry: -1, 0, and to say nothing.
	for _, ttl := range []string{"-1", "0", ""} {
		r.setTTL(t, "kept", "x", "3600")
		if r.expireTime(t, "kept") == "" {
			t.Error("no expiry")
		}
		r.setTTL(t, "kept", "x", ttl)
		if at := r.expireTime(t, "kept"); at != "" {
			t.Errorf("after %q it still expires at %s", ttl, at)
		}
	}
	// The expiry of a transaction holds for what has none of its own.
	own := setOp("own", "x", nil)
	own.GetSet().Metadata = map[string]string{"ttlInSeconds": "-1"}
	if _, err := r.state.Transact(r.ctx, &components.TransactionalStateRequest{
		Operations: []*components.TransactionalStateOperation{setOp("shared", "x", nil), own, delOp("absent", nil)},
		Metadata:   map[string]string{"ttlInSeconds": "3600"},
	}); err != nil {
		t.Fatal(err)
	}
	if r.expireTime(t, "shared") == "" || r.expireTime(t, "own") != "" {
		t.Error("the expiry of the transaction is not where it belongs")
	}

	// An expired key does not exist.
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		r.setTTL(t, key, "old", "1")
	}
	wantEtagError(t, r.set("hour", "x", nil, firstWrite), codes.FailedPrecondition) // this one does
	waitFor(t, func() bool { return r.value(t, "e") == "<nothing>" })
	for _, key := range []string{"a", "b", "c", "d"} {
		r.want(t, key, "<nothing>")
	}
	wantEtagError(t, r.set("a", "x", etag("1"), nil), codes.FailedPrecondition)
	wantEtagError(t, r.del("a", etag("1")), codes.FailedPrecondition)
	wantEtagError(t, r.transact(setOp("a", "x", etag("1")), setOp("b", "x", nil)), codes.FailedPrecondition)
	r.want(t, "b", "<nothing>")
	if err := r.del("a", nil); err != nil { // there is nothing to delete, and nothing to note
		t.Error(err)
	}
	if err := r.set("a", "new", etag(""), firstWrite); err != nil {
		t.Error(err)
	}
	r.want(t, "a", "new@2")
	if err := r.set("b", "new", nil, nil); err != nil {
		t.Error(err)
	}
	r.want(t, "b", "new@2")

	// The history keeps it, and knows since when it was gone.
	resp, err := r.ask("b", "history", "true")
	list := versions(t, resp, err)
	if len(list) != 2 || list[0].Expires.IsZero() || !list[1].Expires.IsZero() {
		t.Fatalf("%+v", list)
	}
	if early := time.Until(list[0].Expires); early > 0 {
		t.Errorf("it was gone %v too early", early)
	}
	for when, value := range map[time.Time]string{list[0].Expires.Add(-time.Microsecond): "old", list[0].Expires: "", list[1].Time: "new"} {
		resp, err := r.ask("b", "asOf", when.Format(time.RFC3339Nano))
		if err != nil || string(resp.GetData()) != value || (resp.GetMetadata()["deleted"] == "true") != (value == "") {
			t.Errorf("%v: %v, %v; want %q", when, resp, err, value)
		}
	}
	if resp, err := r.ask("b", "version", "1"); err != nil || string(resp.GetData()) != "old" || resp.GetMetadata()["ttlExpireTime"] == "" {
		t.Errorf("%v, %v", resp, err)
	}
}

// step of TestExpiryModel.
type step struct {
	After         time.Duration
	Delete, Fresh bool
	TTL           string
}

// TestExpiryModel compares the store with a map, in simulated time: to the moment, whatever is written in between.
func TestExpiryModel(t *testing.T) {
	t.Parallel()
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		s := step{
			After:  time.Duration(rapid.IntRange(0, 6).Draw(t, "after")) * 500 * time.Millisecond,
			Delete: rapid.IntRange(0, 3).Draw(t, "what") == 0,
			TTL:    rapid.SampledFrom([]string{"", "-1", "0", "1", "2", "5"}).Draw(t, "ttl"),
		}
		s.Fresh = !s.Delete && rapid.Bool().Draw(t, "fresh")
		return s
	}), 1, 20)
	rapid.Check(t, func(rt *rapid.T) {
		all, problem := steps.Draw(rt, "steps"), ""
		synctest.Test(t, func(t *testing.T) { problem = expire(t, all) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// expire takes the steps and returns what went wrong.
func expire(t *testing.T, steps []step) string {
	j := memory.Open()
	sequence, value, there, expires := 0, "", false, time.Time{}
	exist := func() bool { return there && (expires.IsZero() || time.Now().Before(expires)) }
	for i, s := range steps {
		time.Sleep(s.After)
		q := request{op: op{key: "k", data: []byte(strconv.Itoa(i)), delete: s.Delete}, metadata: []map[string]string{{"ttlInSeconds": s.TTL}}}
		if s.Fresh {
			q.options = firstWrite
		}
		if err := q.validate(maxResponse, time.Now()); err != nil {
			return err.Error()
		}
		err := (&writing{journal: j, writes: group([]op{q.op})}).run(t.Context())
		if refused := s.Fresh && exist(); (err != nil) != refused {
			return fmt.Sprintf("step %d: %v, want refused: %v", i, err, refused)
		} else if !refused && (!s.Delete || exist()) {
			sequence, value, there, expires = sequence+1, strconv.Itoa(i), !s.Delete, time.Time{}
			if n, _ := strconv.Atoi(s.TTL); n > 0 {
				expires = time.Now().Add(time.Duration(n) * time.Second)
			}
		}
		resp, err := getKey(t.Context(), j, &components.GetRequest{Key: "k"}, maxResponse)
		got, want := "nothing", "nothing"
		if exist() {
			want = fmt.Sprint(value, "@", sequence)
		}
		if resp.GetEtag() != nil {
			got = fmt.Sprint(string(resp.GetData()), "@", resp.GetEtag().GetValue())
		}
		if err != nil || got != want {
			return fmt.Sprintf("step %d: %s, %v; want %s", i, got, err, want)
		}
	}
	return ""
}

// TestExpiryText: what is not an expiry is no reason to lose a value.
func TestExpiryText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{valueType, expiring, expiring + "soon", "something/else"} {
		e := journal.Event{Sequence: 1, Name: eventSet, Payload: actors.Payload{TypeURL: text}}
		if !expiryOf(e).IsZero() || !exists(e, time.Now()) {
			t.Errorf("%s expires", text)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))
	if got := expiryOf(journal.Event{Payload: actors.Payload{TypeURL: typeOf(at)}}); !got.Equal(at) {
		t.Errorf("%v became %v", at, got)
	}
}

// TestFullJournal: a value that the journal has no room for is refused, none of a transaction is written, and what is
// there stays readable.
func TestFullJournal(t *testing.T) {
	t.Parallel()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "entities.db"), MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	r := store(t, j, nil)
	if err := r.set("small", "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 2<<20)
	wantCode(t, r.set("big", big, nil, nil), codes.ResourceExhausted)
	err = r.transact(setOp("small", "y", nil), setOp("big", big, nil))
	wantCode(t, err, codes.ResourceExhausted)
	if err == nil || !strings.Contains(err.Error(), "make room") {
		t.Error(err)
	}
	r.want(t, "small", "x@1")
	r.want(t, "big", "<nothing>")
}

// TestContentTypes: what no journal could keep is refused before anything is written.
func TestContentTypes(t *testing.T) { onEach(t, testContentTypes) }

func testContentTypes(t *testing.T, j Journal) {
	r := store(t, j, nil)
	for contentType, code := range map[string]codes.Code{
		strings.Repeat("x", MaxContentTypeBytes): codes.OK, strings.Repeat("x", MaxContentTypeBytes+1): codes.InvalidArgument,
		"a\x00b": codes.InvalidArgument, "": codes.OK,
	} {
		_, err := r.state.BulkSet(r.ctx, &components.BulkSetRequest{Items: []*components.SetRequest{
			{Key: "first", Value: []byte(contentType)}, {Key: "ct", ContentType: contentType},
		}})
		wantCode(t, err, code)
		resp, err := r.state.Get(r.ctx, &components.GetRequest{Key: "first"})
		if err != nil || (string(resp.GetData()) == contentType && resp.GetEtag() != nil) != (code == codes.OK) {
			t.Errorf("%.10q: %v, %v", contentType, resp, err)
		}
	}
}
