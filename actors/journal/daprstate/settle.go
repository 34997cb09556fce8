package daprstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Settle implements journal.Outbox. What it says of one source happens all or not at all.
func (j *Journal) Settle(ctx context.Context, settlements []journal.Settlement) error {
	if err := journal.ValidateSettlements(settlements); err != nil {
		return fmt.Errorf("settle effects: %w", err)
	}
	ids := make([]string, len(settlements))
	for i := range settlements {
		ids[i] = settlements[i].ID
	}
	return j.amend(ctx, "settle effects", ids, func(c *change, i int) bool {
		return c.settle(&settlements[i], now())
	})
}

// settle reports whether it changed something.
func (c *change) settle(s *journal.Settlement, at time.Time) bool {
	e := c.find(s.ID)
	switch {
	case e == nil:
		return false
	case s.Verdict == journal.Done:
		c.forget(s.ID)
		return true
	case e.parked:
		return false
	}
	e.tries++
	e.problem = rules.Problem(s.Problem)
	if e.parked = s.Verdict == journal.Parked; !e.parked {
		e.due = at.Add(s.Again).Truncate(time.Microsecond)
	}
	return true
}

func (c *change) forget(id string) {
	c.effects = slices.DeleteFunc(c.effects, func(e effect) bool {
		if e.id == id {
			c.drop(e.body)
		}
		return e.id == id
	})
}

// Release implements journal.Outbox.
func (j *Journal) Release(ctx context.Context, ids []string) error {
	return j.amend(ctx, "release effects", ids, func(c *change, i int) bool {
		e := c.find(ids[i])
		if e == nil || !e.parked {
			return false
		}
		e.parked, e.tries, e.problem, e.due = false, 0, "", now()
		return true
	})
}

// Discard implements journal.Outbox.
func (j *Journal) Discard(ctx context.Context, ids []string) error {
	return j.amend(ctx, "discard effects", ids, func(c *change, i int) bool {
		if e := c.find(ids[i]); e == nil || !e.parked {
			return false
		}
		c.forget(ids[i])
		return true
	})
}

// amend changes effects by their ids, source by source.
func (j *Journal) amend(ctx context.Context, doing string, ids []string, amend func(c *change, i int) bool) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	places, err := j.locate(ctx, ids)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var errs []error
	for _, ref := range sorted(places) {
		err := j.change(ctx, ref, func(c *change) error {
			changed := false
			for _, i := range places[ref] {
				changed = amend(c, i) || changed
			}
			if !changed {
				return errSame
			}
			c.touched = true
			return nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", doing, ref, err))
		}
	}
	return errors.Join(errs...)
}

func sorted(places map[actors.Ref][]int) []actors.Ref {
	refs := make([]actors.Ref, 0, len(places))
	for ref := range places {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b actors.Ref) int { return cmp.Compare(streamKey(a), streamKey(b)) })
	return refs
}

// locate finds the sources of effects: of those that went through this process it is known, for the others all sources
// with effects are looked through.
func (j *Journal) locate(ctx context.Context, ids []string) (map[actors.Ref][]int, error) {
	places := map[actors.Ref][]int{}
	unknown := map[string][]int{}
	for i, id := range ids {
		if ref, ok := j.sources.Get(id); ok {
			places[ref] = append(places[ref], i)
		} else {
			unknown[id] = append(unknown[id], i)
		}
	}
	if len(unknown) == 0 {
		return places, nil
	}
	for lane := range journal.Lanes {
		err := j.sourcesOf(ctx, lane, func(actors.Ref, wish) bool { return true }, func(h *head, _ wish) (bool, error) {
			for i := range h.effects {
				e := &h.effects[i]
				if at := unknown[e.id]; at != nil {
					places[h.ref] = append(places[h.ref], at...)
					j.sources.Add(e.id, h.ref)
				}
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	for ref := range places {
		slices.Sort(places[ref])
	}
	return places, nil
}
