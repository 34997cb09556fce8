package daprstate

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Heads implements journal.Reader.
func (j *Journal) Heads(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	place := map[actors.Ref]int{}
	var refs []actors.Ref
	commands := map[actors.Ref][]string{}
	for _, c := range checks {
		if _, ok := place[c.Ref]; !ok {
			place[c.Ref] = len(refs)
			refs = append(refs, c.Ref)
		}
		if c.Command != "" {
			commands[c.Ref] = append(commands[c.Ref], c.Command)
		}
	}
	heads, err := j.views(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read the heads: %w", err)
	}
	records := make([]map[string]*journal.Record, len(refs))
	for i, ref := range refs {
		if records[i], err = j.keptRecords(ctx, heads[i], commands[ref]); err != nil {
			return nil, fmt.Errorf("read the heads: %w", err)
		}
	}
	checked := make([]journal.Checked, len(checks))
	for i, c := range checks {
		n := place[c.Ref]
		if checked[i], err = j.check(ctx, heads[n], records[n], c); err != nil {
			return nil, fmt.Errorf("read the heads: %w", err)
		}
	}
	return checked, nil
}

func (j *Journal) check(ctx context.Context, h *head, records map[string]*journal.Record, c journal.Check) (journal.Checked, error) {
	d := journal.Checked{Head: h.at}
	if c.Command == "" {
		return d, nil
	}
	if r := records[c.Command]; r != nil {
		kept := *r
		d.Applied, d.Record, d.LastSequence = true, &kept, r.Sequence
		return d, nil
	}
	if c.After < h.floor {
		return d, nil
	}
	for at := c.After; at < h.at.Sequence; {
		s := &span{head: h, after: at, last: min(h.at.Sequence, at+segmentEvents)}
		events, err := j.names(ctx, s)
		if err != nil {
			return d, err
		}
		for _, e := range events {
			if e.Command != c.Command {
				return d, nil
			}
			d.Applied, d.LastSequence = true, e.Sequence
		}
		if len(events) == 0 {
			return d, nil
		}
		at = events[len(events)-1].Sequence
	}
	return d, nil
}

// names reads events without their payloads.
func (j *Journal) names(ctx context.Context, s *span) ([]event, error) {
	all := s.head.events
	if s.after < s.head.sealed {
		item, err := j.getOne(ctx, j.segmentKey(s.head.ref, s.after/segmentEvents))
		if err != nil {
			return nil, err
		}
		all = decodeSegment(item.Value)
	}
	var events []event
	for _, e := range all {
		if e.Sequence > s.after && e.Sequence <= s.last {
			events = append(events, e)
		}
	}
	return events, nil
}
