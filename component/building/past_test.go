package building

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// ask gets with metadata: pairs of key and value.
func (r *rig) ask(key string, pairs ...string) (*components.GetResponse, error) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return r.state.Get(r.ctx, &components.GetRequest{Key: key, Metadata: m})
}

// versions makes of the answer to a question after the history what it says.
func versions(t testing.TB, resp *components.GetResponse, err error) []versionJSON {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var list []versionJSON
	if err := json.Unmarshal(resp.GetData(), &list); err != nil {
		t.Fatalf("%s: %v", resp.GetData(), err)
	}
	return list
}

func TestPast(t *testing.T) { onEach(t, testPast) }

func testPast(t *testing.T, j Journal) {
	r := store(t, j, map[string]string{"appId": "shop"})
	began := time.Now().Add(-time.Second) // PostgreSQL's clock is that of this machine, but no finer than its own ticks
	sets := []*components.SetRequest{
		{Key: "k", Value: []byte("one"), ContentType: "text/plain", Metadata: map[string]string{"traceparent": trace}},
		{Key: "k", Value: []byte("two!"), Metadata: map[string]string{"traceparent": "none of that"}},
	}
	for i, s := range sets {
		if _, err := r.state.Set(r.ctx, s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i+1) * 2 * time.Millisecond)
	}
	if err := r.del("k", nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	if err := r.set("k", "four", nil, nil); err != nil {
		t.Fatal(err)
	}

	resp, err := r.ask("k", "history", "true")
	list := versions(t, resp, err)
	if len(list) != 4 || resp.GetContentType() != "application/json" || resp.GetEtag() != nil || resp.GetMetadata()["next"] != "" {
		t.Fatalf("%v", resp)
	}
	want := []versionJSON{
		{Version: 1, Size: 3, ContentType: "text/plain", AppID: "shop", Traceparent: trace},
		{Version: 2, Size: 4, AppID: "shop"},
		{Version: 3, Deleted: true, AppID: "shop"},
		{Version: 4, Size: 4, AppID: "shop"},
	}
	for i := range want {
		want[i].Time = list[i].Time
		if i > 0 && !list[i].Time.After(list[i-1].Time) {
			t.Errorf("version %d is not after the one before it: %v", i+1, list)
		}
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}

	values := []string{"one", "two!", "", "four"}
	for i, v := range list {
		stamp := func(d time.Duration) string { return v.Time.Add(d).Format(time.RFC3339Nano) }
		for _, question := range [][]string{
			{"version", strconv.FormatInt(v.Version, 10)}, {"asOf", stamp(0)}, {"ASOF", stamp(time.Microsecond)},
			{"asOf", v.Time.In(time.FixedZone("", 5*3600)).Format(time.RFC3339Nano)},
		} {
			resp, err := r.ask("k", question...)
			if err != nil {
				t.Errorf("%v: %v", question, err)
				continue
			}
			m := map[string]string{"version": strconv.Itoa(i + 1), "time": stamp(0)}
			if v.Deleted {
				m["deleted"] = "true"
			}
			if string(resp.GetData()) != values[i] || (resp.GetEtag() == nil) != v.Deleted || !maps.Equal(resp.GetMetadata(), m) {
				t.Errorf("%v: %v", question, resp)
			}
			if !v.Deleted && resp.GetEtag().GetValue() != strconv.Itoa(i+1) {
				t.Errorf("%v: the ETag is %s", question, resp.GetEtag())
			}
		}
	}
	for _, question := range [][]string{{"asOf", began.Format(time.RFC3339Nano)}, {"asOf", "1970-01-01T00:00:00Z"}} {
		if resp, err := r.ask("k", question...); err != nil || resp.GetEtag() != nil || resp.GetData() != nil || resp.GetMetadata() != nil {
			t.Errorf("before the first version: %v, %v", resp, err)
		}
	}
	// A clock that is fast is forgiven.
	if resp, err := r.ask("k", "asOf", time.Now().Add(clockSkew/2).Format(time.RFC3339)); err != nil || string(resp.GetData()) != "four" {
		t.Errorf("%v, %v", resp, err)
	}
	// The ETag of the past is no longer that of the key.
	wantEtagError(t, r.set("k", "x", etag("2"), nil), codes.FailedPrecondition)
	// Other metadata is nobody's business.
	if resp, err := r.ask("k", "history", "false", "consistency", "strong", "limit", "x"); err != nil || string(resp.GetData()) != "four" {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestWrongQuestions(t *testing.T) { onEach(t, testWrongQuestions) }

func testWrongQuestions(t *testing.T, j Journal) {
	r := store(t, j, nil)
	if err := r.set("k", "v", nil, nil); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	for _, c := range []struct {
		key   string
		pairs []string
		code  codes.Code
		text  string
	}{
		{"k", []string{"asOf", "yesterday"}, codes.InvalidArgument, `"yesterday"`},
		{"k", []string{"asOf", "2026-01-01"}, codes.InvalidArgument, "RFC 3339"},
		{"k", []string{"asOf", "2026-01-01T00:00:00 02:00"}, codes.InvalidArgument, "%2B"}, // what a URL makes of a plus
		{"k", []string{"asOf", now.Add(time.Hour).Format(time.RFC3339)}, codes.InvalidArgument, "still to come"},
		{"k", []string{"version", "2"}, codes.NotFound, `"k" has no version 2: the newest is 1`},
		{"k", []string{"version", "9223372036854775807"}, codes.NotFound, "the newest is 1"},
		{"never", []string{"version", "1"}, codes.NotFound, "never set"},
		{"k", []string{"version", "0"}, codes.InvalidArgument, "whole number from 1"},
		{"k", []string{"version", "latest"}, codes.InvalidArgument, `"latest"`},
		{"k", []string{"version", "9223372036854775808"}, codes.InvalidArgument, "whole number"},
		{"k", []string{"history", "yes"}, codes.InvalidArgument, "true or false"},
		{"k", []string{"history", "true", "limit", "0"}, codes.InvalidArgument, "limit"},
		{"k", []string{"history", "true", "limit", "1001"}, codes.InvalidArgument, "limit"},
		{"k", []string{"history", "true", "after", "-1"}, codes.InvalidArgument, "after"},
		{"k", []string{"version", "1", "asOf", "2026-01-01T00:00:00Z"}, codes.InvalidArgument, "ask for one"},
		{"k", []string{"history", "true", "version", "1"}, codes.InvalidArgument, "ask for one"},
		{"", []string{"version", "1"}, codes.InvalidArgument, "empty"},
	} {
		_, err := r.ask(c.key, c.pairs...)
		wantCode(t, err, c.code)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v, want something about %q", c.pairs, err, c.text)
		}
	}
	// A deletion of the past would be one of the present.
	for _, key := range []string{"version", "asOf", "history"} {
		_, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: "k", Metadata: map[string]string{key: "1"}})
		wantCode(t, err, codes.InvalidArgument)
	}
	r.want(t, "k", "v@1")
	if resp, err := r.ask("never", "history", "true"); err != nil || string(resp.GetData()) != "[]" {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestHistoryPages(t *testing.T) { onEach(t, testHistoryPages) }

func testHistoryPages(t *testing.T, j Journal) {
	r := store(t, j, map[string]string{"maxReply": "4Ki"})
	const all = 2*defaultLimit + 1
	var ops []*components.TransactionalStateOperation
	for range all {
		ops = append(ops, setOp("k", "x", nil))
	}
	if err := r.transact(ops...); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []string{"", "1", "7", "1000"} { // the last ones are cut by the size of the answer
		seen, next, pages := 0, "", 0
		for {
			resp, err := r.ask("k", "history", "true", "limit", limit, "after", next)
			list := versions(t, resp, err)
			if len(resp.GetData()) > 4<<10 {
				t.Fatalf("%d bytes", len(resp.GetData()))
			}
			for _, v := range list {
				if seen++; v.Version != int64(seen) {
					t.Fatalf("version %d comes %d.", v.Version, seen)
				}
			}
			if next, pages = resp.GetMetadata()["next"], pages+1; next == "" {
				break
			}
			if len(list) == 0 {
				t.Fatal("there are more, and none come")
			}
		}
		if seen != all || limit == "1" && pages != all {
			t.Errorf("limit %s: %d versions on %d pages", limit, seen, pages)
		}
	}
}

// TestBulkPast: each item of a BulkGet asks its own question.
func TestBulkPast(t *testing.T) { onEach(t, testBulkPast) }

func testBulkPast(t *testing.T, j Journal) {
	r := store(t, j, nil)
	for _, v := range []string{"one", "two"} {
		if err := r.set("k", v, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	item := func(pairs ...string) *components.GetRequest {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return &components.GetRequest{Key: "k", Metadata: m}
	}
	got, err := r.state.BulkGet(r.ctx, &components.BulkGetRequest{Items: []*components.GetRequest{
		item("version", "1"), item(), item("history", "true"), item("version", "9"), item("asOf", "never"), item("version", "2"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, i := range got.GetItems() {
		texts = append(texts, fmt.Sprintf("%.3s@%s %.24s", i.GetData(), i.GetEtag().GetValue(), i.GetError()))
	}
	want := []string{`one@1 `, `two@2 `, `[{"@ `, `@ "k" has no version 9: th`, `@ the metadata asOf is "ne`, `two@2 `}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
}

// TestAsOfFindsEveryVersion compares the search with the list, where many versions share a moment and others do not.
func TestAsOfFindsEveryVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		ref, began := stateRef("k"), time.Now()
		var times []time.Time
		for i := range 50 {
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * time.Second)
			}
			got := j.Append(t.Context(), []journal.Append{{
				Ref: ref, Expected: journal.AnySequence, Command: fmt.Sprint(i),
				Events: []journal.Event{{Name: eventSet, Payload: actors.Payload{TypeURL: valueType}}},
			}})
			if got[0].Status != journal.Committed {
				t.Fatal(got)
			}
			times = append(times, time.Now())
		}
		for at := began.Add(-time.Second); !at.After(time.Now().Add(2 * time.Second)); at = at.Add(500 * time.Millisecond) {
			want := int64(0)
			for i, t := range times {
				if !t.After(at) {
					want = int64(i + 1)
				}
			}
			if e, err := versionAt(t.Context(), j, "k", at); err != nil || e.Sequence != want {
				t.Fatalf("at %v: version %d, %v; want %d", at.Sub(began), e.Sequence, err, want)
			}
		}
	})
}

func FuzzAsk(f *testing.F) {
	f.Add("1", "", "", "", "")
	f.Add("", "2026-01-01T00:00:00+02:00", "", "", "")
	f.Add("", "", "true", "5", "10")
	f.Add("-1", "x", "maybe", "", "")
	f.Fuzz(func(t *testing.T, version, asOf, history, after, limit string) {
		now := time.Now()
		q, err := ask(map[string]string{"version": version, "asOf": asOf, "history": history, "after": after, "limit": limit}, now)
		if err != nil {
			if actors.CodeOf(err) != actors.InvalidArgument {
				t.Error(err)
			}
			return
		}
		if q.version < 0 || q.asOf.After(now) || q.history && (q.limit < 1 || q.limit > maxLimit || q.after < 0) {
			t.Errorf("%+v", q)
		}
	})
}
