package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newServer(t *testing.T, c Config) *Server {
	t.Helper()
	c.Logger = quiet()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(s *Server, path string) (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	s := newServer(t, Config{})
	if code, body := get(s, "/healthz"); code != 200 || body != "ok\n" {
		t.Error(code, body)
	}
	var fail error
	s.Check("journal", func() error { return fail })
	s.Check("discovery", func() error { return nil })
	for _, step := range []struct {
		fail error
		code int
		want readiness
	}{
		{nil, 200, readiness{true, map[string]string{"journal": "ok", "discovery": "ok"}}},
		{errors.New("the database does not answer"), 503, readiness{false, map[string]string{"journal": "the database does not answer", "discovery": "ok"}}},
		{nil, 200, readiness{true, map[string]string{"journal": "ok", "discovery": "ok"}}},
	} {
		fail = step.fail
		code, body := get(s, "/readyz")
		var got readiness
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != step.code {
			t.Error(code, err)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Error(diff)
		}
	}
	s.Check("journal", nil)
	s.Check("types", func() error { panic("by design") })
	if code, body := get(s, "/readyz"); code != 503 || strings.Contains(body, "journal") || !strings.Contains(body, "the check itself failed") {
		t.Error(code, body)
	}
	if code, _ := get(s, "/healthz"); code != 200 {
		t.Error("liveness depends on readiness")
	}
}

func TestPathsAndPprof(t *testing.T) {
	t.Parallel()
	off, on := newServer(t, Config{}), newServer(t, Config{Pprof: true})
	for path, want := range map[string][2]int{"/": {404, 404}, "/debug/pprof/": {404, 200}, "/debug/pprof/cmdline": {404, 200}, "/metrics": {200, 200}} {
		a, _ := get(off, path)
		b, _ := get(on, path)
		if got := [2]int{a, b}; got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	off.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/readyz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Error(w.Code)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	m.Turned("shop.v1.Cart", time.Millisecond)
	m.Appended(3, 7, time.Millisecond)
	m.Checked(2, time.Millisecond)
	m.Conflicted("shop.v1.Cart")
	m.Resolved("shop.v1.Cart", "absent", time.Millisecond)
	m.Activated("shop.v1.Cart", 5, time.Millisecond)
	m.Passivated("shop.v1.Cart", "idle")
	m.Limited("shop.v1.Cart", "maxQueue")
	m.SessionOpened("shop.v1.Cart")
	m.SessionOpened("shop.v1.Cart")
	m.SessionClosed("shop.v1.Cart", true)
	m.ActorStream(true)
	m.ActorStream(false)
	m.ActorStream(true)
	m.Discovery("ok")
	m.Request("/dapr.proto.components.v1.StateStore/Get", "OK", time.Millisecond)
	m.Gauges(Gauges{Resident: func() float64 { return 12 }})
	_, body := get(newServer(t, Config{Metrics: m}), "/metrics")
	for _, want := range []string{
		`entities_turn_seconds_count{service="shop.v1.Cart"} 1`,
		`entities_append_batch_size_sum 3`, `entities_append_seconds_count 1`, `entities_events_appended_total 7`,
		`entities_check_batch_size_sum 2`, `entities_check_seconds_count 1`, `entities_conflicts_total{service="shop.v1.Cart"} 1`,
		`entities_resolved_seconds_count{service="shop.v1.Cart",verdict="absent"} 1`,
		`entities_activation_seconds_count{service="shop.v1.Cart"} 1`, `entities_replayed_events_total{service="shop.v1.Cart"} 5`,
		`entities_passivations_total{reason="idle",service="shop.v1.Cart"} 1`,
		`entities_rejected_total{service="shop.v1.Cart",setting="maxQueue"} 1`,
		`entities_sessions{service="shop.v1.Cart"} 1`, `entities_session_failures_total{service="shop.v1.Cart"} 1`,
		`entities_actor_stream_up 1`, `entities_actor_streams_total 2`, `entities_discoveries_total{result="ok"} 1`,
		`entities_component_request_seconds_count{code="OK",method="StateStore/Get"} 1`,
		`entities_resident 12`, "go_goroutines", "process_start_time_seconds",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "entities_owned") {
		t.Error("shows a gauge that nobody keeps")
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := newServer(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Address() + "/healthz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	// Too large a header is refused, and the server lives on.
	req, _ := http.NewRequest(http.MethodGet, "http://"+s.Address()+"/healthz", nil)
	req.Header.Set("X-Big", strings.Repeat("x", 64<<10))
	if resp, err := client.Do(req); err == nil {
		if resp.Body.Close(); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Error(resp.StatusCode)
		}
	}
	other := newServer(t, Config{Address: s.Address()})
	if err := other.Run(ctx); err == nil || !strings.Contains(err.Error(), "set adminAddress to another one or to off") {
		t.Error(err)
	}
	// Somebody who only holds on does not keep it from stopping.
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /heal")
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("does not stop")
	}
	if _, err := New(Config{Address: "nowhere"}); err == nil {
		t.Error("takes an address without a port")
	}
}
