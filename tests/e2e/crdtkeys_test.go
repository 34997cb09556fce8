package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

const stateStore = "/v1.0/state/" + harness.StateName

// keeper is a host without handlers: no more than a state store, some of whose keys are replicated.
func (s *system) keeper(t *testing.T, options harness.HostOptions) *system {
	t.Helper()
	metadata := map[string]string{
		"host": "false", "slotTimeout": "3s", "crdt.count-": "gcounter", "crdt.stock-": "pncounter", "crdt.seen-": "gset", "crdt.tags-": "orset",
		"crdt.name-": "lwwregister", "crdt.sold-": "flag", "crdt.post-": "ormap", "crdt.ready-": "vote",
	}
	maps.Copy(metadata, options.Metadata)
	options.Metadata, options.Placement = metadata, s.placement.Address
	host, err := s.cluster.StartHost(within(t, 2*time.Minute), options)
	if err != nil {
		t.Fatal(err)
	}
	return &system{Host: host, dapr: host.Daprd.Client, cluster: s.cluster, placement: s.placement}
}

// operate does one operation on a key.
func operate(ctx context.Context, s *system, key string, operation any, strong bool) error {
	item := harness.StateItem{Key: key, Value: operation}
	if strong {
		item.Options = map[string]string{"consistency": "strong"}
	}
	r, err := s.dapr.SaveState(ctx, harness.StateName, item)
	if err == nil && !r.OK() {
		err = fmt.Errorf("set %s: %d %s", key, r.Status, r.Body)
	}
	return err
}

type operation map[string]any

