package building

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
)

// app is a subscription as a sidecar makes it. Its test decides what becomes of each message.
type app struct {
	t      testing.TB
	stream components.PubSub_PullMessagesClient
	got    chan *components.PullMessagesResponse
	ended  chan error
	cancel context.CancelFunc
}

func (b *broker) subscribe(t testing.TB, component, topic string, metadata map[string]string) *app {
	t.Helper()
	ctx, cancel := context.WithCancel(as(t, component))
	stream, err := b.pubsub.PullMessages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, stream: stream, got: make(chan *components.PullMessagesResponse, 1000), ended: make(chan error, 1), cancel: cancel}
	if err := stream.Send(&components.PullMessagesRequest{Topic: &components.Topic{Name: topic, Metadata: metadata}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := stream.Recv()
			if err != nil {
				a.ended <- err
				return
			}
			a.got <- m
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

// next waits for a message.
func (a *app) next() *components.PullMessagesResponse {
	a.t.Helper()
	select {
	case m := <-a.got:
		return m
	case err := <-a.ended:
		a.t.Fatalf("the subscription ended: %v", err)
	case <-time.After(30 * time.Second):
		a.t.Fatal("no message comes")
	}
	return nil
}

// ack acknowledges a message, or refuses it if why is not empty.
func (a *app) ack(m *components.PullMessagesResponse, why string) {
	a.t.Helper()
	r := &components.PullMessagesRequest{AckMessageId: m.Id}
	if why != "" {
		r.AckError = &components.AckMessageError{Message: why}
	}
	if err := a.stream.Send(r); err != nil {
		a.t.Error(err)
	}
}

// take acknowledges the next messages and returns their data.
func (a *app) take(n int) (data []string) {
	a.t.Helper()
	for range n {
		m := a.next()
		data = append(data, string(m.Data))
		a.ack(m, "")
	}
	return data
}

func (a *app) leave() {
	a.cancel()
	<-a.ended
}

// A message comes as it was published, again if it is refused or if nobody answers, and before those of its key that
// were published later. What was acknowledged does not come again.
func TestPull(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, map[string]string{"consumerID": "billing", "ackTimeout": "100ms"})
		b.publish(t, "news", "one", "partitionKey", "k", "x", "y", "content-type", "text/plain")
		b.publish(t, "news", "two", "partitionKey", "k")
		a := b.subscribe(t, "store", "news", nil)
		m := a.next()
		if string(m.Data) != "one" || m.ContentType != "text/plain" || m.TopicName != "news" || m.Metadata["x"] != "y" || m.Id == "" {
			t.Fatalf("%v", m)
		}
		a.ack(m, "not now")
		if m = a.next(); string(m.Data) != "one" { // and no answer at all
			t.Fatalf("%v", m)
		}
		if m = a.next(); string(m.Data) != "one" {
			t.Fatalf("%v", m)
		}
		a.ack(m, "")
		if m = a.next(); string(m.Data) != "two" {
			t.Fatalf("%v", m)
		}
		a.leave() // without an answer
		a = b.subscribe(t, "store", "news", nil)
		if got := a.take(1); got[0] != "two" {
			t.Error(got)
		}
		a.leave()
		b.publish(t, "news", "three", "partitionKey", "k")
		a = b.subscribe(t, "store", "news", nil)
		got := a.take(1)
		for got[0] == "two" { // the answer may have been lost with the stream
			got = a.take(1)
		}
		if got[0] != "three" {
			t.Error(got)
		}
	})
}

// A message that is refused too often is parked, and those behind it get on.
func TestPullParks(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, map[string]string{"maxDeliveries": "3"})
	b.publish(t, "news", "bad", "partitionKey", "k")
	b.publish(t, "news", "good", "partitionKey", "k")
	a := b.subscribe(t, "store", "news", nil)
	for range 3 {
		m := a.next()
		if string(m.Data) != "bad" {
			t.Fatalf("%v", m)
		}
		a.ack(m, "I do not like it")
	}
	if got := a.take(1); got[0] != "good" {
		t.Fatal(got)
	}
	parked, err := feed.List(t.Context(), b.journal, "", "", "", 10)
	if err != nil || len(parked) != 1 || parked[0].Service != "topic/news" || !strings.Contains(parked[0].Problem, "I do not like it") || parked[0].Tries != 3 {
		t.Fatalf("%+v, %v", parked, err)
	}
	if err := feed.Release(t.Context(), b.journal, parked[0].Key); err != nil {
		t.Fatal(err)
	}
	if got := a.take(1); got[0] != "bad" {
		t.Error(got)
	}
}

// A late acknowledgement counts, and while the sidecar works through what it has, nothing is delivered again.
func TestPullLate(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, map[string]string{"ackTimeout": "300ms", "maxUnacked": "8"})
	for i := range 8 {
		b.publish(t, "news", fmt.Sprint(i), "partitionKey", fmt.Sprint(i))
	}
	a := b.subscribe(t, "store", "news", nil)
	seen := map[string]int{}
	for range 8 { // one after the other, as a sidecar does: together they take much longer than one may
		m := a.next()
		seen[string(m.Data)]++
		time.Sleep(50 * time.Millisecond)
		a.ack(m, "")
	}
	b.publish(t, "news", "end", "partitionKey", "end")
	for m := a.next(); string(m.Data) != "end"; m = a.next() {
		seen[string(m.Data)]++
		a.ack(m, "")
	}
	if len(seen) != 8 {
		t.Errorf("delivered: %v", seen)
	}
}

