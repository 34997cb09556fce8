package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

const (
	selectCell = "SELECT value, version FROM cells WHERE key = ?"
	// A text is less than any blob, whatever it says: that is the end where there is none.
	selectCells = "SELECT key, value, version FROM cells WHERE key >= ? AND key < ? AND key <> ? ORDER BY key LIMIT ?"
)

// Cell implements journal.Cells.
func (j *Journal) Cell(ctx context.Context, key string) (journal.Cell, error) {
	c := journal.Cell{Key: key}
	err := j.snapshot(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, selectCell, key).Scan(&c.Value, &c.Version)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return journal.Cell{}, fmt.Errorf("read the cell %s: %w", key, err)
	}
	return c, nil
}

// Cells implements journal.Cells.
func (j *Journal) Cells(ctx context.Context, prefix, after string, limit int) (list []journal.Cell, err error) {
	if limit <= 0 {
		limit = -1
	}
	var end any = []byte{}
	if e := rules.PrefixEnd(prefix); e != "" {
		end = e
	}
	err = j.snapshot(ctx, func(tx *sql.Tx) error {
		size := 0
		return j.each(ctx, tx, selectCells, []any{max(prefix, after), end, after, limit}, func(rows *sql.Rows) error {
			var c journal.Cell
			if err := rows.Scan(&c.Key, &c.Value, &c.Version); err != nil {
				return err
			}
			list = append(list, c)
			if size += len(c.Value); size >= rules.PageBytes {
				return errEnough
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list cells under %q: %w", prefix, err)
	}
	return list, nil
}

// Put implements journal.Cells.
func (j *Journal) Put(ctx context.Context, c journal.Cell) (version int64, err error) {
	if err = c.Validate(); err == nil {
		err = j.change(ctx, func(w *writer, _ time.Time) (err error) {
			version, err = w.putCell(c)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("put the cell %s: %w", c.Key, err)
	}
	return version, nil
}

// PutEach implements journal.Cells.
func (j *Journal) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	results, order := rules.Puts(cells)
	err := j.change(ctx, func(w *writer, _ time.Time) error {
		for _, i := range order {
			version, err := w.putCell(cells[i])
			switch {
			case errors.Is(err, journal.ErrConflict):
				results[i] = rules.NotPut(cells[i].Key)
			case err != nil:
				return err
			default:
				results[i].Version = version
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("put %d cells: %w", len(cells), err)
	}
	return results, nil
}

// putCell sets a cell, or returns journal.ErrConflict.
func (w *writer) putCell(c journal.Cell) (version int64, err error) {
	if err := w.nextVersion.QueryRow().Scan(&version); err != nil {
		return 0, err
	}
	if c.Version == 0 {
		return version, changed(w.newCell.Exec(c.Key, bytes(c.Value), version))
	}
	return version, changed(w.setCell.Exec(bytes(c.Value), version, c.Key, c.Version))
}

// Remove implements journal.Cells.
func (j *Journal) Remove(ctx context.Context, key string, version int64) error {
	if err := j.change(ctx, func(w *writer, _ time.Time) error { return changed(w.removeCell.Exec(key, version)) }); err != nil {
		return fmt.Errorf("remove the cell %s: %w", key, err)
	}
	return nil
}

// changed makes a conflict of a statement that found nothing to change.
func changed(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return journal.ErrConflict
}
