package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Parked is an event that could not be handled.
type Parked struct {
	// Key names it for Release and Discard.
	Key     string `json:"-"`
	Group   string `json:"group"`
	Service string `json:"service"`
	ID      string `json:"id"`
	// Sequence is 0 if it is not known, because the event is damaged.
	Sequence int64  `json:"sequence"`
	Name     string `json:"name,omitempty"`
	// Position in the journal's order.
	Transaction uint64 `json:"transaction"`
	Ordinal     int64  `json:"ordinal"`
	// Problem of the last try, at most journal.MaxProblemBytes of it.
	Problem string    `json:"problem"`
	Tries   int       `json:"tries"`
	Time    time.Time `json:"time"`
}

const (
	parkedPrefix   = "parked/feed/"
	releasedPrefix = "released/feed/"
)

// List returns up to limit parked events of a group and a service with keys greater than after. An empty service means
// all of the group, an empty group means all there are.
func List(ctx context.Context, cells journal.Cells, group, service, after string, limit int) ([]Parked, error) {
	prefix := parkedPrefix
	if group != "" {
		prefix += part(group) + "/"
		if service != "" {
			prefix += part(service) + "/"
		}
	}
	found, err := cells.Cells(ctx, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list parked events: %w", err)
	}
	list := make([]Parked, 0, len(found))
	for _, c := range found {
		p := Parked{Key: c.Key}
		if err := json.Unmarshal(c.Value, &p); err != nil {
			p.Problem = "what is stored of it cannot be read: " + err.Error()
		}
		list = append(list, p)
	}
	return list, nil
}

// Release lets the consumer handle a parked event once more, soon. An event that is not parked is an error with the code
// NotFound.
func Release(ctx context.Context, cells journal.Cells, key string) error {
	cell, err := parkedCell(ctx, cells, key)
	if err != nil {
		return fmt.Errorf("release a parked event: %w", err)
	}
	version := cell.Version
	cell.Key, cell.Version = releasedPrefix+strings.TrimPrefix(key, parkedPrefix), 0
	// A crash between the two leaves it in both places; it is then handled, and stays parked.
	if _, err := cells.Put(ctx, cell); err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("release a parked event: %w", err)
	}
	if err := cells.Remove(ctx, key, version); err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("release a parked event: %w", err)
	}
	return nil
}

// Discard forgets a parked event. An event that is not parked is an error with the code NotFound.
func Discard(ctx context.Context, cells journal.Cells, key string) error {
	cell, err := parkedCell(ctx, cells, key)
	if err != nil {
		return fmt.Errorf("discard a parked event: %w", err)
	}
	if err := cells.Remove(ctx, key, cell.Version); err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("discard a parked event: %w", err)
	}
	return nil
}

func parkedCell(ctx context.Context, cells journal.Cells, key string) (journal.Cell, error) {
	if !strings.HasPrefix(key, parkedPrefix) || len(key) > journal.MaxCellKeyBytes {
		return journal.Cell{}, actors.Errorf(actors.InvalidArgument, "%.100q is not the key of a parked event; List returns such keys", key)
	}
	cell, err := cells.Cell(ctx, key)
	if err == nil && cell.Version == 0 {
		err = actors.Errorf(actors.NotFound, "no event is parked under %.100q", key)
	}
	return cell, err
}

// suffix of the keys of an event's cells. The part for an id that is too long is its hash.
func (c *Config) suffix(e *journal.Event) string {
	id := part(e.Ref.ID)
	if len(id) > 200 {
		sum := sha256.Sum256([]byte(e.Ref.ID))
		id = hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("%s/%s/%s/%d", part(c.Group), part(c.Service), id, e.Sequence)
}

// park gives an event up.
func (c *Consumer) park(ctx context.Context, t *ticket) error {
	problem := strings.ToValidUTF8(t.problem, "\uFFFD")
	for len(problem) > journal.MaxProblemBytes {
		problem = strings.ToValidUTF8(problem[:journal.MaxProblemBytes], "")
	}
	e := &t.event
	value, err := json.Marshal(Parked{
		Group: c.config.Group, Service: c.config.Service, ID: e.Ref.ID, Sequence: e.Sequence, Name: e.Name,
		Transaction: e.Position.Transaction, Ordinal: e.Position.Ordinal, Problem: problem, Tries: t.tries, Time: time.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("park event %d of %s: %w", e.Sequence, e.Ref, err)
	}
	_, err = c.config.Cells.Put(ctx, journal.Cell{Key: parkedPrefix + c.config.suffix(e), Value: value})
	if err != nil && !errors.Is(err, journal.ErrConflict) { // else it is parked already
		return fmt.Errorf("park event %d of %s: %w", e.Sequence, e.Ref, err)
	}
	c.config.Log.Warn("an event was parked: the feed goes on without it", logID, e.Ref.ID, logSequence, e.Sequence, logError, problem)
	c.config.Observer.Parked()
	return c.settle(ctx, t)
}

// settle takes a released event's cell away, once it is handled or parked again.
func (c *Consumer) settle(ctx context.Context, t *ticket) error {
	if t.released.Key == "" {
		return nil
	}
	if err := c.config.Cells.Remove(ctx, t.released.Key, t.released.Version); err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("settle the released event %d of %s: %w", t.event.Sequence, t.event.Ref, err)
	}
	return nil
}

// released returns the events that somebody wants to be tried again.
func (c *Consumer) released(ctx context.Context) ([]*ticket, error) {
	prefix := releasedPrefix + part(c.config.Group) + "/" + part(c.config.Service) + "/"
	cells, err := c.config.Cells.Cells(ctx, prefix, "", c.config.Batch)
	if err != nil {
		return nil, fmt.Errorf("look for released events: %w", err)
	}
	var tickets []*ticket
	for _, cell := range cells {
		if c.again[cell.Key] {
			continue
		}
		var p Parked
		if err := json.Unmarshal(cell.Value, &p); err != nil {
			c.config.Log.Error("a released event's cell cannot be read; remove it", "cell", cell.Key, logError, err)
			continue
		}
		at := journal.Position{Transaction: p.Transaction, Ordinal: p.Ordinal}
		t := &ticket{released: cell, event: journal.Event{
			Ref: actors.Ref{Service: c.config.Service, ID: p.ID}, Sequence: p.Sequence, Name: p.Name, Position: at,
		}}
		before := journal.Position{Transaction: at.Transaction, Ordinal: at.Ordinal - 1}
		events, _, err := c.config.Tailer.Tail(ctx, []string{c.config.Service}, before, 1)
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
