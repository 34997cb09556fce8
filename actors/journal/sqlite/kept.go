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
func (j *Journal) Kept(ctx context.Context, mark string, limit int) (list []journal.Kept, next string, err error) {
	after, err := rules.Mark(mark)
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	if limit <= 0 {
		limit = rules.PageEvents
	}
	err = j.snapshot(ctx, func(tx *sql.Tx) (err error) {
		rows, err := tx.QueryContext(ctx, selectKept, after, limit)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for size := 0; size < rules.PageBytes && rows.Next(); {
			var e journal.Kept
			var number int64
			var key sql.NullString
			var due sql.NullInt64
			var ordered bool
			var since int64
			var body []byte
			if err := rows.Scan(&number, &e.ID, &key, &e.Source.Service, &e.Source.ID, &ordered, &due, &e.Tries, &e.Problem,
				&since, &body, &e.Parked); err != nil {
				return err
			}
			e.Key, e.Since = key.String, time.UnixMicro(since).UTC()
			if !ordered {
				e.Due = time.UnixMicro(due.Int64).UTC()
			}
			rules.Decode(&e.Pending, body)
			list, next = append(list, e), rules.MarkAt(number)
			size += len(body)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, next, nil
}