// Operations and values of every type through the sidecar, and what it makes of those that are none.
func TestReplicatedKeys(t *testing.T) {
	t.Parallel()
	s := prepare(t).keeper(t, harness.HostOptions{})
	for _, x := range []struct {
		key       string
		operation any
		want      string
	}{
		{"count-a", operation{"increment": 2}, `2`},
		{"count-a", operation{"increment": 40}, `42`},
		{"stock-a", operation{"decrement": 1}, `-1`},
		{"seen-a", operation{"add": []any{"b", "a", 10, 9}}, `[9,10,"a","b"]`},
		{"tags-a", operation{"add": []any{"b", "a"}}, `["a","b"]`},
		{"tags-a", operation{"add": []any{"c"}, "remove": []any{"a"}}, `["b","c"]`},
		{"name-a", operation{"first": "Ada"}, `{"first":"Ada"}`},
		{"name-a", operation{"set": "Ada"}, `"Ada"`},
		{"sold-a", true, `true`},
		{"ready-a", operation{"vote": true}, `{"for":1,"total":1,"self":true}`},
		{"post-a", operation{"put": operation{"likes": operation{"increment": 1}, "tags": operation{"add": []any{"x"}}}}, `{"likes":1,"tags":["x"]}`},
		{"post-a", operation{"put": operation{"likes": operation{"increment": 1}}, "remove": []any{"tags"}}, `{"likes":2}`},
		{"plain", operation{"increment": 2}, `{"increment":2}`},
	} {
		if err := operate(within(t, 30*time.Second), s, x.key, x.operation, false); err != nil {
			t.Fatal(err)
		}
		r := s.request(t, http.MethodGet, stateStore+"/"+x.key, nil, nil)
		if string(r.Body) != x.want || (r.Header.Get("Etag") == "") != (x.key != "plain") {
			t.Errorf("%s is %s, want %s; ETag %q", x.key, r.Body, x.want, r.Header.Get("Etag"))
		}
	}
	r := s.request(t, http.MethodPost, stateStore+"/bulk", nil, map[string]any{"keys": []string{"count-a", "plain", "tags-a", "count-none"}})
	var items []struct {
		Key  string
		Data json.RawMessage
	}
	if err := json.Unmarshal(r.Body, &items); err != nil || len(items) != 4 {
		t.Fatalf("bulk: %d %s", r.Status, r.Body)
	}
	slices.SortFunc(items, func(a, b struct {
		Key  string
		Data json.RawMessage
	}) int {
		return strings.Compare(a.Key, b.Key)
	})
	for i, want := range []string{`42`, ``, `{"increment":2}`, `["b","c"]`} {
		if got := string(items[i].Data); got != want && (want != "" || got != "null") {
			t.Errorf("bulk: %s is %s, want %s", items[i].Key, got, want)
		}
	}

	for name, x := range map[string]struct {
		response harness.Response
		want     string
	}{
		"a value":     {s.request(t, http.MethodPost, stateStore, nil, []harness.StateItem{{Key: "count-a", Value: 7}}), "a gcounter takes an operation, not a number"},
		"a typo":      {s.request(t, http.MethodPost, stateStore, nil, []harness.StateItem{{Key: "count-a", Value: operation{"incremnt": 1}}}), `\"incremnt\" is no operation on a gcounter`},
		"an ETag":     {s.request(t, http.MethodPost, stateStore, nil, []harness.StateItem{{Key: "count-a", Value: operation{"increment": 1}, ETag: "1"}}), "takes no ETag"},
		"first-write": {s.request(t, http.MethodPost, stateStore, nil, []harness.StateItem{{Key: "count-a", Value: operation{"increment": 1}, Options: map[string]string{"concurrency": "first-write"}}}), "takes no first-write"},
		"a TTL":       {s.request(t, http.MethodPost, stateStore, nil, []harness.StateItem{{Key: "count-a", Value: operation{"increment": 1}, Metadata: map[string]string{"ttlInSeconds": "9"}}}), "does not expire"},
		"history":     {s.request(t, http.MethodGet, stateStore+"/count-a?metadata.history=true", nil, nil), "has no past"},
		"if match":    {s.request(t, http.MethodDelete, stateStore+"/count-a", map[string]string{"If-Match": "1"}, nil), "takes no ETag"},
	} {
		if x.response.Status != http.StatusBadRequest || !strings.Contains(string(x.response.Body), x.want) {
			t.Errorf("%s: %d %s, want 400 that says: %s", name, x.response.Status, x.response.Body, x.want)
		}
	}
	r = s.request(t, http.MethodPost, stateStore+"/transaction", nil, map[string]any{"operations": []harness.StateOperation{
		{Operation: "upsert", Request: harness.StateItem{Key: "plain", Value: 2}},
		{Operation: "upsert", Request: harness.StateItem{Key: "count-a", Value: operation{"increment": 1}}},
	}})
	if r.OK() || !strings.Contains(string(r.Body), "such keys are no part of transactions") {
		t.Errorf("a transaction: %d %s", r.Status, r.Body)
	}
	if r := s.request(t, http.MethodDelete, stateStore+"/count-a", nil, nil); !r.OK() {
		t.Errorf("delete: %d %s", r.Status, r.Body)
	}
	for key, want := range map[string]string{"count-a": "", "plain": `{"increment":2}`} {
		if r := s.request(t, http.MethodGet, stateStore+"/"+key, nil, nil); string(r.Body) != want {
			t.Errorf("in the end %s is %s, want %s", key, r.Body, want)
		}
	}
}

