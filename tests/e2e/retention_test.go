package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

// Retention is seen through the sidecar: prefixes are what an app writes, histories begin with the oldest version that is
// kept, and whoever asks for an older one is told. Another app of the same journal keeps what it has.
func TestRetention(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	s := prepare(t)
	host := func(id string, metadata map[string]string) *harness.Client {
		t.Helper()
		metadata["appId"], metadata["actorType.test.v1.Account"] = "{appID}", id+"Account"
		return s.host(t, harness.HostOptions{
			AppID: id, Journal: url, Metadata: metadata, ActorTypes: []string{id + "Account"},
		}).Daprd.Client
	}
	clients := map[string]*harness.Client{
		"keeps":   host("keeps", map[string]string{}),
		"forgets": host("forgets", map[string]string{"retention": "count=3", "retention.brief-": "age=1s", "retentionInterval": "200ms"}),
	}
	const store = "/v1.0/state/" + harness.StateName
	call := func(id, method, path string, body any) harness.Response {
		t.Helper()
		s.dapr = clients[id]
		return s.request(t, method, path, nil, body)
	}
	ok := func(r harness.Response) {
		t.Helper()
		if !r.OK() {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	for id := range clients {
		for n := range 6 {
			ok(call(id, http.MethodPost, store, []harness.StateItem{{Key: "k", Value: n + 1}, {Key: "brief-k", Value: n + 1}}))
		}
		ok(call(id, http.MethodPost, store, []harness.StateItem{{Key: "brief-ttl", Value: 1, Metadata: map[string]string{"ttlInSeconds": "1"}}}))
		ok(call(id, http.MethodDelete, store+"/brief-k", nil))
	}
	history := func(id, key string) []int {
		t.Helper()
		r := call(id, http.MethodGet, store+"/"+key+"?metadata.history=true", nil)
		var list []struct{ Version int }
		if err := json.Unmarshal(r.Body, &list); !r.OK() || err != nil {
			t.Fatalf("%d %s: %v", r.Status, r.Body, err)
		}
		versions := []int{}
		for _, v := range list {
			versions = append(versions, v.Version)
		}
		return versions
	}
	want := map[string][]int{"k": {4, 5, 6}, "brief-k": {}, "brief-ttl": {}}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		wrong := ""
		for key, versions := range want {
			if got := history("forgets", key); !slices.Equal(got, versions) {
				wrong += fmt.Sprintf("%s has the versions %v, want %v; ", key, got, versions)
			}
		}
		if wrong == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(wrong)
		}
	}
	for key, n := range map[string]int{"k": 6, "brief-k": 7, "brief-ttl": 1} {
		if got := history("keeps", key); len(got) != n {
			t.Errorf("the other app has the versions %v of %s", got, key)
		}
	}
	for question, text := range map[string]string{
		"k?metadata.version=3":                              "no longer kept; the oldest that is kept is version 4",
		"k?metadata.asOf=2000-01-01T00:00:00Z":              "the oldest that is kept is version 4",
		"brief-k?metadata.version=7":                        "nor is any other up to version 7",
		"brief-ttl?metadata.asOf=" + "2000-01-01T00:00:00Z": "no longer kept",
	} {
		if r := call("forgets", http.MethodGet, store+"/"+question, nil); r.Status != http.StatusBadRequest || !strings.Contains(string(r.Body), text) {
			t.Errorf("%s: %d %s", question, r.Status, r.Body)
		}
	}
	if r := call("forgets", http.MethodGet, store+"/k?metadata.version=4", nil); !r.OK() || string(r.Body) != "4" {
		t.Errorf("the oldest: %d %s", r.Status, r.Body)
	}
	if r := call("forgets", http.MethodGet, store+"/k", nil); string(r.Body) != "6" || r.Header.Get("Etag") != "6" {
		t.Errorf("the newest: %s with the ETag %s", r.Body, r.Header.Get("Etag"))
	}
	// A key of which nothing is left can be set as one that never was, and its versions go on.
	ok(call("forgets", http.MethodPost, store, []map[string]any{{"key": "brief-k", "value": "new", "options": map[string]string{"concurrency": "first-write"}}}))
	if r := call("forgets", http.MethodGet, store+"/brief-k", nil); string(r.Body) != `"new"` || r.Header.Get("Etag") != "8" {
		t.Errorf("set anew: %s with the ETag %s", r.Body, r.Header.Get("Etag"))
	}
}
