package building

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/eventing"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// broker is a rig whose topics are ready, on a journal.
type broker struct {
	*rig
	journal journal.Journal
	pubsub  components.PubSubClient
}

func newBroker(t testing.TB, j Journal, properties map[string]string) *broker {
	t.Helper()
	if j == nil {
		j = memory.Open()
	}
	b := &broker{rig: start(t, nil), journal: j.(journal.Journal)}
	b.pubsub = components.NewPubSubClient(b.conn)
	b.attach(nil)
	b.init(t, b.ctx, properties)
	return b
}

func (b *broker) init(t testing.TB, ctx context.Context, properties map[string]string) {
	t.Helper()
	if _, err := b.pubsub.Init(ctx, &components.PubSubInitRequest{Metadata: &components.MetadataRequest{Properties: properties}}); err != nil {
		t.Fatal(err)
	}
}

// attach a runtime that consumes as the component does, only more often.
func (b *broker) attach(c *catalog.Catalog) {
	b.Attach(Runtime{
		Journal: b.journal, Catalog: func() *catalog.Catalog { return c },
		Consume: func(ctx context.Context, s Subscription, handle func(context.Context, journal.Event) error) error {
			from := feed.Beginning
			if s.FromNow {
				from = feed.Now
			}
			sub, err := feed.Subscribe(feed.SubscriptionConfig{
				Tailer: b.journal, Cells: b.journal, Group: s.Group, Sources: s.Sources, Resolve: s.Resolve, From: from,
				MaxTries: s.MaxTries, Timeout: s.Timeout, Concurrency: s.Concurrency, Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
				Poll: 5 * time.Millisecond, Save: 5 * time.Millisecond, Look: 20 * time.Millisecond, LeaseTimeout: time.Second,
				Lanes: 4, Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				return err
			}
			run, end := context.WithCancel(context.WithoutCancel(ctx))
			done := make(chan error, 1)
			go func() { done <- sub.Run(run) }()
			err = sub.Consume(ctx, s.Concurrency, handle)
			end()
			<-done
			return err
		},
		Present: func(e journal.Event) (Shown, error) {
			told, err := eventing.Logged(e, "", "", c)
			return Shown{Name: told.Type, ContentType: told.ContentType, Data: told.Data}, err
		},
		CloudEvent: func(e journal.Event, topic, pubsub string) ([]byte, error) {
			told, err := eventing.Logged(e, topic, pubsub, c)
			if err != nil {
				return nil, err
			}
			return told.JSON()
		},
	})
}

// shop is a catalog of one event-sourced service, and one that keeps nothing.
func shop(t testing.TB) *catalog.Catalog {
	t.Helper()
	c, err := catalog.New(&cloudstate.EntitySpec{
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"}},
		Entities: []*cloudstate.Entity{
			{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "shop.v1.Cart", PersistenceId: "carts", Methods: []*cloudstate.Method{{Name: "Get"}}},
			{EntityType: "cloudstate.action.ActionProtocol", ServiceName: "shop.v1.Mail", Methods: []*cloudstate.Method{{Name: "Send"}}},
		},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *broker) publish(t testing.TB, topic, data string, metadata ...string) {
	t.Helper()
	if err := b.tryPublish(topic, data, metadata...); err != nil {
		t.Fatal(err)
	}
}

func (b *broker) tryPublish(topic, data string, metadata ...string) error {
	r := &components.PublishRequest{Topic: topic, Data: []byte(data), PubsubName: "store", Metadata: map[string]string{}}
	for i := 0; i < len(metadata); i += 2 {
		r.Metadata[metadata[i]] = metadata[i+1]
	}
	_, err := b.pubsub.Publish(b.ctx, r)
	return err
}

// kept returns the messages of a topic in the journal.
func (b *broker) kept(t testing.TB, topic string) []journal.Event {
	t.Helper()
	streams, err := b.journal.List(b.ctx, "topic/"+topic, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []journal.Event
	for _, one := range streams { // Tail would wait for other tests of the same server
		for e, err := range b.journal.Read(b.ctx, actors.Ref{Service: "topic/" + topic, ID: one.ID}, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b journal.Event) int { return a.Position.Compare(b.Position) })
	return all
}

func cloud(id, data string, more ...string) string {
	e := map[string]any{"specversion": "1.0", "id": id, "source": "test", "type": "t", "data": data, "datacontenttype": "text/plain"}
	for i := 0; i < len(more); i += 2 {
		e[more[i]] = more[i+1]
	}
	text, _ := json.Marshal(e)
	return string(text)
}

// A topic's messages are events of streams: one for each key, others spread.
func TestPublish(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, map[string]string{"appId": "shop"})
		b.publish(t, "news", "plain", "partitionKey", "k", "x", "y", "contentType", "text/plain")
		b.publish(t, "news", cloud("1", "one", "subject", "s", "type", "told", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
		b.publish(t, "news", cloud("2", "two"), "partitionKey", strings.Repeat("long", 100))
		b.publish(t, "news", "lane")
		events := b.kept(t, "news")
		if len(events) != 4 {
			t.Fatalf("%d events", len(events))
		}
		e := events[0]
		metadata, expires := stored(e)
		if e.Ref.ID != "key/k" || e.Name != "message" || string(e.Payload.Data) != "plain" || e.Payload.ContentType != "text/plain" ||
			e.Context.Caller != "shop" || !expires.IsZero() || !cmp.Equal(metadata, map[string]string{"partitionKey": "k", "x": "y"}) {
			t.Errorf("%+v, %v", e, metadata)
		}
		if e = events[1]; e.Ref.ID != "key/s" || e.Name != "told" || e.Payload.ContentType != contentCloud || !strings.Contains(e.Context.Traceparent, "0af765") {
			t.Errorf("%+v", e)
		}
		if e = events[2]; !strings.HasPrefix(e.Ref.ID, "hash/") || len(e.Ref.ID) > 100 {
			t.Errorf("%+v", e)
		}
		if e = events[3]; !strings.HasPrefix(e.Ref.ID, "lane/") {
			t.Errorf("%+v", e)
		}
	})
}

// A CloudEvent that is published again is the same one, for a while.
func TestPublishTwice(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, nil)
		for range 3 {
			b.publish(t, "news", cloud("1", "one", "traceparent", "of this attempt"))
		}
		b.publish(t, "other", cloud("1", "one")) // a dead letter has the id of the message
		if n, m := len(b.kept(t, "news")), len(b.kept(t, "other")); n != 1 || m != 1 {
			t.Errorf("%d and %d messages", n, m)
		}
		err := b.tryPublish("news", cloud("1", "another"))
		wantCode(t, err, codes.AlreadyExists)
		if err == nil || !strings.Contains(err.Error(), `id "1" of the source "test"`) {
			t.Error(err)
		}
		// Later it is another message: the one of old is sent again on purpose.
		now := &message{topic: "news", data: []byte(cloud("1", "another"))}
		if err := now.parse(1<<20, time.Now()); err != nil {
			t.Fatal(err)
		}
		for range 3 { // the second and third repeat the first of these, which the journal says is old, too
			if err := publish(t.Context(), aged{j, 3 * time.Minute}, "", []*message{now})[0]; err != nil {
				t.Fatal(err)
			}
		}
		if n := len(b.kept(t, "news")); n != 4 {
			t.Errorf("%d messages", n)
		}
		if err := publish(t.Context(), j, "", []*message{now})[0]; err == nil || actors.CodeOf(err) != actors.AlreadyExists {
			t.Errorf("published just now, by its first name: %v", err)
		}
	})
}

