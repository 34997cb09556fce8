package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

const (
	// Where many events were forgotten, there is no need to look for them.
	selectEnds = "SELECT (SELECT min(position) FROM events WHERE position > ?), (SELECT max(position) FROM events)"
	selectTail = "SELECT " + eventColumns + `, h.service, h.id FROM events e CROSS JOIN streams h ON h.stream = e.stream
		WHERE e.position > ? AND e.position <= ? AND h.service IN (SELECT value FROM json_each(?)) ORDER BY e.position LIMIT ?`
)

// Tail implements journal.Tailer. There is one writer, so whatever has a lower position than an event that can be read
// can be read, too.
func (j *Journal) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	if limit <= 0 || limit > rules.Looks {
		limit = rules.Looks
	}
	names, err := json.Marshal(services)
	if err != nil {
		return nil, after, fmt.Errorf("tail: %w", err)
	}
	var events []journal.Event
	position := after
	err = j.snapshot(ctx, func(tx *sql.Tx) error {
		var next, last sql.NullInt64
		row := tx.StmtContext(ctx, j.questions[selectEnds]).QueryRowContext(ctx, after.Ordinal)
		if err := row.Scan(&next, &last); err != nil || !next.Valid {
			return err
		}
		position.Ordinal = min(last.Int64, next.Int64-1+rules.Looks)
		size := 0
		return j.each(ctx, tx, selectTail, []any{after.Ordinal, position.Ordinal, string(names), limit}, func(rows *sql.Rows) error {
			e, err := scanTail(rows)
			if err == nil {
				err = rules.Intact(&e.Event, e.Ref, e.Sequence, e.Sum)
			}
			if err != nil {
				position = e.Position
				return err
			}
			events = append(events, e.Event)
			if size += len(e.Payload.Data); len(events) == limit || size >= rules.PageBytes {
				position = e.Position
				return errEnough
			}
			return nil
		})
	})
	if corrupt, ok := errors.AsType[*journal.CorruptError](err); ok {
		return events, position, corrupt
	}
	if err != nil {
		return nil, after, fmt.Errorf("tail: %w", err)
	}
	return events, position, nil
}

// scanTail is scan with the columns of the stream behind.
func scanTail(rows *sql.Rows) (rules.Stored, error) {
	var ref actors.Ref
	return scan(scanner(func(columns ...any) error {
		return rows.Scan(append(columns, &ref.Service, &ref.ID)...)
	}), &ref)
}

type scanner func(...any) error

func (s scanner) Scan(columns ...any) error { return s(columns...) }
