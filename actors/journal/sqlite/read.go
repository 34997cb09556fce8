package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

const eventColumns = "e.sequence, e.position, e.time, e.name, e.type_url, e.content_type, e.data, e.command, e.context, e.checksum"

// enter begins a call, which ends with j.running.RUnlock unless there is an error.
func (j *Journal) enter(ctx context.Context) error {
	j.running.RLock()
	var err error
	if j.closed {
		err = journal.ErrClosed
	}
	if err = cmp.Or(err, j.usable(), ctx.Err()); err != nil {
		j.running.RUnlock()
	}
	return err
}

func (j *Journal) usable() error {
	if err := j.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Load implements journal.Reader.
func (j *Journal) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	if err := j.enter(ctx); err != nil {
		return journal.Loading{}, err
	}
	defer j.running.RUnlock()
	var l journal.Loading
	var sequence, sum sql.NullInt64
	var typeURL, contentType sql.NullString
	var data []byte
	err := j.read.QueryRowContext(ctx, `
		SELECT h.sequence, h.epoch, h.origin, s.sequence, s.type_url, s.content_type, s.data, s.checksum
		FROM streams h LEFT JOIN snapshots s USING (stream) WHERE h.service = ? AND h.id = ?`, ref.Service, ref.ID).
		Scan(&l.Head.Sequence, &l.Head.Epoch, &l.Origin, &sequence, &typeURL, &contentType, &data, &sum)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return journal.Loading{}, fmt.Errorf("load %s: %w", ref, cmp.Or(ctx.Err(), err))
	}
	if sequence.Valid {
		s := &journal.Snapshot{Sequence: sequence.Int64, Payload: actors.Payload{
			TypeURL: typeURL.String, ContentType: contentType.String, Data: data,
		}}
		if int64(s.Checksum(ref)) == sum.Int64 && s.Sequence > l.Origin && s.Sequence <= l.Head.Sequence {
			l.Snapshot = s
		}
	}
	after := l.Origin
	if l.Snapshot != nil {
		after = l.Snapshot.Sequence
	}
	l.Events = rules.Dense(ref, after, l.Head.Sequence, j.Read(ctx, ref, after, int(l.Head.Sequence-after)))
	return l, nil
}

// Read implements journal.Reader.
func (j *Journal) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	return rules.Pages(ref, after, limit, func(after int64, limit int) ([]rules.Stored, error) {
		if err := j.enter(ctx); err != nil {
			return nil, err
		}
		defer j.running.RUnlock()
		page, err := j.page(ctx, ref, after, limit)
		return page, cmp.Or(ctx.Err(), err)
	}, func() (int64, error) {
		span, err := j.Span(ctx, ref)
		return span.Floor, err
	})
}

func (j *Journal) page(ctx context.Context, ref actors.Ref, after int64, limit int) (page []rules.Stored, err error) {
	rows, err := j.read.QueryContext(ctx, `
		SELECT `+eventColumns+` FROM streams h JOIN events e USING (stream)
		WHERE h.service = ? AND h.id = ? AND e.sequence > ? ORDER BY e.sequence LIMIT ?`, ref.Service, ref.ID, after, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size := 0
	for size < rules.PageBytes && rows.Next() {
		e, err := scan(rows, &ref)
		if err != nil {
			return nil, err
		}
		size += len(e.Payload.Data)
		page = append(page, e)
	}
	return page, rows.Err()
}

// scan reads an event of the stream that ref names once the row is scanned.
func scan(row interface{ Scan(...any) error }, ref *actors.Ref) (rules.Stored, error) {
	var e rules.Stored
	var micros, sum int64
	var origin []byte
	err := row.Scan(&e.Sequence, &e.Position.Ordinal, &micros, &e.Name, &e.Payload.TypeURL, &e.Payload.ContentType,
		&e.Payload.Data, &e.Command, &origin, &sum)
	if err != nil {
		return e, err
	}
	e.Ref, e.Time, e.Sum = *ref, time.UnixMicro(micros).UTC(), uint32(sum)
	if e.Context, err = rules.DecodeContext(origin); err != nil {
		return e, &journal.CorruptError{Ref: e.Ref, Sequence: e.Sequence, Reason: err.Error()}
	}
	return e, nil
}

// snapshot runs reads that see one moment.
func (j *Journal) snapshot(ctx context.Context, body func(tx *sql.Tx) error) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.running.RUnlock()
	tx, err := j.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	err = body(tx)
	if rollback := tx.Rollback(); err == nil && !errors.Is(rollback, sql.ErrTxDone) {
		err = rollback
	}
	return cmp.Or(ctx.Err(), err)
}

