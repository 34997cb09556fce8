package building

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/config"
)

// ownKey is a key as the app writes it: the sidecar puts something with || before it, unless told otherwise.
func ownKey(key string) string {
	if _, own, prefixed := strings.Cut(key, "||"); prefixed {
		return own
	}
	return key
}

// retain removes what is to go of some keys, and notes when there will be more.
func (s *sweep) retain(ctx context.Context, list []journal.Summary, now time.Time, due *due) (removed bool, err error) {
	before := s.events
	var ending []actors.Ref
	var rules []config.Retention // of ending
	for _, k := range list {
		if s.space == "" && strings.Contains(k.ID, "||") {
			continue
		}
		rule, ok := s.config.Rule(ownKey(k.ID))
		if !ok || k.Floor >= k.Sequence {
			continue
		}
		if err := s.tolerate(k.ID, s.thin(ctx, k, rule, now, due)); err != nil {
			return false, err
		}
		// A key may have come to its end without a further event. It has not before its newest event is as old as that.
		if rule.Age == 0 && rule.Count != 1 {
			continue
		}
		if earliest := k.Updated.Add(max(rule.Age, s.config.Grace)); now.Before(earliest) {
			due.at(earliest)
			continue
		}
		ending, rules = append(ending, stateRef(k.ID)), append(rules, rule)
	}
	// A stream stands once in what is removed at once.
	if err := s.flush(ctx); err != nil {
		return false, err
	}
	if len(ending) > 0 {
		if err := s.end(ctx, ending, rules, now, due); err != nil {
			return false, err
		}
	}
	err = s.flush(ctx)
	return s.events > before, err
}

// tolerate lets a damaged key be: it must not keep the others from being looked at. What is gone already is as good.
func (s *sweep) tolerate(key string, err error) error {
	if errors.Is(err, journal.ErrCorrupt) {
		s.config.Log.Warn("retention leaves a damaged key alone", "key", cut(key), "error", err)
		return nil
	}
	if errors.Is(err, journal.ErrForgotten) {
		return nil
	}
	return err
}

// thin removes versions that were replaced.
func (s *sweep) thin(ctx context.Context, k journal.Summary, rule config.Retention, now time.Time, due *due) error {
	ref := stateRef(k.ID)
	// Up to this one there are Count newer ones.
	beyond := int64(0)
	if rule.Count > 0 {
		beyond = max(0, k.Sequence-int64(rule.Count))
	}
	if k.Sequence-k.Floor < 2 || rule.Age == 0 && beyond <= k.Floor {
		return nil
	}
	if settled := !now.Before(k.Updated.Add(s.config.Grace)); settled && beyond > k.Floor {
		if err := s.forget(ctx, ref, k.Floor, beyond); err != nil {
			return err
		}
		k.Floor = beyond
		if rule.Age == 0 {
			return nil
		}
	}
	for {
		through, more, err := s.replaced(ctx, k, rule, beyond, now, due)
		if err != nil {
			return err
		}
		if through > k.Floor {
			if err := s.forget(ctx, ref, k.Floor, through); err != nil {
				return err
			}
			k.Floor = through
		}
		if !more {
			return nil
		}
		if err := s.pace(ctx); err != nil {
			return err
		}
		if !s.valid() {
			return errNotOurs
		}
	}
}

// replaced finds up to which version some of the oldest may go. There may be more.
func (s *sweep) replaced(
	ctx context.Context, k journal.Summary, rule config.Retention, beyond int64, now time.Time, due *due,
) (through int64, more bool, err error) {
	var old journal.Event // the one before e
	read := 0
	for e, err := range s.config.Journal.Read(ctx, stateRef(k.ID), k.Floor, retentionEvents) {
		if err != nil {
			return 0, false, err
		}
		read++
		if old.Sequence > 0 {
			var goes time.Time
			if old.Sequence <= beyond {
				goes = old.Time
			}
			if replaced := e.Time.Add(rule.Age); rule.Age > 0 && (goes.IsZero() || replaced.Before(goes)) {
				goes = replaced
			}
			if goes.IsZero() {
				return through, false, nil // by its number alone, and it is not time for that
			}
			if grace := old.Time.Add(s.config.Grace); goes.Before(grace) {
				goes = grace
			}
			if now.Before(goes) {
				due.at(goes)
				return through, false, nil
			}
			through = old.Sequence
		}
		old = e
	}
	return through, read == retentionEvents && through > k.Floor, nil
}

// end removes all of keys that were deleted or have expired long enough ago.
func (s *sweep) end(ctx context.Context, refs []actors.Ref, rules []config.Retention, now time.Time, due *due) error {
	last, err := s.config.Journal.Last(ctx, refs)
	if errors.Is(err, journal.ErrCorrupt) && len(refs) > 1 { // one of them is damaged
		for i := range refs {
			if err := s.end(ctx, refs[i:i+1], rules[i:i+1], now, due); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		return s.tolerate(refs[0].ID, err)
	}
	for i, e := range last {
		ended := expiryOf(e)
		if e.Name == eventDeleted {
			ended = e.Time
		}
		if e.Name == "" || ended.IsZero() {
			continue
		}
		goes := ended.Add(rules[i].Age)
		if grace := e.Time.Add(s.config.Grace); goes.Before(grace) {
			goes = grace
		}
		if now.Before(goes) {
			due.at(goes)
			continue
		}
		// Those before it may be there still, if they were written since the page was read.
		if err := s.tolerate(refs[i].ID, s.forget(ctx, refs[i], e.Sequence-1, e.Sequence)); err != nil {
			return err
		}
		s.emptied++
	}
	return nil
}

// forget has events of a key removed: those of many keys in one commit, unless there are many of this one.
func (s *sweep) forget(ctx context.Context, ref actors.Ref, floor, through int64) error {
	n := through - floor
	if n > retentionEvents {
		if err := s.config.Journal.Forget(ctx, ref, through, true); err != nil {
			return err
		}
		s.count(n)
		return nil
	}
	if last := len(s.parts) - 1; last >= 0 && s.parts[last].Ref == ref {
		s.parts[last].Through = max(s.parts[last].Through, through)
	} else {
		s.parts = append(s.parts, journal.Forgetting{Ref: ref, Through: through})
	}
	if s.size += n; s.size < 5*retentionEvents && len(s.parts) < retentionPage {
		return nil
	}
	return s.flush(ctx)
}

// flush removes what was collected.
func (s *sweep) flush(ctx context.Context) error {
	parts, size := s.parts, s.size
	s.parts, s.size = nil, 0
	if len(parts) == 0 {
		return nil
	}
	if many, ok := s.config.Journal.(journal.ManyForgetter); ok {
		if err := many.ForgetEach(ctx, parts); err != nil {
			return err
		}
	} else {
		for _, p := range parts {
			if err := s.tolerate(p.Ref.ID, s.config.Journal.Forget(ctx, p.Ref, p.Through, true)); err != nil {
				return err
			}
		}
	}
	s.count(size)
	return nil
}

func (s *sweep) count(events int64) {
	s.events += events
	s.config.Removed(events)
}
