// Package memory keeps a journal in memory, for tests and trials. It holds all events for ever and nothing after Close.
package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Journal is a journal in memory.
type Journal struct {
	id string

	mu       sync.RWMutex
	closed   bool
	position int64
	streams  map[actors.Ref]*stream
	order    []*stored // over all streams
	outbox   outbox
	version  int64 // of the cell that was put last
	cells    map[string]journal.Cell
}

// stream is guarded by the journal's lock. What its slices and maps hold is never changed once it is in.
type stream struct {
	head     journal.Head
	origin   int64
	floor    int64
	updated  time.Time
	events   []*stored // after floor
	snapshot *snapshot
	records  map[string]*journal.Record
}

type stored struct {
	journal.Event
	sum uint32
}

type snapshot struct {
	journal.Snapshot
	sum uint32
}

// Open makes an empty journal.
func Open() *Journal {
	return &Journal{
		id: rand.Text(), streams: map[actors.Ref]*stream{}, cells: map[string]journal.Cell{},
		outbox: outbox{ids: map[string]*effect{}, keys: map[name]*effect{}},
	}
}

// Append implements journal.Appender.
func (j *Journal) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	return j.write(ctx, batch, false)
}

// Transact implements journal.Appender.
func (j *Journal) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	return j.write(ctx, batch, true)
}

func (j *Journal) write(ctx context.Context, batch []journal.Append, whole bool) []journal.Result {
	if early := rules.Early(ctx, len(batch)); early != nil {
		return early
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return rules.All(len(batch), journal.Refused, journal.ErrClosed)
	}
	groups := rules.Groups(batch)
	results := make([]journal.Result, len(batch))
	commit := make([]int, len(groups))
	total := 0
	for i, g := range groups {
		s := j.streams[g.Ref]
		if s == nil {
			s = &stream{}
		}
		judged, n := rules.Judge(s.head, func(command string) *journal.Record { return s.records[command] }, g.Appends)
		for k, r := range judged {
			results[g.Index[k]] = r
		}
		commit[i] = n
		total += n
	}
	if whole && total < len(batch) {
		rules.Cancel(groups, results)
		return results
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, g := range groups {
		for _, a := range g.Appends[:commit[i]] {
			j.apply(a, now)
		}
		j.outbox.keep(rules.KeepAll(g.Ref, g.Appends[:commit[i]]), now)
	}
	return results
}

func (j *Journal) apply(a *journal.Append, now time.Time) {
	s := j.stream(a.Ref)
	s.head.Epoch = a.Epoch
	s.updated = now
	for _, e := range a.Events {
		s.head.Sequence++
		e.Ref, e.Sequence, e.Command, e.Time = a.Ref, s.head.Sequence, a.Command, now
		j.add(s, e)
	}
	if a.Record != nil {
		s.records[a.Command] = &journal.Record{
			Hash: a.Record.Hash, Outcome: slices.Clone(a.Record.Outcome), Sequence: s.head.Sequence,
		}
	}
	if a.Snapshot != nil {
		snap := journal.Snapshot{Sequence: s.head.Sequence, Payload: *a.Snapshot}
		snap.Payload.Data = slices.Clone(snap.Payload.Data)
		s.snapshot = &snapshot{snap, snap.Checksum(a.Ref)}
	}
}

// add an event, which has everything but its position, to a stream.
func (j *Journal) add(s *stream, e journal.Event) {
	j.position++
	e.Position = journal.Position{Ordinal: j.position}
	e.Payload.Data = slices.Clone(e.Payload.Data)
	kept := &stored{e, e.Checksum()}
	s.events = append(s.events, kept)
	j.order = append(j.order, kept)
}

func (j *Journal) stream(ref actors.Ref) *stream {
	s := j.streams[ref]
	if s == nil {
		s = &stream{records: map[string]*journal.Record{}}
		j.streams[ref] = s
	}
	return s
}

// Fence implements journal.Appender.
func (j *Journal) Fence(ctx context.Context, ref actors.Ref, epoch int64) (journal.Head, error) {
	if err := cmp.Or(ctx.Err(), journal.ValidateRef(ref)); err != nil {
		return journal.Head{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return journal.Head{}, journal.ErrClosed
	}
	s := j.stream(ref)
	s.head = rules.Raise(s.head, epoch)
	s.updated = time.Now().UTC().Truncate(time.Microsecond)
	return s.head, nil
}

// Load implements journal.Reader.
func (j *Journal) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	s, err := j.look(ctx, ref)
	if err != nil {
		return journal.Loading{}, err
	}
	l := journal.Loading{Head: s.head, Origin: s.origin}
	after := s.origin
	if n := s.snapshotAt(ref); n > after {
		l.Snapshot = &journal.Snapshot{Sequence: n, Payload: s.snapshot.Payload}
		after = n
	}
	l.Events = rules.Dense(ref, after, l.Head.Sequence, j.Read(ctx, ref, after, int(l.Head.Sequence-after)))
	return l, nil
}

// Read implements journal.Reader.
func (j *Journal) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		s, err := j.look(ctx, ref)
		if err != nil {
			yield(journal.Event{}, err)
			return
		}
		after := max(after, 0)
		if after < s.floor {
			yield(journal.Event{}, &journal.ForgottenError{Ref: ref, Floor: s.floor})
			return
		}
		first, _ := slices.BinarySearchFunc(s.events, after+1, func(e *stored, sequence int64) int {
			return cmp.Compare(e.Sequence, sequence)
		})
		events := s.events[first:]
		if limit > 0 && limit < len(events) {
			events = events[:limit]
		}
		next := after
		for i := range events {
			next++
			e := events[i]
			if err := rules.Intact(&e.Event, ref, next, e.sum); err != nil {
				yield(journal.Event{}, err)
				return
			}
			if err := ctx.Err(); err != nil {
				yield(journal.Event{}, err)
				return
			}
			if !yield(e.Event, nil) {
				return
			}
		}
	}
}

