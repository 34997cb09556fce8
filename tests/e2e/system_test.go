package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// fixture is the user function of most tests, and Account its actor type.
const (
	fixture = "tests/fixture"
	account = "Account"
	service = "test.v1.Account"
)

// system is one host of entities and the placement it is known to.
type system struct {
	*harness.Host
	cluster   *harness.Cluster
	placement *harness.Placement
	dapr      *harness.Client
}

// start brings a host up. What options leave open is filled in: the fixture as the handler, a SQLite journal.
func start(t *testing.T, options harness.HostOptions) *system {
	t.Helper()
	s := prepare(t)
	s.host(t, options)
	return s
}

// prepare brings placement up.
func prepare(t *testing.T) *system {
	t.Helper()
	s := &system{cluster: harness.Test(t, harness.ClusterConfig{})}
	var err error
	if s.placement, err = s.cluster.StartPlacement(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s
}

// host brings a host up and makes it the system's own if it is the first.
func (s *system) host(t *testing.T, options harness.HostOptions) *harness.Host {
	t.Helper()
	if options.Handler.Package == "" && options.Handler.Binary == "" {
		options.Handler.Package = fixture
	}
	if options.ActorTypes == nil && options.Handler.Package == fixture {
		options.ActorTypes = []string{account}
	}
	options.Placement = s.placement.Address
	host, err := s.cluster.StartHost(within(t, 2*time.Minute), options)
	if err != nil {
		t.Fatal(err)
	}
	if s.Host == nil {
		s.Host, s.dapr = host, host.Daprd.Client
	}
	return host
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// answer is what a caller got: the reply, or the failure's text without Dapr's words around it.
type answer struct {
	status   int
	body     string
	code     string // of a failure
	text     string // of a failure, without its tail
	sequence int64
	repeated bool
}

var tail = regexp.MustCompile(`(?s)^(.*) \[entities code=([A-Z_]+) entity=(\S*) sequence=(\d+)\]`)

func parse(r harness.Response) answer {
	a := answer{status: r.Status, body: string(r.Body)}
	if r.OK() {
		a.sequence, _ = strconv.ParseInt(r.Header.Get("entities-sequence"), 10, 64)
		a.repeated = r.Header.Get("entities-repeated") != ""
		return a
	}
	var problem struct {
		Message string `json:"message"`
	}
	text := a.body
	if json.Unmarshal(r.Body, &problem) == nil && problem.Message != "" {
		text = problem.Message
	}
	if _, after, ok := strings.Cut(text, "error from actor service: "); ok {
		text = after
	}
	a.text = text
	if m := tail.FindStringSubmatch(text); m != nil {
		a.text, a.code = m[1], m[2]
		a.sequence, _ = strconv.ParseInt(m[4], 10, 64)
	}
	return a
}

// call invokes a method of an account over HTTP, with an idempotency key if one is given.
func (s *system) call(t *testing.T, id, method, body string, key ...string) answer {
	t.Helper()
	return s.actor(t, account, id, method, body, key...)
}

func (s *system) actor(t *testing.T, actorType, id, method, body string, key ...string) answer {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json"}
	for _, k := range key {
		header["Idempotency-Key"] = k
	}
	r, err := s.dapr.Actor(within(t, 30*time.Second), actorType, id, method, header, []byte(body))
	if err != nil {
		t.Fatalf("%s of %s: %v", method, id, err)
	}
	return parse(r)
}

// must is call for a command that has to succeed.
func (s *system) must(t *testing.T, id, method, body string, key ...string) answer {
	t.Helper()
	a := s.call(t, id, method, body, key...)
	if a.status != 200 {
		t.Fatalf("%s of %s: status %d, %s", method, id, a.status, a.body)
	}
	return a
}

// eventually repeats a call until it succeeds: while Dapr is placing the entity anew it may fail.
func (s *system) eventually(t *testing.T, id, method, body string, key ...string) answer {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		a := s.call(t, id, method, body, key...)
		if a.status == 200 {
			return a
		}
		if time.Now().After(end) {
			t.Fatalf("%s of %s still fails: status %d, %s", method, id, a.status, a.body)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// binding calls the output binding.
func (s *system) binding(t *testing.T, operation string, data string, metadata map[string]string) harness.Response {
	t.Helper()
	r, err := s.dapr.Binding(within(t, 30*time.Second), harness.BindingName,
		harness.BindingRequest{Operation: operation, Data: json.RawMessage(data), Metadata: metadata})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// history reads the events of an account through the binding.
func (s *system) history(t *testing.T, id string) []event {
	t.Helper()
	var events []event
	for more := true; more; {
		r := s.binding(t, "history", "", map[string]string{
			"service": service, "id": id, "after": strconv.Itoa(len(events)), "limit": "1000",
		})
		var page []event
		if !r.OK() {
			t.Fatalf("history of %s: %s", id, r.Body)
		}
		if err := json.Unmarshal(r.Body, &page); err != nil {
			t.Fatalf("history of %s: %v in %s", id, err, r.Body)
		}
		events, more = append(events, page...), len(page) > 0
	}
	for i, e := range events {
		if e.Sequence != int64(i)+1 {
			t.Fatalf("history of %s: event %d has the sequence %d", id, i+1, e.Sequence)
		}
	}
	return events
}

type event struct {
	Sequence int64           `json:"sequence"`
	Name     string          `json:"name"`
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data"`
	Command  string          `json:"command"`
}

// metrics reads one number of the component's metrics, summed over its labels.
func (s *system) metric(t *testing.T, name string) float64 {
	t.Helper()
	r, err := harness.NewClient(s.Component.Admin).Do(within(t, 10*time.Second), "GET", "/metrics", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for line := range strings.Lines(string(r.Body)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == '{' || rest[0] == ' ') {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err == nil {
				sum += v
			}
		}
	}
	return sum
}
