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

var _ journal.Inventory = (*Journal)(nil)

const selectKept = `SELECT number, id, key, service, source, ordered, due, tries, problem, since, body, parked
	FROM effects WHERE number > ? ORDER BY number LIMIT ?`

// Kept implements journal.Inventory.
func (j *Journal) Kept(ctx context.Context, after int64, limit int) (list []journal.Kept, err error) {
	if limit <= 0 {
		limit = -1
	}
	err = j.snapshot(ctx, func(tx *sql.Tx) (err error) {
		rows, err := tx.QueryContext(ctx, selectKept, after, limit)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for size := 0; size < rules.PageBytes && rows.Next(); {
			var e journal.Kept
			var key sql.NullString
			var due sql.NullInt64
			var ordered bool
			var since int64
			var body []byte
			if err := rows.Scan(&e.Number, &e.ID, &key, &e.Source.Service, &e.Source.ID, &ordered, &due, &e.Tries, &e.Problem,
				&since, &body, &e.Parked); err != nil {
				return err
			}
			e.Key, e.Since = key.String, time.UnixMicro(since).UTC()
			if !ordered {
				e.Due = time.UnixMicro(due.Int64).UTC()
			}
			rules.Decode(&e.Pending, body)
			list = append(list, e)
			size += len(body)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, nil
}