// Three nodes write to the same keys at once, and one of them is killed meanwhile. All show the same in the end: everything
// that was acknowledged, once.
func TestReplicatedKeysNodes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	database, p := postgrestest.URL(t), prepare(t)
	var nodes []*system
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, p.keeper(t, harness.HostOptions{Name: name, AppID: "keys", Journal: database}))
	}
	victim := nodes[2]

	var counted, stock atomic.Int64
	// count writes so many times by one node, which never fails: on a slow machine it may not be confirmed in time, and is
	// applied on that node all the same. What the victim has acknowledged must be safe from its death.
	count := func(s *system, times int) {
		for n := range times {
			strong := s == victim || n%2 == 0
			for key, o := range map[string]operation{"count-hot": {"increment": 2}, "stock-hot": {[]string{"increment", "decrement"}[n%2]: n}} {
				if err := operate(t.Context(), s, key, o, strong); err != nil && !strings.Contains(err.Error(), "it stays") {
					t.Error(err)
					return
				}
			}
			counted.Add(2)
			stock.Add(int64(n - n%2*2*n))
		}
	}
	var callers sync.WaitGroup
	for _, s := range nodes {
		callers.Go(func() { count(s, 40) })
	}
	callers.Wait()
	// What changes nothing is confirmed together with what was not confirmed before.
	for _, key := range []string{"count-hot", "stock-hot"} {
		untilOK(t, func(ctx context.Context) error { return operate(ctx, victim, key, operation{"increment": 0}, true) })
	}

	// Now by two nodes while the third is killed. Elements are repeated until they are acknowledged, by whichever node.
	ctx, stop := context.WithCancel(t.Context())
	var sent [6]int
	var failures atomic.Int64
	for caller := range sent {
		s := nodes[caller%3]
		callers.Go(func() {
			for ; ctx.Err() == nil; sent[caller]++ {
				err := harness.Poll(within(t, time.Minute), 50*time.Millisecond, func(context.Context) error {
					one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
					defer cancel()
					err := operate(one, s, "seen-hot", operation{"add": []string{fmt.Sprintf("%d/%d", caller, sent[caller])}}, s == victim)
					if err != nil {
						failures.Add(1)
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, s := range nodes[:2] {
		callers.Go(func() { count(s, 60) })
	}
	for range 2 {
		goal := len(elements(t, nodes[0], "seen-hot")) + 20
		untilOK(t, func(context.Context) error {
			if len(elements(t, nodes[0], "seen-hot")) < goal {
				return errors.New("there is little to lose yet")
			}
			return nil
		})
		victim.Component.Kill()
		supervise(t, victim.Component)
		untilOK(t, func(ctx context.Context) error { return operate(ctx, victim, "name-back", true, true) })
	}
	stop()
	callers.Wait()
	count(victim, 20)

	total := 0
	for _, n := range sent {
		total += n
	}
	for i, s := range nodes {
		untilOK(t, func(ctx context.Context) error {
			for key, want := range map[string]int64{"count-hot": counted.Load(), "stock-hot": stock.Load()} {
				r, err := s.dapr.GetState(ctx, harness.StateName, key)
				if err != nil {
					return err
				}
				if got := string(r.Body); got != strconv.FormatInt(want, 10) {
					return fmt.Errorf("node %d: %s is %s, want %d", i, key, got, want)
				}
			}
			seen := elements(t, s, "seen-hot")
			var missing []string
			for caller, n := range sent {
				for one := range n {
					if e := fmt.Sprintf("%d/%d", caller, one); !seen[e] {
						missing = append(missing, e)
					}
				}
			}
			if len(missing) > 0 || len(seen) != total {
				return fmt.Errorf("node %d has seen %d, want %d; it lacks %d, as %v", i, len(seen), total, len(missing), missing[:min(len(missing), 5)])
			}
			return nil
		})
	}
	if failures.Load() == 0 || total < 60 {
		t.Errorf("%d attempts failed and %d elements were added: this shows nothing", failures.Load(), total)
	}
	t.Logf("counted to %d, stock %d, %d elements; %d attempts failed", counted.Load(), stock.Load(), total, failures.Load())
}

// elements of a set.
func elements(t *testing.T, s *system, key string) map[string]bool {
	t.Helper()
	r, err := s.dapr.GetState(within(t, 30*time.Second), harness.StateName, key)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &list); err != nil {
			t.Logf("%s: %d %s", key, r.Status, r.Body)
		}
	}
	set := map[string]bool{}
	for _, e := range list {
		set[e] = true
	}
	return set
}

// untilOK repeats something until it works.
func untilOK(t *testing.T, do func(ctx context.Context) error) {
	t.Helper()
	ctx := within(t, time.Minute)
	var last error // that is not the end of the minute
	err := harness.Poll(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		err := do(ctx)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err
	})
	if err != nil {
		t.Error(err, last)
	}
}
