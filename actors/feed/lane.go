package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// laneOf an entity, of so many. It is the same for ever: a cursor stands for the entities of its lane.
func laneOf(ref actors.Ref, lanes int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(ref.Service)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(ref.ID))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int(x % uint64(lanes))
}

func laneName(number int) string { return strconv.Itoa(number) }

// lane is a part of the entities while this process has it. But for what is said of single fields it belongs to the
// dealer; before it has it and afterwards, to work.
type lane struct {
	number int
	held   *lease.Held
	cell   fenced
	// kept is what the cell says, of every service that it knows.
	kept   map[string]journal.Position
	tracks map[string]*track

	queues   map[actors.Ref][]*ticket
	ready    []*ticket // fronts of queues, to be tried as soon as there is room
	trying   map[*ticket]struct{}
	again    map[string]bool // cells of released events that are in queues
	count    int             // events in the tracks' windows, and the size of their payloads
	bytes    int
	stopped  bool // has taken no more of a batch
	unsaved  int  // events that are done since the cell was saved
	saving   bool
	ending   bool
	lost     bool
	replaced chan struct{} // closed, and lost set, when another process has the cell
	idle     chan struct{} // closed when it is ending, and nothing of it is under way
}

// track is a lane's part of one service's events.
type track struct {
	at     journal.Position // up to here everything is handled or parked
	seen   journal.Position // up to here events have been read
	window []*ticket        // those after at that were read, in the order of the journal
}

// written is the value of a lane's cell.
type written struct {
	Places []placed  `json:"places"`
	Writer string    `json:"writer"`
	Time   time.Time `json:"time"` // for people
}

// placed are the services whose events are handled or parked up to a place.
type placed struct {
	place
	Services []string `json:"services"`
}

func newLane(number int, held *lease.Held, cell fenced) *lane {
	return &lane{
		number: number, held: held, cell: cell, kept: map[string]journal.Position{}, tracks: map[string]*track{},
		queues: map[actors.Ref][]*ticket{}, trying: map[*ticket]struct{}{}, again: map[string]bool{},
		replaced: make(chan struct{}), idle: make(chan struct{}),
	}
}

// claim loads the cell and takes it from whoever had it.
func (l *lane) claim(ctx context.Context) error {
	value, err := l.cell.load(ctx)
	if err != nil {
		return err
	}
	if value != nil {
		var w written
		if err := json.Unmarshal(value, &w); err != nil {
			return fmt.Errorf("load %s: its value is no list of positions; correct the cell, or remove it to begin anew: %w", l.cell.key, err)
		}
		for _, p := range w.Places {
			for _, service := range p.Services {
				l.kept[service] = p.position()
			}
		}
	}
	return l.save(ctx)
}

// serve has the lane deliver events of a service too, from where it was, else from the given position.
func (l *lane) serve(service string, from journal.Position) {
	if l.tracks[service] != nil {
		return
	}
	if at, known := l.kept[service]; known {
		from = at
	}
	l.tracks[service] = &track{at: from, seen: from}
}

// places is what the cell is to say, of services that have no track here too.
func (l *lane) places() map[string]journal.Position {
	all := maps.Clone(l.kept)
	for service, t := range l.tracks {
		all[service] = t.at
	}
	return all
}

// dirty reports whether the cell does not say how far the lane has come.
func (l *lane) dirty() bool {
	for service, t := range l.tracks {
		if at, known := l.kept[service]; !known || at != t.at {
			return true
		}
	}
	return false
}

func (l *lane) encode(places map[string]journal.Position) ([]byte, error) {
	by := map[journal.Position][]string{}
	for service, at := range places {
		by[at] = append(by[at], service)
	}
	w := written{Places: []placed{}, Writer: l.cell.writer, Time: time.Now().UTC()}
	for at, services := range by {
		slices.Sort(services)
		w.Places = append(w.Places, placed{place(at), services})
	}
	slices.SortFunc(w.Places, func(a, b placed) int {
		return cmp.Or(a.position().Compare(b.position()), cmp.Compare(a.Services[0], b.Services[0]))
	})
	value, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("save %s: %w", l.cell.key, err)
	}
	return value, nil
}

// save the cell, outside the dealer.
func (l *lane) save(ctx context.Context) error {
	places := l.places()
	value, err := l.encode(places)
	if err != nil {
		return err
	}
	if err := l.cell.save(ctx, value); err != nil {
		return err
	}
	l.kept = places
	return nil
}

// take an event into its track.
func (l *lane) take(t *ticket, in *track) {
	t.lane, t.track = l, in
	in.window = append(in.window, t)
	in.seen = t.event.Position
	l.count++
	l.bytes += len(t.event.Payload.Data)
	l.queue(t)
}

func (l *lane) queue(t *ticket) {
	t.lane = l
	ref := t.event.Ref
	l.queues[ref] = append(l.queues[ref], t)
	if len(l.queues[ref]) == 1 {
		l.ready = append(l.ready, t)
	}
}

// done with the front of a queue.
func (l *lane) done(t *ticket) {
	delete(l.again, t.released.Key)
	ref := t.event.Ref
	if queue := l.queues[ref][1:]; len(queue) > 0 {
		l.queues[ref] = queue
		l.ready = append(l.ready, queue[0])
	} else {
		delete(l.queues, ref)
	}
	if t.track == nil {
		return // a released one
	}
	t.done = true
	for in := t.track; len(in.window) > 0 && in.window[0].done; l.unsaved++ {
		in.at = in.window[0].event.Position
		l.count--
		l.bytes -= len(in.window[0].event.Payload.Data)
		in.window[0] = nil
		if in.window = in.window[1:]; len(in.window) == 0 {
			in.at, in.window = in.seen, nil
		}
	}
}

// rest closes idle if nothing is under way.
func (l *lane) rest() {
	if l.ending && len(l.trying) == 0 && !l.saving {
		close(l.idle)
	}
}
