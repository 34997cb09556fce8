package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// An HTTP app keeps its sidecar and its routes, with entities beside it: over the app channel, which older Daprs have, too.
func TestAppChannel(t *testing.T) {
	t.Parallel()
	app := http.NewServeMux()
	app.HandleFunc("POST /hello", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "hello %s", b)
	})
	upstream := httptest.NewServer(app)
	defer upstream.Close()

	s := &system{}
	var config harness.ClusterConfig
	if os.Getenv("ENTITIES_OLDER_DAPR") == "true" {
		older, err := harness.Older(t.Context(), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		config.Dapr = older
	}
	s.cluster = harness.Test(t, config)
	var err error
	if s.placement, err = s.cluster.StartPlacement(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s.host(t, harness.HostOptions{
		AppID:    "shop",
		Metadata: map[string]string{"appPort": strconv.Itoa(ports[0]), "upstream": upstream.URL},
		Daprd:    harness.DaprdOptions{AppPort: ports[0], AppProtocol: "http"},
	})
	s.eventually(t, "a1", "Deposit", `{"amount":5}`, "one")
	if a := s.must(t, "a1", "Deposit", `{"amount":5}`, "one"); a.body == "" {
		t.Error("the repetition has no reply")
	}
	s.must(t, "a1", "Deposit", `{"amount":2}`)
	if events := s.history(t, "a1"); len(events) != 2 {
		t.Errorf("%d events, want 2", len(events))
	}
	if a := s.call(t, "a1", "Nope", `{}`); a.status != http.StatusInternalServerError || a.code != "UNIMPLEMENTED" {
		t.Errorf("an unknown method: %d %s %s", a.status, a.code, a.text)
	}
	r := s.binding(t, "invoke", `{"amount":1}`, map[string]string{"service": service, "id": "two words/b", "command": "Deposit"})
	if !r.OK() {
		t.Errorf("by the binding: %d %s", r.Status, r.Body)
	}
	w, err := http.Post(s.dapr.Base+"/v1.0/invoke/shop/method/hello", "text/plain", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if b, _ := io.ReadAll(w.Body); w.StatusCode != http.StatusOK || string(b) != "hello " {
		t.Errorf("the app's own route: %d %s", w.StatusCode, b)
	}

	// The sidecar does not ask again, and need not.
	s.Component.Kill()
	supervise(t, s.Component)
	s.eventually(t, "a1", "Deposit", `{"amount":1}`)
	if events := s.history(t, "a1"); len(events) != 3 {
		t.Errorf("%d events after a restart, want 3", len(events))
	}
	if err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, harness.HTTPReady(s.Component.Admin+"/readyz")); err != nil {
		t.Errorf("the restarted component is not ready: %v", err)
	}
}
