package daprstate

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Tail implements journal.Tailer. A position is the number of a run and the place in it, from 1.
func (j *Journal) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	if err := j.enter(ctx); err != nil {
		return nil, after, err
	}
	defer j.leave()
	events, position, err := j.tail(ctx, services, after, limit)
	if err != nil && position == after {
		err = fmt.Errorf("follow the feed: %w", err)
	}
	return events, position, err
}

// tailRuns is how many runs are looked at in one call.
const tailRuns = 4 * pageRuns

func (j *Journal) tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	_, o, err := j.feed.read(ctx)
	if err != nil {
		return nil, after, err
	}
	// The run of the position itself may have more.
	number := max(1, int64(after.Transaction))
	runs, err := j.feed.from(ctx, o, number)
	if err != nil {
		return nil, after, err
	}
	if len(runs) == 0 || len(runs) == 1 && after.Transaction > 0 && after.Ordinal >= runs[0].last-runs[0].after {
		if err := j.feed.sweep(ctx, o); err != nil {
			return nil, after, err
		}
		return nil, after, nil
	}
	t := tailing{j: j, services: services, limit: limit}
	return t.read(ctx, runs, number, after)
}

// from returns runs from a number on, up to tailRuns of them.
func (f *feed) from(ctx context.Context, o *order, number int64) ([]run, error) {
	if number >= o.first {
		skip := min(number-o.first, int64(len(o.runs)))
		return o.runs[skip:min(int64(len(o.runs)), skip+tailRuns)], nil
	}
	first := (number - 1) / pageRuns
	last := min((o.first-1)/pageRuns, first+tailRuns/pageRuns)
	var keys []string
	for n := first; n < last; n++ {
		keys = append(keys, f.pageKey(n))
	}
	items, err := f.j.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	var runs []run
	for _, item := range items {
		b, ok := summed(item.Value)
		d := decoder{data: b}
		page := d.runs()
		if !ok || d.end() != nil || len(page) != pageRuns {
			return nil, fmt.Errorf("%w: %s", errDamaged, item.Key)
		}
		runs = append(runs, page...)
	}
	if last == (o.first-1)/pageRuns {
		runs = append(runs, o.runs...)
	}
	return runs[(number-1)%pageRuns:], nil
}

type tailing struct {
	j        *Journal
	services []string
	limit    int
}

// piece of a run that is to be read.
type piece struct {
	span
	number  int64 // of the run
	run     run
	foreign bool
}

// read reads runs, of which the first has the number, from after on.
func (t *tailing) read(ctx context.Context, runs []run, number int64, after journal.Position) ([]journal.Event, journal.Position, error) {
	var pieces []*piece
	var refs []actors.Ref
	looked, wanted := int64(0), int64(0)
	most := int64(pageOf)
	if t.limit > 0 {
		most = min(most, int64(t.limit))
	}
	for i, r := range runs {
		p := &piece{number: number + int64(i), run: r, foreign: !slices.Contains(t.services, r.ref.Service)}
		p.after, p.last = r.after, r.last
		if uint64(p.number) == after.Transaction {
			p.after = min(r.last, r.after+after.Ordinal)
		}
		if looked >= rules.Looks || wanted >= most {
			break
		}
		if !p.foreign {
			p.last = min(p.last, p.after+most-wanted)
			wanted += p.last - p.after
			refs = append(refs, r.ref)
		}
		looked += p.last - p.after
		pieces = append(pieces, p)
	}
	heads, err := t.j.views(ctx, refs)
	if err != nil {
		return nil, after, err
	}
	var spans []*span
	for _, p := range pieces {
		if !p.foreign {
			p.head, heads = heads[0], heads[1:]
			p.after = min(max(p.after, p.head.floor), max(p.after, p.last)) // what is forgotten does not come
			spans = append(spans, &p.span)
		}
	}
	if err := t.j.readSpans(ctx, spans); err != nil {
		return nil, after, err
	}
	return t.collect(ctx, pieces, after)
}

func (t *tailing) collect(ctx context.Context, pieces []*piece, position journal.Position) ([]journal.Event, journal.Position, error) {
	var events []journal.Event
	for _, p := range pieces {
		at := func(sequence int64) journal.Position {
			return journal.Position{Transaction: uint64(p.number), Ordinal: sequence - p.run.after}
		}
		if p.foreign {
			position = at(p.last)
			continue
		}
		if p.after > p.run.after {
			position = at(p.after)
		}
		have := map[int64]*rules.Stored{}
		for i := range p.events {
			have[p.events[i].Sequence] = &p.events[i]
		}
		for sequence := p.after + 1; sequence <= p.last; sequence++ {
			e := have[sequence]
			if e == nil {
				floor, err := t.j.floorNow(ctx, p.run.ref)
				if err != nil {
					return events, position, err
				}
				if floor >= sequence { // since the head was read
					position = at(sequence)
					continue
				}
				return events, at(sequence), rules.Missing(p.run.ref, sequence)
			}
			if err := rules.Intact(&e.Event, p.run.ref, sequence, e.Sum); err != nil {
				return events, at(sequence), err
			}
			position = at(sequence)
			e.Position = position
			events = append(events, e.Event)
		}
		if p.cut {
			break
		}
	}
	return events, position, nil
}
