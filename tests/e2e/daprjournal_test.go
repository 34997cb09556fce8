package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// withStateStore is a host of carts whose journal is a state store of its sidecar, a Redis.
func withStateStore(t *testing.T) (*system, *harness.Redis) {
	t.Helper()
	s := prepare(t)
	redis, err := s.cluster.StartRedis(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	folder, err := s.cluster.SubFolder("statestore")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "statestore.yaml"), redis.Component("statestore", "state.redis", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	s.host(t, harness.HostOptions{
		Journal: "dapr:statestore", ActorTypes: []string{"ShoppingCart"},
		Handler: harness.HandlerOptions{Package: "samples/cart/cmd/cart"},
		Daprd:   harness.DaprdOptions{Resources: []string{folder}},
	})
	return s, redis
}

// Carts whose journal is in the sidecar's Redis outlive the component and the sidecar, both of which are killed under
// load: each acknowledged item is in its cart, and no command was applied twice.
func TestJournalInStateStore(t *testing.T) {
	t.Parallel()
	s, _ := withStateStore(t)
	const carts = 6
	var acknowledged [carts]atomic.Int64
	var failures atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for i := range carts {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := fmt.Sprintf(`{"product":"p%d","quantity":1}`, n%5)
				if put(ctx, s, fmt.Sprint("cart-", i), strconv.Itoa(n), body, &failures) {
					acknowledged[i].Add(1)
				}
			}
		})
	}
	progress := func() {
		t.Helper()
		var goal [carts]int64
		for i := range goal {
			goal[i] = acknowledged[i].Load() + 12
		}
		err := harness.Poll(within(t, 2*time.Minute), 20*time.Millisecond, func(context.Context) error {
			for i := range goal {
				if n := acknowledged[i].Load(); n < goal[i] {
					return fmt.Errorf("cart-%d has %d items, want %d", i, n, goal[i])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	progress()
	for range 2 {
		s.Component.Kill()
		supervise(t, s.Component)
		progress()
		s.Daprd.Kill()
		supervise(t, s.Daprd)
		progress()
	}
	stop()
	load.Wait()
	if failures.Load() == 0 {
		t.Error("nobody felt the kills: the test proves nothing")
	}
	for i := range carts {
		id := fmt.Sprint("cart-", i)
		commands := cartHistory(t, s, id)
		if n := acknowledged[i].Load(); n == 0 || int64(len(commands)) < n {
			t.Errorf("%s: %d items were acknowledged and %d are in the journal", id, n, len(commands))
		}
		var cart struct{ Items []struct{ Quantity int } }
		a := s.untilCart(t, id)
		if err := json.Unmarshal([]byte(a.body), &cart); err != nil {
			t.Fatalf("%s: %v in %s", id, err, a.body)
		}
		total := 0
		for _, item := range cart.Items {
			total += item.Quantity
		}
		if total != len(commands) {
			t.Errorf("%s has %d items in %d events", id, total, len(commands))
		}
	}
	t.Logf("%d attempts failed", failures.Load())
}

// put repeats one keyed command until it is answered, and reports whether it was.
func put(ctx context.Context, s *system, id, key, body string, failures *atomic.Int64) bool {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		r, err := s.dapr.Actor(one, "ShoppingCart", id, "AddItem",
			map[string]string{"Idempotency-Key": key, "Content-Type": "application/json"}, []byte(body))
		cancel()
		if err == nil && r.OK() {
			return true
		}
		failures.Add(1)
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

func (s *system) untilCart(t *testing.T, id string) answer {
	t.Helper()
	var a answer
	err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, func(context.Context) error {
		if a = s.actor(t, "ShoppingCart", id, "GetCart", ""); a.status != 200 {
			return fmt.Errorf("get %s: %d %s", id, a.status, a.body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cartHistory returns the commands of a cart's events, each of which has to be there once.
func cartHistory(t *testing.T, s *system, id string) map[string]bool {
	t.Helper()
	commands := map[string]bool{}
	for more := true; more; {
		after := len(commands)
		r := s.binding(t, "history", "", map[string]string{
			"service": "shop.v1.ShoppingCart", "id": id, "after": strconv.Itoa(after), "limit": "1000",
		})
		var page []event
		if err := json.Unmarshal(r.Body, &page); err != nil || !r.OK() {
			t.Fatalf("history of %s: %v in %s", id, err, r.Body)
		}
		for _, e := range page {
			if commands[e.Command] {
				t.Errorf("%s: %s was applied twice", id, e.Command)
			}
			commands[e.Command] = true
		}
		if more = len(page) > 0; more && len(commands) != after+len(page) {
			t.Fatalf("%s: %d commands after %d and %d more events", id, len(commands), after, len(page))
		}
	}
	return commands
}

// A component whose journal names a state store that is not there, or is no state store, says so where it is asked
// whether it is ready, and takes no command.
func TestJournalWithoutStateStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ journal, want string }{
		"missing":     {"dapr:nowhere", `has no component "nowhere"`},
		"not a store": {"dapr:" + harness.BindingName, "has to name a state store"},
		"ourselves":   {"dapr:" + harness.StateName, "cannot keep its own journal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.HostOptions{Journal: test.journal, ActorTypes: []string{}})
			admin := harness.NewClient(s.Component.Admin)
			err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, func(ctx context.Context) error {
				r, err := admin.Do(ctx, "GET", "/readyz", nil, nil)
				if err != nil {
					return err
				}
				if r.OK() || !strings.Contains(strings.ReplaceAll(string(r.Body), `\"`, `"`), test.want) {
					return fmt.Errorf("readiness: %d %s, want %s", r.Status, r.Body, test.want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
