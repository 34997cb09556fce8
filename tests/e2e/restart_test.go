package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// supervise is what Kubernetes does: it starts a process again until it stays.
func supervise(t *testing.T, p interface {
	Pid() int
	Start(context.Context) error
},
) {
	t.Helper()
	err := harness.Poll(within(t, time.Minute), 200*time.Millisecond, func(ctx context.Context) error {
		if p.Pid() != 0 {
			return nil
		}
		return p.Start(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every process is killed under load. Afterwards each acknowledged deposit is there exactly once.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"handler", "component", "daprd"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.HostOptions{})
			const entities = 8
			var acknowledged [entities]atomic.Int64
			var failures atomic.Int64
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var load sync.WaitGroup
			for i := range entities {
				load.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						deposit(ctx, s, fmt.Sprintf("e%d", i), fmt.Sprintf("%d", n), &failures, &acknowledged[i])
					}
				})
			}
			// progress waits until every entity has been deposited to some more.
			progress := func() {
				var goal [entities]int64
				for i := range goal {
					goal[i] = acknowledged[i].Load() + 10
				}
				err := harness.Poll(within(t, time.Minute), 20*time.Millisecond, func(context.Context) error {
					for i := range goal {
						if n := acknowledged[i].Load(); n < goal[i] {
							return fmt.Errorf("e%d has %d deposits, want %d", i, n, goal[i])
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			progress()
			for range 3 {
				switch victim {
				case "handler":
					s.Handler.Kill()
					supervise(t, s.Handler)
				case "component":
					s.Component.Kill()
					supervise(t, s.Component)
				case "daprd":
					s.Daprd.Kill()
					supervise(t, s.Daprd)
				}
				progress()
			}
			stop()
			load.Wait()
			if failures.Load() == 0 {
				t.Error("nobody felt the kills: the test proves nothing")
			}
			for i := range entities {
				id := fmt.Sprintf("e%d", i)
				s.eventually(t, id, "Get", "")
				keys := map[string]bool{}
				events := s.history(t, id)
				for _, e := range events {
					if keys[e.Command] {
						t.Errorf("%s: %s was applied twice", id, e.Command)
					}
					keys[e.Command] = true
				}
				if n := acknowledged[i].Load(); n == 0 || int64(len(events)) < n {
					t.Errorf("%s: %d deposits were acknowledged and %d are in the journal", id, n, len(events))
				}
			}
			t.Logf("%d attempts failed", failures.Load())
		})
	}
}

// deposit repeats one keyed command until it is answered.
func deposit(ctx context.Context, s *system, id, key string, failures, acknowledged *atomic.Int64) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		r, err := s.dapr.Actor(one, account, id, "Deposit",
			map[string]string{"Idempotency-Key": key, "Content-Type": "application/json"}, []byte(`{"amount":1}`))
		cancel()
		if err == nil && r.OK() {
			acknowledged.Add(1)
			return
		}
		failures.Add(1)
		time.Sleep(50 * time.Millisecond)
	}
}

// A restarted component goes on by itself: the sidecar does not repeat Init.
func TestComponentRestartResumes(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	s.must(t, "a", "Deposit", `{"amount":5}`, "k")
	s.Component.Kill()
	if err := s.Component.Start(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if a := s.eventually(t, "a", "Deposit", `{"amount":5}`, "k"); !a.repeated || !strings.Contains(a.body, `"balance":5`) {
		t.Errorf("the same key after the restart: %+v", a)
	}
	if events := s.history(t, "a"); len(events) != 1 {
		t.Errorf("%d events, want 1", len(events))
	}
	info, err := os.Stat(s.Component.Options.Sockets + "/.entities/init.json")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the init file: %v, %v", info, err)
	}
}

