package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// While writers append, over two streams at once, forget and erase, an export has all of a transaction or nothing of it, and
// can be brought in.
func TestExportWhileWriting(t *testing.T) {
	t.Parallel()
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := open(t)
			fill(t, source.Of, 3)
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			defer writers.Wait()
			defer stop()
			for w := range 3 {
				writers.Go(func() { write(ctx, t, source.Of, w) })
			}
			writers.Go(func() { prune(ctx, t, source.Of) })
			for range 4 {
				for { // until there is something
					span, err := source.Span(t.Context(), account(0))
					if err != nil {
						t.Fatal(err)
					}
					if span.Sequence > 20 {
						break
					}
					time.Sleep(time.Millisecond)
				}
				var export bytes.Buffer
				s, err := Exporting{From: paced{source}}.Export(t.Context(), &export, nil)
				if err != nil {
					t.Fatal(err)
				}
				transactions(t, export.Bytes(), name != "dapr")
				target := backends["memory"](t)
				if _, err := (Importing{To: target}).Import(t.Context(), bytes.NewReader(export.Bytes())); err != nil {
					t.Fatal(err)
				}
				t.Logf("%d events", s.Counts[kindEvent])
			}
		})
	}
}

// paced gives small pages, so that writers do something in between.
type paced struct{ Journal }

func (p paced) Tail(ctx context.Context, services []string, after journal.Position, _ int) ([]journal.Event, journal.Position, error) {
	return p.Journal.Tail(ctx, services, after, 20)
}

func account(n int) actors.Ref { return actors.Ref{Service: "bank", ID: fmt.Sprint(n % 4)} }

// write moves money between accounts until ctx ends.
func write(ctx context.Context, t *testing.T, j journal.Journal, w int) {
	r := rand.New(rand.NewPCG(1, uint64(w)))
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Millisecond)
		command := fmt.Sprintf("w%d-%d", w, n)
		from, to := account(r.IntN(4)), account(r.IntN(3))
		if to == from {
			to = account(3)
		}
		if to == from {
			continue
		}
		batch := []journal.Append{
			{Ref: from, Expected: journal.AnySequence, Epoch: 1 << 40, Command: command, Events: []journal.Event{text("moved", "-1")}, Record: &journal.Record{Outcome: []byte(command)}},
			{Ref: to, Expected: journal.AnySequence, Epoch: 1 << 40, Command: command, Events: []journal.Event{text("moved", "1")}, Record: &journal.Record{Outcome: []byte(command)}},
		}
		for _, result := range j.Transact(ctx, batch) {
			if result.Status != journal.Committed && ctx.Err() == nil && result.Status != journal.Conflict && !errors.Is(result.Err, journal.ErrTransaction) {
				t.Error(result.Status, result.Err)
				return
			}
		}
		hot := journal.Append{Ref: actors.Ref{Service: StateService, ID: fmt.Sprint("hot", r.IntN(2))}, Expected: journal.AnySequence, Epoch: 1 << 40, Command: command, Events: []journal.Event{text("set", command)}}
		j.Append(ctx, []journal.Append{hot})
	}
}

// prune forgets old values of hot keys, until ctx ends.
func prune(ctx context.Context, t *testing.T, j journal.Journal) {
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		for key := range 2 {
			ref := actors.Ref{Service: StateService, ID: fmt.Sprint("hot", key)}
			span, err := j.Span(ctx, ref)
			if err == nil && span.Sequence-span.Floor > 3 {
				err = j.Forget(ctx, ref, span.Sequence-1, true)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}
}

// transactions checks that an export has both halves of each, with their records: both, if whole, where the order of the
// journal has all of a transaction at once.
func transactions(t *testing.T, export []byte, whole bool) {
	t.Helper()
	halves, records := map[string]int{}, map[string]int{}
	events, heads := map[string]int64{}, map[string]int64{}
	r := newLineReader(bytes.NewReader(export))
	service := ""
	for {
		kind, body, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var l struct {
			Service, ID, Command string
			Sequence             int64
		}
		if err := json.Unmarshal(body, &l); err != nil {
			t.Fatal(err)
		}
		switch {
		case kind == kindEvent && l.Service == "bank":
			halves[l.Command]++
			events[l.ID]++
		case kind == kindStream:
			if service = l.Service; service == "bank" {
				heads[l.ID] = l.Sequence
			}
		case kind == kindRecord && service == "bank":
			records[l.Command]++
		}
	}
	for command, n := range halves {
		if n != records[command] || whole && n != 2 {
			t.Errorf("%s: %d halves, %d records", command, n, records[command])
		}
	}
	if len(records) != len(halves) {
		t.Errorf("%d transactions, %d with records", len(halves), len(records))
	}
	for id, n := range events {
		if heads[id] != n {
			t.Errorf("account %s: %d events, and it says %d", id, n, heads[id])
		}
	}
}
