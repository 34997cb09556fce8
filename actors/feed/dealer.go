package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// dealer deals the events of a process's lanes to its takers. One goroutine does everything but what waits for somebody:
// reads, tries and saves run beside it and post what came of them.
//
// All lanes share the reading. Each track remembers up to where it has seen the journal; a batch is for the tracks that had
// seen it up to the batch's beginning or farther, and they take of it what they have not seen. So one read serves all lanes
// that are about as far; those that have fallen behind, or are new, get reads of their own until they have caught up.
type dealer struct {
	*Subscription
	trial trial
	lanes map[int]*lane
	total int // lanes of the group
	// begins has the services, and where they begin for a lane that does not know them.
	begins map[string]journal.Position
	names  []string // of the services

	// Of reading:
	reading bool
	rung    bool
	version int              // of begins
	end     journal.Position // where the journal ended; only if ended
	ended   bool
	turn    int // of reads
	fetched time.Time
	problem bool // the last read failed
	block   block

	// Of handing out:
	waiting []*ticket // fronts of queues, to be tried when they are due
	due     time.Time // of the first of them
	dealt   int       // version of the takers that the lanes are dealt to
	deal    bool      // anew
	hands   []*hand

	looking bool
	looked  time.Time // for released events
	saving  bool
	saved   time.Time
	failing bool
}

// hand is a taker with the lanes that are dealt to it.
type hand struct {
	*taker
	lanes []*lane
	next  int
}

// run deals until stop is closed. No lanes are left then.
func (d *dealer) run(ctx context.Context, stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for stopping := false; ; {
		list, rung := d.box.empty()
		d.rung = d.rung || rung
		for _, f := range list {
			f()
		}
		if stopping && len(list) == 0 && !d.reading && !d.looking {
			return
		}
		now := time.Now()
		if !stopping {
			d.fetch(ctx, now)
			d.look(ctx, now)
			d.hand(now)
			d.save(ctx, now)
		}
		timer.Reset(d.pause(now))
		select {
		case <-stop:
			stop, stopping = nil, true
		case <-d.box.bell:
		case <-timer.C:
		}
	}
}

// pause is how long there is nothing to do if nothing happens.
func (d *dealer) pause(now time.Time) time.Duration {
	wait := d.config.Poll
	if len(d.waiting) > 0 {
		wait = min(wait, d.due.Sub(now))
	}
	return max(wait, 0)
}

// complain once when the journal begins to fail, and tell when it is over.
func (d *dealer) complain(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !d.failing:
		d.config.Log.Warn("the subscription waits for the journal", logError, err)
	case err == nil && d.failing:
		d.config.Log.Info("the subscription goes on")
	}
	d.failing = err != nil
}

// serve has all lanes deliver the events of services, besides those that they do already.
func (d *dealer) serve(begins map[string]journal.Position) {
	for service, at := range begins {
		if _, known := d.begins[service]; known {
			continue
		}
		d.begins[service] = at
		d.names = append(d.names, service)
		d.version++
		d.ended = false
		for _, l := range d.lanes {
			l.serve(service, at)
		}
	}
}

// join adds a lane that was claimed.
func (d *dealer) join(l *lane) {
	for service, at := range d.begins {
		l.serve(service, at)
	}
	d.lanes[l.number] = l
	d.deal, d.ended = true, false
}

// leave begins nothing more of a lane. Its idle is closed when what goes on has ended.
func (d *dealer) leave(l *lane) {
	delete(d.lanes, l.number)
	d.deal = true
	l.ending = true
	d.waiting = slices.DeleteFunc(d.waiting, func(t *ticket) bool { return t.lane == l })
	l.rest()
}

// room of a lane, as its share of the window.
func (d *dealer) room() (events, bytes int) {
	n := max(1, len(d.lanes))
	return max(1, d.config.Window/n), max(1, d.config.WindowBytes/n)
}

// ahead is how often a read is for those that have seen the most: seldom enough for the others to catch up with them, after
// which one read is for all.
const ahead = 4

