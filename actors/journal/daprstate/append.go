package daprstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Append implements journal.Appender. The streams of a batch are written side by side.
func (j *Journal) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	if len(batch) == 0 {
		return nil
	}
	if err := j.enter(ctx); err != nil {
		return rules.All(len(batch), journal.Refused, err)
	}
	defer j.leave()
	groups := rules.Groups(batch)
	results := make([]journal.Result, len(batch))
	items := j.heads(ctx, groups)
	runs := make([][]landed, len(groups))
	var writing sync.WaitGroup
	for i, g := range groups {
		var item *Item
		if items != nil {
			item = &items[i]
		}
		writing.Go(func() {
			var judged []journal.Result
			judged, runs[i] = j.appendGroup(ctx, g, item)
			for k, r := range judged {
				results[g.Index[k]] = r
			}
		})
	}
	writing.Wait()
	j.feed.publish(slices.Concat(runs...))
	return results
}

// heads reads those of all groups at once. Without them, each group reads its own, and gets its own error.
func (j *Journal) heads(ctx context.Context, groups []*rules.Group) []Item {
	keys := make([]string, len(groups))
	for i, g := range groups {
		if journal.ValidateRef(g.Ref) != nil {
			return nil
		}
		keys[i] = j.headKey(g.Ref)
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return nil
	}
	return items
}

// appendGroup writes the appends of one stream, as many with one save as fit into the head. It returns the runs of events
// that have to get into the feed.
func (j *Journal) appendGroup(ctx context.Context, g *rules.Group, item *Item) ([]journal.Result, []landed) {
	if err := journal.ValidateRef(g.Ref); err != nil {
		judged, _ := rules.Judge(journal.Head{}, func(string) *journal.Record { return nil }, g.Appends)
		return judged, nil
	}
	if err := j.slot(ctx); err != nil {
		return rules.All(len(g.Appends), journal.Refused, err), nil
	}
	defer j.free()
	results := make([]journal.Result, 0, len(g.Appends))
	var runs []landed
	for len(results) < len(g.Appends) {
		rest := g.Appends[len(results):]
		var judged []journal.Result
		var made *change
		err := j.changeFrom(ctx, g.Ref, item, func(c *change) error {
			known, err := j.keptRecords(ctx, c.head, recorded(rest))
			if err != nil {
				return err
			}
			var n int
			judged, n = rules.Judge(c.at, func(id string) *journal.Record { return known[id] }, rest)
			if made = nil; n == 0 {
				return errSame
			}
			if m := c.apply(rest, judged); m < n {
				judged = judged[:lastOf(judged, m)]
			}
			made = c
			return c.fits()
		})
		item = nil
		if err != nil {
			return append(results, failed(judged, len(rest), err)...), runs
		}
		if made != nil {
			runs = append(runs, made.run())
		}
		results = append(results, judged...)
	}
	return results, runs
}

func recorded(appends []*journal.Append) []string {
	var ids []string
	for _, a := range appends {
		if a.Record != nil {
			ids = append(ids, a.Command)
		}
	}
	return ids
}

// lastOf is how many results there are up to the m-th that is Committed.
func lastOf(judged []journal.Result, m int) int {
	for i, r := range judged {
		if r.Status == journal.Committed {
			if m--; m == 0 {
				return i + 1
			}
		}
	}
	return len(judged)
}

// failed are the results of n appends whose save failed.
func failed(judged []journal.Result, n int, err error) []journal.Result {
	results := rules.All(n, journal.Refused, refusal(err))
	if !errors.Is(err, errDoubt) {
		return results
	}
	for i := range results {
		results[i] = journal.Result{Status: journal.Unknown, Err: err}
		if i < len(judged) && judged[i].Status == journal.Refused {
			results[i] = judged[i]
		}
	}
	return results
}

// refusal names the fault: the journal's, unless somebody's context has ended.
func refusal(err error) error {
	switch {
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrUnavailable), errors.Is(err, errDamaged),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ErrTooBig):
		return fmt.Errorf("%w: %w", journal.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
}

// apply changes the head by those appends that are judged Committed, as far as there is room, at least by one. It returns
// how many that were.
func (c *change) apply(appends []*journal.Append, judged []journal.Result) int {
	at := now()
	room := inlineTotal
	var applied []*journal.Append
	for i, a := range appends {
		if judged[i].Status != journal.Committed {
			continue
		}
		if room <= 0 && len(applied) > 0 {
			break
		}
		for k := range a.Events {
			room -= c.add(a, &a.Events[k], at, room)
		}
		c.at.Epoch = a.Epoch
		if a.Record != nil {
			outcome := c.parts.keep(slices.Clone(a.Record.Outcome), inlineBytes)
			room -= len(outcome.inline) + len(a.Command)
			c.records = append(c.records, command{a.Command, a.Record.Hash, c.at.Sequence, outcome})
		}
		if a.Snapshot != nil {
			c.snap(a.Snapshot)
		}
		applied = append(applied, a)
	}
	c.exists, c.updated = true, at
	c.keep(rules.KeepAll(c.ref, applied), at)
	return len(applied)
}

// add appends an event to the head and returns what room it takes there.
func (c *change) add(a *journal.Append, e *journal.Event, at time.Time, room int) int {
	c.at.Sequence++
	v := event{Event: *e}
	v.Ref, v.Sequence, v.Command, v.Time = a.Ref, c.at.Sequence, a.Command, at
	v.sum = v.Checksum()
	limit := inlineBytes
	if room < 0 {
		limit = 64
	}
	v.data = c.parts.keep(slices.Clone(e.Payload.Data), limit)
	v.Payload.Data = nil
	c.events = append(c.events, v)
	return len(v.data.inline) + len(v.Command) + len(v.Name) + len(v.Payload.TypeURL) + 64
}

func (c *change) snap(p *actors.Payload) {
	if c.snapshot != nil {
		c.drop(c.snapshot.data)
	}
	s := journal.Snapshot{Sequence: c.at.Sequence, Payload: *p}
	c.snapshot = &snapshot{sequence: s.Sequence, payload: *p, sum: s.Checksum(c.ref)}
	c.snapshot.payload.Data = nil
	c.snapshot.data = c.parts.keep(slices.Clone(p.Data), inlineBytes)
}

// fits refuses a head that has become too big. Of all that it holds, only effects grow without being moved out.
func (c *change) fits() error {
	if size := len(c.encode()); size > maxHeadBytes {
		return fmt.Errorf("%w: %s has %d effects that are not carried out, which take %d bytes; at most %d are possible",
			journal.ErrFull, c.ref, len(c.effects), size, maxHeadBytes)
	}
	return nil
}
