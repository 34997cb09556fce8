package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/tests/harness"
)

// A command gets in by every way an application has, and its failure's text gets out by every way.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})

	t.Run("actor API over HTTP", func(t *testing.T) {
		if a := s.must(t, "http", "Deposit", `{"amount":5}`); a.body != `{"balance":5,"sequence":1}` || a.sequence != 1 {
			t.Errorf("deposit: %+v", a)
		}
		if a := s.must(t, "http", "Get", ""); a.body != `{"balance":5,"sequence":1}` {
			t.Errorf("get: %+v", a)
		}
		a := s.call(t, "http", "Withdraw", `{"amount":7}`)
		if a.status != 500 || a.text != "the balance is 5, which is less than 7" || a.code != "FAILED_PRECONDITION" || a.sequence != 1 {
			t.Errorf("withdraw: %+v", a)
		}
		if a := s.call(t, "http", "Plain", `{"text":"no, because"}`); a.text != "no, because" || a.code != "UNKNOWN" {
			t.Errorf("plain failure: %+v", a)
		}
	})

	t.Run("actor API over gRPC", func(t *testing.T) {
		conn, err := grpc.NewClient(s.Daprd.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := runtime.NewDaprClient(conn)
		invoke := func(method, body string) (string, error) {
			r, err := client.InvokeActor(within(t, 30*time.Second), &runtime.InvokeActorRequest{
				ActorType: account, ActorId: "grpc", Method: method, Data: []byte(body),
			})
			return string(r.GetData()), err
		}
		if got, err := invoke("Deposit", `{"amount":5}`); err != nil || got != `{"balance":5,"sequence":1}` {
			t.Errorf("deposit: %q, %v", got, err)
		}
		_, err = invoke("Withdraw", `{"amount":7}`)
		if text := status.Convert(err).Message(); !strings.Contains(text, "the balance is 5, which is less than 7 [entities code=FAILED_PRECONDITION") {
			t.Errorf("withdraw: %v", err)
		}
	})

	t.Run("binding", func(t *testing.T) {
		to := map[string]string{"service": service, "id": "binding", "command": "Deposit"}
		for i, operation := range []string{"invoke", "create"} {
			r := s.binding(t, operation, `{"amount":5}`, to)
			if want := []string{`{"balance":5,"sequence":1}`, `{"balance":10,"sequence":2}`}[i]; string(r.Body) != want {
				t.Errorf("%s: %d %s, want %s", operation, r.Status, r.Body, want)
			}
		}
		to["command"] = "Withdraw"
		if r := s.binding(t, "invoke", `{"amount":70}`, to); !strings.Contains(string(r.Body), "the balance is 10, which is less than 70") {
			t.Errorf("withdraw: %d %s", r.Status, r.Body)
		}
		if events := s.history(t, "binding"); len(events) != 2 || events[1].Name != "deposited" || string(events[1].Data) != `{"amount":5}` {
			t.Errorf("history = %+v", events)
		}
		if r := s.binding(t, "list", "", map[string]string{"service": service}); !strings.Contains(string(r.Body), `"binding"`) {
			t.Errorf("list: %s", r.Body)
		}
		if r := s.binding(t, "get", "", map[string]string{"service": service, "id": "binding"}); !strings.Contains(string(r.Body), `"sequence":2`) {
			t.Errorf("get: %s", r.Body)
		}
	})

	t.Run("protobuf", func(t *testing.T) {
		a := s.actor(t, "ProtoAccount", "p", "Deposit", `{"amount":5}`)
		if a.status != 200 || !strings.Contains(a.body, `5`) {
			t.Errorf("deposit in JSON to a protobuf service: %+v", a)
		}
	})

	t.Run("idempotency key", func(t *testing.T) {
		first := s.must(t, "keyed", "Deposit", `{"amount":5}`, "k1")
		again := s.must(t, "keyed", "Deposit", `{"amount":5}`, "k1")
		if again.body != first.body || !again.repeated || first.repeated {
			t.Errorf("first %+v, again %+v", first, again)
		}
		if a := s.call(t, "keyed", "Deposit", `{"amount":6}`, "k1"); a.code != "INVALID_ARGUMENT" || !strings.Contains(a.text, "k1") {
			t.Errorf("other request with the same key: %+v", a)
		}
		if got := s.must(t, "keyed", "Get", ""); got.body != `{"balance":5,"sequence":1}` {
			t.Errorf("balance: %+v", got)
		}
		r := s.binding(t, "outcome", "", map[string]string{"service": service, "id": "keyed", "idempotencyKey": "k1"})
		if !strings.Contains(string(r.Body), `"balance":5`) {
			t.Errorf("outcome by key: %s", r.Body)
		}
	})

	t.Run("context", func(t *testing.T) {
		a := s.must(t, "context", "Context", "", "k9")
		for _, want := range []string{`"id":"context"`, `"key":"k9"`, `"dapr-caller-app-id":"entities"`} {
			if !strings.Contains(a.body, want) {
				t.Errorf("what the handler sees: %s, want %s in it", a.body, want)
			}
		}
	})
}

// Passivation, the LRU bound and snapshots change nothing that a caller can see.
func TestReload(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{Metadata: map[string]string{"idleTimeout": "200ms", "maxResident": "3"}})
	for i := range 45 {
		s.must(t, "a", "Deposit", `{"amount":2}`)
		if i%15 == 0 {
			err := harness.Poll(within(t, 30*time.Second), 20*time.Millisecond, func(context.Context) error {
				if n := s.metric(t, "entities_resident"); n > 0 {
					return fmt.Errorf("%v entities are still in memory", n)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range []string{"b", "c", "d", "e", "f"} {
		s.must(t, id, "Deposit", `{"amount":1}`)
	}
	if a := s.must(t, "a", "Get", ""); a.body != `{"balance":90,"sequence":45}` {
		t.Errorf("balance after reloads: %+v", a)
	}
	if n := s.metric(t, "entities_activation_seconds_count"); n < 8 {
		t.Errorf("%v activations; the entities were not reloaded", n)
	}
}
