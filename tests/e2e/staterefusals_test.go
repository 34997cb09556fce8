package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// upserts is the body of a transaction.
func upserts(items ...harness.StateItem) map[string]any {
	var operations []harness.StateOperation
	for _, item := range items {
		operations = append(operations, harness.StateOperation{Operation: "upsert", Request: item})
	}
	return map[string]any{"operations": operations}
}

// What the state store does not do it says through the sidecar, so that one can do something about it, and nothing of it
// is done.
func TestStateRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{Metadata: map[string]string{"maxReply": "64Ki"}})
	const store = "/v1.0/state/" + harness.StateName
	big := strings.Repeat("x", 64<<10)
	set := func(key string, value any, etag string) harness.StateItem {
		return harness.StateItem{Key: key, Value: value, ETag: etag}
	}
	var many []harness.StateItem
	for i := range 1001 {
		many = append(many, set("many"+strconv.Itoa(i), i, ""))
	}
	if r := s.request(t, http.MethodPost, store, nil, []harness.StateItem{set("k", "v", "")}); !r.OK() {
		t.Fatalf("save: %d %s", r.Status, r.Body)
	}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	for name, test := range map[string]struct {
		method, path string
		header       map[string]string
		body         any
		status       int
		texts        []string
	}{
		"no time": {
			http.MethodGet, "/k?metadata.asOf=soon", nil, nil,
			http.StatusBadRequest, []string{"asOf", "soon", "RFC 3339"},
		},
		"a time to come": {
			http.MethodGet, "/k?metadata.asOf=" + tomorrow, nil, nil,
			http.StatusBadRequest, []string{"asOf", "still to come"},
		},
		"an unknown version": {
			http.MethodGet, "/k?metadata.version=2", nil, nil,
			http.StatusNotFound, []string{"no version 2", "the newest is 1"},
		},
		"an ETag of the future": {
			http.MethodPost, "", nil, []harness.StateItem{set("k", "lost", "7")},
			http.StatusConflict, []string{"has the ETag 1, and 7 was given"},
		},
		"a deletion with an ETag of the future": {
			http.MethodDelete, "/k", map[string]string{"If-Match": "7"}, nil,
			http.StatusConflict, []string{"has the ETag 1, and 7 was given"},
		},
		"an ETag of the future in a transaction": {
			http.MethodPost, "/transaction", nil, upserts(set("new", "lost", ""), set("k", "lost", "7")),
			http.StatusInternalServerError, []string{"has the ETag 1, and 7 was given"}, // the sidecar's code for all of them
		},
		"an ETag that is none": {
			http.MethodPost, "", nil, []harness.StateItem{set("k", "lost", "yes")},
			http.StatusBadRequest, []string{"none of this store's"},
		},
		"a transaction over the limit": {
			http.MethodPost, "/transaction", nil, upserts(append(many, set("k", "lost", ""))...),
			http.StatusBadRequest, []string{"1000"},
		},
		"a value over the limit": {
			http.MethodPost, "", nil, []harness.StateItem{set("k", big, "")},
			http.StatusTooManyRequests, []string{"has 65538 bytes", "store it in parts"},
		},
		"a value over the limit among others": {
			http.MethodPost, "", nil, []harness.StateItem{set("new", "lost", ""), set("k", big, "")},
			http.StatusTooManyRequests, []string{"has 65538 bytes", "store it in parts"},
		},
		"a value over the limit in a transaction": {
			http.MethodPost, "/transaction", nil, upserts(set("new", "lost", ""), set("k", big, "")),
			http.StatusInternalServerError, []string{"has 65538 bytes", "store it in parts"},
		},
	} {
		r := s.request(t, test.method, store+test.path, test.header, test.body)
		if r.Status != test.status {
			t.Errorf("%s: %d %s, want %d", name, r.Status, r.Body, test.status)
		}
		for _, text := range test.texts {
			if !strings.Contains(string(r.Body), text) {
				t.Errorf("%s: %s does not say %q", name, r.Body, text)
			}
		}
		if strings.Contains(string(r.Body), "xxxx") || strings.Contains(string(r.Body), "lost") {
			t.Errorf("%s: the error shows a value", name)
		}
	}
	for key, want := range map[string]string{"k": `"v"`, "new": "", "many0": "", "many1000": ""} {
		if r := s.request(t, http.MethodGet, store+"/"+key, nil, nil); string(r.Body) != want || want != "" && r.Header.Get("Etag") != "1" {
			t.Errorf("%s is %d %s with the ETag %q, want %s", key, r.Status, r.Body, r.Header.Get("Etag"), want)
		}
	}
}

