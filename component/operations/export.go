package operations

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Progress of long work.
type Progress struct {
	// Doing is what is done now: events, streams, effects, cells.
	Doing string
	// Done of Total, which is 0 if it is not known.
	Done, Total int64
}

// Summary of an export or an import.
type Summary struct {
	Export  string           `json:"export"`
	Counts  map[string]int64 `json:"counts"`
	LeftOut map[string]int64 `json:"leftOut,omitempty"`
	// Unplaced are cursors that an interrupted export came too late for: their consumers begin anew.
	Unplaced []string `json:"unplaced,omitempty"`
	SHA256   string   `json:"sha256"`
	// Already says that there was nothing left to do.
	Already bool `json:"already,omitempty"`
}

// Exporting is an export.
type Exporting struct {
	From Journal
	// Name of the export. Defaults to a random one.
	Name string
	// Progress is called now and then. Defaults to nothing.
	Progress func(Progress)
}

// Export writes all that is worth keeping of a journal. After an interruption, rest, which Resume made of what had been
// written, says where to go on; nil begins anew.
//
// Events come in the order that the journal has over all streams, up to a cut, and what is said of streams is how they were
// at the cut: writes that come while an export runs do not tear it. Effects and cells are as they are when they are read,
// which is after the cut.
func (x Exporting) Export(ctx context.Context, to io.Writer, rest *Rest) (Summary, error) {
	if x.Progress == nil {
		x.Progress = func(Progress) {}
	}
	e := &export{Exporting: x, began: time.Now(), leftOut: map[string]int64{}}
	if err := e.run(ctx, to, rest); err != nil {
		return Summary{}, fmt.Errorf("export the journal: %w", err)
	}
	c := e.w.chain
	return Summary{Export: e.head.Export, Counts: c.counts, LeftOut: e.leftOut, Unplaced: e.unplaced, SHA256: e.digest}, nil
}

type export struct {
	Exporting
	w        *lineWriter
	head     journalLine
	began    time.Time
	total    int64
	services []string
	cursors  []cursor // still to be written, in order
	unplaced []string
	at       journal.Position
	// written are the last events of all streams, if the journal does not tell where an event is; awaited are those that
	// were there when the export began and are still to be written.
	written, awaited map[actors.Ref]int64
	leftOut          map[string]int64
	digest           string
}

// cursor of a consumer, or one of several.
type cursor struct {
	cursorLine
	at journal.Position
}

func (e *export) run(ctx context.Context, to io.Writer, rest *Rest) error {
	about, err := e.From.About(ctx)
	if err != nil {
		return err
	}
	if rest == nil {
		rest = &Rest{chain: newChain()}
	}
	e.w, e.head = newLineWriter(to, rest.chain), rest.head
	if e.written = rest.written; e.written == nil && positionsInTailOnly(about.Scheme) {
		e.written = map[actors.Ref]int64{}
	}
	e.awaited = map[actors.Ref]int64{}
	if rest.head.Export == "" {
		name := e.Name
		if name == "" {
			name = rand.Text()
		}
		e.head = journalLine{line{kindJournal}, formatVersion, name, about.ID, about.Scheme, time.Now().UTC().Truncate(time.Second)}
		if err := e.w.write(kindJournal, &e.head); err != nil {
			return err
		}
	} else if e.head.Journal != about.ID {
		return fmt.Errorf("what there is of it is of another journal (%s, not %s); give the file another name, or export the journal that was begun with", e.head.Journal, about.ID)
	}
	e.Progress(Progress{Doing: "begin"})
	if e.services, err = e.From.Services(ctx); err != nil {
		return err
	}
	if err := e.measure(ctx); err != nil {
		return err
	}
	if !rest.cut {
		if err := e.events(ctx, rest); err != nil {
			return err
		}
	} else {
		e.at = rest.at
	}
	if !rest.streams {
		if err := e.streams(ctx, rest.stream); err != nil {
			return err
		}
	}
	if err := e.effects(ctx); err != nil {
		return err
	}
	if err := e.cells(ctx); err != nil {
		return err
	}
	e.digest = e.w.chain.digest()
	end := endLine{line{kindEnd}, e.w.chain.lines, e.w.chain.counts, e.leftOut, e.digest}
	if err := e.w.write(kindEnd, &end); err != nil {
		return err
	}
	return e.flush()
}