// Last implements journal.Reader.
func (j *Journal) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	last := make([]journal.Event, len(refs))
	err := j.snapshot(ctx, func(tx *sql.Tx) error {
		for i, ref := range refs {
			var head, floor int64
			row := tx.QueryRowContext(ctx, "SELECT sequence, floor FROM streams WHERE service = ? AND id = ?", ref.Service, ref.ID)
			if err := row.Scan(&head, &floor); errors.Is(err, sql.ErrNoRows) || err == nil && head == 0 {
				continue
			} else if err != nil {
				return err
			}
			if floor == head {
				last[i] = journal.Event{Ref: ref, Sequence: head}
				continue
			}
			e, err := scan(tx.QueryRowContext(ctx, `
				SELECT `+eventColumns+` FROM streams h JOIN events e USING (stream, sequence)
				WHERE h.service = ? AND h.id = ?`, ref.Service, ref.ID), &ref)
			if errors.Is(err, sql.ErrNoRows) {
				err = rules.Missing(ref, head)
			}
			if err = cmp.Or(err, rules.Intact(&e.Event, ref, head, e.Sum)); err != nil {
				return err
			}
			last[i] = e.Event
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the last events: %w", err)
	}
	return last, nil
}

// Heads implements journal.Reader.
func (j *Journal) Heads(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	checked := make([]journal.Checked, len(checks))
	err := j.snapshot(ctx, func(tx *sql.Tx) error {
		for i, c := range checks {
			var err error
			if checked[i], err = check(ctx, tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check heads: %w", err)
	}
	return checked, nil
}

func check(ctx context.Context, tx *sql.Tx, c journal.Check) (d journal.Checked, err error) {
	var number int64
	var hash, outcome []byte
	var sequence sql.NullInt64
	err = tx.QueryRowContext(ctx, `
		SELECT h.stream, h.sequence, h.epoch, c.hash, c.outcome, c.sequence
		FROM streams h LEFT JOIN commands c ON c.stream = h.stream AND c.command = ?
		WHERE h.service = ? AND h.id = ?`, c.Command, c.Ref.Service, c.Ref.ID).
		Scan(&number, &d.Head.Sequence, &d.Head.Epoch, &hash, &outcome, &sequence)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return d, nil
	case err != nil:
		return d, err
	case sequence.Valid && len(hash) != 16:
		return d, fmt.Errorf("the record of a command of %s is damaged", c.Ref)
	case sequence.Valid:
		d.Applied, d.LastSequence = true, sequence.Int64
		d.Record = &journal.Record{Hash: [16]byte(hash), Outcome: outcome, Sequence: sequence.Int64}
		return d, nil
	case c.Command == "" || c.After < 0 || c.After >= d.Head.Sequence:
		return d, nil
	}
	// The events of an append follow each other and have its command id.
	rows, err := tx.QueryContext(ctx, "SELECT sequence, command FROM events WHERE stream = ? AND sequence > ? ORDER BY sequence", number, c.After)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for at := c.After + 1; rows.Next(); at++ {
		var sequence int64
		var command string
		if err := rows.Scan(&sequence, &command); err != nil {
			return d, err
		}
		if sequence != at || command != c.Command { // the first one may have been forgotten
			break
		}
		d.Applied, d.LastSequence = true, at
	}
	return d, rows.Err()
}

// List implements journal.Journal.
func (j *Journal) List(ctx context.Context, service, after string, limit int) (list []journal.Summary, err error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.running.RUnlock()
	if limit <= 0 {
		limit = -1
	}
	defer func() {
		if err != nil {
			list, err = nil, fmt.Errorf("list %s: %w", service, cmp.Or(ctx.Err(), err))
		}
	}()
	rows, err := j.read.QueryContext(ctx,
		"SELECT id, sequence, floor, updated FROM streams WHERE service = ? AND id > ? ORDER BY id LIMIT ?", service, after, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s journal.Summary
		var micros int64
		if err := rows.Scan(&s.ID, &s.Sequence, &s.Floor, &micros); err != nil {
			return nil, err
		}
		s.Updated = time.UnixMicro(micros).UTC()
		list = append(list, s)
	}
	return list, rows.Err()
}

// ID implements journal.Journal.
func (j *Journal) ID(ctx context.Context) (string, error) {
	if err := j.enter(ctx); err != nil {
		return "", err
	}
	defer j.running.RUnlock()
	return j.id, nil
}

// Ping implements journal.Journal.
func (j *Journal) Ping(ctx context.Context) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.running.RUnlock()
	return j.read.PingContext(ctx)
}
