package component

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/building"
	"github.com/dapr-entities/entities/component/config"
)

func topicHost(j journal.Journal, topicRetention time.Duration) *host {
	settings := config.Default()
	settings.TopicRetention, settings.LeaseTimeout = topicRetention, time.Second
	return &host{settings: settings, journal: j, log: slog.New(slog.DiscardHandler)}
}

func appendTo(t *testing.T, j journal.Journal, ref actors.Ref, command string) {
	t.Helper()
	r := j.Append(t.Context(), []journal.Append{{
		Ref: ref, Expected: journal.AnySequence, Command: command, Events: []journal.Event{{Name: command}},
	}})
	if r[0].Status != journal.Committed {
		t.Fatal(r[0])
	}
}

// old is a journal whose streams have not changed for a while.
type old struct{ journal.Journal }

func (o old) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	list, err := o.Journal.List(ctx, service, after, limit)
	for i := range list {
		list[i].Updated = list[i].Updated.Add(-time.Hour)
	}
	return list, err
}

func TestTopicRetention(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	message := actors.Ref{Service: "topic/news", ID: "lane/1"}
	appendTo(t, j, message, "c")
	if none, err := newTopicRetention(topicHost(j, 0)); none != nil || err != nil {
		t.Fatalf("messages that are kept for ever are looked after: %v, %v", none, err)
	}
	leases, err := newTopicRetention(topicHost(old{j}, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- leases.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if span, err := j.Span(t.Context(), message); err == nil && span.Floor == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the message stays")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Consumers of one group share one subscription, which ends with the last of them; all end with the host.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	s := newSubscriptions(topicHost(j, 0), admin.NewMetrics())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	sub := building.Subscription{
		Group: "g", Sources: []string{"shop"}, MaxTries: 3, Timeout: time.Minute, Concurrency: 2,
		Resolve: func(_ context.Context, source string) ([]string, error) { return []string{source}, nil },
	}
	got := make(chan string, 10)
	handle := func(_ context.Context, e journal.Event) error {
		got <- e.Name
		return nil
	}
	next := func(want string) {
		t.Helper()
		select {
		case name := <-got:
			if name != want {
				t.Fatalf("got %s, want %s", name, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s does not come", want)
		}
	}
	shared := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.all)
	}
	consume := func(ctx context.Context) chan error {
		result := make(chan error, 1)
		go func() { result <- s.consume(ctx, sub, handle) }()
		return result
	}
	first, leave := context.WithCancel(t.Context())
	one, two := consume(first), consume(t.Context())
	appendTo(t, j, actors.Ref{Service: "shop", ID: "a"}, "one")
	s.landed()
	next("one")
	leave()
	if err := <-one; err != nil {
		t.Error(err)
	}
	if shared() != 1 {
		t.Errorf("%d subscriptions are left for one consumer", shared())
	}
	appendTo(t, j, actors.Ref{Service: "shop", ID: "a"}, "two")
	s.landed()
	next("two")
	stop()
	if err := <-two; err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil || shared() != 0 {
		t.Errorf("%v, %d subscriptions after the end", err, shared())
	}
	if err := s.consume(t.Context(), sub, handle); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("after the end: %v", err)
	}
	bad := newSubscriptions(topicHost(j, 0), admin.NewMetrics())
	sub.Sources = nil
	if err := bad.consume(t.Context(), sub, handle); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("without sources: %v", err)
	}
}
