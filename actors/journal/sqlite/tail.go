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
	selectLook = "SELECT max(position) FROM (SELECT position FROM events WHERE position > ? ORDER BY position LIMIT ?)"
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
		var last sql.NullInt64
		if err := tx.QueryRowContext(ctx, selectLook, after.Ordinal, rules.Looks).Scan(&last); err != nil || !last.Valid {
			return err
		}
		position.Ordinal = last.Int64
		size := 0
		return each(ctx, tx, selectTail, []any{after.Ordinal, last.Int64, string(names), limit}, func(rows *sql.Rows) error {
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
