package building

import (
	"context"
	"fmt"
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
)

// newReader is a broker whose component store is an input binding.
func newReader(t testing.TB, j Journal, properties map[string]string) *broker {
	t.Helper()
	if j == nil {
		j = memory.Open()
	}
	b := &broker{rig: start(t, nil), journal: j.(journal.Journal)}
	b.attach(shop(t))
	if err := b.initInput(b.ctx, properties); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *broker) initInput(ctx context.Context, properties map[string]string) error {
	_, err := components.NewInputBindingClient(b.conn).Init(ctx, &components.InputBindingInitRequest{Metadata: &components.MetadataRequest{Properties: properties}})
	return err
}

// reader is a Read as a sidecar makes it.
type reader struct {
	t      testing.TB
	stream components.InputBinding_ReadClient
	got    chan *components.ReadResponse
	ended  chan error
	cancel context.CancelFunc
}

func (b *broker) read(t testing.TB, component string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(as(t, component))
	stream, err := components.NewInputBindingClient(b.conn).Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, stream: stream, got: make(chan *components.ReadResponse, 1000), ended: make(chan error, 1), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := stream.Recv()
			if err != nil {
				r.ended <- err
				return
			}
			r.got <- m
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *reader) next() *components.ReadResponse {
	r.t.Helper()
	select {
	case m := <-r.got:
		return m
	case err := <-r.ended:
		r.t.Fatalf("the binding ended: %v", err)
	case <-time.After(30 * time.Second):
		r.t.Fatal("no event comes")
	}
	return nil
}

func (r *reader) ack(m *components.ReadResponse, why string) {
	r.t.Helper()
	answer := &components.ReadRequest{MessageId: m.MessageId, ResponseData: []byte("thanks")}
	if why != "" {
		answer.ResponseError = &components.AckResponseError{Message: why}
	}
	if err := r.stream.Send(answer); err != nil {
		r.t.Error(err)
	}
}

// emit adds an event with JSON to an entity.
func (b *broker) emit(t testing.TB, service, id, name string) {
	t.Helper()
	r := b.journal.Append(t.Context(), []journal.Append{{
		Ref: actors.Ref{Service: service, ID: id}, Expected: journal.AnySequence, Command: fmt.Sprintf("c %.10s", name), Events: []journal.Event{{
			Name:    name,
			Payload: actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: fmt.Appendf(nil, `{"product":%q}`, name)},
			Context: journal.Context{Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}},
	}})
	if r[0].Status != journal.Committed {
		t.Fatal(r[0])
	}
}

// An event comes with what is known of it, again after an error of the app, and before those of its entity that came
// later; what was acknowledged does not come again, nor after a restart.
func TestInput(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newReader(t, j, map[string]string{"services": " shop.v1.Cart, bank.* ,", "direction": "input", "appId": "billing"})
		b.emit(t, "carts", "a/ü", "tea")
		b.emit(t, "carts", "a/ü", "milk")
		b.emit(t, "unasked", "x", "none")
		b.emit(t, "topic/bank.news", "x", "a message and no event")
		r := b.read(t, "store")
		m := r.next()
		at, err := time.Parse(time.RFC3339Nano, m.Metadata["time"])
		if err != nil || time.Since(at) > time.Hour {
			t.Error(m.Metadata["time"], err)
		}
		delete(m.Metadata, "time")
		if diff := cmp.Diff(map[string]string{
			"service": "shop.v1.Cart", "id": "a/ü", "sequence": "1", "name": "tea", "contentType": "application/json", "command": "c tea",
			"typeUrl": "json.cloudstate.io/added", "eventId": "carts/a%2Fü/1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}, m.Metadata); diff != "" {
			t.Error(diff)
		}
		if string(m.Data) != `{"product":"tea"}` || m.ContentType != actors.ContentJSON || m.MessageId == "" {
			t.Errorf("%v", m)
		}
		r.ack(m, "not now")
		if m = r.next(); m.Metadata["sequence"] != "1" {
			t.Fatalf("%v", m)
		}
		r.ack(m, "")
		if m = r.next(); m.Metadata["sequence"] != "2" {
			t.Fatalf("%v", m)
		}
		r.cancel()
		<-r.ended
		r = b.read(t, "store")
		if m = r.next(); m.Metadata["sequence"] != "2" {
			t.Fatalf("%v", m)
		}
		r.ack(m, "")
		// A service that nobody knew so far.
		b.emit(t, "bank.Account", "b", "paid")
		if m = r.next(); m.Metadata["service"] != "bank.Account" || m.Metadata["name"] != "paid" {
			t.Fatalf("%v", m)
		}
		r.ack(m, "")
	})
}