func TestPullExpiry(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	b.publish(t, "news", "short", "partitionKey", "k", "ttlInSeconds", "1")
	b.publish(t, "news", "long", "partitionKey", "k", "ttlInSeconds", "3600")
	_, expires := stored(b.kept(t, "news")[0])
	time.Sleep(time.Until(expires))
	m := b.subscribe(t, "store", "news", nil).next()
	if _, has := m.Metadata["ttlInSeconds"]; string(m.Data) != "long" || has {
		t.Errorf("%v", m)
	}
}

// The events of a service are CloudEvents, by its name or its persistence id.
func TestPullService(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, nil)
		b.attach(shop(t))
		add := func(service, id, name string, p actors.Payload) {
			t.Helper()
			r := j.Append(t.Context(), []journal.Append{{
				Ref: actors.Ref{Service: service, ID: id}, Expected: journal.AnySequence, Command: "c" + name,
				Events: []journal.Event{{Name: name, Payload: p, Context: journal.Context{Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}},
			}})
			if r[0].Status != journal.Committed {
				t.Fatal(r[0])
			}
		}
		add("carts", "a/b", "added", actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`{"product":"tea"}`)})
		add("carts", "a/b", "removed", actors.Payload{TypeURL: "type.googleapis.com/x.Y", ContentType: actors.ContentProtobuf, Data: []byte{8, 1}})
		for i, topic := range []string{"shop.v1.Cart", "carts"} {
			a := b.subscribe(t, "store", topic, nil)
			m := a.next()
			var e struct {
				ID, Source, Type, SpecVersion, Subject, DataContentType, Time, Topic, PubsubName, Traceparent, DataSchema, Sequence string
				Data                                                                                                                json.RawMessage
				Base64                                                                                                              []byte `json:"data_base64"`
			}
			if err := json.Unmarshal(m.Data, &e); err != nil || m.ContentType != contentCloud || m.TopicName != topic || i == 1 && m.Metadata["topic"] != "shop.v1.Cart" {
				t.Fatalf("%v, %v", m, err)
			}
			if e.ID != "carts/a%2Fb/1" || e.Source != "shop.v1.Cart" || e.Type != "added" || e.SpecVersion != "1.0" || e.Subject != "a/b" ||
				e.DataContentType != actors.ContentJSON || string(e.Data) != `{"product":"tea"}` || e.Topic != "shop.v1.Cart" || e.PubsubName != "store" ||
				!strings.HasPrefix(e.Traceparent, "00-0af7") || e.DataSchema != "json.cloudstate.io/added" || e.Sequence != "1" {
				t.Errorf("%d: %s", i, m.Data)
			}
			if at, err := time.Parse(time.RFC3339Nano, e.Time); err != nil || time.Since(at) > time.Hour {
				t.Error(e.Time, err)
			}
			a.ack(m, "")
			m, e.Data = a.next(), nil
			if err := json.Unmarshal(m.Data, &e); err != nil || e.ID != "carts/a%2Fb/2" || e.DataContentType != actors.ContentProtobuf || string(e.Base64) != "\x08\x01" || e.Data != nil {
				t.Errorf("%s, %v", m.Data, err)
			}
			a.leave()
			if i == 0 {
				b.attach(nil) // and without a user function by its persistence id
				b.attach(shop(t))
			}
		}
	})
}

// The keys of the state store are a service, too.
func TestPullState(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	if err := b.rig.init(b.ctx, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.state.Set(b.ctx, &components.SetRequest{Key: "app||k", Value: []byte(`{"a":1}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.state.Delete(b.ctx, &components.DeleteRequest{Key: "app||k"}); err != nil {
		t.Fatal(err)
	}
	a := b.subscribe(t, "store", StateService, nil)
	got := a.take(2)
	if !strings.Contains(got[0], `"type":"set"`) || !strings.Contains(got[0], `"data":{"a":1}`) || !strings.Contains(got[0], `"subject":"app||k"`) || !strings.Contains(got[1], `"type":"deleted"`) {
		t.Error(got)
	}
}

// A wildcard means what there is and what there will be.
func TestPullWildcard(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	a := b.subscribe(t, "store", "shop.*", nil)
	for _, topic := range []string{"shop.v1.news", "other"} {
		b.publish(t, topic, topic)
	}
	r := b.journal.Append(t.Context(), []journal.Append{{Ref: actors.Ref{Service: "shop.v1.Order", ID: "a"}, Command: "c", Events: []journal.Event{{Name: "placed"}}}})
	if r[0].Status != journal.Committed {
		t.Fatal(r)
	}
	seen := map[string]string{}
	for range 2 {
		m := a.next()
		if m.TopicName != "shop.*" {
			t.Errorf("%v", m)
		}
		seen[m.Metadata["topic"]] = string(m.Data)
		a.ack(m, "")
	}
	if seen["shop.v1.news"] != "shop.v1.news" || !strings.Contains(seen["shop.v1.Order"], `"type":"placed"`) {
		t.Error(seen)
	}
	b.publish(t, "shop.v1.news", "more")
	if got := a.take(1); got[0] != "more" {
		t.Error(got)
	}
}

func TestPullFromNow(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, map[string]string{"consumerID": "a"})
	b.publish(t, "news", "old", "partitionKey", "k")
	late := b.subscribe(t, "store", "news", map[string]string{"From": "now"})
	b.init(t, as(t, "others"), map[string]string{"consumerID": "b", "from": "now"})
	all := b.subscribe(t, "others", "news", map[string]string{"from": "beginning"})
	if got := all.take(1); got[0] != "old" {
		t.Error(got)
	}
	// It begins when it has begun, which nobody is told of.
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = b.tryPublish("news", fmt.Sprint("new ", i), "partitionKey", "k")
			}
		}
	})
	got := late.take(1)
	close(stop)
	publishing.Wait()
	if !strings.HasPrefix(got[0], "new") {
		t.Error(got)
	}
}
