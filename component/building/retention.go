package building

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/config"
)

// RetentionJournal is the part of journal.Journal that retention needs.
type RetentionJournal interface {
	journal.Reader
	journal.Cells
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
	Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error
}

// RetentionConfig is what retention works by. Journal and Rule are needed.
type RetentionConfig struct {
	Journal RetentionJournal
	// Rule returns the rule of a key as the app writes it; false if all of it is kept.
	Rule func(key string) (config.Retention, bool)
	// Version of the rules: when it is another one, a sweep that was interrupted begins again.
	Version string
	// Interval is the rest between two sweeps. Defaults to 1 minute.
	Interval time.Duration
	// Grace is how old an event is at least that is removed: whoever is in doubt about his write looks for its event.
	// Defaults to 15 seconds.
	Grace time.Duration
	// Removed, which may be nil, is told of events that were removed; Swept of sweeps that came to their end.
	Removed func(events int64)
	Swept   func(took time.Duration)
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Retention removes what is no longer to be kept of the past of state keys.
//
//   - A version goes when there are Count newer ones, or when it was replaced Age ago: what asOf asks within that time is
//     still answered.
//   - A key that was deleted, or has expired, Age ago leaves nothing behind but its number, from which the versions of a
//     new value go on. Without an Age it keeps its Count versions, of which its end is one.
//   - The value that there is stays.
//
// It goes through the keys of a space in the order of their bytes, page by page, and rests four times as long as a page
// has taken. Where it is stands in a cell, from which it goes on after a restart. A page in which nothing was written,
// and nothing has come due, costs one question for its keys' heads.
type Retention struct{ config RetentionConfig }

// NewRetention fills in the defaults.
func NewRetention(c RetentionConfig) *Retention {
	if c.Interval == 0 {
		c.Interval = time.Minute
	}
	if c.Grace == 0 {
		c.Grace = 15 * time.Second
	}
	if c.Removed == nil {
		c.Removed = func(int64) {}
	}
	if c.Swept == nil {
		c.Swept = func(time.Duration) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Retention{c}
}

// The bounds of retention's work.
const (
	// retentionKeys is how many are looked at together at most, retentionPage about how many: a page ends with a key that
	// is drawn by its hash, so that a new key does not move the ends of all pages behind it.
	retentionKeys = 400
	retentionPage = 128
	// retentionEvents is how many of one key are read together.
	retentionEvents = 200
	// retentionSave is how long where a sweep is may go unsaved.
	retentionSave = 5 * time.Second
	// retentionRests is how many times as long as it works it rests.
	retentionRests = 4
)

// retentionCell begins the keys of cells, each of which holds a bookmark.
const retentionCell = "retention/"

type bookmark struct {
	// After is the key up to which the sweep has come, empty between two sweeps.
	After   string `json:"after,omitempty"`
	Version string `json:"version"`
}

// Work sweeps over the keys that begin with a space, those without || if it is empty, until ctx ends or valid reports that
// this may be somebody else's work by now. It returns nil after the end of ctx only. One at a time may work for a space.
func (r *Retention) Work(ctx context.Context, space string, valid func() bool) error {
	s := &sweep{Retention: r, space: space, valid: valid}
	err := s.run(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whatever was interrupted is done by the next one
	}
	return fmt.Errorf("retention of keys that begin with %q: %w", space, err)
}

// sweep is the work for one space.
type sweep struct {
	*Retention
	space string
	valid func() bool

	cell  journal.Cell
	after string
	saved time.Time
	// pages as they were left in the sweep before, and in this one, by the key after which they begin.
	pages, next map[string]pageState

	// parts are to be removed together, and have that many events.
	parts []journal.Forgetting
	size  int64

	began time.Time // of a stretch of work, for pace
	// Of this sweep, for the log.
	started         time.Time
	events, emptied int64
}

// pageState says that nothing is to be done for a page before due, unless its fingerprint is another one.
type pageState struct {
	fingerprint uint64
	due         time.Time // zero for never
}

// errNotOurs ends the work of who has lost his lease without noticing.
var errNotOurs = errors.New("another host works on them")

func (s *sweep) run(ctx context.Context) error {
	var err error
	if s.cell, err = s.config.Journal.Cell(ctx, retentionCell+strconv.Quote(s.space)); err != nil {
		return err
	}
	var b bookmark
	if len(s.cell.Value) > 0 {
		if err := json.Unmarshal(s.cell.Value, &b); err != nil {
			s.config.Log.Warn("the bookmark of retention cannot be read; it begins anew", "cell", s.cell.Key, "error", err)
		}
	}
	if b.Version == s.config.Version {
		s.after = b.After
	}
	s.saved = time.Now()
	for {
		if err := s.once(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, s.config.Interval); err != nil {
			return err
		}
	}
}

// once goes through the rest of the keys.
func (s *sweep) once(ctx context.Context) error {
	s.started, s.began, s.events, s.emptied, s.next = time.Now(), time.Now(), 0, 0, map[string]pageState{}
	defer s.report()
	if s.after == "" {
		s.after = s.space
	}
	for more := true; more; {
		if !s.valid() {
			return errNotOurs
		}
		list, err := s.config.Journal.List(ctx, StateService, s.after, retentionKeys)
		if err != nil {
			return err
		}
		more = len(list) == retentionKeys
		for i := range list {
			if !strings.HasPrefix(list[i].ID, s.space) {
				list, more = list[:i], false
				break
			}
			if hash(list[i].ID)%retentionPage == 0 {
				list, more = list[:i+1], true
				break
			}
		}
		if len(list) > 0 {
			if err := s.page(ctx, list); err != nil {
				return err
			}
			s.after = list[len(list)-1].ID
		}
		if !more {
			s.after = ""
		}
		if !more || time.Since(s.saved) >= retentionSave {
			if err := s.save(ctx); err != nil {
				return err
			}
		}
		if err := s.pace(ctx); err != nil {
			return err
		}
	}
	s.pages = s.next
	s.config.Swept(time.Since(s.started))
	return nil
}

// report logs what has been removed, also by a sweep that did not come to its end.
func (s *sweep) report() {
	if s.events > 0 {
		s.config.Log.Info("retention removed what is no longer kept of state keys", "keys", s.space, "events", s.events,
			"emptied", s.emptied, "took", time.Since(s.started))
	}
}

// save keeps where the sweep is.
func (s *sweep) save(ctx context.Context) error {
	value, err := json.Marshal(bookmark{s.after, s.config.Version})
	if err != nil {
		return fmt.Errorf("encode the bookmark: %w", err)
	}
	s.saved = time.Now()
	if string(value) == string(s.cell.Value) {
		return nil
	}
	s.cell.Value = value
	version, err := s.config.Journal.Put(ctx, s.cell)
	if errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("%w: %w", errNotOurs, err)
	}
	s.cell.Version = version
	return err
}

// pace rests in proportion to the work since the last rest.
func (s *sweep) pace(ctx context.Context) error {
	err := sleep(ctx, max(time.Millisecond, retentionRests*time.Since(s.began)))
	s.began = time.Now()
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// page looks at keys that follow each other, unless nothing can have come of it since the last time.
func (s *sweep) page(ctx context.Context, list []journal.Summary) error {
	now := time.Now()
	fingerprint := uint64(0)
	for i := range list {
		fingerprint = hash(fmt.Sprintf("%x %q %d %d", fingerprint, list[i].ID, list[i].Sequence, list[i].Floor))
	}
	if p, ok := s.pages[s.after]; ok && p.fingerprint == fingerprint && (p.due.IsZero() || now.Before(p.due)) {
		s.next[s.after] = p
		return nil
	}
	due := &due{}
	removed, err := s.retain(ctx, list, now, due)
	if err == nil && !removed { // else the fingerprint is another one now
		s.next[s.after] = pageState{fingerprint, due.first}
	}
	return err
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum64()
}

// due is the earliest of some times.
type due struct{ first time.Time }

func (d *due) at(t time.Time) {
	if d.first.IsZero() || t.Before(d.first) {
		d.first = t
	}
}
