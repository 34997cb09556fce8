package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

// told is what an app gets of a message.
type told struct {
	ID, Source, Type, Subject, Topic, PubsubName, DataContentType string
	Data                                                          json.RawMessage
	path                                                          string
}

// subscriber is an app that subscribes over HTTP. It answers with verdict, SUCCESS without one.
type subscriber struct {
	*httptest.Server
	got     chan told
	verdict func(told) string
}

// newSubscriber serves an app with subscriptions as Dapr wants them, to the component that the harness makes.
func newSubscriber(t *testing.T, verdict func(told) string, subscriptions ...map[string]any) *subscriber {
	t.Helper()
	s := &subscriber{got: make(chan told, 100_000), verdict: verdict}
	for _, one := range subscriptions {
		one["pubsubname"] = harness.PubsubName
	}
	list, err := json.Marshal(subscriptions)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dapr/subscribe", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(list)
	})
	mux.HandleFunc("POST /bulk", func(w http.ResponseWriter, r *http.Request) {
		var bulk struct {
			Entries []struct {
				EntryID string `json:"entryId"`
				Event   told
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&bulk); err != nil {
			t.Errorf("a bulk: %v", err)
		}
		var statuses []map[string]string
		for _, e := range bulk.Entries {
			e.Event.path = r.URL.Path
			statuses = append(statuses, map[string]string{"entryId": e.EntryID, "status": s.take(e.Event)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"statuses": statuses})
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		m := told{path: r.URL.Path}
		if err := errors.Join(err, json.Unmarshal(body, &m)); err != nil {
			t.Errorf("%s: %v: %s", r.URL.Path, err, body)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"status": s.take(m)})
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *subscriber) take(m told) string {
	verdict := "SUCCESS"
	if s.verdict != nil {
		verdict = s.verdict(m)
	}
	s.got <- m
	return verdict
}

func (s *subscriber) port() int { return s.Listener.Addr().(*net.TCPAddr).Port }

// next waits for a message that is wanted; others are passed over.
func (s *subscriber) next(t *testing.T, wanted func(told) bool) told {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		select {
		case m := <-s.got:
			if wanted(m) {
				return m
			}
		case <-limit:
			t.Fatal("the message does not come")
		}
	}
}

func data(text string) func(told) bool {
	return func(m told) bool { return string(m.Data) == text }
}

// app brings a sidecar with an app and a component up that hosts nothing.
func (s *system) app(t *testing.T, a *subscriber, options harness.HostOptions) *harness.Host {
	t.Helper()
	if options.Metadata == nil {
		options.Metadata = map[string]string{}
	}
	options.Metadata["host"] = "false"
	if options.Pubsub == nil {
		options.Pubsub = map[string]string{}
	}
	options.Placement, options.Daprd.AppPort = s.placement.Address, a.port()
	host, err := s.cluster.StartHost(within(t, 2*time.Minute), options)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// publish through a host's sidecar.
func publish(t *testing.T, h *harness.Host, topic, body, query string) harness.Response {
	t.Helper()
	r, err := h.Daprd.Do(within(t, 30*time.Second), "POST", "/v1.0/publish/"+harness.PubsubName+"/"+topic+query,
		map[string]string{"Content-Type": "application/json"}, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustPublish(t *testing.T, h *harness.Host, topic, body, query string) {
	t.Helper()
	if r := publish(t, h, topic, body, query); !r.OK() {
		t.Fatalf("publish to %s: %d %s", topic, r.Status, r.Body)
	}
}

// An app that subscribes to topics, a service and a wildcard gets what happens, and what it drops is a dead letter.
func TestTopics(t *testing.T) {
	t.Parallel()
	journal := postgrestest.URL(t)
	s := start(t, harness.HostOptions{Journal: journal, Pubsub: map[string]string{}})
	refused := map[string]int{}
	var mu sync.Mutex
	a := newSubscriber(t, func(m told) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case m.path == "/news" && string(m.Data) == `"drop"`:
			return "DROP"
		case m.path == "/keyed" && string(m.Data) == `"retry"` && refused["retry"] < 3:
			refused["retry"]++
			return "RETRY"
		}
		return "SUCCESS"
	},
		map[string]any{"topic": service, "route": "/account"},
		map[string]any{"topic": "news", "route": "/news", "deadLetterTopic": "dead"},
		map[string]any{"topic": "dead", "route": "/dead"},
		map[string]any{"topic": "keyed", "route": "/keyed"}, // without a dead letter topic: to that the sidecar sends retries, too
		map[string]any{"topic": "test.*", "route": "/wild"},
		map[string]any{"topic": "bulk", "route": "/bulk", "bulkSubscribe": map[string]any{"enabled": true, "maxMessagesCount": 10}},
	)
	h := s.app(t, a, harness.HostOptions{Name: "reader", AppID: "reader", Journal: journal})

	t.Run("service", func(t *testing.T) {
		s.must(t, "ada", "Deposit", `{"amount":5,"note":"x"}`)
		wild := false
		m := a.next(t, func(m told) bool { wild = wild || m.path == "/wild"; return m.path == "/account" })
		if m.ID != service+"/ada/1" || m.Source != service || m.Type != "deposited" || m.Subject != "ada" || m.Topic != service ||
			m.PubsubName != harness.PubsubName || m.DataContentType != "application/json" || string(m.Data) != `{"amount":5,"note":"x"}` {
			t.Errorf("%+v", m)
		}
		if !wild {
			m = a.next(t, func(m told) bool { return m.path == "/wild" })
			if m.Subject != "ada" || m.Topic != service {
				t.Errorf("%+v", m)
			}
		}
		if r := publish(t, s.Host, service, `"x"`, ""); r.OK() || !strings.Contains(string(r.Body), "that of the service's events") {
			t.Errorf("publish to a service: %d %s", r.Status, r.Body)
		}
	})

	t.Run("topic", func(t *testing.T) {
		mustPublish(t, s.Host, "keyed", `"one"`, "?metadata.partitionKey=k") // by another app
		mustPublish(t, h, "keyed", `"retry"`, "?metadata.partitionKey=k")
		mustPublish(t, h, "keyed", `"two"`, "?metadata.partitionKey=k")
		var ids []string // without repeats
		for want := []string{`"one"`, `"retry"`, `"two"`}; len(want) > 0; {
			m := a.next(t, func(m told) bool { return m.path == "/keyed" })
			if slices.Contains(ids, m.ID) {
				continue
			}
			if ids = append(ids, m.ID); string(m.Data) != want[0] || m.Topic != "keyed" {
				t.Errorf("%+v, want %s", m, want[0])
			}
			want = want[1:]
		}
		mu.Lock()
		if refused["retry"] != 3 {
			t.Errorf("refused %d times", refused["retry"])
		}
		mu.Unlock()
		mustPublish(t, h, "test.news", `"wild"`, "")
		if m := a.next(t, data(`"wild"`)); m.path != "/wild" || m.Topic != "test.news" {
			t.Errorf("%+v", m)
		}
	})

	t.Run("dead letter", func(t *testing.T) {
		mustPublish(t, h, "news", `"drop"`, "")
		m := a.next(t, data(`"drop"`))
		dead := a.next(t, func(m told) bool { return m.path == "/dead" })
		if m.path != "/news" || string(dead.Data) != `"drop"` || dead.ID != m.ID {
			t.Errorf("%+v became %+v", m, dead)
		}
	})

	t.Run("bulk", func(t *testing.T) {
		var entries []string
		for i := range 20 {
			entries = append(entries, fmt.Sprintf(`{"entryId":"%d","event":%d,"contentType":"application/json","metadata":{"partitionKey":"k"}}`, i, i))
		}
		r, err := h.Daprd.Do(within(t, 30*time.Second), "POST", "/v1.0-alpha1/publish/bulk/"+harness.PubsubName+"/bulk",
			map[string]string{"Content-Type": "application/json"}, []byte("["+strings.Join(entries, ",")+"]"))
		if err != nil || !r.OK() {
			t.Fatalf("%v, %d %s", err, r.Status, r.Body)
		}
		var ids []string // without repeats
		for len(ids) < 20 {
			m := a.next(t, func(m told) bool { return m.path == "/bulk" })
			if slices.Contains(ids, m.ID) {
				continue
			}
			if string(m.Data) != fmt.Sprint(len(ids)) {
				t.Errorf("%+v, want %d", m, len(ids))
			}
			ids = append(ids, m.ID)
		}
	})

	t.Run("expired", func(t *testing.T) {
		r := publish(t, h, "news", `"x"`, "?metadata.ttlInSeconds=soon")
		if r.OK() || !strings.Contains(string(r.Body), "want a number of seconds") {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	})
}

// A streaming subscription needs no app port; so the sidecar that hosts entities can have one, also by a wildcard.
func TestStreamingSubscription(t *testing.T) {
	t.Parallel()
	s := start(t, harness.HostOptions{Pubsub: map[string]string{}})
	conn, err := grpc.NewClient(s.Daprd.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := runtime.NewDaprClient(conn).SubscribeTopicEventsAlpha1(within(t, 2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&runtime.SubscribeTopicEventsRequestAlpha1{
		SubscribeTopicEventsRequestType: &runtime.SubscribeTopicEventsRequestAlpha1_InitialRequest{
			InitialRequest: &runtime.SubscribeTopicEventsRequestInitialAlpha1{PubsubName: harness.PubsubName, Topic: "test.v1.*"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // it stands
		t.Fatal(err)
	}
	for i := range 3 {
		s.must(t, "ada", "Deposit", fmt.Sprintf(`{"amount":%d}`, i+1))
	}
	for i := 0; i < 3; {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		e := m.GetEventMessage()
		if want := fmt.Sprintf("%s/ada/%d", service, i+1); e.GetId() == want {
			i++
		}
		if e.GetSource() != service || e.GetType() != "deposited" || !strings.Contains(string(e.GetData()), `"amount":`) {
			t.Errorf("%v", e)
		}
		err = stream.Send(&runtime.SubscribeTopicEventsRequestAlpha1{
			SubscribeTopicEventsRequestType: &runtime.SubscribeTopicEventsRequestAlpha1_EventProcessed{
				EventProcessed: &runtime.SubscribeTopicEventsRequestProcessedAlpha1{
					Id: e.GetId(), Status: &runtime.TopicEventResponse{Status: runtime.TopicEventResponse_SUCCESS},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A sidecar does not subscribe again when its component restarts. It is told so in the log, or restarted.
func TestSubscriptionAfterRestart(t *testing.T) {
	t.Parallel()
	for _, cure := range []string{"log", "restartSidecar"} {
		t.Run(cure, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			a := newSubscriber(t, nil, map[string]any{"topic": "news", "route": "/news"})
			h := s.app(t, a, harness.HostOptions{Pubsub: map[string]string{"onRestart": cure}})
			mustPublish(t, h, "news", `"before"`, "")
			a.next(t, data(`"before"`))
			h.Component.Kill()
			supervise(t, h.Component)
			switch cure {
			case "log":
				err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, func(context.Context) error {
					text, err := h.Component.Log(200)
					if err == nil && !strings.Contains(text, "nothing is delivered until the sidecar restarts") {
						err = errors.New("the log does not say that the subscription has ended")
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if !h.Daprd.Running() {
					t.Fatal("the sidecar has ended")
				}
				mustPublish(t, h, "news", `"after"`, "")
				h.Daprd.Kill() // what the log asks for
			case "restartSidecar":
				select {
				case <-h.Daprd.Exited():
				case <-time.After(time.Minute):
					t.Fatal("the sidecar was not told to stop")
				}
			}
			supervise(t, h.Daprd)
			if cure != "log" {
				mustPublish(t, h, "news", `"after"`, "")
			}
			a.next(t, data(`"after"`))
		})
	}
}

// Two sidecars of an app share the events of a service, while one component is killed now and then: every event comes,
// and those of an entity in order.
func TestCompetingApps(t *testing.T) {
	t.Parallel()
	journal := postgrestest.URL(t)
	s := start(t, harness.HostOptions{Journal: journal, Pubsub: map[string]string{}})
	var mu sync.Mutex
	seen := map[string][]string{} // ids by entity, without repeats
	by := map[int]int{}
	apps := make([]*harness.Host, 2)
	for i := range apps {
		a := newSubscriber(t, func(m told) string {
			mu.Lock()
			defer mu.Unlock()
			by[i]++
			if !slices.Contains(seen[m.Subject], m.ID) {
				seen[m.Subject] = append(seen[m.Subject], m.ID)
			}
			return "SUCCESS"
		}, map[string]any{"topic": service, "route": "/account"})
		apps[i] = s.app(t, a, harness.HostOptions{
			Name: fmt.Sprint("app", i), AppID: "app", Journal: journal, Pubsub: map[string]string{"onRestart": "restartSidecar"},
		})
	}
	const entities = 20
	events := 0
	emit := func() {
		t.Helper()
		for i := range entities {
			s.command(t, account, fmt.Sprint("e", i), "Emit", `{"n":10}`)
		}
		events += 10
	}
	await := func() {
		t.Helper()
		err := harness.Poll(within(t, 2*time.Minute), 100*time.Millisecond, func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			for i := range entities {
				if n := len(seen[fmt.Sprint("e", i)]); n != events {
					return fmt.Errorf("e%d: %d events came, want %d; by app: %v", i, n, events, by)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// share waits until both take part.
	share := func() {
		t.Helper()
		mu.Lock()
		clear(by)
		mu.Unlock()
		for end := time.Now().Add(2 * time.Minute); ; {
			supervise(t, apps[1].Daprd) // it may end at any time after its component
			emit()
			await()
			mu.Lock()
			both := by[0] > 0 && by[1] > 0
			mu.Unlock()
			if both {
				return
			}
			if time.Now().After(end) {
				t.Fatal("one app does nothing")
			}
		}
	}
	share()
	for range 2 {
		emit()
		apps[1].Component.Kill()
		emit()
		supervise(t, apps[1].Component)
		await()
		share()
	}
	mu.Lock()
	defer mu.Unlock()
	for id, ids := range seen {
		for i, got := range ids {
			if want := fmt.Sprintf("%s/%s/%d", service, id, i+1); got != want {
				t.Fatalf("%s: event %d is %s", id, i+1, got)
			}
		}
	}
}
