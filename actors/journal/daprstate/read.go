package daprstate

import (
	"context"
	"fmt"
	"iter"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// viewOf reads a head as a reader has to see it.
func (j *Journal) viewOf(ctx context.Context, ref actors.Ref) (*head, error) {
	heads, err := j.views(ctx, []actors.Ref{ref})
	if err != nil {
		return nil, err
	}
	return heads[0], nil
}

// views reads many heads at once.
func (j *Journal) views(ctx context.Context, refs []actors.Ref) ([]*head, error) {
	keys := make([]string, len(refs))
	for i, ref := range refs {
		keys[i] = j.headKey(ref)
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	heads := make([]*head, len(refs))
	for i, ref := range refs {
		r, err := decodeRecord(items[i])
		if err != nil {
			return nil, err
		}
		h, err := decodeHead(r, ref)
		if err != nil {
			return nil, err
		}
		if heads[i], err = j.view(ctx, h, items[i]); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// span of a stream's events that is to be read.
type span struct {
	head        *head
	after, last int64
	events      []rules.Stored
	// cut says that last was lowered, for the events would have been too many bytes.
	cut bool
}

// readSpans reads the events of many streams: first all segments, then all payloads that are apart. It reads at least one
// event, and no more than are to be in memory.
func (j *Journal) readSpans(ctx context.Context, spans []*span) error {
	var keys []string
	for _, s := range spans {
		for n := s.after / segmentEvents; n*segmentEvents < min(s.last, s.head.sealed); n++ {
			keys = append(keys, j.segmentKey(s.head.ref, n))
		}
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return err
	}
	var apart []*data
	var found [][]event
	size := 0
	for _, s := range spans {
		var all []event
		for n := s.after / segmentEvents; n*segmentEvents < min(s.last, s.head.sealed); n++ {
			all = append(all, decodeSegment(items[0].Value)...)
			items = items[1:]
		}
		if s.last > s.head.sealed {
			all = append(all, s.head.events...)
		}
		var wanted []event
		for _, e := range all {
			if e.Sequence > s.after && e.Sequence <= s.last {
				wanted = append(wanted, e)
			}
		}
		for i := range wanted {
			if size += max(wanted[i].data.big.size, len(wanted[i].data.inline)); size > rules.PageBytes && len(apart) > 0 {
				s.last, s.cut = wanted[i].Sequence-1, true
				wanted = wanted[:i]
				break
			}
			apart = append(apart, &wanted[i].data)
		}
		found = append(found, wanted)
	}
	if err := j.fill(ctx, apart); err != nil {
		return err
	}
	for i, s := range spans {
		for _, e := range found[i] {
			if e.data.big.name != "" && e.data.inline == nil {
				continue // missing, or forgotten since the head was read: whoever needs it finds out
			}
			e.Ref, e.Payload.Data = s.head.ref, e.data.inline
			s.events = append(s.events, rules.Stored{Event: e.Event, Sum: e.sum})
		}
	}
	return nil
}

// pageOf is how many events are read at once: as many as fit into memory if all are big.
const pageOf = 4 * segmentEvents

// page returns events of a stream after a sequence, at least one if there are any.
func (j *Journal) page(ctx context.Context, h *head, after int64, limit int) ([]rules.Stored, error) {
	s := &span{head: h, after: after, last: min(h.at.Sequence, after+int64(min(limit, pageOf)))}
	if s.after >= s.last || s.after < h.floor {
		return nil, nil
	}
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	if err := j.readSpans(ctx, []*span{s}); err != nil {
		return nil, err
	}
	for i := range s.events {
		if s.events[i].Sequence != s.events[0].Sequence+int64(i) {
			s.events = s.events[:i]
			break
		}
	}
	if len(s.events) == 0 || s.events[0].Sequence != after+1 {
		floor, err := j.floorNow(ctx, h.ref)
		if err != nil || floor > after {
			return nil, err
		}
	}
	if len(s.events) == 0 {
		return nil, rules.Missing(h.ref, after+1)
	}
	return s.events, nil
}

// floorNow is up to where events are forgotten by now.
func (j *Journal) floorNow(ctx context.Context, ref actors.Ref) (int64, error) {
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return 0, err
	}
	return h.floor, nil
}

// floorOf is floorNow as a call of its own.
func (j *Journal) floorOf(ctx context.Context, ref actors.Ref) func() (int64, error) {
	return func() (int64, error) {
		if err := j.enter(ctx); err != nil {
			return 0, err
		}
		defer j.leave()
		return j.floorNow(ctx, ref)
	}
}

// Read implements journal.Reader.
func (j *Journal) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	var h *head // as it was when the first page was read
	return rules.Pages(ref, after, limit, func(after int64, limit int) ([]rules.Stored, error) {
		if h == nil {
			if err := j.enter(ctx); err != nil {
				return nil, err
			}
			var err error
			h, err = j.viewOf(ctx, ref)
			j.leave()
			if err != nil {
				return nil, err
			}
		}
		return j.page(ctx, h, after, limit)
	}, j.floorOf(ctx, ref))
}

// Load implements journal.Reader. The head has the newest events and a small snapshot with it, so most entities are loaded
// with one read.
func (j *Journal) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	if err := j.enter(ctx); err != nil {
		return journal.Loading{}, err
	}
	defer j.leave()
	var h *head
	l := journal.Loading{}
	for try := 0; ; try++ {
		var err error
		if h, err = j.viewOf(ctx, ref); err != nil {
			return l, fmt.Errorf("load %s: %w", ref, err)
		}
		l.Head, l.Origin = h.at, h.origin
		if h.snapshot == nil {
			break
		}
		if err := j.fill(ctx, []*data{&h.snapshot.data}); err != nil {
			return l, fmt.Errorf("load %s: %w", ref, err)
		}
		if missing(&h.snapshot.data) && try == 0 {
			continue // it may have been replaced since the head was read
		}
		s := journal.Snapshot{Sequence: h.snapshot.sequence, Payload: h.snapshot.payload}
		s.Payload.Data = h.snapshot.data.inline
		if s.Checksum(ref) == h.snapshot.sum && s.Sequence > h.origin && s.Sequence <= h.at.Sequence {
			l.Snapshot = &s
		}
		break
	}
	after := l.Origin
	if l.Snapshot != nil {
		after = l.Snapshot.Sequence
	}
	pages := rules.Pages(ref, after, int(h.at.Sequence-after), func(after int64, limit int) ([]rules.Stored, error) {
		return j.page(ctx, h, after, limit)
	}, j.floorOf(ctx, ref))
	l.Events = rules.Dense(ref, after, h.at.Sequence, pages)
	return l, nil
}

// Last implements journal.Reader.
func (j *Journal) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	heads, err := j.views(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read the last events: %w", err)
	}
	var spans []*span
	for _, h := range heads {
		if h.at.Sequence > h.floor {
			spans = append(spans, &span{head: h, after: h.at.Sequence - 1, last: h.at.Sequence})
		}
	}
	if err := j.readSpans(ctx, spans); err != nil {
		return nil, fmt.Errorf("read the last events: %w", err)
	}
	last := make([]journal.Event, len(refs))
	for i, h := range heads {
		if h.at.Sequence == h.floor {
			last[i] = forgotten(h)
			continue
		}
		if last[i], err = newest(spans[0]); err != nil {
			if last[i], err = j.lastOf(ctx, h); err != nil {
				return nil, err
			}
		}
		spans = spans[1:]
	}
	return last, nil
}

