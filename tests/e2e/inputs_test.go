package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// Bad input gets a clear error to the one who sent it, and leaves the neighbour untouched.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{
		Metadata: map[string]string{"commandTimeout": "3s"},
		Daprd:    harness.DaprdOptions{MaxBodySize: "16Mi"},
	})
	s.must(t, "neighbour", "Deposit", `{"amount":1}`)

	for _, tt := range []struct {
		name             string
		actorType, id    string
		method, body     string
		code, text       string
		answersTextAlone bool // the text comes from Dapr itself
	}{
		{name: "unknown method", method: "Nope", code: "UNIMPLEMENTED", text: "Nope"},
		{name: "unknown type", actorType: "Nothing", method: "Get", text: "Nothing", answersTextAlone: true},
		{name: "malformed JSON", method: "Deposit", body: `{"amount":`, code: "INVALID_ARGUMENT", text: "JSON"},
		{name: "wrong type", method: "Deposit", body: `{"amount":"x"}`, code: "INVALID_ARGUMENT", text: "amount"},
		{name: "missing field", method: "Deposit", body: `{}`, code: "INVALID_ARGUMENT", text: "the amount is 0"},
		{name: "protobuf, unknown field", actorType: "ProtoAccount", method: "Deposit", body: `{"nope":1}`, code: "INVALID_ARGUMENT", text: "nope"},
		{name: "id too long", id: strings.Repeat("x", 10<<10), method: "Get", code: "INVALID_ARGUMENT", text: "256"},
		{name: "panic", method: "Panic", code: "INTERNAL"},
		{name: "hang", method: "Hang", body: `{"ms":8000}`, code: "DEADLINE_EXCEEDED", text: "deadline"},
		{name: "closed stream", method: "CloseStream"},
		{name: "own code", method: "Fail", body: `{"code":"OUT_OF_RANGE","text":"too far","n":3}`, code: "OUT_OF_RANGE", text: "too far"},
		{name: "not found", method: "Fail", body: `{"code":"NOT_FOUND","text":"no such thing"}`, code: "NOT_FOUND", text: "no such thing"},
		{name: "reply too large", method: "Big", body: fmt.Sprintf(`{"n":%d}`, 5<<20), code: "RESOURCE_EXHAUSTED", text: "maxReply"},
		{name: "too many events", method: "Emit", body: `{"n":1001}`, code: "RESOURCE_EXHAUSTED", text: "maxEvents"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.actorType == "" {
				tt.actorType = account
			}
			if tt.id == "" {
				tt.id = "bad-" + strings.ReplaceAll(tt.name, " ", "-")
			}
			began := time.Now()
			a := s.actor(t, tt.actorType, tt.id, tt.method, tt.body)
			if a.status == 200 {
				t.Fatalf("it succeeded: %+v", a)
			}
			if !tt.answersTextAlone && tt.code != "" && a.code != tt.code {
				t.Errorf("code = %q, want %q: %s", a.code, tt.code, a.body)
			}
			if !strings.Contains(a.body, tt.text) {
				t.Errorf("text = %q, want %q in it", a.text, tt.text)
			}
			if strings.Contains(a.body, "a secret of the handler") {
				t.Errorf("the panic's text got out: %s", a.body)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("the answer took %s", took)
			}
			// The entity goes on where it was, and so does its neighbour.
			if tt.actorType == account && len(tt.id) < 256 {
				if b := s.must(t, tt.id, "Get", ""); !strings.Contains(b.body, `"balance":0,"sequence":0`) {
					t.Errorf("afterwards: %+v", b)
				}
			}
			if b := s.must(t, "neighbour", "Get", ""); b.body != `{"balance":1,"sequence":1}` {
				t.Errorf("the neighbour: %+v", b)
			}
		})
	}

	t.Run("binding", func(t *testing.T) {
		for _, tt := range []struct {
			name, operation, data string
			metadata              map[string]string
			want                  string
		}{
			{"no metadata", "invoke", `{}`, nil, "service"},
			{"unknown service", "invoke", `{}`, map[string]string{"service": "Nope", "id": "x", "command": "Get"}, account},
			{"unknown command", "invoke", `{}`, map[string]string{"service": service, "id": "x", "command": "Nope"}, "Deposit"},
			{"unknown operation", "explode", `{}`, nil, "explode"},
		} {
			if r := s.binding(t, tt.operation, tt.data, tt.metadata); r.OK() || !strings.Contains(string(r.Body), tt.want) {
				t.Errorf("%s: %d %s, want a failure with %q", tt.name, r.Status, r.Body, tt.want)
			}
		}
	})
}