// aged is a journal whose events are older than they are.
type aged struct {
	Journal
	by time.Duration
}

func (a aged) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		for e, err := range a.Journal.Read(ctx, ref, after, limit) {
			e.Time = e.Time.Add(-a.by)
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestPublishProblems(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, map[string]string{"maxReply": "64Ki"})
	b.attach(shop(t))
	for _, service := range []string{"carts", "bank.Account", StateService} {
		r := b.journal.Append(t.Context(), []journal.Append{{
			Ref: actors.Ref{Service: service, ID: "a"}, Command: "c", Events: []journal.Event{{Name: "n"}},
		}})
		if r[0].Status != journal.Committed {
			t.Fatal(r)
		}
	}
	most := 64<<10 - overhead - len("x")
	for name, test := range map[string]struct {
		topic, data string
		metadata    []string
		code        codes.Code
		want        string
	}{
		"no topic":           {"", "x", nil, codes.InvalidArgument, "the topic is empty"},
		"long topic":         {strings.Repeat("x", MaxTopicBytes+1), "x", nil, codes.InvalidArgument, "at most 122 are allowed"},
		"control":            {"a\nb", "x", nil, codes.InvalidArgument, "control characters"},
		"wildcard":           {"a*", "x", nil, codes.InvalidArgument, "publish to one of them"},
		"service":            {"shop.v1.Cart", "x", nil, codes.InvalidArgument, "that of the service's events"},
		"actor type":         {"Cart", "x", nil, codes.InvalidArgument, "that of the service's events"},
		"action":             {"shop.v1.Mail", "x", nil, codes.InvalidArgument, "that of the service's events"},
		"persistence id":     {"carts", "x", nil, codes.InvalidArgument, "that of the service's events"},
		"somebody's service": {"bank.Account", "x", nil, codes.InvalidArgument, "that of the service's events"},
		"state keys":         {StateService, "x", nil, codes.InvalidArgument, "that of the service's events"},
		"ttl":                {"x", "x", []string{"ttlInSeconds", "soon"}, codes.InvalidArgument, `"soon", want a number of seconds`},
		"no ttl":             {"x", "x", []string{"TTLInSeconds", "0"}, codes.InvalidArgument, `want a number of seconds from 1`},
		"content type":       {"x", "x", []string{"content-type", strings.Repeat("x", 257)}, codes.InvalidArgument, "content type"},
		"large":              {"x", strings.Repeat("x", most+1), nil, codes.ResourceExhausted, "could not be given more than"},
		"large metadata":     {"x", strings.Repeat("x", most), []string{"k", "v"}, codes.ResourceExhausted, "could not be given more than"},
		"as large as can be": {"x", strings.Repeat("x", most), nil, codes.OK, ""},
		"as long as can be":  {strings.Repeat("x", MaxTopicBytes), "x", nil, codes.OK, ""},
		"of a topic":         {"topic/x", "x", nil, codes.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := b.tryPublish(test.topic, test.data, test.metadata...)
			if wantCode(t, err, test.code); err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\ndoes not say: %s", err, test.want)
			}
		})
	}
	_, err := b.pubsub.Publish(as(t, "stranger"), &components.PublishRequest{Topic: "x"})
	wantCode(t, err, codes.FailedPrecondition)
	b.Attach(Runtime{})
	if err = b.tryPublish("x", "x"); err == nil || !strings.Contains(err.Error(), "state.entities") {
		t.Error(err)
	}
	wantCode(t, err, codes.Unavailable)
}

