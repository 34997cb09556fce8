package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

// journalCheck is what a host's readiness says of its journal and those of other hosts.
func journalCheck(t *testing.T, h *harness.Host) (verdict string, ready bool) {
	t.Helper()
	r, err := harness.NewClient(h.Component.Admin).Do(within(t, 10*time.Second), "GET", "/readyz", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Ready  bool
		Checks map[string]string
	}
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Ready != r.OK() || body.Checks["journalIdentity"] == "" {
		t.Fatalf("readiness: %d %s, %v", r.Status, r.Body, err)
	}
	return body.Checks["journalIdentity"], body.Ready
}

// awaitJournals waits until the host's readiness says so, and returns the text.
func awaitJournals(t *testing.T, h *harness.Host, want bool, atMost time.Duration) string {
	t.Helper()
	begin := time.Now()
	for {
		verdict, ready := journalCheck(t, h)
		if ready == want && (verdict == "ok") == want {
			if atMost > 0 {
				t.Logf("ready %t after %s", want, time.Since(begin).Round(100*time.Millisecond))
			}
			return verdict
		}
		if time.Since(begin) > atMost {
			t.Fatalf("ready %t after %s: %s", ready, atMost, verdict)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Two hosts of one app id, each with a SQLite file of its own, say so until one of them is gone.
func TestTwoJournals(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stop", "kill"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			a := s.host(t, harness.HostOptions{Name: "a", AppID: "twins"})
			awaitJournals(t, a, true, 30*time.Second)
			time.Sleep(3 * time.Second)
			awaitJournals(t, a, true, 0)

			b := s.host(t, harness.HostOptions{Name: "b", AppID: "twins"})
			// Another app is none of their business, though its hosts may be where they meet.
			other := s.host(t, harness.HostOptions{Name: "c", AppID: "other", Metadata: map[string]string{"actorType.test.v1.Account": "Other"}, ActorTypes: []string{"Other"}})
			for _, h := range []*harness.Host{a, b} {
				text := awaitJournals(t, h, false, 20*time.Second)
				for _, p := range []*harness.Host{a, b} {
					if name := fmt.Sprintf("(process %d, sqlite journal)", p.Component.Pid()); !strings.Contains(text, name) {
						t.Errorf("%q does not name %s", text, name)
					}
				}
			}
			awaitJournals(t, other, true, 0)
			// It is an alarm: commands are still carried out.
			s.eventually(t, "x", "Deposit", `{"amount":1}`)

			if end == "kill" {
				a.Daprd.Kill()
				a.Component.Kill()
			} else {
				for _, p := range []*harness.Process{a.Daprd.Process, a.Component.Process} {
					if err := p.Stop(within(t, 30*time.Second)); err != nil {
						t.Error(err)
					}
				}
			}
			awaitJournals(t, b, true, 30*time.Second)
			awaitJournals(t, other, true, 0)
		})
	}
}

// Hosts that share a journal are ready, and stay it.
func TestOneJournal(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	s := prepare(t)
	a := s.host(t, harness.HostOptions{Name: "a", AppID: "shared", Journal: database})
	b := s.host(t, harness.HostOptions{Name: "b", AppID: "shared", Journal: database})
	for range 12 {
		for _, h := range []*harness.Host{a, b} {
			awaitJournals(t, h, true, 0)
		}
		time.Sleep(time.Second)
	}
}