func (e *export) flush() error {
	if err := e.w.to.Flush(); err != nil {
		return fmt.Errorf("write line %d: %w", e.w.chain.lines, err)
	}
	return nil
}

// measure finds out how many events there are, about.
func (e *export) measure(ctx context.Context) error {
	for _, s := range e.services {
		for entity, err := range List(ctx, e.From, s, "", 0) {
			if err != nil && !NotFound(err) {
				return err
			}
			e.total += entity.Sequence
			if ref := (actors.Ref{Service: s, ID: entity.ID}); e.written != nil && e.written[ref] < entity.Sequence {
				e.awaited[ref] = entity.Sequence
			}
		}
	}
	return nil
}

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

// findCursors finds all positions of consumers that are not written.
func (e *export) findCursors(ctx context.Context, written map[string]bool) error {
	for _, f := range fates {
		if f.fate != cursored {
			continue
		}
		for after := ""; ; {
			page, err := e.From.Cells(ctx, f.prefix, after, 0)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				after = c.Key
				if err := e.addCursors(c, written); err != nil {
					return err
				}
			}
		}
	}
	slices.SortStableFunc(e.cursors, func(a, b cursor) int { return a.at.Compare(b.at) })
	return nil
}

func (e *export) addCursors(c journal.Cell, written map[string]bool) error {
	value, err := document(c.Value)
	if err != nil {
		e.leftOut[word(c.Key)]++
		return nil //nolint:nilerr // it is said at the end
	}
	found := places(value, nil)
	without, err := json.Marshal(value)
	if err != nil {
		return err
	}
	for _, p := range found {
		l := cursorLine{line{kindCursor}, c.Key, p.path, without}
		if !written[l.name()] {
			e.cursors = append(e.cursors, cursor{l, p.at})
		}
	}
	return nil
}

func (e *export) cursor() error {
	c := e.cursors[0]
	e.cursors = e.cursors[1:]
	return e.w.write(kindCursor, &c.cursorLine)
}

// effects writes those that are still to be carried out.
func (e *export) effects(ctx context.Context) error {
	for mark := ""; ; {
		page, next, err := e.From.Kept(ctx, mark, 0)
		if err != nil {
			return err
		}
		for i := range page {
			k := &page[i]
			if k.Service == "" {
				return fmt.Errorf("the effect %q of %s cannot be read (%s); discard it at /parked of the component, or repair it", k.Effect.ID, k.Source, k.Problem)
			}
			l := effectLine{line{kindEffect}, effectOf(k)}
			if err := e.w.write(kindEffect, &l); err != nil {
				return err
			}
		}
		e.Progress(Progress{Doing: "effects", Done: e.w.chain.counts[kindEffect]})
		if mark = next; mark == "" {
			return nil
		}
	}
}

// cells writes those that make sense elsewhere.
func (e *export) cells(ctx context.Context) error {
	for after := ""; ; {
		page, err := e.From.Cells(ctx, "", after, 0)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, c := range page {
			after = c.Key
			if err := e.cell(c); err != nil {
				return err
			}
		}
		e.Progress(Progress{Doing: "cells", Done: e.w.chain.counts[kindCell]})
	}
}

func (e *export) cell(c journal.Cell) error {
	value := c.Value
	switch fateOf(c.Key) {
	case cursored:
		return nil
	case grouped:
		return e.w.write(kindGroup, &groupLine{line{kindGroup}, c.Key[len(groupPrefix):]})
	case freed:
		var err error
		if value, err = freeSlot(value); err != nil {
			return fmt.Errorf("the cell %s cannot be read: %w", c.Key, err)
		}
	case repositioned:
		v, _, ok := parsePlaced(value)
		if !ok {
			e.leftOut[word(c.Key)]++
			return nil
		}
		var err error
		if value, err = v.at(journal.Position{}); err != nil {
			return err
		}
	case copied:
	default:
		e.leftOut[word(c.Key)]++
		return nil
	}
	return e.w.write(kindCell, &cellLine{line{kindCell}, cellForm{c.Key, value}})
}
