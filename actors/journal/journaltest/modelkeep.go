package journaltest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// keep forgets, erases or copies a stream.
func (m *model) keep(t *rapid.T, j journal.Journal, refs []actors.Ref) {
	ctx := context.Background()
	ref := rapid.SampledFrom(refs).Draw(t, "ref")
	switch rapid.IntRange(0, 5).Draw(t, "keep") {
	case 0:
		had := m.box.has(ref)
		if err := j.Erase(ctx, ref); err != nil {
			t.Fatal(err)
		}
		m.box.forgetAll(ref)
		if s := m.streams[ref]; s != nil && (had || !s.empty()) {
			m.streams[ref] = &modelStream{
				head: journal.Head{Sequence: s.head.Sequence, Epoch: s.head.Epoch + 1}, origin: s.head.Sequence, floor: s.head.Sequence,
				records: map[string]journal.Record{},
			}
		}
	case 1:
		m.copy(t, j, ref, rapid.SampledFrom(refs).Draw(t, "copy"))
	default:
		through, whole := rapid.Int64Range(0, m.at(ref).head.Sequence+1).Draw(t, "through"), rapid.Bool().Draw(t, "whole")
		err := j.Forget(ctx, ref, through, whole)
		if ok := m.forget(ref, through, whole); ok != (err == nil) {
			t.Fatalf("forget up to %d (whole %v): %v", through, whole, err)
		}
	}
}

func (s *modelStream) empty() bool {
	return len(s.events) == 0 && len(s.records) == 0 && s.snapshot == nil && s.origin == s.head.Sequence
}

func (m *model) forget(ref actors.Ref, through int64, whole bool) bool {
	s := m.at(ref)
	if through <= s.floor {
		return true
	}
	needed := s.origin
	if s.snapshot != nil {
		needed = s.snapshot.Sequence
	}
	if through > s.head.Sequence || !whole && (through > needed || through == s.head.Sequence) {
		return false
	}
	s.events = slices.Clone(s.events[through-s.floor:])
	s.floor = through
	if through == s.head.Sequence {
		s.origin, s.snapshot = through, nil
	}
	return true
}

// copy restores what is kept of a stream into another one, if that has nothing and is not ahead.
func (m *model) copy(t *rapid.T, j journal.Journal, from, to actors.Ref) {
	s, d := m.at(from), m.at(to)
	if from == to || !d.empty() || d.head.Sequence > s.floor || d.origin > s.origin || m.streams[from] == nil {
		return
	}
	r := journal.Restored{
		Ref: to, Span: journal.Span{Head: s.head, Origin: s.origin, Floor: s.floor, Updated: time.Unix(1e9, 0)}, Snapshot: s.snapshot,
	}
	for _, e := range s.events {
		e.Ref, e.Time = to, time.Unix(1e9, 0)
		r.Events = append(r.Events, e)
	}
	for command, record := range s.records {
		r.Records = append(r.Records, journal.CommandRecord{Command: command, Record: record})
	}
	for range 2 { // once more does nothing
		if err := j.Restore(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	m.streams[to] = &modelStream{
		head:   journal.Head{Sequence: s.head.Sequence, Epoch: max(s.head.Epoch, d.head.Epoch)},
		origin: s.origin, floor: s.floor, events: r.Events, records: maps.Clone(s.records), snapshot: s.snapshot,
	}
}

func (m *model) compareStream(t *rapid.T, j journal.Journal, ref actors.Ref) {
	ctx := context.Background()
	stream := m.at(ref)
	span, err := j.Span(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "span", span, journal.Span{Head: stream.head, Origin: stream.origin, Floor: stream.floor})
	l, err := j.Load(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "loaded head", l.Head, stream.head)
	agree(t, "origin", l.Origin, stream.origin)
	agree(t, "loaded snapshot", l.Snapshot, stream.snapshot)
	needed := stream.origin
	if stream.snapshot != nil {
		needed = stream.snapshot.Sequence
	}
	if needed >= stream.floor {
		agree(t, "loaded events", drain(t, l.Events), stream.events[needed-stream.floor:])
	} else {
		agree(t, "loaded events", forgotten(l.Events), stream.floor)
	}
	if stream.floor > 0 {
		agree(t, "read of all events", forgotten(j.Read(ctx, ref, stream.floor-1, 0)), stream.floor)
	}
	agree(t, "read events", drain(t, j.Read(ctx, ref, stream.floor, 0)), stream.events)
	records, err := j.Records(ctx, ref, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var expected []journal.CommandRecord
	for _, command := range slices.Sorted(maps.Keys(stream.records)) {
		expected = append(expected, journal.CommandRecord{Command: command, Record: stream.records[command]})
	}
	agree(t, "records", records, expected)
}

// forgotten returns the floor that a reader learns at once, or what is wrong.
func forgotten(all func(func(journal.Event, error) bool)) any {
	for e, err := range all {
		if f, ok := errors.AsType[*journal.ForgottenError](err); ok && errors.Is(err, journal.ErrForgotten) {
			return f.Floor
		} else if err != nil {
			return err
		}
		return e
	}
	return "nothing"
}

func (b *modelBox) has(source actors.Ref) bool {
	return slices.ContainsFunc(b.kept, func(k modelEffect) bool { return k.source == source })
}

func (b *modelBox) forgetAll(source actors.Ref) {
	b.kept = slices.DeleteFunc(b.kept, func(k modelEffect) bool { return k.source == source })
}
