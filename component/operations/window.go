package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// window holds the events that are brought in next.
type window struct {
	events []journal.Event
	bytes  int
}

func (w *window) add(e journal.Event) {
	w.events = append(w.events, e)
	w.bytes += len(e.Payload.Data) + 256
}

// runs of the window: events of one stream without a gap, in the order of their first events. A gap is there where an export
// missed what was forgotten meanwhile.
func (w *window) runs() [][]journal.Event {
	var list [][]journal.Event
	at := map[actors.Ref]int{}
	for _, e := range w.events {
		n, ok := at[e.Ref]
		if !ok || list[n][len(list[n])-1].Sequence+1 != e.Sequence {
			n = len(list)
			at[e.Ref] = n
			list = append(list, nil)
		}
		list[n] = append(list[n], e)
	}
	return list
}

// restore brings the window in, and reads what is new back.
func (i *importing) restore(ctx context.Context) error {
	if len(i.window.events) == 0 {
		return nil
	}
	var written []journal.Event
	for _, events := range i.window.runs() {
		fresh, err := i.restoreEvents(ctx, events)
		if err != nil {
			return err
		}
		written = append(written, fresh...)
	}
	written = slices.DeleteFunc(written, func(e journal.Event) bool { return e.Sequence <= i.left[e.Ref] })
	i.window, i.left = window{}, nil
	return i.readBack(ctx, written)
}

// restoreEvents brings in events of one stream, and returns those that were not there.
func (i *importing) restoreEvents(ctx context.Context, events []journal.Event) ([]journal.Event, error) {
	ref, first, last := events[0].Ref, events[0].Sequence, events[len(events)-1].Sequence
	was, err := i.To.Span(ctx, ref)
	if err != nil {
		return nil, err
	}
	if was, err = i.leave(ctx, ref, was, first-1); err != nil {
		return nil, err
	}
	span := journal.Span{Head: journal.Head{Sequence: last}, Origin: was.Origin, Floor: was.Floor, Updated: events[len(events)-1].Time}
	switch {
	case was.Sequence == was.Floor && first-1 >= was.Floor: // there are no events: it begins with ours
		span.Floor = first - 1
	case first > was.Sequence+1:
		return nil, fmt.Errorf("%w: %s ends there at event %d, and goes on with event %d in the export", ErrOther, ref, was.Sequence, first)
	}
	for len(events) > 0 && events[0].Sequence <= was.Floor { // no longer kept there
		events = events[1:]
	}
	if len(events) == 0 {
		return nil, nil
	}
	if err := i.To.Restore(ctx, journal.Restored{Ref: ref, Span: span, Events: events}); err != nil {
		return nil, i.different(err)
	}
	for len(events) > 0 && events[0].Sequence <= was.Sequence { // and have been compared
		events = events[1:]
	}
	return events, nil
}

// leave gives up the events of a stream that ends before a floor: between the two there were others when the export began,
// and they were forgotten before they could be written. So were those, then.
func (i *importing) leave(ctx context.Context, ref actors.Ref, was journal.Span, floor int64) (journal.Span, error) {
	if was.Sequence >= floor || was.Sequence == was.Floor || i.Merge {
		return was, nil
	}
	if err := i.To.Forget(ctx, ref, was.Sequence); err != nil {
		return was, err
	}
	if i.left == nil {
		i.left = map[actors.Ref]int64{}
	}
	i.left[ref] = was.Sequence
	return i.To.Span(ctx, ref)
}

// different makes conflicts errors that match ErrOther.
func (i *importing) different(err error) error {
	switch {
	case errors.Is(err, journal.ErrFull):
		return fmt.Errorf("%w; make room, and import it again: what is there already is kept", err)
	case errors.Is(err, journal.ErrConflict):
		return fmt.Errorf("%w: %w", ErrOther, err)
	}
	return err
}

// readBackTimeout is how long events that were written may not be seen because of other people's transactions.
const readBackTimeout = time.Minute

// readBack reads on in the order of the target until it has seen all events, and compares them.
func (i *importing) readBack(ctx context.Context, events []journal.Event) error {
	missing := make(map[eventKey]*journal.Event, len(events))
	services, seen := []string{}, map[string]bool{}
	for n := range events {
		e := &events[n]
		missing[eventKey{e.Ref, e.Sequence}] = e
		if !seen[e.Ref.Service] {
			seen[e.Ref.Service] = true
			services = append(services, e.Ref.Service)
		}
	}
	at := i.at
	deadline := time.Now().Add(readBackTimeout)
	for len(missing) > 0 {
		page, next, err := i.To.Tail(ctx, services, at, pageEvents)
		if err != nil {
			return fmt.Errorf("read back what was written: %w", err)
		}
		for n := range page {
			e := &page[n]
			k := eventKey{e.Ref, e.Sequence}
			if want := missing[k]; want != nil {
				if !same(want, e) {
					return fmt.Errorf("read back what was written: event %d of %s is not what it was: %w", e.Sequence, e.Ref, ErrDamaged)
				}
				delete(missing, k)
				i.at = e.Position
			}
		}
		if next == at && len(missing) > 0 {
			i.Progress(Progress{"waiting for what was written to be seen", i.r.chain.bytes, i.Size})
			if time.Now().After(deadline) {
				who, _ := i.To.Blocked(ctx) // the error is about what is seen
				return fmt.Errorf("read back what was written: %d events are not to be seen after %s, because of %s; end that, and import again", len(missing), readBackTimeout, cmp.Or(who, "reasons unknown"))
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
		at = next
	}
	return nil
}

// same compares all of an event that is its own.
func same(a, b *journal.Event) bool {
	x, y := eventOf(a), eventOf(b)
	x.Time, y.Time = x.Time.Truncate(time.Microsecond), y.Time.Truncate(time.Microsecond)
	if len(x.Data) == 0 && len(y.Data) == 0 {
		x.Data, y.Data = nil, nil
	}
	return reflect.DeepEqual(x, y)
}
