package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// enter begins a call, which ends with j.running.RUnlock unless there is an error.
func (j *Journal) enter(ctx context.Context) error {
	j.running.RLock()
	var err error
	if j.closed {
		err = journal.ErrClosed
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		j.running.RUnlock()
	}
	return err
}

// rows runs a query, hands each row to scan until that wants no more, and leaves no connection behind.
func rows(ctx context.Context, s *sql.Stmt, scan func(*sql.Rows) (more bool, err error), args ...any) (err error) {
	r, err := s.QueryContext(ctx, args...)
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	defer func() {
		if e := r.Close(); err == nil {
			err = e
		}
		if err != nil {
			err = cmp.Or(ctx.Err(), err)
		}
	}()
	for r.Next() {
		if more, err := scan(r); err != nil || !more {
			return err
		}
	}
	return r.Err()
}

// Load implements journal.Reader.
func (j *Journal) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	if err := j.enter(ctx); err != nil {
		return journal.Loading{}, err
	}
	defer j.running.RUnlock()
	var l journal.Loading
	err := rows(ctx, j.load, func(r *sql.Rows) (bool, error) {
		var sequence, sum sql.NullInt64
		var typeURL, contentType sql.NullString
		var data []byte
		if err := r.Scan(&l.Head.Sequence, &l.Head.Epoch, &l.Origin, &sequence, &sum, &typeURL, &contentType, &data); err != nil {
			return false, err
		}
		s := &journal.Snapshot{Sequence: sequence.Int64, Payload: actors.Payload{
			TypeURL: typeURL.String, ContentType: contentType.String, Data: data,
		}}
		if sequence.Valid && int64(s.Checksum(ref)) == sum.Int64 && s.Sequence > l.Origin && s.Sequence <= l.Head.Sequence {
			l.Snapshot = s
		}
		return false, nil
	}, ref.Service, ref.ID)
	if err != nil {
		return journal.Loading{}, fmt.Errorf("load %s: %w", ref, err)
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
	return rules.Pages(ref, after, limit, func(after int64, limit int) (page []rules.Stored, err error) {
		if err := j.enter(ctx); err != nil {
			return nil, err
		}
		defer j.running.RUnlock()
		err = rows(ctx, j.page, func(r *sql.Rows) (bool, error) {
			e := rules.Stored{Event: journal.Event{Ref: ref}}
			err := scan(r, &e)
			page = append(page, e)
			return true, err
		}, ref.Service, ref.ID, after, limit)
		return page, err
	}, func() (int64, error) {
		span, err := j.Span(ctx, ref)
		return span.Floor, err
	})
}

// scan reads eventColumns, behind what else the row has in front.
func scan(r *sql.Rows, e *rules.Stored, front ...any) error {
	var xid, micros, sum sql.NullInt64
	var sequence, pos sql.NullInt64
	var name, typeURL, contentType, command sql.NullString
	var origin []byte
	err := r.Scan(append(front, &sequence, &pos, &xid, &micros, &sum, &name, &typeURL, &contentType, &command, &e.Payload.Data, &origin)...)
	if err != nil {
		return err
	}
	e.Sequence = sequence.Int64
	e.Position = journal.Position{Transaction: uint64(xid.Int64), Ordinal: pos.Int64}
	e.Time = time.UnixMicro(micros.Int64).UTC()
	e.Sum = uint32(sum.Int64)
	e.Name, e.Payload.TypeURL, e.Payload.ContentType, e.Command = name.String, typeURL.String, contentType.String, command.String
	e.Context, err = rules.DecodeContext(origin)
	return err
}

// Last implements journal.Reader.
func (j *Journal) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.running.RUnlock()
	services, ids := newArray(oidText, 32*len(refs)), newArray(oidText, 32*len(refs))
	for _, ref := range refs {
		services.text(ref.Service)
		ids.text(ref.ID)
	}
	last := make([]journal.Event, len(refs))
	err := rows(ctx, j.last, func(r *sql.Rows) (bool, error) {
		var n, head, floor int64
		var missing bool
		var e rules.Stored
		if err := scan(r, &e, &n, &head, &floor, &missing); err != nil {
			return false, err
		}
		e.Ref = refs[n-1]
		if floor == head {
			last[n-1] = journal.Event{Ref: e.Ref, Sequence: head}
			return true, nil
		}
		if missing {
			return false, rules.Missing(e.Ref, head)
		}
		if err := rules.Intact(&e.Event, e.Ref, head, e.Sum); err != nil {
			return false, err
		}
		last[n-1] = e.Event
		return true, nil
	}, services.encode(), ids.encode())
	if err != nil {
		return nil, fmt.Errorf("read the last events: %w", err)
	}
	return last, nil
}

// Heads implements journal.Reader.
func (j *Journal) Heads(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.running.RUnlock()
	checked, err := j.look(ctx, checks)
	if err != nil {
		return nil, fmt.Errorf("check heads: %w", err)
	}
	return checked, nil
}

// look answers checks in one round trip.
func (j *Journal) look(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	services, ids := newArray(oidText, 32*len(checks)), newArray(oidText, 32*len(checks))
	commands, after := newArray(oidText, 32*len(checks)), newArray(oidInt8, 12*len(checks))
	for _, c := range checks {
		services.text(c.Ref.Service)
		ids.text(c.Ref.ID)
		commands.text(c.Command)
		after.int8(c.After)
	}
	checked := make([]journal.Checked, len(checks))
	err := rows(ctx, j.heads, func(r *sql.Rows) (bool, error) {
		var n int64
		var hash, outcome []byte
		var recorded, last sql.NullInt64
		var head journal.Head
		if err := r.Scan(&n, &head.Sequence, &head.Epoch, &hash, &outcome, &recorded, &last); err != nil {
			return false, err
		}
		d := &checked[n-1]
		d.Head = head
		switch {
		case recorded.Valid && len(hash) == 16:
			d.Record = &journal.Record{Hash: [16]byte(hash), Outcome: outcome, Sequence: recorded.Int64}
			d.Applied, d.LastSequence = true, recorded.Int64
		case recorded.Valid:
			return false, fmt.Errorf("the record of a command of %s is damaged", checks[n-1].Ref)
		case last.Valid:
			d.Applied, d.LastSequence = true, last.Int64
		}
		return true, nil
	}, services.encode(), ids.encode(), commands.encode(), after.encode())
	return checked, err
}

// List implements journal.Journal.
func (j *Journal) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.running.RUnlock()
	var list []journal.Summary
	if limit <= 0 {
		limit = math.MaxInt
	}
	err := rows(ctx, j.list, func(r *sql.Rows) (bool, error) {
		var s journal.Summary
		var micros int64
		err := r.Scan(&s.ID, &s.Sequence, &s.Floor, &micros)
		s.Updated = time.UnixMicro(micros).UTC()
		list = append(list, s)
		return true, err
	}, service, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", service, err)
	}
	return list, nil
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
	var standby, free bool
	// The lock lasts as long as the statement.
	if err := j.read.QueryRowContext(ctx, "SELECT pg_is_in_recovery(), $1 OR pg_try_advisory_xact_lock_shared("+j.lockOf()+")",
		j.alone != nil).Scan(&standby, &free); err != nil {
		return fmt.Errorf("ping: %w", cmp.Or(ctx.Err(), err))
	}
	if standby {
		return errors.New("ping: the server is a standby")
	}
	if !free {
		return fmt.Errorf("ping: %w", errTaken)
	}
	return nil
}
