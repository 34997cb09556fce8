package daprstate

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
)

// Restore implements journal.Keeper.
func (j *Journal) Restore(ctx context.Context, r journal.Restored) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	var made *change
	err := j.change(ctx, r.Ref, func(c *change) error {
		made = c
		return c.restore(ctx, &r)
	})
	if err == nil {
		j.feed.publish([]landed{made.run()})
		err = j.clear(ctx, r.Ref)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	return nil
}

func (c *change) restore(ctx context.Context, r *journal.Restored) error {
	j := c.parts.j
	k, err := c.kept(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(r.Records))
	for i := range r.Records {
		names[i] = r.Records[i].Command
	}
	records, err := j.keptRecords(ctx, c.head, names)
	if err != nil {
		return err
	}
	events, err := c.old(ctx, r.Events)
	if err != nil {
		return err
	}
	to, err := k.Restore(r, func(sequence int64) *journal.Event { return events[sequence] },
		func(command string) *journal.Record { return records[command] })
	if err != nil {
		return err
	}
	c.exists = true
	room := inlineTotal
	for i := range to.Events {
		e := &to.Events[i]
		c.at.Sequence = e.Sequence - 1
		a := &journal.Append{Ref: r.Ref, Command: e.Command}
		room -= c.add(a, e, e.Time, room)
	}
	for _, record := range to.Records {
		limit := inlineBytes
		if room < 0 {
			limit = 64
		}
		outcome := c.parts.keep(slices.Clone(record.Outcome), limit)
		room -= len(outcome.inline) + len(record.Command)
		c.records = append(c.records, command{record.Command, record.Hash, record.Sequence, outcome})
	}
	c.at, c.origin, c.updated = to.Span.Head, to.Span.Origin, to.Span.Updated
	c.raise(to.Span.Floor)
	if s := to.Snapshot; s != nil {
		at := c.at.Sequence
		c.at.Sequence = s.Sequence
		c.snap(&s.Payload)
		c.at.Sequence = at
	}
	return c.fits()
}

// old returns the events that a stream has in the place of others.
func (c *change) old(ctx context.Context, others []journal.Event) (map[int64]*journal.Event, error) {
	found := map[int64]*journal.Event{}
	if len(others) == 0 {
		return found, nil
	}
	after := max(others[0].Sequence-1, c.floor)
	last := min(others[len(others)-1].Sequence, c.at.Sequence)
	for after < last {
		s := &span{head: c.head, after: after, last: last}
		if err := c.parts.j.readSpans(ctx, []*span{s}); err != nil {
			return nil, err
		}
		if len(s.events) == 0 {
			return found, nil
		}
		for i := range s.events {
			found[s.events[i].Sequence] = &s.events[i].Event
		}
		after = s.events[len(s.events)-1].Sequence
	}
	return found, nil
}
