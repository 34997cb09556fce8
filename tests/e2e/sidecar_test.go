package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// said waits until the log of a process holds the text n times.
func said(t *testing.T, p interface{ Log(int) (string, error) }, text string, n int) {
	t.Helper()
	err := harness.Poll(within(t, 30*time.Second), 50*time.Millisecond, func(context.Context) error {
		log, err := p.Log(0)
		if got := strings.Count(log, text); err == nil && got < n {
			return fmt.Errorf("the log says %q %d times, want %d", text, got, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// notReady waits until readiness says the texts.
func notReady(t *testing.T, admin string, want ...string) {
	t.Helper()
	client := harness.NewClient(admin)
	defer client.Close()
	err := harness.Poll(within(t, 30*time.Second), 50*time.Millisecond, func(ctx context.Context) error {
		r, err := client.Do(ctx, http.MethodGet, "/readyz", nil, nil)
		if err != nil {
			return err
		}
		for _, w := range want {
			if r.OK() || !strings.Contains(string(r.Body), w) {
				return fmt.Errorf("readiness says %d %s, want %q in it", r.Status, r.Body, w)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// refusal is what a daprd said that did not want to start. It serves for a moment before it ends, and may be found ready.
func refusal(t *testing.T, host *harness.Host, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	select {
	case <-host.Daprd.Exited():
	case <-within(t, 30*time.Second).Done():
		t.Fatal("daprd started")
	}
	log, err := host.Daprd.Log(5)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// On SIGHUP daprd restarts all of itself but its process: it discovers the component anew and repeats Init, which
// changes nothing, and the entities are placed anew.
func TestSidecarReloads(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	for i := range 10 {
		s.must(t, fmt.Sprintf("e%d", i), "Deposit", `{"amount":1}`)
	}
	pid := s.Daprd.Pid()
	for round := range 2 {
		if err := s.Daprd.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		said(t, s.Component, "entities are hosted", round+2)
		for i := range 10 {
			// HTTP calls may meet the API while it is down.
			err := harness.Poll(within(t, 30*time.Second), 100*time.Millisecond, func(ctx context.Context) error {
				r, err := s.dapr.Actor(ctx, account, fmt.Sprintf("e%d", i), "Deposit",
					map[string]string{"Idempotency-Key": strconv.Itoa(round), "Content-Type": "application/json"}, []byte(`{"amount":1}`))
				if err != nil {
					return err
				}
				if want := fmt.Sprintf(`{"balance":%d,"sequence":%d}`, round+2, round+2); string(r.Body) != want {
					return fmt.Errorf("%d %s, want %s", r.Status, r.Body, want)
				}
				return nil
			})
			if err != nil {
				t.Errorf("e%d after SIGHUP: %v", i, err)
			}
		}
	}
	if s.Daprd.Pid() != pid {
		t.Error("daprd has ended: this is no reload")
	}
	log, err := s.Component.Log(0)
	if n := strings.Count(log, "msg=started"); err != nil || n > 2 { // the binding may have made a client first
		t.Errorf("the host was started %d times, %v", n, err)
	}
	if strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the component worries about a reload:\n%s", log)
	}
	if events := s.history(t, "e3"); len(events) != 3 {
		t.Errorf("%d events, want 3", len(events))
	}
}

// What keeps a sidecar from hosting entities is said by readiness, with what to do.
func TestUnfitSidecars(t *testing.T) {
	t.Parallel()
	s := prepare(t)

	t.Run("no placement", func(t *testing.T) {
		t.Parallel()
		host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
			Name: "alone", Handler: harness.HandlerOptions{Package: fixture},
		})
		if err != nil {
			t.Fatal(err)
		}
		notReady(t, host.Component.Admin, "actorTypes", "--placement-host-address")
		// What needs no actors works.
		r, err := host.Daprd.SaveState(within(t, 10*time.Second), harness.StateName, harness.StateItem{Key: "k", Value: 1})
		if err != nil || !r.OK() {
			t.Errorf("save: %v, %d %s", err, r.Status, r.Body)
		}
	})

	t.Run("an HTTP app", func(t *testing.T) {
		t.Parallel()
		app := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(app.Close)
		address, err := url.Parse(app.URL)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(address.Port())
		if err != nil {
			t.Fatal(err)
		}
		host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
			Name: "http", Placement: s.placement.Address, Handler: harness.HandlerOptions{Package: fixture},
			Daprd: harness.DaprdOptions{AppPort: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		notReady(t, host.Component.Admin, "actorTypes", "no --app-port", "a sidecar of their own")
	})

	t.Run("no user function", func(t *testing.T) {
		t.Parallel()
		ports, err := harness.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
			Name: "empty", AppID: "empty", Placement: s.placement.Address,
			Metadata: map[string]string{"userFunction": fmt.Sprintf("127.0.0.1:%d", ports[0])},
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := host.Daprd.SaveState(within(t, 10*time.Second), harness.StateName, harness.StateItem{Key: "k", Value: 1})
		if err != nil || !r.OK() {
			t.Errorf("save: %v, %d %s", err, r.Status, r.Body)
		}
		client := harness.NewClient(host.Component.Admin)
		if ready, err := client.Do(within(t, 10*time.Second), http.MethodGet, "/readyz", nil, nil); err != nil || !ready.OK() {
			t.Errorf("a host that may do without a user function: %v, %d %s", err, ready.Status, ready.Body)
		}
		r, err = host.Daprd.Binding(within(t, 30*time.Second), harness.BindingName, harness.BindingRequest{
			Operation: "invoke", Metadata: map[string]string{"service": "test.v1.Nowhere", "id": "a", "command": "Get"},
		})
		if err != nil || r.OK() || !strings.Contains(string(r.Body), "no host has the entity") {
			t.Errorf("a command that nobody can handle: %v, %d %s", err, r.Status, r.Body)
		}
		log, err := host.Component.Log(0)
		if err != nil || strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
			t.Errorf("the log of a state store, %v:\n%s", err, log)
		}
	})

	t.Run("two hosts in one sidecar", func(t *testing.T) {
		t.Parallel()
		second, err := s.cluster.SubFolder("second")
		if err != nil {
			t.Fatal(err)
		}
		yaml := "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: another}\nspec: {type: state.entities, version: v1, metadata: [{name: journal, value: 'memory:'}]}\n"
		if err := os.WriteFile(filepath.Join(second, "another.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
			Name: "twice", Placement: s.placement.Address, Metadata: map[string]string{"host": "false"},
			Daprd: harness.DaprdOptions{Resources: []string{second}},
		})
		if said := refusal(t, host, err); !strings.Contains(said, "is a second host beside") || !strings.Contains(said, "remove one of them") {
			t.Errorf("daprd said %s", said)
		}
	})

	t.Run("two hosts on one file", func(t *testing.T) {
		t.Parallel()
		journal := "sqlite:" + filepath.Join(s.cluster.Folder(), "shared.db")
		var hosts []*harness.Host
		var err error
		for _, name := range []string{"owner", "intruder"} {
			var host *harness.Host
			host, err = s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
				Name: name, AppID: name, Placement: s.placement.Address, Journal: journal, Metadata: map[string]string{"host": "false"},
			})
			hosts = append(hosts, host)
			if name == "owner" && err != nil {
				t.Fatal(err)
			}
		}
		if said := refusal(t, hosts[1], err); !strings.Contains(said, "has the file open") {
			t.Errorf("daprd said %s", said)
		}
	})
}