// look returns a copy of the stream's state; what it points to does not change any more.
func (j *Journal) look(ctx context.Context, ref actors.Ref) (stream, error) {
	if err := ctx.Err(); err != nil {
		return stream{}, err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return stream{}, journal.ErrClosed
	}
	if s := j.streams[ref]; s != nil {
		return *s, nil
	}
	return stream{}, nil
}

// Last implements journal.Reader.
func (j *Journal) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	last := make([]journal.Event, len(refs))
	for i, ref := range refs {
		s, err := j.look(ctx, ref)
		if err != nil {
			return nil, err
		}
		if n := len(s.events); n > 0 {
			e := s.events[n-1]
			if err := rules.Intact(&e.Event, ref, s.head.Sequence, e.sum); err != nil {
				return nil, err
			}
			last[i] = e.Event
		} else if s.head.Sequence > 0 {
			last[i] = journal.Event{Ref: ref, Sequence: s.head.Sequence}
		}
	}
	return last, nil
}

// Heads implements journal.Reader.
func (j *Journal) Heads(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return nil, journal.ErrClosed
	}
	checked := make([]journal.Checked, len(checks))
	for i, c := range checks {
		if s := j.streams[c.Ref]; s != nil {
			checked[i] = s.check(c)
		}
	}
	return checked, nil
}

func (s *stream) check(c journal.Check) journal.Checked {
	d := journal.Checked{Head: s.head}
	if c.Command == "" {
		return d
	}
	if r := s.records[c.Command]; r != nil {
		kept := *r
		d.Applied, d.Record, d.LastSequence = true, &kept, r.Sequence
		return d
	}
	if c.After < s.floor {
		return d
	}
	for n := c.After - s.floor; n < int64(len(s.events)) && s.events[n].Command == c.Command; n++ {
		d.Applied, d.LastSequence = true, s.floor+n+1
	}
	return d
}

// List implements journal.Journal.
func (j *Journal) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return nil, journal.ErrClosed
	}
	var list []journal.Summary
	for ref, s := range j.streams {
		if ref.Service == service && ref.ID > after {
			list = append(list, journal.Summary{ID: ref.ID, Sequence: s.head.Sequence, Floor: s.floor, Updated: s.updated})
		}
	}
	slices.SortFunc(list, func(a, b journal.Summary) int { return cmp.Compare(a.ID, b.ID) })
	if limit > 0 && limit < len(list) {
		list = list[:limit]
	}
	return list, nil
}

// ID implements journal.Journal.
func (j *Journal) ID(ctx context.Context) (string, error) { return j.id, j.Ping(ctx) }

// Ping implements journal.Journal.
func (j *Journal) Ping(ctx context.Context) error {
	_, err := j.look(ctx, actors.Ref{})
	return err
}

// Close implements journal.Journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.streams, j.order, j.outbox, j.cells = nil, nil, outbox{}, nil
	return nil
}
