package daprstate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Services implements journal.Keeper.
func (j *Journal) Services(ctx context.Context) ([]string, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	var services []string
	for after := ""; ; {
		next, found := "", false
		err := j.streams.scan(ctx, "", after, func(entries []entry) (bool, error) {
			for i := range entries {
				next, _, found = strings.Cut(entries[i].key, "\x00")
				return false, nil
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the services: %w", err)
		}
		if !found {
			return services, nil
		}
		some, err := j.list(ctx, next, "", 1) // a stream is listed before it is made
		if err != nil {
			return nil, err
		}
		if len(some) > 0 {
			services = append(services, next)
		}
		after = next + "\x01" // behind all of its streams
	}
}

// Span implements journal.Keeper.
func (j *Journal) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	if err := j.enter(ctx); err != nil {
		return journal.Span{}, err
	}
	defer j.leave()
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return journal.Span{}, fmt.Errorf("read the span of %s: %w", ref, err)
	}
	return h.span(), nil
}

func (h *head) span() journal.Span {
	return journal.Span{Head: h.at, Origin: h.origin, Floor: h.floor, Updated: h.updated}
}

// commands of all records of a stream, in no order.
func (j *Journal) commands(ctx context.Context, h *head, life, spilled int64) ([]string, error) {
	keys := make([]string, spilled)
	for n := range keys {
		keys[n] = j.namesKey(h.ref, life, int64(n))
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range items {
		if item.ETag == "" {
			continue // removed already, or removed since
		}
		b, ok := summed(item.Value)
		d := decoder{data: b}
		for range d.count() {
			names = append(names, d.text())
		}
		if !ok || d.end() != nil {
			return nil, fmt.Errorf("%w: %s", errDamaged, item.Key)
		}
	}
	return names, nil
}

// Records implements journal.Keeper.
func (j *Journal) Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	fail := func(err error) ([]journal.CommandRecord, error) {
		return nil, fmt.Errorf("read the records of %s: %w", ref, err)
	}
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return fail(err)
	}
	names, err := j.commands(ctx, h, h.life, h.spilled)
	if err != nil {
		return fail(err)
	}
	for i := range h.records {
		names = append(names, h.records[i].id)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	first, there := slices.BinarySearch(names, after)
	if there {
		first++
	}
	names = names[first:]
	if limit == 0 {
		limit = len(names)
	}
	names = names[:min(limit, rules.RecordsInPage, len(names))]
	found, err := j.keptRecords(ctx, h, names)
	if err != nil {
		return fail(err)
	}
	var list []journal.CommandRecord
	for _, name := range names {
		if r := found[name]; r != nil {
			list = append(list, journal.CommandRecord{Command: name, Record: *r})
		}
	}
	return list, nil
}

// kept is what there is of a stream, for the rules.
func (c *change) kept(ctx context.Context) (*rules.Kept, error) {
	k := &rules.Kept{Exists: c.exists, Span: c.span()}
	if c.snapshot == nil {
		return k, nil
	}
	value := c.snapshot.data
	if err := c.parts.j.fill(ctx, []*data{&value}); err != nil {
		return nil, err
	}
	s := journal.Snapshot{Sequence: c.snapshot.sequence, Payload: c.snapshot.payload}
	s.Payload.Data = value.inline
	if s.Checksum(c.ref) == c.snapshot.sum && s.Sequence <= c.at.Sequence {
		k.Snapshot = s.Sequence
	}
	return k, nil
}

// raise raises the floor: what is below it in the head goes with the save, the rest by clear.
func (c *change) raise(floor int64) {
	c.floor = max(c.floor, floor)
	c.events = slices.DeleteFunc(slices.Clone(c.events), func(e event) bool {
		if e.Sequence <= c.floor {
			c.drop(e.data)
		}
		return e.Sequence <= c.floor
	})
}

// Forget implements journal.Keeper. The head says what is forgotten before it is removed.
func (j *Journal) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	for more := true; more; {
		more = false
		err := j.change(ctx, ref, func(c *change) error {
			more = false
			k, err := c.kept(ctx)
			if err != nil {
				return err
			}
			if err := k.Forgettable(through, wholeValues); err != nil || through <= c.floor {
				return cmp.Or(err, errSame)
			}
			to := min(through, c.floor+rules.ForgetEvents)
			more = to < through
			c.raise(to)
			if to == c.at.Sequence {
				c.origin, c.updated = to, now()
				c.unsnap()
			}
			return nil
		})
		if err == nil {
			err = j.clear(ctx, ref)
		}
		if err != nil {
			return fmt.Errorf("forget events of %s: %w", ref, err)
		}
	}
	return nil
}

func (c *change) unsnap() {
	if c.snapshot != nil {
		c.drop(c.snapshot.data)
	}
	c.snapshot = nil
}
