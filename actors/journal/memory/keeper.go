package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Services implements journal.Keeper.
func (j *Journal) Services(ctx context.Context) ([]string, error) {
	services := map[string]bool{}
	err := j.see(ctx, func() {
		for ref := range j.streams {
			services[ref.Service] = true
		}
	})
	return slices.Sorted(maps.Keys(services)), err
}

// Records implements journal.Keeper.
func (j *Journal) Records(ctx context.Context, ref actors.Ref, after string, limit int) (list []journal.CommandRecord, err error) {
	err = j.see(ctx, func() {
		s := j.streams[ref]
		if s == nil {
			return
		}
		for command, r := range s.records {
			if command > after {
				list = append(list, journal.CommandRecord{Command: command, Record: *r})
			}
		}
	})
	slices.SortFunc(list, func(a, b journal.CommandRecord) int { return cmp.Compare(a.Command, b.Command) })
	if limit > 0 && limit < len(list) {
		list = list[:limit]
	}
	return list, err
}

// Span implements journal.Keeper.
func (j *Journal) Span(ctx context.Context, ref actors.Ref) (span journal.Span, err error) {
	err = j.see(ctx, func() {
		if s := j.streams[ref]; s != nil {
			span = s.kept(ref).Span
		}
	})
	return span, err
}

func (s *stream) kept(ref actors.Ref) *rules.Kept {
	return &rules.Kept{
		Exists: true, Snapshot: s.snapshotAt(ref),
		Span: journal.Span{Head: s.head, Origin: s.origin, Floor: s.floor, Updated: s.updated},
	}
}

// snapshotAt is the sequence of the snapshot, 0 if there is none that can be used.
func (s *stream) snapshotAt(ref actors.Ref) int64 {
	if p := s.snapshot; p != nil && p.sum == p.Checksum(ref) && p.Sequence <= s.head.Sequence {
		return p.Sequence
	}
	return 0
}

// Forget implements journal.Keeper.
func (j *Journal) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	if err := j.change(ctx, func(now time.Time) error {
		s := j.streams[ref]
		if s == nil {
			s = &stream{}
		}
		if err := s.kept(ref).Forgettable(through, wholeValues); err != nil || through <= s.floor {
			return err
		}
		j.forget(s, through, now)
		return nil
	}); err != nil {
		return fmt.Errorf("forget events of %s: %w", ref, err)
	}
	return nil
}

// ForgetRecords implements journal.Keeper.
func (j *Journal) ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error {
	if err := j.change(ctx, func(time.Time) error {
		if s := j.streams[ref]; s != nil {
			maps.DeleteFunc(s.records, func(_ string, r *journal.Record) bool { return r.Sequence <= through })
		}
		return nil
	}); err != nil {
		return fmt.Errorf("forget records of %s: %w", ref, err)
	}
	return nil
}

// ForgetEach implements journal.ManyForgetter.
func (j *Journal) ForgetEach(ctx context.Context, parts []journal.Forgetting) error {
	if err := j.change(ctx, func(now time.Time) error {
		for _, p := range parts {
			if s := j.streams[p.Ref]; s != nil && p.Through > s.floor && p.Through <= s.head.Sequence {
				j.forget(s, p.Through, now)
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("forget events of %d streams: %w", len(parts), err)
	}
	return nil
}

func (j *Journal) forget(s *stream, through int64, now time.Time) {
	j.remove(s, through)
	if through == s.head.Sequence {
		s.origin, s.updated, s.snapshot = through, now, nil
	}
}

// remove the events of a stream up to a sequence. Readers may hold what was there.
func (j *Journal) remove(s *stream, through int64) {
	n := min(max(through-s.floor, 0), int64(len(s.events)))
	gone := make(map[*stored]bool, n)
	for _, e := range s.events[:n] {
		gone[e] = true
	}
	s.events = slices.Clone(s.events[n:])
	s.floor = through
	if n > 0 {
		j.order = slices.DeleteFunc(slices.Clone(j.order), func(e *stored) bool { return gone[e] })
	}
}

// Erase implements journal.Keeper.
func (j *Journal) Erase(ctx context.Context, ref actors.Ref) error {
	if err := j.change(ctx, func(now time.Time) error {
		effects := slices.DeleteFunc(slices.Clone(j.outbox.kept), func(e *effect) bool { return e.source != ref })
		for _, e := range effects {
			j.outbox.forget(e)
		}
		s := j.streams[ref]
		if s == nil || len(effects) == 0 && len(s.events) == 0 && len(s.records) == 0 && s.snapshot == nil && s.origin == s.head.Sequence {
			return nil
		}
		j.remove(s, s.head.Sequence)
		s.head.Epoch++
		s.origin, s.updated = s.head.Sequence, now
		s.snapshot, s.records = nil, map[string]*journal.Record{}
		return nil
	}); err != nil {
		return fmt.Errorf("erase %s: %w", ref, err)
	}
	return nil
}

// Restore implements journal.Keeper.
func (j *Journal) Restore(ctx context.Context, r journal.Restored) error {
	err := r.Validate()
	if err == nil {
		err = j.change(ctx, func(time.Time) error { return j.restore(&r) })
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	return nil
}

func (j *Journal) restore(r *journal.Restored) error {
	kept := &rules.Kept{}
	s := j.streams[r.Ref]
	if s == nil {
		s = &stream{records: map[string]*journal.Record{}}
	} else {
		kept = s.kept(r.Ref)
	}
	to, err := kept.Restore(r, func(sequence int64) *journal.Event {
		if n := sequence - s.floor; n <= int64(len(s.events)) {
			return &s.events[n-1].Event
		}
		return nil
	}, func(command string) *journal.Record { return s.records[command] })
	if err != nil {
		return err
	}
	j.streams[r.Ref] = s
	j.remove(s, to.Span.Floor)
	for _, e := range to.Events {
		j.add(s, e)
	}
	s.head, s.origin, s.updated = to.Span.Head, to.Span.Origin, to.Span.Updated
	for _, c := range to.Records {
		c.Outcome = slices.Clone(c.Outcome)
		s.records[c.Command] = &c.Record
	}
	if p := to.Snapshot; p != nil {
		snap := *p
		snap.Payload.Data = slices.Clone(snap.Payload.Data)
		s.snapshot = &snapshot{snap, snap.Checksum(r.Ref)}
	}
	return nil
}