// forgotten is what Last says of a stream of which nothing is kept.
func forgotten(h *head) journal.Event {
	if h.floor == 0 {
		return journal.Event{}
	}
	return journal.Event{Ref: h.ref, Sequence: h.floor}
}

// newest is the event in a span for the last one.
func newest(s *span) (journal.Event, error) {
	at := s.head.at.Sequence
	if len(s.events) == 0 {
		return journal.Event{}, rules.Missing(s.head.ref, at)
	}
	e := &s.events[0]
	return e.Event, rules.Intact(&e.Event, s.head.ref, at, e.Sum)
}

// lastOf reads the newest event of one stream. It may be gone when it is looked for, for the stream goes on and is
// forgotten meanwhile, or erased: only if the head still speaks of it is it missing.
func (j *Journal) lastOf(ctx context.Context, h *head) (journal.Event, error) {
	for h.at.Sequence > h.floor {
		s := &span{head: h, after: h.at.Sequence - 1, last: h.at.Sequence}
		if err := j.readSpans(ctx, []*span{s}); err != nil {
			return journal.Event{}, fmt.Errorf("read the last event: %w", err)
		}
		e, missing := newest(s)
		if missing == nil {
			return e, nil
		}
		now, err := j.viewOf(ctx, h.ref)
		if err != nil {
			return journal.Event{}, fmt.Errorf("read the last event: %w", err)
		}
		if now.at == h.at && now.floor == h.floor {
			return journal.Event{}, missing
		}
		h = now
	}
	return forgotten(h), nil
}

// List implements journal.Journal.
func (j *Journal) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	return j.list(ctx, service, after, limit)
}

func (j *Journal) list(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	prefix := streamKey(actors.Ref{Service: service})
	var list []journal.Summary
	err := j.streams.scan(ctx, prefix, prefix+after, func(entries []entry) (bool, error) {
		for len(entries) > 0 && (limit == 0 || len(list) < limit) {
			n := min(len(entries), messageItems)
			if limit > 0 {
				n = min(n, limit-len(list))
			}
			refs := make([]actors.Ref, n)
			for i, e := range entries[:n] {
				refs[i] = actors.Ref{Service: service, ID: e.key[len(prefix):]}
			}
			heads, err := j.views(ctx, refs)
			if err != nil {
				return false, err
			}
			for _, h := range heads {
				if h.exists { // it is listed before it is made
					list = append(list, journal.Summary{ID: h.ref.ID, Sequence: h.at.Sequence, Floor: h.floor, Updated: h.updated})
				}
			}
			entries = entries[n:]
		}
		return limit == 0 || len(list) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the streams of %s: %w", service, err)
	}
	return list, nil
}
