package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// ErrReplaced ends a consumer when another one has begun in its place.
var ErrReplaced = errors.New("another consumer has taken over")

// fenced is a hold on a cell: who writes it with a writer of his own takes it from whoever had it.
type fenced struct {
	cells   journal.Cells
	key     string
	writer  string // of this run alone
	version int64
}

// load returns the cell's value, nil if there is none.
func (f *fenced) load(ctx context.Context) ([]byte, error) {
	cell, err := f.cells.Cell(ctx, f.key)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", f.key, err)
	}
	f.version = cell.Version
	if cell.Version == 0 {
		return nil, nil
	}
	return cell.Value, nil
}

// save sets the value, in which the writer stands. The error matches ErrReplaced if another consumer has the cell.
func (f *fenced) save(ctx context.Context, value []byte) error {
	for range 3 {
		version, err := f.cells.Put(ctx, journal.Cell{Key: f.key, Value: value, Version: f.version})
		if err == nil {
			f.version = version
			return nil
		}
		if !errors.Is(err, journal.ErrConflict) {
			return fmt.Errorf("save %s: %w", f.key, err)
		}
		if err := f.ours(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("save %s: %w", f.key, ErrReplaced)
}

// ours is asked after a conflict: perhaps it was with our own Put, whose answer was lost. The error matches ErrReplaced if
// it was not.
func (f *fenced) ours(ctx context.Context) error {
	now, err := f.cells.Cell(ctx, f.key)
	if err != nil {
		return fmt.Errorf("save %s: %w", f.key, err)
	}
	var s struct {
		Writer string `json:"writer"`
	}
	if err := json.Unmarshal(now.Value, &s); err != nil || s.Writer != f.writer {
		return fmt.Errorf("save %s: %w", f.key, ErrReplaced)
	}
	f.version = now.Version
	return nil
}

// cursor is a consumer's hold on its cell.
type cursor struct{ fenced }

// saved is the value of the cell.
type saved struct {
	Transaction uint64    `json:"transaction"`
	Ordinal     int64     `json:"ordinal"`
	Writer      string    `json:"writer"`
	Time        time.Time `json:"time"` // for people
}

// load returns where to begin. There may be no cursor yet.
func (c *cursor) load(ctx context.Context) (at journal.Position, found bool, err error) {
	value, err := c.fenced.load(ctx)
	if err != nil || value == nil {
		return at, false, err
	}
	var s saved
	if err := json.Unmarshal(value, &s); err != nil {
		return at, false, fmt.Errorf("load %s: its value is no position; correct the cell, or remove it to begin anew: %w", c.key, err)
	}
	return journal.Position{Transaction: s.Transaction, Ordinal: s.Ordinal}, true, nil
}

// save moves the cursor. The error matches ErrReplaced if another consumer has it.
func (c *cursor) save(ctx context.Context, to journal.Position) error {
	value, err := json.Marshal(saved{to.Transaction, to.Ordinal, c.writer, time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("save %s: %w", c.key, err)
	}
	return c.fenced.save(ctx, value)
}