// The disk of the journal fills up. What has no room is refused whole, and says so; all that was acknowledged can be read.
// When there is room again, writing goes on by itself.
func TestStateOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("needs a small file system: %v %s", err, out)
	}
	t.Cleanup(func() { // after the component, which has files there, has ended
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, harness.HostOptions{Journal: "sqlite:" + filepath.Join(disk, "entities.db")})
	component, sidecar := s.Component.Pid(), s.Daprd.Pid()
	const store = "/v1.0/state/" + harness.StateName
	value := func(n int) string { return strconv.Itoa(n) + strings.Repeat("x", 60<<10) }
	written := map[string]int{}
	// unchanged looks whether all keys are what was written last, with the version that so many writes have made.
	unchanged := func() {
		t.Helper()
		for _, key := range []string{"a", "b", "c"} {
			n := written[key]
			r := s.request(t, http.MethodGet, store+"/"+key, nil, nil)
			if n == 0 && r.Status == http.StatusNoContent {
				continue
			}
			if !r.OK() || string(r.Body) != strconv.Quote(value(n)) || r.Header.Get("Etag") != strconv.Itoa(n) {
				t.Errorf("%s is %d %.80s with the ETag %q, want %d", key, r.Status, r.Body, r.Header.Get("Etag"), n)
			}
		}
	}
	// write has it written to one key, or to two with one transaction, and reports whether it was.
	write := func(keys ...string) bool {
		t.Helper()
		var items []harness.StateItem
		for _, key := range keys {
			items = append(items, harness.StateItem{Key: key, Value: value(written[key] + 1)})
		}
		path, body, status := store, any(items), http.StatusTooManyRequests
		if len(keys) > 1 {
			path, body, status = store+"/transaction", upserts(items...), http.StatusInternalServerError // the sidecar's code for all of them
		}
		r := s.request(t, http.MethodPost, path, nil, body)
		if r.OK() {
			for _, key := range keys {
				written[key]++
			}
			return true
		}
		if r.Status != status || !strings.Contains(string(r.Body), "make room") || strings.Contains(string(r.Body), "xxxx") {
			t.Errorf("%v on a full disk: %d %.300s", keys, r.Status, r.Body)
		}
		return false
	}
	// What has no room for one write may have it for another, until the disk is full for all of them.
	for refusals, tries := 0, 0; refusals < 3; tries++ {
		if tries == 300 || t.Failed() {
			t.Fatalf("the disk is not full with %v", written)
		}
		refusals++
		if write("a", "b") || write("c") {
			refusals = 0
		}
		if refusals > 0 {
			unchanged()
		}
	}
	if written["a"] < 3 {
		t.Errorf("before the disk was full there were %v", written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !write("a", "b") || !write("c") {
			t.Error("nothing is written, and there is room again")
		}
		unchanged()
	}
	if s.Component.Pid() != component || s.Daprd.Pid() != sidecar {
		t.Error("something was started again")
	}
}

// The database goes and comes back. Meanwhile the state store says so; afterwards it goes on by itself, with everything
// that it has acknowledged, and neither the sidecar nor the component is started again.
func TestStateOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	database, err := s.cluster.StartPostgres(within(t, time.Minute), harness.PostgresOptions{})
	if errors.Is(err, harness.ErrNoPostgres) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.host(t, harness.HostOptions{Journal: database.URL("postgres")})
	component, sidecar := s.Component.Pid(), s.Daprd.Pid()
	const store = "/v1.0/state/" + harness.StateName
	save := func(key string, value any) harness.Response {
		return s.request(t, http.MethodPost, store, nil, []harness.StateItem{{Key: key, Value: value}})
	}
	for i := range 3 {
		if r := save("k", i); !r.OK() {
			t.Fatalf("save: %d %s", r.Status, r.Body)
		}
		if err := database.Stop(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]harness.Response{
			"save": save("lost", i), "get": s.request(t, http.MethodGet, store+"/k", nil, nil),
		} {
			if r.Status != http.StatusServiceUnavailable || !strings.Contains(string(r.Body), "journal") {
				t.Errorf("%s without the database: %d %s", name, r.Status, r.Body)
			}
		}
		if err := database.Start(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, func(context.Context) error {
			if r := save("other", i); !r.OK() {
				return fmt.Errorf("save: %d %s", r.Status, r.Body)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"k": strconv.Itoa(i), "other": strconv.Itoa(i), "lost": ""} {
			if r := s.request(t, http.MethodGet, store+"/"+key, nil, nil); string(r.Body) != want {
				t.Errorf("%s is %d %s, want %s", key, r.Status, r.Body, want)
			}
		}
	}
	if s.Component.Pid() != component || s.Daprd.Pid() != sidecar {
		t.Error("something was started again")
	}
}