// The entries of a bulk fail each for itself, and those of one key stay in order.
func TestBulkPublish(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, nil)
		r := &components.BulkPublishRequest{Topic: "news", Metadata: map[string]string{"partitionKey": "k"}}
		for i := range 600 {
			r.Entries = append(r.Entries, &components.BulkMessageEntry{EntryId: fmt.Sprint(i), Event: []byte(cloud(fmt.Sprint(i%599), fmt.Sprint(i%599)))})
		}
		r.Entries[7].Metadata = map[string]string{"ttlInSeconds": "x"}
		r.Entries[8].Metadata = map[string]string{"partitionKey": "other"}
		resp, err := b.pubsub.BulkPublish(b.ctx, r)
		if err != nil || len(resp.FailedEntries) != 1 || resp.FailedEntries[0].EntryId != "7" || !strings.Contains(resp.FailedEntries[0].Error, "ttlInSeconds") {
			t.Fatalf("%v, %v", resp, err)
		}
		var of, want []string
		for _, e := range b.kept(t, "news") {
			if e.Ref.ID == "key/k" {
				of = append(of, parseCloudEvent(e.Payload.Data).ID)
			}
		}
		for i := range 599 { // entry 599 repeats entry 0
			if i != 7 && i != 8 {
				want = append(want, fmt.Sprint(i))
			}
		}
		if diff := cmp.Diff(want, of); diff != "" {
			t.Error(diff)
		}
		r.Entries = make([]*components.BulkMessageEntry, MaxBulk+1)
		for i := range r.Entries {
			r.Entries[i] = &components.BulkMessageEntry{}
		}
		_, err = b.pubsub.BulkPublish(b.ctx, r)
		wantCode(t, err, codes.ResourceExhausted)
	})
}

