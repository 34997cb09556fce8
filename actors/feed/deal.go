package feed

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// errCut is the cause of the end of a try that is none.
var errCut = errors.New("the events go to another consumer")

// hand out what can be tried now.
func (d *dealer) hand(now time.Time) {
	if len(d.waiting) > 0 && !now.Before(d.due) {
		left := d.waiting[:0]
		for _, t := range d.waiting {
			switch {
			case !t.due.After(now):
				t.lane.ready = append(t.lane.ready, t)
			default:
				if len(left) == 0 || t.due.Before(d.due) {
					d.due = t.due
				}
				left = append(left, t)
			}
		}
		clear(d.waiting[len(left):])
		d.waiting = left
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deal || d.dealt != d.changes {
		d.deal, d.dealt = false, d.changes
		d.assign()
	}
	if d.paused {
		return
	}
	for _, h := range d.hands {
		for h.trying < h.concurrency && !h.leaving {
			t := h.pick()
			if t == nil {
				break
			}
			d.begin(h.taker, t)
		}
	}
}

// assign the lanes to the takers, so that few of them move when one comes or goes. The Subscription's mu is held.
func (d *dealer) assign() {
	wants, hands := map[string][]string{}, map[string]*hand{}
	var names []string
	for n := range d.lanes {
		names = append(names, laneName(n))
	}
	slices.Sort(names)
	d.hands = nil
	for _, t := range d.takers {
		h := &hand{taker: t}
		d.hands = append(d.hands, h)
		wants[t.name], hands[t.name] = names, h
	}
	for name, taker := range lease.Spread(wants) {
		n, _ := strconv.Atoi(name)
		hands[taker].lanes = append(hands[taker].lanes, d.lanes[n])
	}
}

// pick the next event, of each lane in turn.
func (h *hand) pick() *ticket {
	for range h.lanes {
		l := h.lanes[h.next%len(h.lanes)]
		h.next++
		if len(l.ready) > 0 && l.held.Valid() {
			t := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			return t
		}
	}
	return nil
}

// begin a try. The Subscription's mu is held.
func (d *dealer) begin(by *taker, t *ticket) {
	var ctx context.Context
	ctx, t.cut = context.WithCancelCause(by.tries)
	t.lane.trying[t] = struct{}{}
	by.trying++
	d.beside.Go(func() {
		done := d.trial.try(ctx, t, d.config.Timeout, by.handle)
		cut := ctx.Err() != nil
		t.cut(nil)
		d.mu.Lock()
		by.trying--
		by.rest()
		d.mu.Unlock()
		d.box.post(func() { d.result(t, done, cut) })
	})
}

// result of a try.
func (d *dealer) result(t *ticket, done, cut bool) {
	l := t.lane
	delete(l.trying, t)
	switch {
	case done:
		l.done(t)
	case l.ending:
	case cut:
		l.ready = append([]*ticket{t}, l.ready...)
	default:
		t.due = time.Now().Add(d.trial.after(max(1, t.tries)))
		if len(d.waiting) == 0 || t.due.Before(d.due) {
			d.due = t.due
		}
		d.waiting = append(d.waiting, t)
	}
	l.rest()
}

// idleSaves is how long a cursor may wait that only passes events of others, in times of Save.
const idleSaves = 40

// save begins to save the cursors of all lanes that have come forward.
func (d *dealer) save(ctx context.Context, now time.Time) {
	since := now.Sub(d.saved)
	if d.saving || since < d.config.Save {
		return
	}
	urgent := since >= idleSaves*d.config.Save
	for _, l := range d.lanes {
		urgent = urgent || l.unsaved > 0
	}
	if !urgent {
		return
	}
	d.saved = now
	var list []*saving
	for _, l := range d.lanes {
		if !l.dirty() {
			continue
		}
		places := l.places()
		value, err := l.encode(places)
		if err != nil {
			d.complain(ctx, err)
			continue
		}
		list = append(list, &saving{lane: l, cell: l.cell, places: places, value: value})
		l.saving, l.unsaved = true, 0
	}
	if len(list) == 0 {
		return
	}
	d.saving = true
	d.beside.Go(func() {
		put(ctx, d.config.Cells, list)
		d.box.post(func() {
			d.saving = false
			for _, s := range list {
				d.kept(ctx, s)
			}
			d.moved()
		})
	})
}

// saving is a lane's cell on its way to the journal.
type saving struct {
	lane   *lane
	cell   fenced
	places map[string]journal.Position
	value  []byte
	err    error
}

// put all cells at once.
func put(ctx context.Context, cells journal.Cells, list []*saving) {
	all := make([]journal.Cell, len(list))
	for i, s := range list {
		all[i] = journal.Cell{Key: s.cell.key, Value: s.value, Version: s.cell.version}
	}
	results, err := cells.PutEach(ctx, all)
	for i, s := range list {
		switch {
		case err != nil:
			s.err = err
		case results[i].Err == nil:
			s.cell.version = results[i].Version
		case errors.Is(results[i].Err, journal.ErrConflict):
			s.err = s.cell.save(ctx, s.value) // perhaps it was with our own, whose answer was lost
		default:
			s.err = results[i].Err
		}
	}
}

// kept is told what became of a lane's cell.
func (d *dealer) kept(ctx context.Context, s *saving) {
	l := s.lane
	l.saving = false
	l.cell = s.cell
	switch {
	case s.err == nil:
		l.kept = s.places
		d.complain(ctx, nil)
	case errors.Is(s.err, ErrReplaced):
		if !l.lost {
			l.lost = true
			close(l.replaced)
		}
	default:
		l.unsaved = max(l.unsaved, 1)
		d.complain(ctx, s.err)
	}
	l.rest()
}

// moved tells how far the lanes have come, and how old the oldest event is that waits.
func (d *dealer) moved() {
	var at journal.Position
	var oldest time.Time
	first := true
	for _, l := range d.lanes {
		for _, t := range l.tracks {
			if first || t.at.Compare(at) < 0 {
				at, first = t.at, false
			}
			if len(t.window) > 0 && (oldest.IsZero() || t.window[0].event.Time.Before(oldest)) {
				oldest = t.window[0].event.Time
			}
		}
	}
	lag := time.Duration(0)
	if !oldest.IsZero() {
		lag = time.Since(oldest)
	}
	if !first {
		d.config.Observer.Moved(at, lag)
	}
}
