package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// ticket is an event on its way.
type ticket struct {
	event    journal.Event
	tries    int
	problem  string
	hopeless bool // not worth another try
	due      time.Time
	done     bool         // handled or parked
	released journal.Cell // of an event outside the order

	// Of a subscription only:
	lane  *lane
	track *track                  // nil of an event outside the order
	cut   context.CancelCauseFunc // ends a try
}

// trial is what becomes of the tries of a group's events.
type trial struct {
	tailer             journal.Tailer
	cells              journal.Cells
	group              string
	maxTries           int
	backoff, mostAfter time.Duration
	observer           Observer
	log                *slog.Logger
}

func (c *Config) trial() trial {
	return trial{c.Tailer, c.Cells, c.Group, c.MaxTries, c.Backoff, c.MaxBackoff, c.Observer, c.Log}
}

// try a ticket once. What is not done afterwards is to be tried again. The end of ctx does not count as a try, and neither
// does ErrGone; ctx bounds what is written of it.
func (r *trial) try(ctx context.Context, t *ticket, timeout time.Duration, handle func(context.Context, journal.Event) error) (done bool) {
	if !t.hopeless {
		began := time.Now()
		trying, cancel := context.WithTimeout(ctx, timeout)
		err := handle(trying, t.event)
		cancel()
		took := time.Since(began)
		switch {
		case err == nil:
			r.observer.Handled(took)
			if err := r.settle(ctx, t); err != nil {
				r.log.Warn("a released event was handled, and is handled again", logService, t.event.Ref.Service, logID, t.event.Ref.ID,
					logSequence, t.event.Sequence, logError, err)
			}
			return true
		case ctx.Err() != nil, errors.Is(err, ErrGone):
			return false
		}
		t.tries++
		code := actors.CodeOf(err)
		t.problem = code.String() + ": " + err.Error()
		t.hopeless = code.Lasting() || t.tries >= r.maxTries
		if !t.hopeless {
			r.observer.Retried(took)
			return false
		}
	}
	if err := r.park(ctx, t); err != nil {
		r.log.Warn("an event can neither be handled nor parked now; its entity waits", logService, t.event.Ref.Service, logID, t.event.Ref.ID,
			logSequence, t.event.Sequence, logError, err)
		return false
	}
	return true
}

// after so many tries, how long to wait for the next one.
func (r *trial) after(tries int) time.Duration {
	d := r.backoff
	for range tries - 1 {
		if d >= r.mostAfter/2 {
			d = r.mostAfter
			break
		}
		d *= 2
	}
	return d - rand.N(d/2+1)
}

// suffix of the keys of an event's cells. The part for an id that is too long is its hash.
func (r *trial) suffix(e *journal.Event) string {
	id := part(e.Ref.ID)
	if len(id) > 200 {
		sum := sha256.Sum256([]byte(e.Ref.ID))
		id = hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("%s/%s/%s/%d", part(r.group), part(e.Ref.Service), id, e.Sequence)
}

// park gives an event up.
func (r *trial) park(ctx context.Context, t *ticket) error {
	problem := strings.ToValidUTF8(t.problem, "\uFFFD")
	for len(problem) > journal.MaxProblemBytes {
		problem = strings.ToValidUTF8(problem[:journal.MaxProblemBytes], "")
	}
	e := &t.event
	value, err := json.Marshal(Parked{
		Group: r.group, Service: e.Ref.Service, ID: e.Ref.ID, Sequence: e.Sequence, Name: e.Name,
		Transaction: e.Position.Transaction, Ordinal: e.Position.Ordinal, Problem: problem, Tries: t.tries, Time: time.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("park event %d of %s: %w", e.Sequence, e.Ref, err)
	}
	_, err = r.cells.Put(ctx, journal.Cell{Key: parkedPrefix + r.suffix(e), Value: value})
	if err != nil && !errors.Is(err, journal.ErrConflict) { // else it is parked already
		return fmt.Errorf("park event %d of %s: %w", e.Sequence, e.Ref, err)
	}
	r.log.Warn("an event was parked: the feed goes on without it", logService, e.Ref.Service, logID, e.Ref.ID, logSequence, e.Sequence,
		logError, problem)
	r.observer.Parked()
	return r.settle(ctx, t)
}

// settle takes a released event's cell away, once it is handled or parked again.
func (r *trial) settle(ctx context.Context, t *ticket) error {
	if t.released.Key == "" {
		return nil
	}
	if err := r.cells.Remove(ctx, t.released.Key, t.released.Version); err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("settle the released event %d of %s: %w", t.event.Sequence, t.event.Ref, err)
	}
	return nil
}

// released returns the events that somebody wants to be tried again, of one service or of all. Those that are not wanted
// are not read.
func (r *trial) released(ctx context.Context, service string, limit int, wanted func(key string, ref actors.Ref) bool) ([]*ticket, error) {
	prefix := releasedPrefix + part(r.group) + "/"
	if service != "" {
		prefix += part(service) + "/"
	}
	cells, err := r.cells.Cells(ctx, prefix, "", limit)
	if err != nil {
		return nil, fmt.Errorf("look for released events: %w", err)
	}
	var tickets []*ticket
	for _, cell := range cells {
		var p Parked
		if err := json.Unmarshal(cell.Value, &p); err != nil {
			r.log.Error("a released event's cell cannot be read; remove it", "cell", cell.Key, logError, err)
			continue
		}
		ref := actors.Ref{Service: p.Service, ID: p.ID}
		if !wanted(cell.Key, ref) {
			continue
		}
		at := journal.Position{Transaction: p.Transaction, Ordinal: p.Ordinal}
		t := &ticket{released: cell, event: journal.Event{Ref: ref, Sequence: p.Sequence, Name: p.Name, Position: at}}
		before := journal.Position{Transaction: at.Transaction, Ordinal: at.Ordinal - 1}
		events, _, err := r.tailer.Tail(ctx, []string{ref.Service}, before, 1)
		switch {
		case errors.Is(err, journal.ErrCorrupt):
			t.problem, t.hopeless = err.Error(), true
		case err != nil:
			return nil, fmt.Errorf("read released events: %w", err)
		case len(events) == 0 || events[0].Position != at:
			t.problem, t.hopeless = "the event is not in the journal any more", true
		default:
			t.event = events[0]
		}
		tickets = append(tickets, t)
	}
	return tickets, nil
}
