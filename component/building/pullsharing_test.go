package building

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// Consumers with one id share the messages; each key's are with one of them at a time and in order. Consumers with
// another id have all of them, too.
func TestPullCompeting(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, map[string]string{"consumerID": "a"})
		b.init(t, as(t, "others"), map[string]string{"consumerID": "b"})
		const keys, each = 20, 10
		for n := range each {
			bulk := &components.BulkPublishRequest{Topic: "news"}
			for k := range keys {
				bulk.Entries = append(bulk.Entries, &components.BulkMessageEntry{
					EntryId: fmt.Sprint(k), Event: fmt.Appendf(nil, "%d", n), Metadata: map[string]string{"partitionKey": fmt.Sprint(k)},
				})
			}
			if r, err := b.pubsub.BulkPublish(b.ctx, bulk); err != nil || len(r.FailedEntries) > 0 {
				t.Fatal(r, err)
			}
		}
		var mu sync.Mutex
		groups := map[string]map[string][]string{"a": {}, "b": {}} // the data by key
		total := map[string]int{}
		var apps sync.WaitGroup
		ctx, done := context.WithCancel(t.Context())
		defer done()
		for i, consumer := range []string{"a", "a", "b"} {
			component := map[string]string{"a": "store", "b": "others"}[consumer]
			a := b.subscribe(t, component, "news", nil)
			apps.Go(func() {
				for {
					select {
					case <-ctx.Done():
						return
					case <-time.After(30 * time.Second):
						t.Errorf("consumer %d waits for ever", i)
						return
					case m := <-a.got:
						mu.Lock()
						key := m.Metadata["partitionKey"]
						group := groups[consumer]
						if of := group[key]; !slices.Contains(of, string(m.Data)) { // else it was delivered again
							group[key] = append(of, string(m.Data))
							total[consumer]++
						}
						if total["a"] == keys*each && total["b"] == keys*each {
							done()
						}
						mu.Unlock()
						a.ack(m, "")
					}
				}
			})
		}
		apps.Wait()
		want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
		for consumer, group := range groups {
			for key, got := range group {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, key %s: %s", consumer, key, diff)
				}
			}
		}
	})
}

// A paused component is given nothing more, and may still acknowledge what it has.
func TestPullPause(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	a := b.subscribe(t, "store", "news", nil)
	b.publish(t, "news", "one", "partitionKey", "k")
	m := a.next()
	for range 2 { // it may be said twice
		if _, err := b.pubsub.Pause(b.ctx, &components.PauseRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	a.ack(m, "")
	b.publish(t, "news", "two", "partitionKey", "k")
	// Somebody else with the same id gets it: the paused one holds on to nothing.
	b.init(t, as(t, "others"), map[string]string{"consumerID": "store"})
	other := b.subscribe(t, "others", "news", nil)
	if got := other.take(1); got[0] != "two" {
		t.Fatal(got)
	}
	other.leave()
	b.publish(t, "news", "three", "partitionKey", "k")
	if len(a.got) > 0 {
		t.Errorf("while paused: %v", <-a.got)
	}
	for range 2 {
		if _, err := b.pubsub.Resume(b.ctx, &components.ResumeRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	got := a.take(1)
	for got[0] == "two" { // the other's answer may have been lost with its stream
		got = a.take(1)
	}
	if got[0] != "three" {
		t.Error(got)
	}
	for _, call := range []func() error{
		func() error { _, err := b.pubsub.Pause(as(t, "stranger"), &components.PauseRequest{}); return err },
		func() error { _, err := b.pubsub.Resume(as(t, "stranger"), &components.ResumeRequest{}); return err },
	} {
		wantCode(t, call(), codes.FailedPrecondition)
	}
}

// A subscription outlives the runtime that it is on.
func TestPullReattach(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	a := b.subscribe(t, "store", "news", nil)
	b.publish(t, "news", "one", "partitionKey", "k")
	if got := a.take(1); got[0] != "one" {
		t.Fatal(got)
	}
	b.Attach(Runtime{})
	b.attach(nil)
	b.publish(t, "news", "two", "partitionKey", "k")
	got := a.take(1)
	for got[0] == "one" {
		got = a.take(1)
	}
	if got[0] != "two" {
		t.Error(got)
	}
}

func TestPullProblems(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, nil)
	b.attach(shop(t))
	for name, test := range map[string]struct {
		component string
		first     *components.PullMessagesRequest
		code      codes.Code
		want      string
	}{
		"no Init":  {"stranger", &components.PullMessagesRequest{Topic: &components.Topic{Name: "x"}}, codes.FailedPrecondition, "not initialised"},
		"no topic": {"store", &components.PullMessagesRequest{AckMessageId: "x"}, codes.InvalidArgument, "names no topic"},
		"empty":    {"store", &components.PullMessagesRequest{Topic: &components.Topic{}}, codes.InvalidArgument, "the topic is empty"},
		"action":   {"store", &components.PullMessagesRequest{Topic: &components.Topic{Name: "Mail"}}, codes.InvalidArgument, "shop.v1.Mail, which keeps no events"},
		"long":     {"store", &components.PullMessagesRequest{Topic: &components.Topic{Name: strings.Repeat("x", 123)}}, codes.InvalidArgument, "at most 122"},
		"from": {"store", &components.PullMessagesRequest{Topic: &components.Topic{Name: "x", Metadata: map[string]string{"from": "tomorrow"}}},
			codes.InvalidArgument, `"tomorrow", which is none of beginning, now`},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := b.pubsub.PullMessages(as(t, test.component))
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.Send(test.first)
			_, err = stream.Recv()
			if wantCode(t, err, test.code); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\ndoes not say: %s", err, test.want)
			}
		})
	}
}

// What was subscribed to when the component ended is known to the next one.
func TestPullKept(t *testing.T) {
	t.Parallel()
	b := newBroker(t, nil, map[string]string{"appId": "shop"})
	topics := func() []string {
		data, err := os.ReadFile(filepath.Join(b.folder, ".entities", "init.json"))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := parseInitFile(data, "init.json")
		if err != nil || len(kept) != 1 || kept[0].String() != "pubsub.entities store" {
			t.Fatal(kept, err)
		}
		return kept[0].Topics
	}
	first, second, third := b.subscribe(t, "store", "b", nil), b.subscribe(t, "store", "a", nil), b.subscribe(t, "store", "a", nil)
	waitFor(t, func() bool { return slices.Equal(topics(), []string{"a", "b"}) })
	first.leave()
	second.leave()
	waitFor(t, func() bool { return slices.Equal(topics(), []string{"a"}) })
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-third.ended; err == nil || !strings.Contains(err.Error(), "the component stops") {
		t.Error(err)
	}
	if got := topics(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after the end: %v", got)
	}
	again := &broker{rig: start(t, func(c *Config) { c.Folder = b.folder }), journal: b.journal}
	again.pubsub = components.NewPubSubClient(again.conn)
	again.attach(nil)
	kept, err := again.Kept()
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := again.Server.Resume(t.Context(), kept[0]); err != nil {
		t.Fatal(err)
	}
	if got := again.Abandoned(kept[0]); !slices.Equal(got, []string{"a"}) {
		t.Errorf("abandoned: %v", got)
	}
	again.publish(t, "a", "x")
	if got := again.subscribe(t, "store", "a", nil).take(1); got[0] != "x" {
		t.Error(got)
	}
	waitFor(t, func() bool { return len(again.Abandoned(kept[0])) == 0 })
}