// Ids are anything printable. Dapr's API refuses some characters in actor ids; clients of ours encode them, and two ids
// never meet.
func TestIDs(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	ids := []string{"a/b", "a||b", "100%", "a b", "grüße 🎁", "a%2Fb", "?#\\", strings.Repeat("é", 128), "..", "a"}
	for i, id := range ids {
		// daprd unescapes the path once; what it would refuse is escaped once more, as sdk/client does.
		escaped := id
		for _, c := range []string{"%", "/", "\\", "#", "?"} {
			escaped = strings.ReplaceAll(escaped, c, url.PathEscape(c))
		}
		if id == ".." {
			escaped = "%2E%2E"
		}
		s.must(t, escaped, "Deposit", fmt.Sprintf(`{"amount":%d}`, i+1))
		if a := s.must(t, escaped, "Context", ""); !strings.Contains(a.body, `"sequence":1`) {
			t.Errorf("%q: %s", id, a.body)
		}
		if events := s.history(t, id); len(events) != 1 {
			t.Errorf("%q has %d events, want 1", id, len(events))
		}
		r := s.binding(t, "invoke", `{}`, map[string]string{"service": service, "id": id, "command": "Get"})
		if want := fmt.Sprintf(`{"balance":%d,"sequence":1}`, i+1); string(r.Body) != want {
			t.Errorf("%q through the binding: %s, want %s", id, r.Body, want)
		}
	}
	for _, id := range []string{"\x07", "", strings.Repeat("x", 257)} {
		r := s.binding(t, "invoke", `{}`, map[string]string{"service": service, "id": id, "command": "Get"})
		if r.OK() {
			t.Errorf("the id %q was accepted: %s", id, r.Body)
		}
	}
}

// A body that daprd lets in may be one that its own actor stream cannot carry: the stream breaks and has to be back.
func TestPayloadAtTheLimit(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{})
	s.must(t, "a", "Deposit", `{"amount":1}`)

	note := func(n int) string { return fmt.Sprintf(`{"amount":1,"note":%q}`, strings.Repeat("x", n)) }
	if a := s.call(t, "b", "Deposit", note(10<<20)); a.status < 400 {
		t.Errorf("10 MiB: %d", a.status)
	}
	if a := s.must(t, "a", "Get", ""); a.body != `{"balance":1,"sequence":1}` {
		t.Errorf("after 10 MiB: %+v", a)
	}

	// A busy machine gets three tries.
	body := note(4_194_304 - 150)
	back := time.Hour
	for try := 0; try < 3 && back > 3*time.Second; try++ {
		a := s.call(t, "b", "Deposit", body)
		broke := time.Now()
		t.Logf("a body of %d bytes: status %d, %.200s", len(body), a.status, a.body)
		if got := s.eventually(t, "a", "Get", ""); got.body != `{"balance":1,"sequence":1}` {
			t.Errorf("after the stream broke: %+v", got)
		}
		back = min(back, time.Since(broke))
	}
	if back > 3*time.Second {
		t.Errorf("back after %s, want 3 s at most", back)
	}
}

// What is wrong in the component's YAML is said by daprd, at start, in words that name the mistake.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	for _, tt := range []struct {
		name     string
		metadata map[string]string
		want     []string
	}{
		{"unknown key", map[string]string{"jurnal": "memory:"}, []string{"jurnal", "journal"}},
		{"no journal", map[string]string{"journal": ""}, []string{"journal", "is empty", "sqlite:"}},
		{"no database", map[string]string{"journal": "postgres://u:hush@127.0.0.1"}, []string{"journal", "names no database"}},
		{"of the command line", map[string]string{"adminAddress": "127.0.0.1:1"}, []string{"--adminAddress"}},
		{"no scheme", map[string]string{"journal": "entities.db"}, []string{"journal", "sqlite:"}},
		{"absent server", map[string]string{"journal": "postgres://u:hush@127.0.0.1:1/db?sslmode=disable"}, []string{"127.0.0.1:1"}},
		{"absent folder", map[string]string{"journal": "sqlite:/nowhere/at/all.db"}, []string{"/nowhere/at"}},
		{"bad duration", map[string]string{"idleTimeout": "soon"}, []string{"idleTimeout", "soon"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, err := s.cluster.StartHost(within(t, time.Minute), harness.HostOptions{
				Name: strings.ReplaceAll(tt.name, " ", "-"), Placement: s.placement.Address, Metadata: tt.metadata,
				Component: harness.ComponentOptions{Name: "component-" + strings.ReplaceAll(tt.name, " ", "-")},
			})
			said := refusal(t, host, err)
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("daprd said %s\nwant %q in it", said, want)
				}
			}
		})
	}
	logs, err := filepath.Glob(filepath.Join(s.cluster.Folder(), "log", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, file := range logs {
		if data, err := os.ReadFile(file); err != nil || strings.Contains(string(data), "hush") {
			t.Errorf("%s holds the password (%v)", filepath.Base(file), err)
		}
	}
}
