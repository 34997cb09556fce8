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

// cursor is a consumer's hold on its cell.
type cursor struct {
	cells   journal.Cells
	key     string
	writer  string // of this run alone
	version int64
}

// saved is the value of the cell.
type saved struct {
	Transaction uint64    `json:"transaction"`
	Ordinal     int64     `json:"ordinal"`
	Writer      string    `json:"writer"`
	Time        time.Time `json:"time"` // for people
}

// load returns where to begin. There may be no cursor yet.
func (c *cursor) load(ctx context.Context) (at journal.Position, found bool, err error) {
	cell, err := c.cells.Cell(ctx, c.key)
	if err != nil {
		return at, false, fmt.Errorf("load %s: %w", c.key, err)
	}
	c.version = cell.Version
	if cell.Version == 0 {
		return at, false, nil
	}
	var s saved
	if err := json.Unmarshal(cell.Value, &s); err != nil {
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
	for range 3 {
		version, err := c.cells.Put(ctx, journal.Cell{Key: c.key, Value: value, Version: c.version})
		if err == nil {
			c.version = version
			return nil
		}
		if !errors.Is(err, journal.ErrConflict) {
			return fmt.Errorf("save %s: %w", c.key, err)
		}
		// Perhaps it was our own Put, whose answer was lost.
		now, err := c.cells.Cell(ctx, c.key)
		if err != nil {
			return fmt.Errorf("save %s: %w", c.key, err)
		}
		var s saved
		if err := json.Unmarshal(now.Value, &s); err != nil || s.Writer != c.writer {
			break
		}
		c.version = now.Version
	}
	return fmt.Errorf("save %s: %w", c.key, ErrReplaced)
}
