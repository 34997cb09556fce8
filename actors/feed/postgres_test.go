package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

// Two components commit at the same time, to the same entities too, while both share the events, and their consumers come
// and go: every event comes, and what is seen of an entity goes on from event to event.
func TestSharedOnPostgres(t *testing.T) {
	t.Parallel()
	const entities, each, writers = 50, 1500, 2
	url := postgrestest.URL(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	var mu sync.Mutex
	at, most, written := map[string]int64{}, map[string]int64{}, map[string]int64{}
	busy := map[string]bool{}
	handle := func(ctx context.Context, e journal.Event) error {
		key := e.Ref.String()
		mu.Lock()
		if busy[key] {
			t.Errorf("event %d of %s comes while another one of it is being handled", e.Sequence, key)
		}
		busy[key] = true
		mu.Unlock()
		if rand.IntN(20) == 0 {
			sleepFor(ctx, time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		delete(busy, key)
		if e.Sequence > at[key]+1 {
			t.Errorf("event %d of %s comes after event %d", e.Sequence, key, at[key])
		}
		at[key], most[key] = e.Sequence, max(most[key], e.Sequence)
		if rand.IntN(100) == 0 {
			return errors.New("it was done, but who knows")
		}
		return nil
	}

	var running, writing sync.WaitGroup
	defer func() {
		cancel()
		writing.Wait()
		running.Wait()
	}()
	for w := range writers {
		j, err := postgres.Open(ctx, postgres.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
		sub, err := Subscribe(SubscriptionConfig{
			Tailer: j, Cells: j, Group: group, Sources: []string{service, "other"}, Lanes: 8, Backoff: time.Millisecond, Window: 400, Batch: 64,
			MaxTries: 1000, Save: 20 * time.Millisecond, LeaseTimeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := sub.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() { // one that stays
			if err := sub.Consume(ctx, 4, handle); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() { // one that comes and goes
			for ctx.Err() == nil {
				visit, leave := context.WithTimeout(ctx, time.Duration(20+rand.IntN(200))*time.Millisecond)
				if err := sub.Consume(visit, 4, handle); err != nil {
					t.Error(err)
				}
				leave()
			}
		})
		writing.Go(func() {
			for n := 0; n < each && ctx.Err() == nil; {
				var batch []journal.Append
				for range min(1+rand.IntN(20), each-n) {
					batch = append(batch, journal.Append{
						Ref:      actors.Ref{Service: []string{service, "other"}[rand.IntN(2)], ID: fmt.Sprint(rand.IntN(entities))},
						Expected: journal.AnySequence, Command: fmt.Sprint(w, "-", n),
						Events: []journal.Event{{Name: "happened", Payload: actors.Payload{TypeURL: "x", ContentType: actors.ContentJSON, Data: []byte("{}")}}},
					})
					n++
				}
				for i, r := range j.Append(ctx, batch) {
					if r.Status != journal.Committed {
						t.Errorf("%s: %v", r.Status, r.Err)
						return
					}
					mu.Lock()
					written[batch[i].Ref.String()]++
					mu.Unlock()
				}
			}
		})
	}
	writing.Wait()
	for {
		mu.Lock()
		missing := 0
		for key, n := range written {
			missing += int(n - most[key])
		}
		mu.Unlock()
		if missing == 0 || t.Failed() {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%d events do not come", missing)
		}
		sleepFor(ctx, 10*time.Millisecond)
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
