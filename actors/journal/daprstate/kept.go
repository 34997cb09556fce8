package daprstate

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

var _ journal.Inventory = (*Journal)(nil)

// Kept implements journal.Inventory. A page has all effects of each of its sources; the mark is the last source's key.
func (j *Journal) Kept(ctx context.Context, mark string, limit int) (list []journal.Kept, next string, err error) {
	if err := j.enter(ctx); err != nil {
		return nil, "", err
	}
	defer j.leave()
	if limit <= 0 {
		limit = rules.PageEvents
	}
	size := 0
	err = j.wanted.scan(ctx, "", mark, func(entries []entry) (bool, error) {
		for _, e := range entries {
			heads, err := j.views(ctx, []actors.Ref{sourceOf(e.key)})
			if err != nil {
				return false, err
			}
			for _, h := range heads {
				kept, err := j.keptBy(ctx, h)
				if err != nil {
					return false, err
				}
				for i := range kept {
					size += len(kept[i].Payload.Data)
				}
				list = append(list, kept...)
			}
			if next = e.key; len(list) >= limit || size >= rules.PageBytes {
				return false, nil
			}
		}
		next = ""
		return true, nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, next, nil
}

// keptBy are all effects of a head.
func (j *Journal) keptBy(ctx context.Context, h *head) (list []journal.Kept, err error) {
	for i := range h.effects {
		e := &h.effects[i]
		pending, err := j.handOut(ctx, h, []*effect{e})
		if err != nil {
			return nil, err
		}
		for _, p := range pending { // else it was settled meanwhile
			list = append(list, journal.Kept{Pending: p, Parked: e.parked})
		}
	}
	return list, nil
}
