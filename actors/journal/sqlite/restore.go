package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Restore implements journal.Keeper.
func (j *Journal) Restore(ctx context.Context, r journal.Restored) error {
	err := r.Validate()
	if err == nil {
		err = j.change(ctx, func(w *writer, now time.Time) error { return w.restore(&r, now) })
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	return nil
}

func (w *writer) restore(r *journal.Restored, now time.Time) error {
	number, k, err := w.kept(r.Ref)
	if err != nil {
		return err
	}
	var failed error
	to, err := k.Restore(r, func(sequence int64) *journal.Event {
		e, err := w.event(number, sequence, r.Ref)
		failed = cmp.Or(failed, err)
		return e
	}, func(command string) *journal.Record {
		record, err := w.record(number, command)
		failed = cmp.Or(failed, err)
		return record
	})
	if err = cmp.Or(failed, err); err != nil {
		return err
	}
	s := &to.Span
	if number, err = w.move(position{number: number}, r.Ref, s.Head, now.UnixMicro()); err != nil {
		return err
	}
	if s.Floor > k.Span.Floor {
		if _, err := w.exec("DELETE FROM events WHERE stream = ? AND sequence <= ?", number, s.Floor); err != nil {
			return err
		}
	}
	if _, err := w.exec("UPDATE streams SET origin = ?, floor = ?, updated = ? WHERE stream = ?",
		s.Origin, s.Floor, s.Updated.UnixMicro(), number); err != nil {
		return err
	}
	for i := range to.Events {
		e := &to.Events[i]
		p := &e.Payload
		if _, err := w.putEvent.Exec(number, e.Sequence, e.Time.UnixMicro(), e.Name, p.TypeURL, p.ContentType, bytes(p.Data),
			e.Command, text(rules.EncodeContext(e.Context)), int64(e.Checksum())); err != nil {
			return err
		}
	}
	for i := range to.Records {
		c := &to.Records[i]
		if _, err := w.putRecord.Exec(number, c.Command, c.Hash[:], bytes(c.Outcome), c.Sequence); err != nil {
			return err
		}
	}
	if p := to.Snapshot; p != nil {
		_, err = w.putSnapshot.Exec(number, p.Sequence, p.Payload.TypeURL, p.Payload.ContentType, bytes(p.Payload.Data), int64(p.Checksum(r.Ref)))
	}
	return err
}

// event reads one, nil if it is not there.
func (w *writer) event(number, sequence int64, ref actors.Ref) (*journal.Event, error) {
	e, err := scan(w.row("SELECT "+eventColumns+" FROM events e WHERE e.stream = ? AND e.sequence = ?", number, sequence), &ref)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = rules.Intact(&e.Event, ref, sequence, e.Sum)
	}
	return &e.Event, err
}
