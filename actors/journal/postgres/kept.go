package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

var _ journal.Inventory = (*Journal)(nil)

const inventorySQL = `
SELECT e.pos, e.parked, ` + pendingColumns + ` FROM (
  SELECT e.*, sum(octet_length(e.body)) OVER (ORDER BY e.pos ROWS UNBOUNDED PRECEDING) - octet_length(e.body) AS before
  FROM (SELECT * FROM {schema}.effects WHERE pos > $1 ORDER BY pos LIMIT $2) e) e
WHERE e.before < {page} ORDER BY e.pos`

// Kept implements journal.Inventory. It is asked for too seldom to be prepared, or to have an index of its own.
func (j *Journal) Kept(ctx context.Context, mark string, limit int) (list []journal.Kept, next string, err error) {
	after, err := rules.Mark(mark)
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	if limit <= 0 {
		limit = rules.PageEvents
	}
	if err := j.enter(ctx); err != nil {
		return nil, "", err
	}
	defer j.running.RUnlock()
	statement, err := j.read.PrepareContext(ctx, j.sql(inventorySQL))
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	defer func() { _ = statement.Close() }()
	err = rows(ctx, statement, func(r *sql.Rows) (bool, error) {
		var e journal.Kept
		var number int64
		var body []byte
		var sum, since int64
		var due sql.NullInt64
		if err := r.Scan(&number, &e.Parked, &e.ID, &e.Key, &e.Source.Service, &e.Source.ID, &e.Tries, &e.Problem, &sum, &body,
			&since, &due); err != nil {
			return false, err
		}
		e.Since = time.UnixMicro(since).UTC()
		if due.Valid {
			e.Due = time.UnixMicro(due.Int64).UTC()
		}
		if int64(effectSum(e.ID, body)) != sum {
			body = nil // does not decode
		}
		rules.Decode(&e.Pending, body)
		list, next = append(list, e), rules.MarkAt(number)
		return true, nil
	}, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, next, nil
}