func TestTopicFeatures(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	f, err := b.pubsub.Features(b.ctx, &components.FeaturesRequest{})
	if diff := cmp.Diff([]string{"MESSAGE_TTL", "SUBSCRIBE_WILDCARDS", "BULK_PUBSUB", "BULK_SUBSCRIBE_IMMEDIATE"}, f.GetFeatures()); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := b.pubsub.Ping(b.ctx, &components.PingRequest{}); err != nil {
		t.Error(err)
	}
	if _, err = b.pubsub.Features(as(t, "stranger"), &components.FeaturesRequest{}); err == nil {
		t.Error("features of a component without Init")
	}
	_, err = b.pubsub.Init(as(t, "bad"), &components.PubSubInitRequest{Metadata: &components.MetadataRequest{Properties: map[string]string{"journal": "memory:"}}})
	if wantCode(t, err, codes.InvalidArgument); err == nil || !strings.Contains(err.Error(), "belongs to the state.entities component") {
		t.Error(err)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "a.b", true}, {"shop.*", "shop.v1.Cart", true},
		{"shop.*", "shop.", true}, {"shop.*", "shop", false}, {"*.Cart", "shop.Cart", true}, {"*.Cart", "shop.Carts", false},
		{"a*b*c", "abc", true}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "ac", false}, {"a*a", "a", false}, {"**", "x", true},
		{"a*bc*c", "abc", false},
	} {
		if got := matches(c.pattern, c.name); got != c.want {
			t.Errorf("%s means %s: %v", c.pattern, c.name, got)
		}
	}
}

// Whatever is said of a message comes back, and the journal takes it.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(cloud("1", "x", "subject", "s")), "text/plain", "ttlInSeconds", "5")
	f.Add([]byte(`{"specversion":"1.0","id":1}`), "", "partitionKey", "a\x00b")
	f.Add([]byte("\xff"), "a\x00", "metadata.x", "%&=+ ")
	f.Add([]byte(`{"specversion":"1.0","id":"\u0000","type":"\u0000","subject":["x"],"data":{}}`), "", "", "")
	f.Fuzz(func(t *testing.T, data []byte, contentType, key, value string) {
		key, value = strings.ToValidUTF8(key, ""), strings.ToValidUTF8(value, "") // gRPC lets nothing else through
		m := &message{topic: "t", data: data, contentType: strings.ToValidUTF8(contentType, ""), metadata: map[string]string{key: value}}
		now := time.Now()
		if m.parse(1<<20, now) != nil {
			return
		}
		a := journal.Append{
			Ref: actors.Ref{Service: topicService(m.topic), ID: m.id()}, Command: m.command(), Expected: journal.AnySequence,
			Events: []journal.Event{m.store("app")},
		}
		if err := a.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := actors.ValidateID(a.Ref.ID); err != nil {
			t.Error(err)
		}
		metadata, expires := stored(a.Events[0])
		if !expires.Equal(m.expires) {
			t.Errorf("expires %v, want %v", expires, m.expires)
		}
		if !strings.EqualFold(key, ttlKey) && len(m.metadata) > 0 && metadata[key] != value {
			t.Errorf("metadata %q, want %q: %q", metadata, key, value)
		}
		if !bytes.Equal(a.Events[0].Payload.Data, data) {
			t.Error("other data")
		}
	})
}
