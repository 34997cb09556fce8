package daprstate

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
)

// ForgetRecords implements journal.Keeper. Of the records that the head has no room for, whole lists go, the oldest first:
// what is missing of them is always the beginning, and no head has to say how much that is.
func (j *Journal) ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	err := j.change(ctx, ref, func(c *change) error {
		before := len(c.records)
		c.records = slices.DeleteFunc(slices.Clone(c.records), func(r command) bool {
			if r.sequence <= through {
				c.drop(r.outcome)
			}
			return r.sequence <= through
		})
		if len(c.records) == before {
			return errSame
		}
		return nil
	})
	if err == nil {
		err = j.forgetLists(ctx, ref, through)
	}
	if err != nil {
		return fmt.Errorf("forget records of %s: %w", ref, err)
	}
	return nil
}

func (j *Journal) forgetLists(ctx context.Context, ref actors.Ref, through int64) error {
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return err
	}
	n, err := j.firstList(ctx, h)
	if err != nil {
		return err
	}
	for ; n < h.spilled; n++ {
		key := j.namesKey(ref, h.life, n)
		item, err := j.getOne(ctx, key)
		if err != nil {
			return err
		}
		b, _ := summed(item.Value) // of one that is damaged there are no names
		d := decoder{data: b}
		var names, keys []string
		for range d.count() {
			names = append(names, d.text())
			keys = append(keys, j.commandKey(ref, h.life, names[len(names)-1]))
		}
		items, err := j.get(ctx, keys)
		if err != nil {
			return err
		}
		var parts []string
		for i := range items {
			c, err := decodeCommand(items[i].Value, ref, names[i])
			if err == nil && c.sequence > through {
				return nil
			}
			parts = append(parts, j.bigKeys(c.outcome.big)...)
		}
		if err := j.remove(ctx, append(append(parts, keys...), key)); err != nil {
			return err
		}
	}
	return nil
}

// firstList is the number of the first list of records that is still there.
func (j *Journal) firstList(ctx context.Context, h *head) (int64, error) {
	low, high := int64(0), h.spilled
	for low < high {
		middle := low + (high-low)/2
		item, err := j.getOne(ctx, j.namesKey(h.ref, h.life, middle))
		if err != nil {
			return 0, err
		}
		if item.ETag != "" {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}
