package operations

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// How much of the records of a stream, or of effects, is written at once.
const (
	writtenRecords = 500
	writtenEffects = 100
	writtenBytes   = 4 << 20
)

// ofStream takes a line of a stream.
func (i *importing) ofStream(ctx context.Context, kind string) error {
	if kind == kindStream {
		var l streamLine
		if err := i.r.decode(&l); err != nil || i.To == nil {
			return err
		}
		if err := errors.Join(i.settleStream(ctx), i.restore(ctx)); err != nil {
			return err
		}
		i.stream = &l
		return nil
	}
	if i.To != nil && i.stream == nil {
		return i.r.wrong("a %s comes before any stream", kind)
	}
	if kind == kindSnapshot {
		var l snapshotLine
		if err := i.r.decode(&l); err != nil || i.To == nil {
			return err
		}
		i.snapshot = &journal.Snapshot{Sequence: l.Sequence, Payload: l.payload()}
		return nil
	}
	var l recordLine
	if err := i.r.decode(&l); err != nil {
		return err
	}
	record, err := l.record()
	if err != nil {
		return i.r.wrong("%v", err)
	}
	if i.To == nil {
		return nil
	}
	i.records = append(i.records, record)
	if i.size += len(record.Outcome); len(i.records) >= writtenRecords || i.size >= writtenBytes {
		return i.writeStream(ctx)
	}
	return nil
}

// writeStream writes what there is to the stream.
func (i *importing) writeStream(ctx context.Context) error {
	was, err := i.To.Span(ctx, i.stream.ref())
	if err != nil {
		return err
	}
	span := i.stream.span()
	if was, err = i.leave(ctx, i.stream.ref(), was, span.Floor); err != nil {
		return err
	}
	// It may have gone on, and forgotten more, if it is in use.
	span.Sequence, span.Floor, span.Origin = max(span.Sequence, was.Sequence), max(span.Floor, was.Floor), max(span.Origin, was.Origin)
	r := journal.Restored{Ref: i.stream.ref(), Span: span, Records: i.records, Snapshot: i.snapshot}
	if r.Snapshot != nil && r.Snapshot.Sequence <= span.Origin {
		r.Snapshot = nil
	}
	if err := i.To.Restore(ctx, r); err != nil {
		return i.different(err)
	}
	i.records, i.size, i.snapshot = nil, 0, nil
	return nil
}

// settleStream ends the stream, and checks that it is what it was.
func (i *importing) settleStream(ctx context.Context) error {
	if i.stream == nil {
		return nil
	}
	if err := i.writeStream(ctx); err != nil {
		return err
	}
	ref, want := i.stream.ref(), i.stream.span()
	i.stream = nil
	is, err := i.To.Span(ctx, ref)
	if err != nil {
		return err
	}
	if is.Sequence < want.Sequence || is.Epoch < want.Epoch || is.Origin < want.Origin || is.Floor < want.Floor {
		return fmt.Errorf("%w: %s has %d events after its import, and %d in the export", ErrOther, ref, is.Sequence, want.Sequence)
	}
	return nil
}

func (i *importing) effect(ctx context.Context) error {
	var l effectLine
	if err := i.r.decode(&l); err != nil || i.To == nil {
		return err
	}
	if err := i.settleStream(ctx); err != nil {
		return err
	}
	if i.r.chain.counts[kindEffect] <= i.state.Effects {
		return nil // it is kept already, or was, and has been carried out
	}
	i.effects = append(i.effects, l.kept())
	if i.size += len(l.Payload.Data); len(i.effects) >= writtenEffects || i.size >= writtenBytes {
		return i.keep(ctx)
	}
	return nil
}

// keep keeps the effects that there are.
func (i *importing) keep(ctx context.Context) error {
	if len(i.effects) == 0 {
		return nil
	}
	if err := i.To.Keep(ctx, i.effects); err != nil {
		return i.different(err)
	}
	i.effects, i.size = nil, 0
	i.state.Effects = i.r.chain.counts[kindEffect]
	return i.save(ctx)
}

// group makes a group of nodes that have replicated entities, with an id of its own and no members.
func (i *importing) group(ctx context.Context) error {
	var l groupLine
	if err := i.r.decode(&l); err != nil || i.To == nil {
		return err
	}
	if err := errors.Join(i.settleStream(ctx), i.keep(ctx)); err != nil {
		return err
	}
	cell, err := cellOf(ctx, i.To, groupPrefix+l.Name)
	if err != nil || cell.Version > 0 {
		return err
	}
	_, err = slot.Rotate(ctx, slotCells{i.To}, l.Name)
	return err
}

func (i *importing) cell(ctx context.Context) error {
	var l cellLine
	if err := i.r.decode(&l); err != nil || i.To == nil {
		return err
	}
	if err := errors.Join(i.settleStream(ctx), i.keep(ctx)); err != nil {
		return err
	}
	c := journal.Cell{Key: l.Key, Value: l.Value}
	switch fateOf(c.Key) {
	case repositioned:
		return i.reposition(ctx, c)
	case copied, freed:
	default:
		return i.r.wrong("the cell %q is not one that is taken elsewhere", c.Key)
	}
	return i.put(ctx, c)
}

// put a cell, which may be there already.
func (i *importing) put(ctx context.Context, c journal.Cell) error {
	_, err := i.To.Put(ctx, c)
	if !errors.Is(err, journal.ErrConflict) {
		return err
	}
	is, err := cellOf(ctx, i.To, c.Key)
	if err != nil || bytes.Equal(is.Value, c.Value) {
		return err
	}
	if fateOf(c.Key) == freed {
		return i.spend(ctx, c, is)
	}
	if fateOf(c.Key) == repositioned {
		return nil // of the same event
	}
	return fmt.Errorf("%w: the cell %s has another value there; replicated entities cannot be merged in this way: import them into a journal without any", ErrOther, c.Key)
}

// spend sees to it that no epoch of a slot is used again.
func (i *importing) spend(ctx context.Context, c, is journal.Cell) error {
	here, ok := epochOf(is.Value)
	there, also := epochOf(c.Value)
	if !ok || !also {
		return fmt.Errorf("the cell %s cannot be read", c.Key)
	}
	if here >= there {
		return nil
	}
	c.Version = is.Version
	_, err := i.To.Put(ctx, c)
	return err
}

// slotCells are the cells of a journal, as far as slot.Rotate needs them.
type slotCells struct{ Journal }

func (s slotCells) Cell(ctx context.Context, key string) (journal.Cell, error) {
	return cellOf(ctx, s.Journal, key)
}

func (s slotCells) PutEach(context.Context, []journal.Cell) ([]journal.PutResult, error) {
	return nil, errors.ErrUnsupported
}

func (s slotCells) Remove(context.Context, string, int64) error { return errors.ErrUnsupported }
