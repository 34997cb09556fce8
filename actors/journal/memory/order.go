package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Tail implements journal.Tailer.
func (j *Journal) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	var rest []*stored
	if err := j.see(ctx, func() {
		from, _ := slices.BinarySearchFunc(j.order, after, func(e *stored, p journal.Position) int {
			return cmp.Or(e.Position.Compare(p), -1) // those at the position are before it
		})
		rest = j.order[from:min(len(j.order), from+rules.Looks)]
	}); err != nil {
		return nil, after, err
	}
	var events []journal.Event
	size := 0
	for _, e := range rest {
		if limit > 0 && len(events) == limit || size >= rules.PageBytes {
			break
		}
		if slices.Contains(services, e.Ref.Service) {
			if err := rules.Intact(&e.Event, e.Ref, e.Sequence, e.sum); err != nil {
				return events, e.Position, err
			}
			events = append(events, e.Event)
			size += len(e.Payload.Data)
		}
		after = e.Position
	}
	return events, after, nil
}

// Cell implements journal.Cells.
func (j *Journal) Cell(ctx context.Context, key string) (c journal.Cell, err error) {
	c.Key = key
	err = j.see(ctx, func() {
		if kept, ok := j.cells[key]; ok {
			c = kept
			c.Value = slices.Clone(c.Value)
		}
	})
	return c, err
}

// Cells implements journal.Cells.
func (j *Journal) Cells(ctx context.Context, prefix, after string, limit int) (list []journal.Cell, err error) {
	err = j.see(ctx, func() {
		for key, c := range j.cells {
			if key > after && strings.HasPrefix(key, prefix) {
				c.Value = slices.Clone(c.Value)
				list = append(list, c)
			}
		}
	})
	slices.SortFunc(list, func(a, b journal.Cell) int { return cmp.Compare(a.Key, b.Key) })
	if limit > 0 && limit < len(list) {
		list = list[:limit]
	}
	return list, err
}

// Put implements journal.Cells.
func (j *Journal) Put(ctx context.Context, c journal.Cell) (version int64, err error) {
	if err := c.Validate(); err != nil {
		return 0, fmt.Errorf("put: %w", err)
	}
	err = j.change(ctx, func(time.Time) error {
		if j.cells[c.Key].Version != c.Version {
			return fmt.Errorf("put %s: %w", c.Key, journal.ErrConflict)
		}
		version = j.put(c)
		return nil
	})
	return version, err
}

// PutEach implements journal.Cells.
func (j *Journal) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	results, order := rules.Puts(cells)
	err := j.change(ctx, func(time.Time) error {
		for _, i := range order {
			c := cells[i]
			if j.cells[c.Key].Version != c.Version {
				results[i] = rules.NotPut(c.Key)
				continue
			}
			results[i].Version = j.put(c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("put %d cells: %w", len(cells), err)
	}
	return results, nil
}

// put keeps a copy under a new version. Journal.mu is held.
func (j *Journal) put(c journal.Cell) int64 {
	j.version++
	c.Version, c.Value = j.version, slices.Clone(c.Value)
	j.cells[c.Key] = c
	return c.Version
}

// Remove implements journal.Cells.
func (j *Journal) Remove(ctx context.Context, key string, version int64) error {
	return j.change(ctx, func(time.Time) error {
		if c, ok := j.cells[key]; !ok || c.Version != version {
			return fmt.Errorf("remove %s: %w", key, journal.ErrConflict)
		}
		delete(j.cells, key)
		return nil
	})
}
