package operations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// events writes all events, and cursors where they stand among them, and the cut.
func (e *export) events(ctx context.Context, rest *Rest) error {
	if err := e.findCursors(ctx, rest.cursors); err != nil {
		return err
	}
	if rest.event.Sequence > 0 {
		list, err := e.From.Events(ctx, rest.event.Ref, rest.event.Sequence-1, 1)
		if err != nil || len(list) == 0 || list[0].Command != rest.event.Command {
			return errors.Join(fmt.Errorf("event %d of %s, the last one that was written, is not there any more; remove what there is of the export, and begin anew", rest.event.Sequence, rest.event.Ref), err)
		}
		if e.at = list[0].Position; e.written != nil {
			e.at = rest.event.Position
		}
	}
	// What stands before the place where it goes on cannot be placed any more. Its consumer begins anew, and misses nothing.
	for len(e.cursors) > 0 && e.at != (journal.Position{}) && e.cursors[0].at.Compare(e.at) < 0 {
		e.unplaced, e.cursors = append(e.unplaced, e.cursors[0].Key), e.cursors[1:]
	}
	for {
		if err := e.toEnd(ctx); err != nil {
			return err
		}
		// A service that has come meanwhile may have events behind us.
		now, err := e.From.Services(ctx)
		if err != nil {
			return err
		}
		var fresh []string
		for _, s := range now {
			if !slices.Contains(e.services, s) {
				fresh = append(fresh, s)
			}
		}
		if len(fresh) == 0 {
			break
		}
		until := e.at
		if err := e.tail(ctx, fresh, journal.Position{}, &until); err != nil {
			return err
		}
		e.services, e.at = now, until
	}
	for len(e.cursors) > 0 {
		if err := e.cursor(); err != nil {
			return err
		}
	}
	return e.w.write(kindCut, &cutLine{line{kindCut}, e.at.Transaction, e.at.Ordinal})
}

// toEnd writes events until all are written that were there when the export began. What comes meanwhile may be.
func (e *export) toEnd(ctx context.Context) error {
	for {
		who, err := e.From.Blocked(ctx)
		if err != nil {
			return err
		}
		if err := e.tail(ctx, e.services, e.at, nil); err != nil {
			return err
		}
		hidden := false
		switch {
		case e.written != nil:
			who = "the order of what was written last"
			hidden, err = e.awaits(ctx)
		case who != "":
			// Some may be hidden behind somebody's transaction, or new ones come all the time.
			hidden, err = e.hidden(ctx)
		}
		if err != nil || !hidden {
			return err
		}
		done := e.w.chain.counts[kindEvent]
		e.Progress(Progress{"waiting for " + who, done, max(done, e.total)})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// clockSkew is how much the journal's clock may be ahead of ours.
const clockSkew = 10 * time.Second

// awaits reports whether an event that was there when the export began is still to come: who wrote it tells the order a
// moment later, or has died and cannot.
func (e *export) awaits(ctx context.Context) (bool, error) {
	for ref, last := range e.awaited {
		span, err := e.From.Span(ctx, ref)
		if err != nil {
			return false, err
		}
		if span.Floor < last {
			return true, nil
		}
		delete(e.awaited, ref)
	}
	return false, nil
}

// hidden reports whether there is an event that the order does not show yet, and that was there when the export began.
func (e *export) hidden(ctx context.Context) (bool, error) {
	for _, s := range e.services {
		for entity, err := range List(ctx, e.From, s, "", 0) {
			if NotFound(err) {
				break
			}
			if err != nil {
				return false, err
			}
			ref := actors.Ref{Service: s, ID: entity.ID}
			span, err := e.From.Span(ctx, ref)
			if err != nil {
				return false, err
			}
			last, err := e.atCut(ctx, ref, span)
			if errors.Is(err, journal.ErrForgotten) {
				continue
			}
			if err != nil {
				return false, err
			}
			if last == span.Sequence {
				continue
			}
			list, err := e.From.Events(ctx, ref, last, 1)
			if errors.Is(err, journal.ErrForgotten) {
				continue
			}
			if err != nil {
				return false, err
			}
			if len(list) > 0 && list[0].Time.Before(e.began.Add(clockSkew)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// tail writes events of services to the end, or up to a position.
func (e *export) tail(ctx context.Context, services []string, at journal.Position, until *journal.Position) error {
	for {
		page, next, err := e.From.Tail(ctx, services, at, pageEvents)
		if err != nil {
			return err
		}
		for i := range page {
			if until != nil && page[i].Position.Compare(*until) > 0 {
				return nil
			}
			for until == nil && len(e.cursors) > 0 && e.cursors[0].at.Compare(page[i].Position) < 0 {
				if err := e.cursor(); err != nil {
					return err
				}
			}
			l := eventLineOf(&page[i])
			if e.written != nil {
				e.written[page[i].Ref] = page[i].Sequence
				if e.awaited[page[i].Ref] <= page[i].Sequence {
					delete(e.awaited, page[i].Ref)
				}
				l.At = new(positionForm(page[i].Position))
			}
			if err := e.w.write(kindEvent, &l); err != nil {
				return err
			}
		}
		if next == at {
			return nil
		}
		if at = next; until == nil {
			e.at = at
		}
		done := e.w.chain.counts[kindEvent]
		e.Progress(Progress{"events", done, max(done, e.total)})
	}
}