// Component first is the rule; the other orders work too.
func TestStartOrders(t *testing.T) {
	t.Parallel()

	t.Run("daprd first exits and is restarted", func(t *testing.T) {
		t.Parallel()
		s := start(t, harness.HostOptions{})
		s.must(t, "a", "Deposit", `{"amount":5}`)
		if err := errors.Join(s.Component.Stop(within(t, time.Minute)), s.Daprd.Stop(within(t, time.Minute))); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.Component.Options.Socket()); !os.IsNotExist(err) {
			t.Fatalf("the socket is still there: %v", err)
		}
		if err := s.Daprd.Start(within(t, time.Minute)); err == nil || !strings.Contains(err.Error(), "entities") {
			t.Fatalf("daprd without its component: %v, want an exit that names it", err)
		}
		supervise(t, s.Component)
		supervise(t, s.Daprd)
		if a := s.eventually(t, "a", "Get", ""); a.body != `{"balance":5,"sequence":1}` {
			t.Errorf("get: %+v", a)
		}
	})

	t.Run("user function late", func(t *testing.T) {
		t.Parallel()
		s := prepare(t)
		ports, err := harness.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
			Placement: s.placement.Address,
			Metadata:  map[string]string{"userFunction": fmt.Sprintf("127.0.0.1:%d", ports[0]), "host": "true"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Host, s.dapr = host, host.Daprd.Client
		admin := harness.NewClient(host.Component.Admin)
		r, err := admin.Do(within(t, 10*time.Second), "GET", "/readyz", nil, nil)
		if err != nil || r.OK() || !strings.Contains(string(r.Body), "userFunction") {
			t.Errorf("ready without a user function: %v, %d %s", err, r.Status, r.Body)
		}
		if _, err := s.cluster.StartHandler(within(t, time.Minute), harness.HandlerOptions{Package: fixture, Port: ports[0]}); err != nil {
			t.Fatal(err)
		}
		if err := host.AwaitActors(within(t, 30*time.Second), account); err != nil {
			t.Fatal(err)
		}
		s.eventually(t, "a", "Deposit", `{"amount":5}`)
		if r, err = admin.Do(within(t, 10*time.Second), "GET", "/readyz", nil, nil); err != nil || !r.OK() {
			t.Errorf("not ready: %v, %d %s", err, r.Status, r.Body)
		}
	})

	t.Run("without component APIs", func(t *testing.T) {
		t.Parallel()
		s := prepare(t)
		ctx := within(t, 2*time.Minute)
		handler, err := s.cluster.StartHandler(ctx, harness.HandlerOptions{Package: fixture})
		if err != nil {
			t.Fatal(err)
		}
		ports, err := harness.FreeDaprdPorts()
		if err != nil {
			t.Fatal(err)
		}
		// daprd finds no socket, and was told to go on without.
		daprd, err := s.cluster.StartDaprd(ctx, harness.DaprdOptions{AppID: "bare", Ports: ports, Placement: s.placement.Address})
		if err != nil {
			t.Fatal(err)
		}
		folder, err := s.cluster.SubFolder("bare")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.cluster.StartComponent(ctx, harness.ComponentOptions{
			DaprGRPCPort: ports.GRPC, Args: []string{"--userFunction", handler.Address, "--journal", "sqlite:" + folder + "/e.db"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Host, s.dapr = &harness.Host{Daprd: daprd}, daprd.Client
		if a := s.eventually(t, "a", "Deposit", `{"amount":5}`); a.body != `{"balance":5,"sequence":1}` {
			t.Errorf("deposit: %+v", a)
		}
	})
}

// daprd that is told to stop ends within a second, also while entities are active. A busy machine gets three tries: what
// this is about is a sidecar that hangs.
func TestDaprdStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	took := time.Hour
	for try := 0; try < 3 && took > time.Second; try++ {
		for i := range 20 {
			s.eventually(t, fmt.Sprintf("e%d", i), "Deposit", `{"amount":1}`, fmt.Sprint(try))
		}
		began := time.Now()
		if err := s.Daprd.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Daprd.Exited():
		case <-time.After(20 * time.Second):
			t.Fatal("daprd does not end")
		}
		took = min(took, time.Since(began))
		supervise(t, s.Daprd)
		if a := s.eventually(t, "e7", "Get", ""); a.body != fmt.Sprintf(`{"balance":%d,"sequence":%d}`, try+1, try+1) {
			t.Errorf("after the restart: %+v", a)
		}
	}
	if took > time.Second {
		t.Errorf("daprd took %s to end, want 1 s at most", took)
	}
}
