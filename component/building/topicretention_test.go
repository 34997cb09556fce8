package building

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Messages that are too old go, in streams that have newer ones and in streams that have none. Nothing else does.
func TestTopicRetention(t *testing.T) {
	onEach(t, func(t *testing.T, j Journal) {
		b := newBroker(t, j, nil)
		add := func(service, id string) {
			t.Helper()
			r := j.Append(t.Context(), []journal.Append{{
				Ref: actors.Ref{Service: service, ID: id}, Expected: journal.AnySequence, Command: "c", Events: []journal.Event{{Name: "n"}},
			}})
			if r[0].Status != journal.Committed {
				t.Fatal(r[0])
			}
		}
		add("shop.v1.Cart", "a")
		add(StateService, "k")
		for i := range topicPage + 50 { // more than one page
			b.publish(t, "news", fmt.Sprint("old ", i), "partitionKey", "k")
		}
		b.publish(t, "other", "old", "partitionKey", "k")
		var cut time.Time
		for _, topic := range []string{"news", "other"} {
			for _, e := range b.kept(t, topic) {
				if e.Time.After(cut) {
					cut = e.Time
				}
			}
		}
		cut = cut.Add(time.Microsecond)
		for !time.Now().After(cut.Add(10 * time.Millisecond)) {
			time.Sleep(time.Millisecond)
		}
		b.publish(t, "news", "new", "partitionKey", "k")
		r := TopicRetention{Journal: b.journal, Age: time.Hour}
		if n, err := r.sweep(t.Context(), cut.Add(-time.Hour)); n != 0 || err != nil {
			t.Errorf("too early: %d, %v", n, err)
		}
		if n, err := r.sweep(t.Context(), cut); n != topicPage+51 || err != nil {
			t.Errorf("%d were removed, %v", n, err)
		}
		if n, err := r.sweep(t.Context(), cut); n != 0 || err != nil {
			t.Errorf("a second time: %d, %v", n, err)
		}
		for _, ref := range []actors.Ref{{Service: "shop.v1.Cart", ID: "a"}, {Service: StateService, ID: "k"}} {
			if last, err := j.Last(t.Context(), []actors.Ref{ref}); err != nil || last[0].Sequence != 1 {
				t.Errorf("%s: %v, %v", ref, last, err)
			}
		}
		b.publish(t, "other", "new", "partitionKey", "k")
		for _, topic := range []string{"news", "other"} {
			if got := b.subscribe(t, "store", topic, nil).take(1); !slices.Equal(got, []string{"new"}) {
				t.Errorf("%s: %v", topic, got)
			}
		}
		// The records of CloudEvents go with them, and those of newer ones stay.
		event := func(id string) string {
			return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"shop","type":"t","data":{}}`, id)
		}
		ref := actors.Ref{Service: "topic/events", ID: "key/k"}
		has := func(want int) {
			t.Helper()
			list, err := b.journal.Records(t.Context(), ref, "", 0)
			if err != nil || len(list) != want {
				t.Errorf("%d records, want %d, %v", len(list), want, err)
			}
			span, err := b.journal.Span(t.Context(), ref)
			if err != nil || span.Sequence-span.Floor != int64(want) {
				t.Errorf("%d messages, want %d, %v", span.Sequence-span.Floor, want, err)
			}
		}
		for i := range 20 {
			b.publish(t, "events", event(fmt.Sprint("old ", i)), "partitionKey", "k")
		}
		has(20)
		for _, e := range b.kept(t, "events") {
			cut = e.Time.Add(time.Microsecond)
		}
		for !time.Now().After(cut.Add(10 * time.Millisecond)) {
			time.Sleep(time.Millisecond)
		}
		b.publish(t, "events", event("new"), "partitionKey", "k")
		if _, err := r.sweep(t.Context(), cut); err != nil {
			t.Error(err)
		}
		has(1)
		b.publish(t, "events", event("new"), "partitionKey", "k")   // is known
		b.publish(t, "events", event("old 3"), "partitionKey", "k") // is not
		has(2)
		// And a worker that is told to stop stops.
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- TopicRetention{Journal: b.journal, Age: time.Nanosecond, Interval: time.Millisecond, Log: slog.New(slog.DiscardHandler)}.Work(ctx)
		}()
		waitFor(t, func() bool {
			list, err := j.List(t.Context(), "topic/news", "", 0)
			return err == nil && len(list) == 1 && list[0].Floor == list[0].Sequence
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
