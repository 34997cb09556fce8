package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/tests/harness"
)

// Two hosts on one Postgres: entities spread over both; when one is killed the other answers for all of them.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	s := prepare(t)
	var hosts []*system
	for _, name := range []string{"a", "b"} {
		host := s.host(t, harness.HostOptions{Name: name, AppID: "two", Journal: database})
		hosts = append(hosts, &system{Host: host, dapr: host.Daprd.Client, cluster: s.cluster, placement: s.placement})
	}
	const entities = 40
	id := func(i int) string { return fmt.Sprintf("e%d", i) }
	for i := range entities {
		hosts[i%2].eventually(t, id(i), "Deposit", `{"amount":1}`)
	}
	a, b := hosts[0].metric(t, "entities_owned"), hosts[1].metric(t, "entities_owned")
	if a == 0 || b == 0 {
		t.Errorf("one host owns %v entities and the other %v; want both to own some", a, b)
	}

	// Kill a whole host while the other's clients go on.
	var load sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	var acknowledged [entities]atomic.Int64
	for worker := range 4 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				for i := worker; i < entities; i += 4 {
					one, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					r, err := hosts[1].dapr.Actor(one, account, id(i), "Deposit",
						map[string]string{"Idempotency-Key": fmt.Sprintf("n%d", n), "Content-Type": "application/json"}, []byte(`{"amount":1}`))
					cancel()
					if err == nil && r.OK() {
						acknowledged[i].Add(1)
					}
				}
			}
		})
	}
	err := harness.Poll(within(t, time.Minute), 20*time.Millisecond, func(context.Context) error {
		for i := range acknowledged {
			if acknowledged[i].Load() == 0 {
				return fmt.Errorf("%s has had no deposit under load", id(i))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	hosts[0].Daprd.Kill()
	hosts[0].Component.Kill()
	hosts[0].Handler.Kill()
	for i := range entities {
		hosts[1].eventually(t, id(i), "Get", "")
	}
	t.Logf("all entities answer on the other host %s after the kill", time.Since(killed).Round(100*time.Millisecond))
	stop()
	load.Wait()

	j, err := postgres.Open(within(t, time.Minute), postgres.Config{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for i := range entities {
		events := 0
		for e, err := range j.Read(within(t, time.Minute), actors.Ref{Service: service, ID: id(i)}, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if events++; e.Sequence != int64(events) {
				t.Errorf("%s: event %d has the sequence %d", id(i), events, e.Sequence)
			}
		}
		if want := int(acknowledged[i].Load()) + 1; events < want {
			t.Errorf("%s: %d deposits were acknowledged, %d are in the journal", id(i), want, events)
		}
	}
}

// Two app ids that host the same actor type are two placements of one entity: both hosts believe that it is theirs. The
// journal lets one of them win, and the other one sees what it has missed.
func TestDoubleActivationIsFenced(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	var hosts []*system
	for _, name := range []string{"left", "right"} {
		s := prepare(t) // a placement service of its own, which knows nothing of the other
		s.host(t, harness.HostOptions{Name: name, AppID: name, Journal: database})
		hosts = append(hosts, s)
	}
	var writers sync.WaitGroup
	const each = 60
	for n := range 2 {
		writers.Go(func() {
			for i := range each {
				hosts[n].eventually(t, "shared", "Deposit", `{"amount":1}`, fmt.Sprintf("h%d-%d", n, i))
			}
		})
	}
	writers.Wait()
	for n, s := range hosts {
		want := fmt.Sprintf(`{"balance":%d,"sequence":%d}`, 2*each, 2*each)
		if a := s.must(t, "shared", "Get", ""); a.body != want {
			t.Errorf("host %d reads %s, want %s", n, a.body, want)
		}
	}
	if n := hosts[0].metric(t, "entities_conflicts_total") + hosts[1].metric(t, "entities_conflicts_total"); n == 0 {
		t.Error("there was no conflict: the double activation was not felt")
	}
	j, err := postgres.Open(within(t, time.Minute), postgres.Config{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	checkOnce(t, j, "shared", 2*each)
}

// checkOnce checks that an account has n events, dense, each of a command of its own.
func checkOnce(t *testing.T, j journal.Reader, id string, n int) {
	t.Helper()
	commands := map[string]bool{}
	events := 0
	for e, err := range j.Read(within(t, time.Minute), actors.Ref{Service: service, ID: id}, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if events++; e.Sequence != int64(events) {
			t.Errorf("%s: event %d has the sequence %d", id, events, e.Sequence)
		}
		if commands[e.Command] {
			t.Errorf("%s: %s was applied twice", id, e.Command)
		}
		commands[e.Command] = true
	}
	if events != n {
		t.Errorf("%s has %d events, want %d", id, events, n)
	}
}

// A user function that knows nothing of this project runs unmodified: Cloudstate's own Go library and its example.
func TestForeignUserFunction(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	binary, err := harness.Build(within(t, 3*time.Minute), "tests/gosupport")
	if err != nil {
		t.Fatal(err)
	}
	s.host(t, harness.HostOptions{Handler: harness.HandlerOptions{Binary: binary}, ActorTypes: []string{"ShoppingCart", "EventSourcedTckModel"}})

	const cart = "ShoppingCart"
	for range 12 { // past two snapshots
		if a := s.actor(t, cart, "c", "AddItem", `{"productId":"tea","name":"Tea","quantity":2}`); a.status != 200 {
			t.Fatalf("add: %+v", a)
		}
	}
	if a := s.actor(t, cart, "c", "AddItem", `{"productId":"tea","name":"Tea","quantity":-2}`); !strings.Contains(a.text, "cannot add negative quantity") || a.code != "UNKNOWN" {
		t.Errorf("the handler's own failure: %+v", a)
	}
	if a := s.actor(t, cart, "c", "AddItem", `{"userId":"someone-else","productId":"tea","quantity":1}`); a.code != "INVALID_ARGUMENT" {
		t.Errorf("another id in the key field: %+v", a)
	}
	want := `"quantity":24`
	if a := s.actor(t, cart, "c", "GetCart", ""); !strings.Contains(strings.ReplaceAll(a.body, " ", ""), want) {
		t.Errorf("cart: %s, want %s", a.body, want)
	}
	s.Handler.Kill()
	supervise(t, s.Handler)
	end := time.Now().Add(20 * time.Second)
	for {
		a := s.actor(t, cart, "c", "GetCart", "")
		if strings.Contains(strings.ReplaceAll(a.body, " ", ""), want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("cart after the user function was killed: %s", a.body)
		}
		time.Sleep(200 * time.Millisecond)
	}

	// Fail after emitting: the library asks for a restart, and the events come to nothing.
	const model = "EventSourcedTckModel"
	steps := []struct{ body, want string }{
		{`{"actions":[{"emit":{"value":"A"}},{"emit":{"value":"B"}}]}`, `"AB"`},
		{`{"actions":[{"emit":{"value":"C"}},{"fail":{"message":"expected failure"}}]}`, `expected failure`},
		{`{}`, `"AB"`},
		{`{"actions":[{"emit":{"value":"D"}}]}`, `"ABD"`},
		{`{"actions":[{"forward":{"id":"x"}}]}`, `UNIMPLEMENTED`},
		{`{}`, `"ABD"`},
	}
	for i, step := range steps {
		if a := s.actor(t, model, "m", "Process", step.body); !strings.Contains(a.body, step.want) {
			t.Errorf("step %d: %s, want %s", i+1, a.body, step.want)
		}
	}
}