// Side by side for many entities, and each on its own: two replicas share them.
func TestInputShares(t *testing.T) {
	t.Parallel()
	b := newReader(t, nil, map[string]string{"services": "shop.v1.Cart", "appId": "billing", "maxUnacked": "4"})
	for i := range 12 {
		b.emit(t, "carts", fmt.Sprint(i), "tea")
	}
	r := b.read(t, "store")
	var held []*components.ReadResponse
	for range 4 { // as many as may be under way
		held = append(held, r.next())
	}
	if err := b.initInput(as(t, "others"), map[string]string{"services": "shop.v1.Cart", "appId": "mails"}); err != nil {
		t.Fatal(err)
	}
	others := b.read(t, "others")
	for range 12 { // have a cursor of their own
		others.ack(others.next(), "")
	}
	select {
	case m := <-r.got:
		t.Errorf("more than maxUnacked: %v", m)
	default:
	}
	seen := map[string]int{}
	for len(seen) < 12 {
		var m *components.ReadResponse
		if len(held) > 0 {
			m, held = held[0], held[1:]
		} else {
			m = r.next()
		}
		seen[m.Metadata["id"]]++
		r.ack(m, "")
	}
}

// What an app refuses too often is parked. An event that is too large for the sidecar is, too.
func TestInputParks(t *testing.T) {
	t.Parallel()
	b := newReader(t, nil, map[string]string{"services": "carts", "maxDeliveries": "3", "maxReply": "4Ki"})
	b.emit(t, "carts", "a", "bad")
	b.emit(t, "carts", "a", strings.Repeat("x", 5000))
	b.emit(t, "carts", "a", "good")
	r := b.read(t, "store")
	for range 3 {
		m := r.next()
		if m.Metadata["name"] != "bad" {
			t.Fatalf("%v", m)
		}
		r.ack(m, "I do not like it")
	}
	if m := r.next(); m.Metadata["name"] != "good" {
		t.Fatalf("%v", m)
	}
	parked, err := feed.List(t.Context(), b.journal, "", "", "", 10)
	if err != nil || len(parked) != 2 || !strings.Contains(parked[0].Problem, "I do not like it") || !strings.Contains(parked[1].Problem, "4096") {
		t.Fatalf("%+v, %v", parked, err)
	}
}

func TestInputFromNow(t *testing.T) {
	t.Parallel()
	b := newReader(t, nil, map[string]string{"services": "carts", "from": "now"})
	b.emit(t, "carts", "a", "old")
	r := b.read(t, "store")
	waitFor(t, func() bool { // it is remembered where now was
		cells, err := b.journal.Cells(t.Context(), "subscription/", "", 1)
		return err == nil && len(cells) == 1
	})
	r.cancel()
	<-r.ended
	b.emit(t, "carts", "a", "new")
	if m := b.read(t, "store").next(); m.Metadata["name"] != "new" {
		t.Errorf("%v", m)
	}
}

func TestInputMistakes(t *testing.T) {
	t.Parallel()
	b := newReader(t, nil, nil) // in a component that is an output binding too, it does not matter
	for name, test := range map[string]struct {
		properties map[string]string
		want       string
	}{
		"no services": {map[string]string{"direction": "input, output"}, "add the metadata services"},
		"long name":   {map[string]string{"services": strings.Repeat("x", 129)}, "128 bytes"},
		"unknown":     {map[string]string{"service": "x"}, "did you mean services?"},
		"from":        {map[string]string{"services": "x", "from": "tomorrow"}, "tomorrow"},
	} {
		err := b.initInput(as(t, "wrong"), test.properties)
		if wantCode(t, err, codes.InvalidArgument); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\ndoes not say: %s", name, err, test.want)
		}
	}
	err := <-b.read(t, "store").ended
	if wantCode(t, err, codes.InvalidArgument); !strings.Contains(err.Error(), "add the metadata services") {
		t.Error(err)
	}
	wantCode(t, <-b.read(t, "strange").ended, codes.FailedPrecondition)
	if _, err := components.NewInputBindingClient(b.conn).Ping(b.ctx, &components.PingRequest{}); err != nil {
		t.Error(err)
	}
}

// A component that stops ends what its sidecar reads, and the next one knows that it did.
func TestInputEnds(t *testing.T) {
	t.Parallel()
	b := newReader(t, nil, map[string]string{"services": "carts, shop.*", "appId": "shop"})
	r := b.read(t, "store")
	b.emit(t, "carts", "a", "tea")
	r.next() // which is not acknowledged
	var topics []string
	waitFor(t, func() bool {
		kept, err := b.Kept()
		if err == nil && len(kept) == 1 {
			topics = kept[0].Topics
		}
		return len(topics) > 0
	})
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-r.ended, codes.Unavailable)
	if !slices.Equal(topics, []string{"carts,shop.*"}) {
		t.Errorf("%v", topics)
	}
}
