package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/actors/lease"
)

// Two members share a feed of a journal on disk. One leaves in the middle, the other goes on where it was.
func TestUnderLeasesOnDisk(t *testing.T) {
	t.Parallel()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "entities.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	const events = 400
	var mu sync.Mutex
	last, seen := map[string]int64{}, 0
	enough := make(chan struct{}, 2*events)
	start := func(name string) (stop func()) {
		log := slog.New(slog.DiscardHandler)
		c, err := New(Config{
			Tailer: j, Cells: j, Group: group, Service: service, Log: log, Batch: 16, Backoff: time.Millisecond,
			Handle: func(_ context.Context, e journal.Event) error {
				mu.Lock()
				defer mu.Unlock()
				if e.Sequence > last[e.Ref.ID]+1 {
					t.Errorf("event %d of %s came after event %d", e.Sequence, e.Ref.ID, last[e.Ref.ID])
				}
				if e.Sequence%7 == 0 && e.Sequence > last[e.Ref.ID] {
					last[e.Ref.ID] = e.Sequence
					seen++
					return errors.New("it was done, but who knows")
				}
				if e.Sequence > last[e.Ref.ID] {
					last[e.Ref.ID] = e.Sequence
					seen++
				}
				enough <- struct{}{}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		l, err := lease.New(lease.Config{Cells: j, Group: "feeds", Member: name, Work: c.Work, Log: log, TTL: 2 * time.Second, Poll: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Names([]string{group + "/" + service}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		return func() {
			cancel()
			running.Wait()
		}
	}
	stop := []func(){start("one"), start("two")}
	defer func() {
		for _, s := range stop {
			s()
		}
	}()
	for i := range events {
		result := j.Append(t.Context(), []journal.Append{{
			Ref: actors.Ref{Service: service, ID: fmt.Sprint(i % 5)}, Expected: int64(i / 5), Command: fmt.Sprint(i),
			Events: []journal.Event{{Name: "happened", Payload: actors.Payload{TypeURL: "x", ContentType: actors.ContentJSON, Data: []byte("{}")}}},
		}})[0]
		if result.Status != journal.Committed {
			t.Fatal(result.Status, result.Err)
		}
		if i == events/2 {
			stop[0]()
			stop = stop[1:]
		}
	}
	deadline := time.After(20 * time.Second)
	for {
		mu.Lock()
		n := seen
		mu.Unlock()
		if n == events {
			return
		}
		select {
		case <-enough:
		case <-deadline:
			t.Fatalf("%d of %d events were handled", n, events)
		}
	}
}
