package daprstate

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Erase implements journal.Keeper.
func (j *Journal) Erase(ctx context.Context, ref actors.Ref) error {
	if err := journal.ValidateRef(ref); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	err := j.change(ctx, ref, func(c *change) error {
		nothing := len(c.effects) == 0
		for i := range c.effects {
			c.drop(c.effects[i].body)
		}
		c.effects = nil
		if !c.exists || c.origin == c.at.Sequence && len(c.records) == 0 && c.spilled == 0 && c.snapshot == nil && nothing {
			if nothing {
				return errSame
			}
			return nil
		}
		c.raise(c.at.Sequence)
		c.unsnap()
		for i := range c.records {
			c.drop(c.records[i].outcome)
		}
		if c.spilled > 0 {
			c.remains = append(c.remains, remains{c.life, c.spilled})
		}
		c.records, c.spilled = nil, 0
		c.life++
		c.at.Epoch++
		c.origin, c.updated = c.at.Sequence, now()
		return nil
	})
	if err == nil {
		err = j.clear(ctx, ref)
	}
	if err != nil {
		return fmt.Errorf("erase %s: %w", ref, err)
	}
	return nil
}

// clear removes what a head does not refer to any more: full segments below its floor, and records of earlier lives. The
// head says how far that was done, so it goes on where it was interrupted.
func (j *Journal) clear(ctx context.Context, ref actors.Ref) error {
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return err
	}
	cleared := min(h.floor, h.sealed) / segmentEvents * segmentEvents
	if h.cleared >= cleared && len(h.remains) == 0 {
		return nil
	}
	for from := h.cleared; from < cleared; from += messageItems * segmentEvents {
		if err := j.clearSegments(ctx, h, from, min(cleared, from+messageItems*segmentEvents)); err != nil {
			return err
		}
	}
	for _, r := range h.remains {
		if err := j.clearRecords(ctx, h, r); err != nil {
			return err
		}
	}
	return j.change(ctx, ref, func(c *change) error {
		c.cleared = max(c.cleared, cleared)
		c.remains = slices.DeleteFunc(c.remains, func(r remains) bool { return slices.Contains(h.remains, r) })
		return nil
	})
}

func (j *Journal) clearSegments(ctx context.Context, h *head, from, to int64) error {
	var keys []string
	for n := from / segmentEvents; n*segmentEvents < to; n++ {
		keys = append(keys, j.segmentKey(h.ref, n))
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return err
	}
	var parts []string
	for _, item := range items {
		for _, e := range decodeSegment(item.Value) {
			parts = append(parts, j.bigKeys(e.data.big)...)
		}
	}
	return j.remove(ctx, append(parts, keys...)) // what names the others last
}

func (j *Journal) clearRecords(ctx context.Context, h *head, r remains) error {
	for n := range r.spilled {
		key := j.namesKey(h.ref, r.life, n)
		item, err := j.getOne(ctx, key)
		if err != nil {
			return err
		}
		b, _ := summed(item.Value)
		d := decoder{data: b}
		var keys []string
		var names []string
		for range d.count() {
			names = append(names, d.text())
			keys = append(keys, j.commandKey(h.ref, r.life, names[len(names)-1]))
		}
		items, err := j.get(ctx, keys)
		if err != nil {
			return err
		}
		var parts []string
		for i, item := range items {
			if c, err := decodeCommand(item.Value, h.ref, names[i]); err == nil {
				parts = append(parts, j.bigKeys(c.outcome.big)...)
			}
		}
		if err := j.remove(ctx, append(append(parts, keys...), key)); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) remove(ctx context.Context, keys []string) error {
	for part := range slices.Chunk(keys, messageItems) {
		if err := j.store.Delete(ctx, part); err != nil {
			return fmt.Errorf("remove from the state store: %w", err)
		}
	}
	return nil
}
