package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

// inboxService notes what arrives; inboxType is its actor type.
const (
	inboxService = "test.v1.Inbox"
	inboxType    = "Inbox"
	senderType   = "Sender"
)

// letter is what an inbox notes of an effect, a forward or an event.
type letter struct {
	From     string `json:"from"`
	Sequence int64  `json:"sequence"`
	Part     int    `json:"part"`
	Text     string `json:"text"`
}

// letters reads an inbox.
func (s *system) letters(t *testing.T, id string) []letter {
	t.Helper()
	var in struct{ Letters []letter }
	a := s.actor(t, inboxType, id, "List", "")
	if a.status == 200 {
		if err := json.Unmarshal([]byte(a.body), &in); err != nil {
			t.Fatalf("inbox %s: %v", id, err)
		}
	}
	return in.Letters
}

// awaitLetters waits until an inbox has n letters.
func (s *system) awaitLetters(t *testing.T, id string, n int) []letter {
	t.Helper()
	var got []letter
	err := harness.Poll(within(t, 20*time.Second), 50*time.Millisecond, func(context.Context) error {
		if got = s.letters(t, id); len(got) < n {
			return fmt.Errorf("inbox %s has %d letters, want %d", id, len(got), n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > n {
		t.Errorf("inbox %s has %d letters, want %d: %v", id, len(got), n, got)
	}
	return got
}

// command is actor for a command that has to succeed, if need be after Dapr has placed the entity anew.
func (s *system) command(t *testing.T, actorType, id, method, body string, key ...string) answer {
	t.Helper()
	var a answer
	err := harness.Poll(within(t, 20*time.Second), 100*time.Millisecond, func(context.Context) error {
		if a = s.actor(t, actorType, id, method, body, key...); a.status != 200 {
			return fmt.Errorf("%s of %s/%s: status %d, %s", method, actorType, id, a.status, a.body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// crash kills the component and brings it back.
func (s *system) crash(t *testing.T) {
	t.Helper()
	s.Component.Kill()
	supervise(t, s.Component)
}

// gatewayed brings a host up whose gateway is at the URL.
func gatewayed(t *testing.T, options harness.HostOptions) (*system, *harness.Client) {
	t.Helper()
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	if options.Metadata == nil {
		options.Metadata = map[string]string{}
	}
	options.Metadata["gatewayAddress"], options.Metadata["leaseTimeout"] = address, "1s"
	options.ActorTypes = []string{account, inboxType, senderType, "Profile"}
	return start(t, options), harness.NewClient("http://" + address)
}

// post is a command through the gateway.
func post(t *testing.T, gateway *harness.Client, path, body string, key ...string) harness.Response {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json"}
	for _, k := range key {
		header["Idempotency-Key"] = k
	}
	r, err := gateway.Do(within(t, 20*time.Second), "POST", path, header, []byte(body))
	if err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	return r
}

// What a turn asks for happens once, whoever asks for the turn and whenever the component is killed.
func TestConsequences(t *testing.T) {
	t.Parallel()
	s, gateway := gatewayed(t, harness.HostOptions{})

	t.Run("value", func(t *testing.T) {
		value := func(method, body, want string) {
			t.Helper()
			if a := s.actor(t, "Profile", "ada", method, body); !strings.Contains(a.body, want) {
				t.Errorf("%s: %d %s, want %s", method, a.status, a.body, want)
			}
		}
		value("Show", "", "NOT_FOUND")
		s.command(t, "Profile", "ada", "Set", `{"text":"one"}`)
		s.command(t, "Profile", "ada", "Set", `{"text":"two"}`)
		value("Show", "", `"two"`)
		s.crash(t)
		if a := s.command(t, "Profile", "ada", "Show", ""); !strings.Contains(a.body, `"two"`) {
			t.Errorf("after a restart: %+v", a)
		}
		s.command(t, "Profile", "ada", "Delete", "")
		value("Show", "", "NOT_FOUND")
		s.crash(t)
		err := harness.Poll(within(t, 20*time.Second), 100*time.Millisecond, func(context.Context) error {
			if a := s.actor(t, "Profile", "ada", "Show", ""); a.code != "NOT_FOUND" {
				return fmt.Errorf("deleted and restarted: %+v", a)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		s.command(t, "Profile", "ada", "Set", `{"text":"three"}`)
		value("Show", "", `"three"`)
		r := s.binding(t, "history", "", map[string]string{"service": "test.v1.Profile", "id": "ada"})
		var events []event
		if err := json.Unmarshal(r.Body, &events); err != nil {
			t.Fatalf("history: %v in %s", err, r.Body)
		}
		var names []string
		for _, e := range events {
			names = append(names, e.Name)
		}
		if want := []string{"updated", "updated", "deleted", "updated"}; !slices.Equal(names, want) {
			t.Errorf("the history is %v, want %v", names, want)
		}
	})

	t.Run("effects", func(t *testing.T) {
		for n := range 3 {
			s.command(t, senderType, "a", "Send", `{"to":"a","n":5}`, fmt.Sprint(n))
			s.crash(t) // what was acknowledged a moment ago is on its way, or not even that
		}
		for i, l := range s.awaitLetters(t, "a", 15) {
			if want := (letter{From: "a", Sequence: int64(i/5) + 1, Part: i % 5}); l != want {
				t.Errorf("letter %d is %v, want %v", i, l, want)
			}
		}
	})

	t.Run("delayed", func(t *testing.T) {
		began := time.Now()
		s.command(t, senderType, "d", "Later", `{"to":"cancelled","ms":1500,"name":"c"}`)
		s.command(t, senderType, "d", "Later", `{"to":"replaced","ms":1500,"name":"r"}`)
		s.command(t, senderType, "d", "Later", `{"to":"fires","ms":2500,"name":"f"}`)
		s.command(t, senderType, "d", "Later", `{"to":"replacing","ms":1500,"name":"r"}`)
		s.command(t, senderType, "d", "Cancel", `{"text":"c"}`)
		s.crash(t)
		s.command(t, senderType, "d", "Cancel", `{"text":"unknown"}`)
		s.awaitLetters(t, "fires", 1)
		if after := time.Since(began); after < 2500*time.Millisecond {
			t.Errorf("fired after %s, want 2.5 s at least", after)
		}
		s.awaitLetters(t, "replacing", 1)
		for _, id := range []string{"cancelled", "replaced"} {
			if got := s.letters(t, id); len(got) > 0 {
				t.Errorf("%s fired: %v", id, got)
			}
		}
	})

	t.Run("forwards and synchronous effects", func(t *testing.T) {
		ways := map[string]func(id, method, body string) (bool, string){
			"gateway": func(id, method, body string) (bool, string) {
				r := post(t, gateway, "/entities/test.v1.Sender/"+id+"/"+method, body)
				return r.OK(), string(r.Body)
			},
			"actor": func(id, method, body string) (bool, string) {
				a := s.actor(t, senderType, id, method, body)
				return a.status == 200, a.body
			},
			"binding": func(id, method, body string) (bool, string) {
				r := s.binding(t, "invoke", body, map[string]string{"service": "test.v1.Sender", "id": id, "command": method})
				return r.OK(), string(r.Body)
			},
		}
		for way, call := range ways {
			if ok, body := call(way, "Now", fmt.Sprintf(`{"to":"in-%s"}`, way)); !ok || body != `{"n":1}` {
				t.Errorf("synchronous effect by %s: %v %s", way, ok, body)
			}
			if got := s.letters(t, "in-"+way); len(got) != 1 {
				t.Errorf("by %s, the answer was there before the synchronous effect: %v", way, got)
			}
			if ok, body := call(way, "Hand", fmt.Sprintf(`{"to":"in-%s"}`, way)); !ok || body != `{"n":2}` {
				t.Errorf("forward by %s: %v %s", way, ok, body)
			}
			want := []letter{{From: way, Sequence: 1}, {From: way, Sequence: 2}}
			if got := s.letters(t, "in-"+way); !slices.Equal(got, want) {
				t.Errorf("by %s, arrived: %v, want %v", way, got, want)
			}
			began := time.Now()
			if ok, body := call(way, "Loop", `{"to":""}`); ok || !strings.Contains(body, "circles") && !strings.Contains(body, "its own turn") {
				t.Errorf("forward to itself by %s: %v %s", way, ok, body)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("by %s, a forward to itself was refused after %s", way, took)
			}
		}
	})

	t.Run("gateway", func(t *testing.T) {
		r, err := gateway.Do(within(t, 10*time.Second), "GET", "/openapi.json", nil, nil)
		if err != nil || !r.OK() || !json.Valid(r.Body) || !strings.Contains(string(r.Body), "/entities/test.v1.Sender/{id}/Send") {
			t.Errorf("openapi: %v, %d %.300s", err, r.Status, r.Body)
		}
		const path = "/entities/test.v1.Account/rest/Deposit"
		if r := post(t, gateway, path, `{"amount":0}`); r.Status != 400 || !strings.Contains(string(r.Body), "want a positive one") {
			t.Errorf("a refusal: %d %s", r.Status, r.Body)
		}
		if r := post(t, gateway, "/entities/test.v1.Account/rest/Nothing", `{}`); r.Status < 400 || r.Status > 499 && r.Status != 501 {
			t.Errorf("an unknown command: %d %s", r.Status, r.Body)
		}
		first := post(t, gateway, path, `{"amount":7}`, "key")
		if !first.OK() || string(first.Body) != `{"balance":7,"sequence":1}` || first.Header.Get("entities-repeated") != "" {
			t.Errorf("deposit: %d %s", first.Status, first.Body)
		}
		s.crash(t)
		err = harness.Poll(within(t, 20*time.Second), 100*time.Millisecond, func(ctx context.Context) error {
			again, err := gateway.Do(ctx, "POST", path, map[string]string{"Content-Type": "application/json", "Idempotency-Key": "key"}, []byte(`{"amount":7}`))
			if err == nil && (string(again.Body) != string(first.Body) || again.Header.Get("entities-repeated") == "") {
				err = fmt.Errorf("the same key after a restart: %d %s %v", again.Status, again.Body, again.Header)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if n := len(s.history(t, "rest")); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// Every event of a journal and every message of a topic gets to those who consume it.
func TestEventing(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const pubsub = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.in-memory, version: v1, metadata: []}\n"
	if err := os.WriteFile(filepath.Join(folder, "pubsub.yaml"), []byte(pubsub), 0o600); err != nil {
		t.Fatal(err)
	}
	s, gateway := gatewayed(t, harness.HostOptions{
		Metadata: map[string]string{"maxTries": "2"},
		Handler:  harness.HandlerOptions{Package: fixture, Args: []string{"-logs", "-topics"}},
		Daprd:    harness.DaprdOptions{Resources: []string{folder}},
	})
	admin := harness.NewClient(s.Component.Admin)

	t.Run("log", func(t *testing.T) {
		for i := range 5 {
			s.command(t, account, "l", "Deposit", fmt.Sprintf(`{"amount":%d}`, i+1))
		}
		s.command(t, account, "l", "Withdraw", `{"amount":1}`) // nobody takes it
		s.crash(t)
		for i := range 5 {
			s.command(t, account, "l", "Deposit", fmt.Sprintf(`{"amount":%d}`, i+6))
		}
		for i, l := range s.awaitLetters(t, "log-l", 10) {
			if l.From != "l" || l.Sequence != int64(i)+1 {
				t.Errorf("event %d arrived as %v", i+1, l)
			}
		}
	})

	t.Run("poison", func(t *testing.T) {
		s.command(t, account, "p", "Deposit", `{"amount":1}`)
		s.command(t, account, "p", "Deposit", `{"amount":2,"note":"poison"}`)
		s.command(t, account, "p", "Deposit", `{"amount":3}`)
		s.command(t, account, "q", "Deposit", `{"amount":1}`)
		s.awaitLetters(t, "log-q", 1)
		s.awaitLetters(t, "log-p", 2) // it is held up by nothing in the end
		type item struct{ ID, Kind, Source, Target, Problem string }
		list := func() []item {
			r, err := admin.Do(within(t, 10*time.Second), "GET", "/parked", nil, nil)
			var in struct{ Parked []item }
			if err != nil || !r.OK() || json.Unmarshal(r.Body, &in) != nil {
				t.Fatalf("parked: %v, %d %s", err, r.Status, r.Body)
			}
			return in.Parked
		}
		parked := list()
		if len(parked) != 1 || parked[0].Kind != "event" || parked[0].Source != "test.v1.Account/p" || parked[0].Target != "test.v1.Watch" {
			t.Fatalf("parked are %+v", parked)
		}
		if r := post(t, gateway, "/entities/test.v1.Watch/Repair", `{}`); !r.OK() {
			t.Fatalf("repair: %d %s", r.Status, r.Body)
		}
		body, err := json.Marshal(map[string]any{"ids": []string{parked[0].ID}})
		if err != nil {
			t.Fatal(err)
		}
		if r := post(t, admin, "/parked/release", string(body)); !r.OK() {
			t.Fatalf("release: %d %s", r.Status, r.Body)
		}
		if got := s.awaitLetters(t, "log-p", 3); got[2].Sequence != 2 {
			t.Errorf("released: %v", got)
		}
		if left := list(); len(left) > 0 {
			t.Errorf("still parked: %+v", left)
		}
	})

	t.Run("topic", func(t *testing.T) {
		err := harness.Poll(within(t, 20*time.Second), 100*time.Millisecond, func(ctx context.Context) error {
			r, err := admin.Do(ctx, "GET", "/readyz", nil, nil)
			if err == nil && !r.OK() {
				err = fmt.Errorf("not ready: %s", r.Body)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if r := post(t, gateway, "/entities/test.v1.News/Publish", `{"text":"by an action"}`); !r.OK() {
			t.Errorf("publish: %d %s", r.Status, r.Body)
		}
		if got := s.awaitLetters(t, "news", 1); got[0].Text != "by an action" {
			t.Errorf("arrived: %v", got)
		}
		s.command(t, senderType, "n", "Tell", `{"text":"by an entity"}`)
		if got := s.awaitLetters(t, "news", 2); got[1].Text != "by an entity" {
			t.Errorf("arrived: %v", got)
		}
	})
}

// Topics work over a broker of its own: what came while the component was away is not lost, nor is what comes after the
// broker was away.
func TestTopicsOverRedis(t *testing.T) {
	t.Parallel()
	prepared := prepare(t)
	redis, err := prepared.cluster.StartRedis(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	// Redis keeps what nobody acknowledged, and hands it out again after this long: a minute unless one says otherwise.
	const pending = "  - {name: processingTimeout, value: 1s}\n  - {name: redeliverInterval, value: 1s}\n"
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "pubsub.yaml"), redis.Component("pubsub", "pubsub.redis", pending), 0o600); err != nil {
		t.Fatal(err)
	}
	prepared.host(t, harness.HostOptions{
		Handler:    harness.HandlerOptions{Package: fixture, Args: []string{"-topics"}},
		Daprd:      harness.DaprdOptions{Resources: []string{folder}},
		ActorTypes: []string{senderType},
	})
	s := prepared
	// arrives says whether texts are among those that came, each for the first time in this order.
	arrives := func(texts ...string) {
		t.Helper()
		err := harness.Poll(within(t, 40*time.Second), 100*time.Millisecond, func(context.Context) error {
			var got []string
			for _, l := range s.letters(t, "news") {
				if !slices.Contains(got, l.Text) {
					got = append(got, l.Text)
				}
			}
			if !slices.Equal(got, texts) {
				return fmt.Errorf("got %q, want %q", got, texts)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.command(t, senderType, "n", "Tell", `{"text":"by an entity"}`)
	arrives("by an entity")

	s.Component.Kill()
	publish := func(text string) error {
		r, err := s.dapr.Do(within(t, 10*time.Second), "POST", "/v1.0/publish/pubsub/news", map[string]string{"Content-Type": "application/json"}, []byte(`{"text":"`+text+`"}`))
		if err == nil && !r.OK() {
			err = fmt.Errorf("publish: status %d, %s", r.Status, r.Body)
		}
		return err
	}
	if err := publish("while away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Component.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	arrives("by an entity", "while away")

	redis.Kill()
	// It is decided and durable, so it will be published.
	s.command(t, senderType, "n", "Tell", `{"text":"without a broker"}`)
	if err := redis.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	arrives("by an entity", "while away", "without a broker")
	if err := harness.Poll(within(t, 20*time.Second), 200*time.Millisecond, func(context.Context) error { return publish("again") }); err != nil {
		t.Fatal(err)
	}
	arrives("by an entity", "while away", "without a broker", "again")
}

// One of two hosts is killed; the other one goes on with its effects and its feeds.
func TestDeliveriesMove(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	s := prepare(t)
	var hosts []*system
	for _, name := range []string{"a", "b"} {
		host := s.host(t, harness.HostOptions{
			Name: name, AppID: "two", Journal: database, Metadata: map[string]string{"leaseTimeout": "1s"},
			Handler: harness.HandlerOptions{Package: fixture, Args: []string{"-logs"}}, ActorTypes: []string{senderType, inboxType},
		})
		hosts = append(hosts, &system{Host: host, dapr: host.Daprd.Client, cluster: s.cluster, placement: s.placement})
	}
	const senders, before, after = 16, 5, 3
	send := func(by *system, from, n int) {
		for i := range senders {
			for k := range n {
				by.command(t, senderType, fmt.Sprintf("s%d", i), "Send", fmt.Sprintf(`{"to":"t%d","n":2}`, i), fmt.Sprint(from+k))
			}
		}
	}
	// Each of the hosts is to have something in hand when it dies.
	for _, h := range hosts {
		send(h, 0, 1)
	}
	err := harness.Poll(within(t, 20*time.Second), 100*time.Millisecond, func(context.Context) error {
		for i, h := range hosts {
			if h.metric(t, "entities_deliveries_total") == 0 {
				return fmt.Errorf("host %d has delivered nothing yet", i)
			}
		}
		return nil
	})
	if err != nil {
		t.Log(err)
	}
	send(hosts[0], 1, before-1)
	hosts[0].Component.Kill()
	hosts[0].Daprd.Kill()
	hosts[0].Handler.Kill()
	killed := time.Now()
	send(hosts[1], before, after)
	for i := range senders {
		got := hosts[1].awaitLetters(t, fmt.Sprintf("t%d", i), 2*(before+after))
		for k, l := range got {
			if want := int64(k/2) + 1; l.Sequence != want || l.Part != k%2 {
				t.Errorf("t%d: letter %d is %v, want sequence %d", i, k, l, want)
			}
		}
		for k, l := range hosts[1].awaitLetters(t, fmt.Sprintf("log-s%d", i), before+after) {
			if !strings.HasSuffix(l.Text, fmt.Sprintf("/%d", k+1)) {
				t.Errorf("log-s%d: event %d is %q", i, k+1, l.Text)
			}
		}
	}
	t.Logf("everything has arrived %s after the kill", time.Since(killed).Round(100*time.Millisecond))
}
