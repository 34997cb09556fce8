package operations

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Records implements Journal.
func (d *Direct) Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error) {
	return d.Of.Records(ctx, ref, after, page(limit))
}

// Kept implements Journal.
func (d *Direct) Kept(ctx context.Context, mark string, limit int) ([]journal.Kept, string, error) {
	if i, ok := d.Of.(journal.Inventory); ok {
		return i.Kept(ctx, mark, page(limit))
	}
	return nil, "", actors.Errorf(actors.Unimplemented, "a %s journal cannot list the effects that it keeps", d.Scheme)
}

// Cells implements Journal.
func (d *Direct) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	return d.Of.Cells(ctx, prefix, after, page(limit))
}

// Restore implements Journal.
func (d *Direct) Restore(ctx context.Context, r journal.Restored) error { return d.Of.Restore(ctx, r) }

// Forget implements Journal.
func (d *Direct) Forget(ctx context.Context, ref actors.Ref, through int64) error {
	return d.Of.Forget(ctx, ref, through, true)
}

// Keep implements Journal.
func (d *Direct) Keep(ctx context.Context, effects []journal.Kept) error {
	for len(effects) > 0 {
		source, n := effects[0].Source, 1
		for n < len(effects) && effects[n].Source == source {
			n++
		}
		if err := d.keep(ctx, source, effects[:n]); err != nil {
			return err
		}
		effects = effects[n:]
	}
	return nil
}

func (d *Direct) keep(ctx context.Context, source actors.Ref, effects []journal.Kept) error {
	list := make([]actors.Effect, len(effects))
	var parked []journal.Settlement
	for i := range effects {
		list[i] = effects[i].Effect
		// One that is delayed and whose time has come is still outside the order of its source.
		list[i].Delay = 0
		if effects[i].Parked {
			parked = append(parked, journal.Settlement{ID: list[i].ID, Verdict: journal.Parked, Problem: effects[i].Problem})
		}
	}
	if err := d.Of.Enqueue(ctx, source, list); err != nil {
		return err
	}
	if len(parked) == 0 {
		return nil
	}
	return d.Of.Settle(ctx, parked)
}

// Put implements Journal.
func (d *Direct) Put(ctx context.Context, c journal.Cell) (int64, error) { return d.Of.Put(ctx, c) }

// Erase implements Journal.
func (d *Direct) Erase(ctx context.Context, ref actors.Ref) error { return d.Of.Erase(ctx, ref) }
