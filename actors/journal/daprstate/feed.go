package daprstate

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
)

// feed is the order over all streams: runs of events, one behind the other, in one record whose full pages are moved out.
// The same record lists the open streams: those whose head may have events that are in no run yet. So one save puts events
// into the order and says that they are.
//
// A stream is opened before its head is saved with an event, and its head says in which round. It stays open while it is
// written to. To close it, its head is saved with round 0 first, which has every writer fail that does not know; then it is
// taken off the list, unless somebody asked for it to be opened meanwhile. So at all times whoever looks at the heads of
// the open streams finds all events that are not in the order, whoever died in the middle.
type feed struct {
	j    *Journal
	work combiner[request]
}

// request is a stream that is to be open, or one whose events are to get into the order.
type request struct {
	opening *opening
	landed  landed
}

// run of events in the order, as a reader gets it.
type run struct {
	ref         actors.Ref
	after, last int64
}

// landed is a stream to which events were appended, up to last.
type landed struct {
	ref                 actors.Ref
	round, opened, last int64
}

// run is what the change has to tell the feed once it is saved.
func (c *change) run() landed { return landed{c.ref, c.round, c.opened, c.at.Sequence} }

// order is the feed's record.
type order struct {
	rounds int64 // the last round that was given to a stream
	// first is the number of the first of runs, in the order from 1.
	first int64
	runs  []run
	open  []open // those that were written to last come last
}

type open struct {
	ref   actors.Ref
	round int64
	// asked counts how often somebody wanted it to be open.
	asked int64
	// published is up to where its events are in the order, -1 if none have been since it was opened.
	published int64
}

// pageRuns is how many runs are moved out together. What a page holds is settled by its number.
const pageRuns = 64

func (o *order) encode() []byte {
	e := encoder{make([]byte, 0, 64*(len(o.runs)+len(o.open)))}
	e.number(o.rounds)
	e.number(o.first)
	e.runs(o.runs)
	e.count(len(o.open))
	for _, s := range o.open {
		e.ref(s.ref)
		e.number(s.round)
		e.number(s.asked)
		e.number(s.published)
	}
	return e.data
}

func decodeOrder(r record) (*order, error) {
	o := &order{first: 1}
	if r.version == 0 {
		return o, nil
	}
	d := decoder{data: r.body}
	o.rounds, o.first = d.number(), d.number()
	o.runs = d.runs()
	for range d.count() {
		o.open = append(o.open, open{ref: d.ref(), round: d.number(), asked: d.number(), published: d.number()})
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, r.key)
	}
	return o, nil
}

func (e *encoder) runs(runs []run) {
	e.count(len(runs))
	for _, r := range runs {
		e.ref(r.ref)
		e.number(r.after)
		e.number(r.last)
	}
}

func (d *decoder) runs() []run {
	var runs []run
	for range d.count() {
		if r := (run{d.ref(), d.number(), d.number()}); !d.bad {
			runs = append(runs, r)
		}
	}
	return runs
}

func (o *order) find(ref actors.Ref) int {
	return slices.IndexFunc(o.open, func(s open) bool { return s.ref == ref })
}

// publish puts what landed into the order, unless that was done already, and has the stream stand last.
func (o *order) publish(l landed) {
	i := o.find(l.ref)
	if i < 0 || o.open[i].round != l.round {
		return // somebody else did it, and closed the stream
	}
	s := o.open[i]
	from := s.published
	if from < 0 {
		from = l.opened
	}
	if l.last > from {
		o.runs = append(o.runs, run{l.ref, from, l.last}) // one that was read already must not grow
		s.published = l.last
	}
	o.open = append(slices.Delete(o.open, i, i+1), s)
}

func (f *feed) key() string { return f.j.key("f") }

func (f *feed) pageKey(n int64) string { return f.j.key("f", fmt.Sprint(n)) }

// read returns the record of the feed.
func (f *feed) read(ctx context.Context) (record, *order, error) {
	item, err := f.j.getOne(ctx, f.key())
	if err != nil {
		return record{}, nil, err
	}
	r, err := decodeRecord(item)
	if err != nil {
		return r, nil, err
	}
	o, err := decodeOrder(r)
	return r, o, err
}

// change saves the record, and the pages that became full before it did.
func (f *feed) change(ctx context.Context, what func(o *order) error) error {
	return f.j.update(ctx, f.key(), func(r record) ([]byte, error) {
		o, err := decodeOrder(r)
		if err != nil {
			return nil, err
		}
		var pages []Item
		for len(o.runs) >= 2*pageRuns { // the newest page stays here, for those who follow
			var e encoder
			e.runs(o.runs[:pageRuns])
			e.fixed(crcOf(e.data))
			pages = append(pages, Item{Key: f.pageKey((o.first - 1) / pageRuns), Value: e.data})
			o.runs = slices.Clone(o.runs[pageRuns:])
			o.first += pageRuns
		}
		if err := what(o); err != nil {
			return nil, err
		}
		if err := f.j.put(ctx, pages); err != nil {
			return nil, err
		}
		return o.encode(), nil
	})
}

// opening is a stream that is to be open.
type opening struct {
	ref   actors.Ref
	round int64
}

// register opens a stream and returns its round.
func (f *feed) register(ctx context.Context, ref actors.Ref) (int64, error) {
	o := &opening{ref: ref}
	if err := f.work.do(ctx, request{opening: o}); err != nil {
		return 0, err
	}
	return o.round, nil
}

// publish sees to it that events get into the order, soon.
func (f *feed) publish(list []landed) {
	for _, l := range list {
		f.work.add(request{landed: l})
	}
}

// run does what was asked for, with one save if there is room for all streams that are to be open.
func (f *feed) run(ctx context.Context, requests []request) error {
	var landings []landed
	var openings []*opening
	for _, r := range requests {
		if r.opening != nil {
			openings = append(openings, r.opening)
		} else {
			landings = append(landings, r.landed)
		}
	}
	for first := true; first || len(openings) > 0; first = false {
		n := min(len(openings), f.j.config.MaxOpen/4)
		if err := f.open(ctx, landings, openings[:n]); err != nil {
			if len(landings) > 0 { // they stay on the list of those that are open, where they are found
				f.j.config.Log.Warn("events come late in feeds", "streams", len(landings), "error", err)
			}
			return err
		}
		landings, openings = nil, openings[n:]
	}
	return nil
}

// open puts what landed into the order and opens streams. To do so twice does no harm.
func (f *feed) open(ctx context.Context, landings []landed, openings []*opening) error {
	for {
		var crowd []open
		err := f.change(ctx, func(o *order) error {
			for _, l := range landings {
				o.publish(l)
			}
			crowd = nil
			if room := f.j.config.MaxOpen - len(openings); len(openings) > 0 && len(o.open) > room {
				crowd = slices.Clone(o.open[:min(len(o.open), len(o.open)-room+f.j.config.MaxOpen/4)])
				return nil
			}
			for _, want := range openings {
				i := o.find(want.ref)
				if i < 0 {
					o.rounds++
					i = len(o.open)
					o.open = append(o.open, open{ref: want.ref, round: o.rounds, published: -1})
				}
				o.open[i].asked++
				want.round = o.open[i].round
			}
			return nil
		})
		if err != nil || crowd == nil {
			return err
		}
		if err := f.close(ctx, crowd); err != nil {
			return fmt.Errorf("close streams to make room for others: %w", err)
		}
	}
}
