package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// outbox is guarded by the journal's lock.
type outbox struct {
	number int64
	kept   []*effect // by number
	ids    map[string]*effect
	keys   map[name]*effect
}

// name of an effect with a key.
type name struct {
	source actors.Ref
	key    string
}

type effect struct {
	number  int64
	source  actors.Ref
	lane    int
	id, key string
	delayed bool
	parked  bool
	due     time.Time // zero for at once
	since   time.Time
	tries   int
	problem string
	body    []byte
}

func (o *outbox) keep(k rules.Keeping, now time.Time) {
	for _, key := range k.Keys {
		old := o.keys[name{k.Source, key}]
		if old != nil && !slices.ContainsFunc(k.Effects, func(e *actors.Effect) bool { return e.ID == old.id }) {
			o.forget(old)
		}
	}
	for _, e := range k.Effects {
		if o.ids[e.ID] != nil {
			continue
		}
		o.number++
		n := &effect{
			number: o.number, source: k.Source, lane: journal.Lane(k.Source), id: e.ID, key: e.Key, delayed: e.Delayed(),
			due: rules.Due(e, now), since: now, body: actors.MarshalEffect(e),
		}
		o.kept = append(o.kept, n)
		o.ids[e.ID] = n
		if e.Key != "" {
			o.keys[name{k.Source, e.Key}] = n
		}
	}
}

func (o *outbox) forget(e *effect) {
	at, _ := slices.BinarySearchFunc(o.kept, e.number, func(e *effect, number int64) int { return cmp.Compare(e.number, number) })
	o.kept = slices.Delete(o.kept, at, at+1)
	delete(o.ids, e.id)
	if named := (name{e.source, e.key}); o.keys[named] == e {
		delete(o.keys, named)
	}
}

func (e *effect) pending() journal.Pending {
	p := journal.Pending{Source: e.source, Tries: e.tries, Problem: e.problem, Since: e.since}
	p.ID, p.Key = e.id, e.key
	if e.delayed {
		p.Due = e.due
	}
	rules.Decode(&p, slices.Clone(e.body))
	return p
}

// change runs body with the journal's lock.
func (j *Journal) change(ctx context.Context, body func(now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return journal.ErrClosed
	}
	return body(time.Now().UTC().Truncate(time.Microsecond))
}

// see runs body with the journal's lock for reading.
func (j *Journal) see(ctx context.Context, body func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return journal.ErrClosed
	}
	body()
	return nil
}

// Enqueue implements journal.Outbox.
func (j *Journal) Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error {
	if err := cmp.Or(journal.ValidateRef(source), journal.ValidateEffects(effects)); err != nil {
		return fmt.Errorf("keep effects of %s: %w", source, err)
	}
	return j.change(ctx, func(now time.Time) error {
		j.outbox.keep(rules.Keep(source, effects), now)
		return nil
	})
}

// Due implements journal.Outbox.
func (j *Journal) Due(ctx context.Context, lanes []int, limit int) (list []journal.Pending, err error) {
	err = j.see(ctx, func() {
		now := time.Now()
		held := map[actors.Ref]bool{}
		for _, e := range j.outbox.kept {
			if limit > 0 && len(list) == limit {
				return
			}
			switch {
			case e.parked || !slices.Contains(lanes, e.lane) || !e.delayed && held[e.source]:
			case e.due.After(now):
				held[e.source] = held[e.source] || !e.delayed
			default:
				list = append(list, e.pending())
			}
		}
	})
	return list, err
}

// Settle implements journal.Outbox.
func (j *Journal) Settle(ctx context.Context, settlements []journal.Settlement) error {
	if err := journal.ValidateSettlements(settlements); err != nil {
		return fmt.Errorf("settle effects: %w", err)
	}
	return j.change(ctx, func(now time.Time) error {
		for _, s := range settlements {
			e := j.outbox.ids[s.ID]
			switch {
			case e == nil:
			case s.Verdict == journal.Done:
				j.outbox.forget(e)
			case !e.parked:
				e.tries++
				e.problem = rules.Problem(s.Problem)
				e.parked = s.Verdict == journal.Parked
				if !e.parked {
					e.due = now.Add(s.Again).Truncate(time.Microsecond)
				}
			}
		}
		return nil
	})
}

// Parked implements journal.Outbox.
func (j *Journal) Parked(ctx context.Context, after string, limit int) (list []journal.Pending, err error) {
	err = j.see(ctx, func() {
		for _, e := range j.outbox.kept {
			if e.parked && e.id > after {
				list = append(list, e.pending())
			}
		}
	})
	slices.SortFunc(list, func(a, b journal.Pending) int { return cmp.Compare(a.ID, b.ID) })
	if limit > 0 && limit < len(list) {
		list = list[:limit]
	}
	return list, err
}

// Release implements journal.Outbox.
func (j *Journal) Release(ctx context.Context, ids []string) error {
	return j.change(ctx, func(now time.Time) error {
		for _, id := range ids {
			if e := j.outbox.ids[id]; e != nil && e.parked {
				e.parked, e.tries, e.problem, e.due = false, 0, "", now
			}
		}
		return nil
	})
}

// Discard implements journal.Outbox.
func (j *Journal) Discard(ctx context.Context, ids []string) error {
	return j.change(ctx, func(time.Time) error {
		for _, id := range ids {
			if e := j.outbox.ids[id]; e != nil && e.parked {
				j.outbox.forget(e)
			}
		}
		return nil
	})
}
