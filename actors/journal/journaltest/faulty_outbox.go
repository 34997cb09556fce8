package journaltest

import (
	"context"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// anywhere is for calls that are about no stream: a Disturbance with a Ref does not match them.
func anywhere(actors.Ref) bool { return false }

type nothing struct{}

func (f *Faulty) disturbWrite(
	ctx context.Context, c Call, touches func(actors.Ref) bool, call func(context.Context) error,
) error {
	_, err := disturbed(f, ctx, c, touches, func(ctx context.Context) (nothing, error) { return nothing{}, call(ctx) })
	return err
}

// Enqueue implements journal.Outbox.
func (f *Faulty) Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error {
	return f.disturbWrite(ctx, CallEnqueue, only(source), func(ctx context.Context) error {
		return f.inner.Enqueue(ctx, source, effects)
	})
}

// Due implements journal.Outbox.
func (f *Faulty) Due(ctx context.Context, services []string, lanes []int, limit int) ([]journal.Pending, error) {
	return disturbed(f, ctx, CallDue, anywhere, func(ctx context.Context) ([]journal.Pending, error) {
		return f.inner.Due(ctx, services, lanes, limit)
	})
}

// Settle implements journal.Outbox.
func (f *Faulty) Settle(ctx context.Context, settlements []journal.Settlement) error {
	return f.disturbWrite(ctx, CallSettle, anywhere, func(ctx context.Context) error { return f.inner.Settle(ctx, settlements) })
}

// Parked implements journal.Outbox.
func (f *Faulty) Parked(ctx context.Context, after string, limit int) ([]journal.Pending, error) {
	return disturbed(f, ctx, CallParked, anywhere, func(ctx context.Context) ([]journal.Pending, error) {
		return f.inner.Parked(ctx, after, limit)
	})
}

// Release implements journal.Outbox.
func (f *Faulty) Release(ctx context.Context, ids []string) error {
	return f.disturbWrite(ctx, CallRelease, anywhere, func(ctx context.Context) error { return f.inner.Release(ctx, ids) })
}

// Discard implements journal.Outbox.
func (f *Faulty) Discard(ctx context.Context, ids []string) error {
	return f.disturbWrite(ctx, CallDiscard, anywhere, func(ctx context.Context) error { return f.inner.Discard(ctx, ids) })
}

// Tail implements journal.Tailer. A disturbed one leaves the position where it was.
func (f *Faulty) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	type answer struct {
		events   []journal.Event
		position journal.Position
	}
	a, err := disturbed(f, ctx, CallTail, anywhere, func(ctx context.Context) (a answer, err error) {
		a.events, a.position, err = f.inner.Tail(ctx, services, after, limit)
		return a, err
	})
	if err != nil && a.position == (journal.Position{}) {
		a.position = after
	}
	return a.events, a.position, err
}

// Cell implements journal.Cells.
func (f *Faulty) Cell(ctx context.Context, key string) (journal.Cell, error) {
	return disturbed(f, ctx, CallCell, anywhere, func(ctx context.Context) (journal.Cell, error) { return f.inner.Cell(ctx, key) })
}

// Cells implements journal.Cells.
func (f *Faulty) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	return disturbed(f, ctx, CallCells, anywhere, func(ctx context.Context) ([]journal.Cell, error) {
		return f.inner.Cells(ctx, prefix, after, limit)
	})
}

// Put implements journal.Cells.
func (f *Faulty) Put(ctx context.Context, c journal.Cell) (int64, error) {
	return disturbed(f, ctx, CallPut, anywhere, func(ctx context.Context) (int64, error) { return f.inner.Put(ctx, c) })
}

// PutEach implements journal.Cells.
func (f *Faulty) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	cells = slices.Clone(cells) // a late call is made when the caller has gone on
	return disturbed(f, ctx, CallPutEach, anywhere, func(ctx context.Context) ([]journal.PutResult, error) {
		return f.inner.PutEach(ctx, cells)
	})
}

// Remove implements journal.Cells.
func (f *Faulty) Remove(ctx context.Context, key string, version int64) error {
	return f.disturbWrite(ctx, CallRemove, anywhere, func(ctx context.Context) error { return f.inner.Remove(ctx, key, version) })
}
