package feed

import (
	"context"
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
