package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

const (
	selectSpan = "SELECT stream, sequence, epoch, origin, floor, updated FROM streams WHERE service = ? AND id = ?"
	// Each step finds the next service in the index, however many streams one has.
	selectServices = `WITH RECURSIVE s (service) AS (
		SELECT min(service) FROM streams
		UNION ALL SELECT (SELECT min(h.service) FROM streams h WHERE h.service > s.service) FROM s WHERE s.service IS NOT NULL
	) SELECT service FROM s WHERE service IS NOT NULL`
	selectRecords = `SELECT c.command, c.hash, c.outcome, c.sequence FROM streams h JOIN commands c USING (stream)
		WHERE h.service = ? AND h.id = ? AND c.command > ? ORDER BY c.command LIMIT ?`
)

// Services implements journal.Keeper.
func (j *Journal) Services(ctx context.Context) (list []string, err error) {
	err = j.snapshot(ctx, func(tx *sql.Tx) error {
		return j.each(ctx, tx, selectServices, nil, func(rows *sql.Rows) error {
			var s string
			err := rows.Scan(&s)
			list = append(list, s)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	return list, nil
}

// Records implements journal.Keeper.
func (j *Journal) Records(ctx context.Context, ref actors.Ref, after string, limit int) (list []journal.CommandRecord, err error) {
	if limit <= 0 || limit > rules.RecordsInPage {
		limit = rules.RecordsInPage
	}
	err = j.snapshot(ctx, func(tx *sql.Tx) error {
		size := 0
		return j.each(ctx, tx, selectRecords, []any{ref.Service, ref.ID, after, limit}, func(rows *sql.Rows) error {
			var c journal.CommandRecord
			var hash []byte
			if err := rows.Scan(&c.Command, &hash, &c.Outcome, &c.Sequence); err != nil {
				return err
			}
			if len(hash) != len(c.Hash) {
				return fmt.Errorf("the record of the command %q is damaged", c.Command)
			}
			copy(c.Hash[:], hash)
			list = append(list, c)
			if size += len(c.Outcome); size >= rules.PageBytes {
				return errEnough
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the records of %s: %w", ref, err)
	}
	return list, nil
}

// Span implements journal.Keeper.
func (j *Journal) Span(ctx context.Context, ref actors.Ref) (span journal.Span, err error) {
	err = j.snapshot(ctx, func(tx *sql.Tx) (err error) {
		_, span, err = scanSpan(tx.QueryRowContext(ctx, selectSpan, ref.Service, ref.ID))
		return err
	})
	if err != nil {
		return journal.Span{}, fmt.Errorf("look at %s: %w", ref, err)
	}
	return span, nil
}

func scanSpan(row *sql.Row) (number int64, span journal.Span, err error) {
	var micros int64
	err = row.Scan(&number, &span.Sequence, &span.Epoch, &span.Origin, &span.Floor, &micros)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, span, nil
	}
	span.Updated = time.UnixMicro(micros).UTC()
	return number, span, err
}

// kept is what there is of a stream in the transaction that is under way, and its number.
func (w *writer) kept(ref actors.Ref) (number int64, k *rules.Kept, err error) {
	k = &rules.Kept{}
	number, k.Span, err = scanSpan(w.row(selectSpan, ref.Service, ref.ID))
	if err != nil || number == 0 {
		return 0, k, err
	}
	k.Exists = true
	var s journal.Snapshot
	var sum int64
	p := &s.Payload
	err = w.row("SELECT sequence, type_url, content_type, data, checksum FROM snapshots WHERE stream = ?", number).
		Scan(&s.Sequence, &p.TypeURL, &p.ContentType, &p.Data, &sum)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = nil
	case err == nil && int64(s.Checksum(ref)) == sum && s.Sequence <= k.Span.Sequence:
		k.Snapshot = s.Sequence
	}
	return number, k, err
}

func (w *writer) row(query string, args ...any) *sql.Row {
	return w.conn.QueryRowContext(context.Background(), query, args...)
}

// exec runs statements of the transaction that is under way. Nothing waits for them that could end.
func (w *writer) exec(query string, args ...any) (int64, error) {
	r, err := w.conn.ExecContext(context.Background(), query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Forget implements journal.Keeper.
func (j *Journal) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	for more := true; more; {
		err := j.change(ctx, func(w *writer, now time.Time) error {
			number, k, err := w.kept(ref)
			if err == nil {
				err = k.Forgettable(through, wholeValues)
			}
			if err != nil {
				return err
			}
			upTo := min(through, k.Span.Floor+rules.ForgetEvents)
			if more = upTo < through; upTo <= k.Span.Floor {
				return nil
			}
			return w.forgetEvents(number, &k.Span, upTo, now)
		})
		if err != nil {
			return fmt.Errorf("forget events of %s: %w", ref, err)
		}
	}
	return nil
}

// ForgetRecords implements journal.Keeper.
func (j *Journal) ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error {
	for more := true; more; {
		err := j.change(ctx, func(w *writer, _ time.Time) error {
			n, err := w.exec(`DELETE FROM commands WHERE (stream, command) IN (
				SELECT c.stream, c.command FROM streams h JOIN commands c USING (stream)
				WHERE h.service = ? AND h.id = ? AND c.sequence <= ? LIMIT ?)`, ref.Service, ref.ID, through, rules.EraseRecords)
			more = n == rules.EraseRecords
			return err
		})
		if err != nil {
			return fmt.Errorf("forget records of %s: %w", ref, err)
		}
	}
	return nil
}

// ForgetEach implements journal.ManyForgetter.
func (j *Journal) ForgetEach(ctx context.Context, parts []journal.Forgetting) error {
	if err := j.change(ctx, func(w *writer, now time.Time) error {
		for _, p := range parts {
			number, span, err := scanSpan(w.row(selectSpan, p.Ref.Service, p.Ref.ID))
			if err == nil && p.Through > span.Floor && p.Through <= span.Sequence {
				err = w.forgetEvents(number, &span, p.Through, now)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("forget events of %d streams: %w", len(parts), err)
	}
	return nil
}

// forgetEvents removes the events of a stream up to a sequence, and lets it begin anew if none is left.
func (w *writer) forgetEvents(number int64, span *journal.Span, through int64, now time.Time) error {
	if _, err := w.exec("DELETE FROM events WHERE stream = ? AND sequence <= ?", number, through); err != nil {
		return err
	}
	if through < span.Sequence {
		_, err := w.exec("UPDATE streams SET floor = ? WHERE stream = ?", through, number)
		return err
	}
	if _, err := w.exec("DELETE FROM snapshots WHERE stream = ?", number); err != nil {
		return err
	}
	_, err := w.exec("UPDATE streams SET floor = sequence, origin = sequence, updated = ? WHERE stream = ?", now.UnixMicro(), number)
	return err
}

// Erase implements journal.Keeper.
func (j *Journal) Erase(ctx context.Context, ref actors.Ref) error {
	for more := true; more; {
		err := j.change(ctx, func(w *writer, now time.Time) (err error) {
			more, err = w.erase(ref, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("erase %s: %w", ref, err)
		}
	}
	return nil
}

// erase removes a part of what there is of a stream, and in the end the rest of it.
func (w *writer) erase(ref actors.Ref, now time.Time) (more bool, err error) {
	number, k, err := w.kept(ref)
	if err != nil {
		return false, err
	}
	span := &k.Span
	if span.Sequence-span.Floor > rules.ForgetEvents {
		return true, w.forgetEvents(number, span, span.Floor+rules.ForgetEvents, now)
	}
	records, err := w.exec(`DELETE FROM commands WHERE stream = ?1 AND command IN (
		SELECT command FROM commands WHERE stream = ?1 ORDER BY command LIMIT ?2)`, number, rules.EraseRecords)
	if err != nil || records == rules.EraseRecords {
		return true, err
	}
	removed := records
	if span.Origin < span.Sequence {
		removed++
	}
	for _, d := range []struct {
		query string
		args  []any
	}{
		{"DELETE FROM snapshots WHERE stream = ?", []any{number}},
		// Three looks by index, and together they see every effect of the source.
		{"DELETE FROM effects WHERE service = ? AND source = ? AND ordered = 1 AND parked = 0", []any{ref.Service, ref.ID}},
		{"DELETE FROM effects WHERE lane = ? AND front = 1 AND service = ? AND source = ?", []any{journal.Lane(ref), ref.Service, ref.ID}},
		{"DELETE FROM effects WHERE parked = 1 AND service = ? AND source = ?", []any{ref.Service, ref.ID}},
	} {
		n, err := w.exec(d.query, d.args...)
		if err != nil {
			return false, err
		}
		removed += n
	}
	if removed == 0 || number == 0 {
		return false, nil
	}
	if _, err := w.exec("UPDATE streams SET epoch = epoch + 1 WHERE stream = ?", number); err != nil {
		return false, err
	}
	return false, w.forgetEvents(number, span, span.Sequence, now)
}
