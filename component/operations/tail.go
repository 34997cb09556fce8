package operations

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Filter says which events are of interest. The zero Filter takes all.
type Filter struct {
	// Services whose events are read; none means all there are.
	Services []string
	// IDs and Names are patterns as path.Match has them, of which one has to fit. None means all.
	IDs, Names []string
	// Since is the oldest time.
	Since time.Time
	// Now leaves out what is there already.
	Now bool
	// Follow waits for more at the end, looking every Interval, which defaults to 500 ms.
	Follow   bool
	Interval time.Duration
}

// Validate reports patterns that are none.
func (f *Filter) Validate() error {
	var problems []error
	for _, p := range append(append([]string(nil), f.IDs...), f.Names...) {
		if _, err := path.Match(p, ""); err != nil {
			problems = append(problems, actors.Errorf(actors.InvalidArgument, "the pattern %q is malformed; * stands for any text, ? for one character, \\ takes a character as it is", p))
		}
	}
	return errors.Join(problems...)
}

func (f *Filter) takes(e *journal.Event) bool {
	return fits(f.IDs, e.Ref.ID) && fits(f.Names, e.Name) && !e.Time.Before(f.Since)
}

// fits takes slashes for any other character: ids have them.
func fits(patterns []string, text string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, p := range patterns {
		if p == text {
			return true
		}
		if ok, _ := path.Match(unslashed(p), unslashed(text)); ok { // Validate has looked
			return true
		}
	}
	return false
}

func unslashed(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == '/' {
			b[i] = 0
		}
	}
	return string(b)
}

// Tail yields the events of the journal in the order over all streams. A damaged event is an error after which it goes on.
// With Follow it ends with ctx, without an error.
func Tail(ctx context.Context, j Journal, f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := f.Validate(); err != nil {
			yield(Event{}, err)
			return
		}
		t := tailing{j: j, filter: f, silent: f.Now}
		for {
			more, ok := t.step(ctx, yield)
			if !ok {
				return
			}
			if more {
				continue
			}
			t.silent = false
			if !f.Follow {
				return
			}
			interval := f.Interval
			if interval <= 0 {
				interval = 500 * time.Millisecond
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
			}
		}
	}
}

type tailing struct {
	j      Journal
	filter Filter
	at     journal.Position
	// services that there are, if all are wanted.
	services []string
	// silent until the end is reached.
	silent bool
}

// step reads a page. ok is false if it is over.
func (t *tailing) step(ctx context.Context, yield func(Event, error) bool) (more, ok bool) {
	page, at, broken := t.page(ctx)
	more = at != t.at
	t.at = at
	if !t.silent {
		var wanted []journal.Event
		for i := range page {
			if t.filter.takes(&page[i]) {
				wanted = append(wanted, page[i])
			}
		}
		list, err := shown(ctx, t.j, wanted)
		if err != nil {
			return false, t.failed(ctx, err, yield)
		}
		for _, e := range list {
			if !yield(e, nil) {
				return false, false
			}
		}
	}
	if broken != nil {
		if !errors.Is(broken, journal.ErrCorrupt) || !more {
			return false, t.failed(ctx, broken, yield)
		}
		if !t.silent && !yield(Event{}, broken) {
			return false, false
		}
	}
	return more, true
}

// page reads on. Without services to look for, one that has come meanwhile is looked for, too: its first events must not be
// passed.
func (t *tailing) page(ctx context.Context) ([]journal.Event, journal.Position, error) {
	if len(t.filter.Services) > 0 {
		return t.j.Tail(ctx, t.filter.Services, t.at, pageEvents)
	}
	if t.services == nil {
		var err error
		if t.services, err = t.j.Services(ctx); err != nil {
			return nil, t.at, err
		}
	}
	for {
		list, at, err := t.j.Tail(ctx, t.services, t.at, pageEvents)
		if err != nil && !errors.Is(err, journal.ErrCorrupt) {
			return nil, t.at, err
		}
		now, problem := t.j.Services(ctx)
		if problem != nil {
			return nil, t.at, problem
		}
		if slices.Equal(now, t.services) {
			return list, at, err
		}
		t.services = now
	}
}

// failed yields an error, unless it is the end that was asked for.
func (t *tailing) failed(ctx context.Context, err error, yield func(Event, error) bool) bool {
	if !t.filter.Follow || ctx.Err() == nil {
		yield(Event{}, fmt.Errorf("tail the journal: %w", err))
	}
	return false
}