// fetch begins to read the next batch, if any lane has room for it, and there may be one.
func (d *dealer) fetch(ctx context.Context, now time.Time) {
	if d.reading || len(d.names) == 0 {
		return
	}
	if d.problem && now.Before(d.fetched.Add(d.config.Poll)) {
		return
	}
	low, high, some := d.reach()
	if !some {
		return
	}
	from := high
	if d.turn++; d.turn%ahead > 0 || d.ended && high == d.end && !d.rung && now.Before(d.fetched.Add(d.config.Poll)) {
		from = low
	}
	if d.ended && from == d.end {
		if !d.rung && now.Before(d.fetched.Add(d.config.Poll)) {
			return
		}
		d.rung = false
	}
	d.reading, d.fetched = true, now
	names, version := slices.Clip(d.names), d.version
	d.beside.Go(func() {
		events, to, err := d.config.Tailer.Tail(ctx, names, from, d.config.Batch)
		d.box.post(func() {
			d.reading = false
			d.take(ctx, from, to, version, events, err)
		})
	})
}

// reach returns how far the tracks of those lanes have seen that have room for more: the least and the most.
func (d *dealer) reach() (low, high journal.Position, some bool) {
	events, bytes := d.room()
	for _, l := range d.lanes {
		if l.count > events/2 || l.bytes > bytes/2 {
			continue
		}
		for _, t := range l.tracks {
			if !some || t.seen.Compare(low) < 0 {
				low = t.seen
			}
			if !some || t.seen.Compare(high) > 0 {
				high = t.seen
			}
			some = true
		}
	}
	return low, high, some
}

// take a batch that was read.
func (d *dealer) take(ctx context.Context, from, to journal.Position, version int, events []journal.Event, err error) {
	corrupt, damaged := errors.AsType[*journal.CorruptError](err)
	if d.problem = err != nil && !damaged; d.problem {
		d.complain(ctx, fmt.Errorf("read events: %w", err))
		return
	}
	d.complain(ctx, nil)
	if version != d.version {
		return // of some services it knows nothing
	}
	if to == from {
		d.ended, d.end = true, to
		if err := d.block.look(ctx); err != nil {
			d.complain(ctx, err)
		}
		return
	}
	d.block.over()
	d.ended = false
	mostEvents, mostBytes := d.room()
	for _, l := range d.lanes {
		l.stopped = false
	}
	add := func(t *ticket) {
		l := d.lanes[laneOf(t.event.Ref, d.total)]
		if l == nil || l.stopped {
			return
		}
		in := l.tracks[t.event.Ref.Service]
		switch {
		case in == nil, in.seen.Compare(from) < 0, t.event.Position.Compare(in.seen) <= 0:
		case l.count > 0 && (l.count >= mostEvents || l.bytes+len(t.event.Payload.Data) > mostBytes):
			l.stopped = true
		default:
			l.take(t, in)
		}
	}
	for _, e := range events {
		add(&ticket{event: e})
	}
	if damaged {
		e := journal.Event{Ref: corrupt.Ref, Sequence: corrupt.Sequence, Position: to}
		add(&ticket{event: e, hopeless: true, problem: err.Error()})
	}
	for _, l := range d.lanes {
		if l.stopped {
			continue
		}
		for _, t := range l.tracks {
			if t.seen.Compare(from) < 0 || t.seen.Compare(to) >= 0 {
				continue
			}
			if t.seen = to; len(t.window) == 0 {
				t.at = to
			}
		}
	}
}

// look for released events, now and then.
func (d *dealer) look(ctx context.Context, now time.Time) {
	if d.looking || len(d.lanes) == 0 || now.Before(d.looked.Add(lookReleased)) {
		return
	}
	d.looking, d.looked = true, now
	again := map[string]bool{}
	lanes := map[int]*lane{}
	for n, l := range d.lanes {
		lanes[n] = l
		for key := range l.again {
			again[key] = true
		}
	}
	d.beside.Go(func() {
		tickets, err := d.trial.released(ctx, "", d.config.Batch, func(key string, ref actors.Ref) bool {
			return !again[key] && lanes[laneOf(ref, d.total)] != nil
		})
		d.box.post(func() {
			d.looking = false
			if err != nil {
				d.complain(ctx, err)
			}
			for _, t := range tickets {
				l := lanes[laneOf(t.event.Ref, d.total)]
				if d.lanes[l.number] == l && !l.again[t.released.Key] {
					l.again[t.released.Key] = true
					l.queue(t)
				}
			}
		})
	})
}
