package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// request is one call of daprd's HTTP API with a JSON body.
func (s *system) request(t *testing.T, method, path string, header map[string]string, body any) harness.Response {
	t.Helper()
	var data []byte
	all := map[string]string{"Content-Type": "application/json"}
	maps.Copy(all, header)
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.dapr.Do(within(t, 30*time.Second), method, path, all, data)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// The component is a state store of the sidecar's API, and what it has acknowledged outlives it.
func TestStateStore(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	const store = "/v1.0/state/" + harness.StateName
	get := func(key string) (value, etag string) {
		t.Helper()
		r := s.request(t, http.MethodGet, store+"/"+key, nil, nil)
		if !r.OK() {
			t.Fatalf("get %s: %d %s", key, r.Status, r.Body)
		}
		return string(r.Body), r.Header.Get("Etag")
	}
	save := func(items ...harness.StateItem) harness.Response {
		return s.request(t, http.MethodPost, store, nil, items)
	}

	if r := save(harness.StateItem{Key: "k", Value: "one"}, harness.StateItem{Key: "other", Value: 1}); !r.OK() {
		t.Fatalf("save: %d %s", r.Status, r.Body)
	}
	value, first := get("k")
	if value != `"one"` || first == "" {
		t.Errorf("get: %s with the ETag %q", value, first)
	}
	if r := save(harness.StateItem{Key: "k", Value: "two", ETag: first}); !r.OK() {
		t.Errorf("save with the right ETag: %d %s", r.Status, r.Body)
	}
	if r := save(harness.StateItem{Key: "k", Value: "three", ETag: first}); r.Status != http.StatusConflict {
		t.Errorf("save with an old ETag: %d %s, want 409", r.Status, r.Body)
	}
	value, second := get("k")
	if value != `"two"` || second == first {
		t.Errorf("after that: %s with the ETag %q", value, second)
	}
	if r := s.request(t, http.MethodDelete, store+"/k", map[string]string{"If-Match": first}, nil); r.Status != http.StatusConflict {
		t.Errorf("delete with an old ETag: %d %s, want 409", r.Status, r.Body)
	}

	upsert := func(key string, value any, etag string) harness.StateOperation {
		return harness.StateOperation{Operation: "upsert", Request: harness.StateItem{Key: key, Value: value, ETag: etag}}
	}
	transact := func(operations ...harness.StateOperation) harness.Response {
		return s.request(t, http.MethodPost, store+"/transaction", nil, map[string]any{"operations": operations})
	}
	r := transact(upsert("k", "three", second), upsert("new", "here", ""), harness.StateOperation{Operation: "delete", Request: harness.StateItem{Key: "other"}})
	if !r.OK() {
		t.Errorf("transaction: %d %s", r.Status, r.Body)
	}
	r = transact(upsert("new", "lost", ""), upsert("k", "lost", second))
	if r.OK() || !strings.Contains(strings.ToLower(string(r.Body)), "etag") {
		t.Errorf("a transaction with an old ETag: %d %s", r.Status, r.Body)
	}

	// The same again from a component that has been killed, and from a sidecar that has.
	check := func() {
		t.Helper()
		for key, want := range map[string]string{"k": `"three"`, "new": `"here"`, "other": ""} {
			if got, _ := get(key); got != want {
				t.Errorf("%s = %s, want %s", key, got, want)
			}
		}
	}
	check()
	s.Component.Kill()
	supervise(t, s.Component)
	s.eventually(t, "a", "Get", "")
	check()
	s.Daprd.Kill()
	supervise(t, s.Daprd)
	check()
	if r := s.request(t, http.MethodDelete, store+"/k", nil, nil); !r.OK() {
		t.Errorf("delete: %d %s", r.Status, r.Body)
	}
	if got, etag := get("k"); got != "" || etag != "" {
		t.Errorf("after the deletion: %s with the ETag %q", got, etag)
	}
	for name, key := range map[string]string{"too long": strings.Repeat("x", 4096), "TTL": "ttl"} {
		item := harness.StateItem{Key: key, Value: 1}
		if name == "TTL" {
			item.Metadata = map[string]string{"ttlInSeconds": "soon"}
		}
		if r := save(item); r.OK() || strings.Contains(string(r.Body), "Internal desc") {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
}

// What a key has been is read through the sidecar, and what expires is gone there.
func TestStateHistory(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	const store = "/v1.0/state/" + harness.StateName
	save := func(item harness.StateItem) {
		t.Helper()
		if r := s.request(t, http.MethodPost, store, nil, []harness.StateItem{item}); !r.OK() {
			t.Fatalf("save: %d %s", r.Status, r.Body)
		}
	}
	ask := func(question string) harness.Response {
		t.Helper()
		return s.request(t, http.MethodGet, store+"/k?"+question, nil, nil)
	}
	save(harness.StateItem{Key: "k", Value: "one"})
	save(harness.StateItem{Key: "k", Value: "second"})
	if r := s.request(t, http.MethodDelete, store+"/k", nil, nil); !r.OK() {
		t.Fatalf("delete: %d %s", r.Status, r.Body)
	}
	r := ask("metadata.history=true")
	var versions []struct {
		Version int
		Time    time.Time
		Deleted bool
		Size    int
		AppID   string
	}
	if err := json.Unmarshal(r.Body, &versions); !r.OK() || err != nil || len(versions) != 3 {
		t.Fatalf("%d %s: %v", r.Status, r.Body, err)
	}
	if v := versions[0]; v.Version != 1 || v.Deleted || v.Size != 5 || v.AppID == "" || !versions[2].Deleted {
		t.Errorf("%s", r.Body)
	}
	for question, want := range map[string]string{
		"metadata.version=1": `"one"`, "metadata.version=2": `"second"`, "metadata.version=3": "",
		"metadata.asOf=" + versions[1].Time.Format(time.RFC3339Nano): `"second"`, "metadata.asOf=2000-01-01T00:00:00Z": "",
	} {
		if r := ask(question); !r.OK() || string(r.Body) != want {
			t.Errorf("%s: %d %s, want %s", question, r.Status, r.Body, want)
		}
	}
	if r := ask("metadata.version=4"); r.Status != http.StatusNotFound || !strings.Contains(string(r.Body), "no version 4") {
		t.Errorf("a version that there is not: %d %s", r.Status, r.Body)
	}
	if r := ask("metadata.asOf=now"); r.Status != http.StatusBadRequest || !strings.Contains(string(r.Body), "RFC 3339") {
		t.Errorf("a time that is none: %d %s", r.Status, r.Body)
	}

	save(harness.StateItem{Key: "k", Value: "brief", Metadata: map[string]string{"ttlInSeconds": "2"}})
	r = ask("")
	until, err := time.Parse(time.RFC3339, r.Header.Get("Metadata.ttlExpireTime"))
	if err != nil || time.Until(until) > 2*time.Second {
		t.Errorf("it expires at %v, %v; header %v", until, err, r.Header)
	}
	for deadline := time.Now().Add(20 * time.Second); string(ask("").Body) != ""; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not expire")
		}
	}
	if time.Now().Before(until) {
		t.Error("it expired too early")
	}
}

// It is the sidecar's actor state store too.
func TestActorStateStore(t *testing.T) {
	t.Parallel()
	// Replicated keys are those of the state API, not those of actors.
	s := start(t, harness.HostOptions{Metadata: map[string]string{"crdt.k": "gcounter"}})
	s.must(t, "a", "Deposit", `{"amount":1}`) // Dapr wants the actor to be active
	const state = "/v1.0/actors/" + account + "/a/state"
	type operation map[string]any
	transact := func(operations ...operation) harness.Response {
		return s.request(t, http.MethodPost, state, nil, operations)
	}
	upsert := func(key string, value any) operation {
		return operation{"operation": "upsert", "request": operation{"key": key, "value": value}}
	}
	remove := func(key string) operation {
		return operation{"operation": "delete", "request": operation{"key": key}}
	}
	expect := func(key, want string) {
		t.Helper()
		if r := s.request(t, http.MethodGet, state+"/"+key, nil, nil); !r.OK() || string(r.Body) != want {
			t.Errorf("%s: %d %s, want %s", key, r.Status, r.Body, want)
		}
	}
	expect("k", "")
	for i := range 3 {
		if r := transact(upsert("k", i), upsert(fmt.Sprintf("k%d", i), "x"), remove(fmt.Sprintf("k%d", i-1))); !r.OK() {
			t.Fatalf("transaction %d: %d %s", i, r.Status, r.Body)
		}
	}
	expect("k", "2")
	expect("k1", "")
	expect("k2", `"x"`)
	s.Component.Kill()
	supervise(t, s.Component)
	s.eventually(t, "a", "Get", "")
	expect("k", "2")
	// The actor's state and the entity's events do not meet.
	if a := s.must(t, "a", "Get", ""); a.body != `{"balance":1,"sequence":1}` {
		t.Errorf("the entity: %+v", a)
	}
}
