package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// place of a kept effect among the others.
type place struct {
	number          int64
	id              string
	service, source string
	ordered, front  bool
	parked          bool
}

// change runs body in a transaction of its own.
func (j *Journal) change(ctx context.Context, body func(w *writer, now time.Time) error) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.running.RUnlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := cmp.Or(j.usable(), ctx.Err()); err != nil { // it may have broken while this call waited for its turn
		return err
	}
	return j.transaction(func() (bool, error) {
		err := body(j.writer, time.Now())
		return err == nil, err
	})
}

// Enqueue implements journal.Outbox.
func (j *Journal) Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error {
	err := cmp.Or(journal.ValidateRef(source), journal.ValidateEffects(effects))
	if err == nil && len(effects) > 0 {
		err = j.change(ctx, func(w *writer, now time.Time) error { return w.keep(rules.Keep(source, effects), now) })
	}
	if err != nil {
		return fmt.Errorf("keep effects of %s: %w", source, err)
	}
	return nil
}

func (w *writer) keep(k rules.Keeping, now time.Time) error {
	for _, key := range k.Keys {
		old, err := find(w.effectByKey.QueryRow(k.Source.Service, k.Source.ID, key))
		if err == nil && old != nil && !slices.ContainsFunc(k.Effects, func(e *actors.Effect) bool { return e.ID == old.id }) {
			err = w.forget(old)
		}
		if err != nil {
			return err
		}
	}
	for _, e := range k.Effects {
		due := sql.NullInt64{Valid: e.Delayed()}
		if due.Valid {
			due.Int64 = rules.Due(e, now).UnixMicro()
		}
		if _, err := w.putEffect.Exec(e.ID, k.Source.Service, k.Source.ID, journal.Lane(k.Source), !e.Delayed(),
			sql.NullString{String: e.Key, Valid: e.Key != ""}, due, now.UnixMicro(), actors.MarshalEffect(e)); err != nil {
			return err
		}
	}
	return nil
}

// find scans a place, nil if there is none.
func find(row *sql.Row) (*place, error) {
	var p place
	err := row.Scan(&p.number, &p.id, &p.service, &p.source, &p.ordered, &p.front, &p.parked)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &p, err
}

// forget removes an effect.
func (w *writer) forget(p *place) error {
	if _, err := w.removeEffect.Exec(p.number); err != nil {
		return err
	}
	return w.leave(p)
}

// leave lets the next one of the source's order to the front, if p was there.
func (w *writer) leave(p *place) error {
	if !p.ordered || !p.front {
		return nil
	}
	_, err := w.nextToFront.Exec(p.service, p.source)
	return err
}

// Settle implements journal.Outbox.
func (j *Journal) Settle(ctx context.Context, settlements []journal.Settlement) error {
	err := journal.ValidateSettlements(settlements)
	if err == nil && len(settlements) > 0 {
		err = j.change(ctx, func(w *writer, now time.Time) error {
			for i := range settlements {
				if err := w.settle(&settlements[i], now); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("settle effects: %w", err)
	}
	return nil
}

func (w *writer) settle(s *journal.Settlement, now time.Time) error {
	p, err := find(w.effectByID.QueryRow(s.ID))
	if err != nil || p == nil {
		return err
	}
	switch {
	case s.Verdict == journal.Done:
		return w.forget(p)
	case p.parked:
		return nil
	case s.Verdict == journal.Parked:
		if _, err := w.parkEffect.Exec(rules.Problem(s.Problem), p.number); err != nil {
			return err
		}
		return w.leave(p)
	}
	_, err = w.postponeEffect.Exec(now.Add(s.Again).UnixMicro(), rules.Problem(s.Problem), p.number)
	return err
}

// Release implements journal.Outbox.
func (j *Journal) Release(ctx context.Context, ids []string) error {
	if err := j.parked(ctx, ids, func(w *writer, p *place, now time.Time) error {
		if p.ordered {
			// It may stand before the one that is in front, or be the only one.
			if _, err := w.backFromFront.Exec(p.service, p.source); err != nil {
				return err
			}
		}
		if _, err := w.releaseEffect.Exec(now.UnixMicro(), p.number); err != nil || !p.ordered {
			return err
		}
		_, err := w.nextToFront.Exec(p.service, p.source)
		return err
	}); err != nil {
		return fmt.Errorf("release effects: %w", err)
	}
	return nil
}

// Discard implements journal.Outbox.
func (j *Journal) Discard(ctx context.Context, ids []string) error {
	if err := j.parked(ctx, ids, func(w *writer, p *place, _ time.Time) error { return w.forget(p) }); err != nil {
		return fmt.Errorf("discard effects: %w", err)
	}
	return nil
}

// parked does something to those of ids that are parked.
func (j *Journal) parked(ctx context.Context, ids []string, do func(w *writer, p *place, now time.Time) error) error {
	return j.change(ctx, func(w *writer, now time.Time) error {
		for _, id := range ids {
			p, err := find(w.effectByID.QueryRow(id))
			if err == nil && p != nil && p.parked {
				err = do(w, p, now)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
