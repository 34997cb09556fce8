package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	postgresjournal "github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

// What a subscription catches up with, and how fast it has to.
const (
	feedEvents    = 100_000
	feedEntities  = 1000
	feedConsumers = 4
	feedGate      = 20_000 // events/s
)

// feeding is a journal of events, and how many of them a subscription gave to its consumers per second.
type feeding struct {
	name, title string
	open        func(ctx context.Context, s *stage, folder string) (journal.Journal, error)
	rounds      []float64
}

var feedings = []feeding{
	{name: "feed-sqlite", title: "from SQLite", open: func(ctx context.Context, _ *stage, folder string) (journal.Journal, error) {
		return sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(folder, "feed.db")})
	}},
	{name: "feed-postgres", title: "from Postgres", open: func(ctx context.Context, s *stage, _ string) (journal.Journal, error) {
		if err := s.postgres.create(ctx, "feed"); err != nil {
			return nil, err
		}

		return postgresjournal.Open(ctx, postgresjournal.Config{URL: s.postgres.URL("feed")})
	}},
}

// feed measures the wanted feeds, within this process: the subscription is the component's, its consumers do nothing.
func (s *stage) feed(ctx context.Context, o options, progress io.Writer) (all []feeding, err error) {
	for _, f := range feedings {
		if !o.rows.MatchString(f.name) {
			continue
		}

		if err := f.measure(ctx, s, o, progress); err != nil {
			return nil, fmt.Errorf("measure %s: %w", f.name, err)
		}

		all = append(all, f)
	}

	return all, nil
}

func (f *feeding) measure(ctx context.Context, s *stage, o options, progress io.Writer) (err error) {
	folder, err := os.MkdirTemp(o.data, "bench-feed-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(folder)

	j, err := f.open(ctx, s, folder)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, j.Close()) }()

	if err := fill(ctx, j); err != nil {
		return err
	}

	for round := range o.rounds {
		took, err := consume(ctx, j, fmt.Sprint("round-", round))
		if err != nil {
			return err
		}

		f.rounds = append(f.rounds, feedEvents/took.Seconds())
		fmt.Fprintf(progress, "round %d/%d  %-16s %8.0f events/s\n", round+1, o.rounds, f.name, f.rounds[round])
	}

	return nil
}

const fedService = "bench.Fed"

// fill the journal with events that the entities emit in turn.
func fill(ctx context.Context, j journal.Journal) error {
	const each = 500

	data := []byte(`{"amount":1,"note":"a hundred bytes or so, as an event of a shop has them, with a text of some length in it"}`)

	for first := 0; first < feedEvents; first += each {
		batch := make([]journal.Append, each)

		for i := range batch {
			n := first + i
			batch[i] = journal.Append{
				Ref: actors.Ref{Service: fedService, ID: fmt.Sprint("entity-", n%feedEntities)}, Expected: int64(n / feedEntities), Command: fmt.Sprint(n),
				Events: []journal.Event{{Name: "deposited", Payload: actors.Payload{TypeURL: "json.cloudstate.io/deposited", ContentType: actors.ContentJSON, Data: data}}},
			}
		}

		for _, r := range j.Append(ctx, batch) {
			if r.Status != journal.Committed {
				return fmt.Errorf("write an event: %s: %w", r.Status, r.Err)
			}
		}
	}

	return nil
}

// consume all events in a new group. The time counts from the first one on.
func consume(ctx context.Context, j journal.Journal, group string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	subscription, err := feed.Subscribe(feed.SubscriptionConfig{
		Tailer: j, Cells: j, Group: group, Sources: []string{fedService}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, err //nolint:wrapcheck // it says what it did
	}

	var (
		running sync.WaitGroup
		count   atomic.Int64
		failed  = make(chan error, 1+feedConsumers)
		first   = make(chan time.Time, 1)
		last    = make(chan struct{})
		began   time.Time
	)

	defer running.Wait()
	defer cancel()

	running.Go(func() { failed <- subscription.Run(ctx) })

	for range feedConsumers {
		running.Go(func() {
			failed <- subscription.Consume(ctx, 0, func(context.Context, journal.Event) error {
				switch count.Add(1) {
				case 1:
					first <- time.Now()
				case feedEvents:
					close(last)
				}

				return nil
			})
		})
	}

	select {
	case began = <-first:
	case err := <-failed:
		return 0, err
	}

	select {
	case <-last:
		return time.Since(began), nil
	case err := <-failed:
		return 0, errors.Join(err, ctx.Err())
	}
}

// feeding writes how fast events were given out, and returns how many gates were missed.
func (r report) feeding(out io.Writer) (missed int) {
	if len(r.fed) == 0 {
		return 0
	}

	t := table{header: []string{
		fmt.Sprintf("%s events of %s entities to %d consumers in the component", thousands(feedEvents), thousands(feedEntities), feedConsumers),
		"events/s", "gate: events/s", "",
	}}

	for _, f := range r.fed {
		rate, verdict := median(f.rounds), "pass"
		if rate < feedGate {
			verdict = "MISS"
			missed++
		}

		t.add(f.title, thousands(int64(rate)), "≥ "+thousands(feedGate), verdict)
	}

	fmt.Fprintln(out)
	t.write(out)

	return missed
}
