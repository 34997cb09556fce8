package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

// bound is what an app gets through an input binding.
type bound struct {
	service, id, sequence, name, eventID, contentType, body string
}

// boundApp is an app with the route of the input binding. It fails as often as it is told to.
type boundApp struct {
	*httptest.Server
	got chan bound

	mu    sync.Mutex
	fails int
}

func newBoundApp(t *testing.T) *boundApp {
	t.Helper()
	a := &boundApp{got: make(chan bound, 1000)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+harness.InputName, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h := r.Header
		a.got <- bound{
			service: h.Get("service"), id: h.Get("id"), sequence: h.Get("sequence"), name: h.Get("name"), eventID: h.Get("eventId"),
			contentType: h.Get("Content-Type"), body: string(body),
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.fails > 0 {
			a.fails--
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *boundApp) fail(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = n
}

// want waits for an event, and lets repeats of another one pass.
func (a *boundApp) want(t *testing.T, want bound, again ...bound) {
	t.Helper()
	for late := time.After(60 * time.Second); ; {
		select {
		case got := <-a.got:
			if slices.Contains(again, got) {
				continue
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			return
		case <-late:
			t.Fatalf("this does not come: %+v", want)
		}
	}
}

// An app is told of a service's events by its sidecar, again if it fails, and after a restart of sidecar and component
// from where it was.
func TestInputBinding(t *testing.T) {
	t.Parallel()
	journal := postgrestest.URL(t)
	s := start(t, harness.HostOptions{Journal: journal})
	a := newBoundApp(t)
	h, err := s.cluster.StartHost(within(t, 2*time.Minute), harness.HostOptions{
		Name: "told", AppID: "told", Placement: s.placement.Address, Journal: journal, Metadata: map[string]string{"host": "false"},
		Input: map[string]string{"services": "test.v1.Acc*"}, Daprd: harness.DaprdOptions{AppPort: a.Listener.Addr().(*net.TCPAddr).Port},
	})
	if err != nil {
		t.Fatal(err)
	}
	event := func(n int) bound {
		return bound{
			service: service, id: "bob", sequence: fmt.Sprint(n), name: "deposited", eventID: fmt.Sprintf("%s/bob/%d", service, n),
			contentType: "application/json", body: fmt.Sprintf(`{"amount":%d}`, n),
		}
	}
	a.fail(2)
	s.must(t, "bob", "Deposit", `{"amount":1}`)
	s.must(t, "bob", "Deposit", `{"amount":2}`)
	for _, n := range []int{1, 1, 1, 2} {
		a.want(t, event(n))
	}
	// What was acknowledged is noted by a component that ends in order; the last acknowledgement may not have come so far.
	if err := h.Daprd.Stop(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := h.Component.Stop(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.must(t, "bob", "Deposit", `{"amount":3}`)
	if err := h.Component.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := h.Daprd.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	a.want(t, event(3), event(2))
}
