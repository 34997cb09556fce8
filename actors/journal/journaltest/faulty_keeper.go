package journaltest

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Services implements journal.Keeper.
func (f *Faulty) Services(ctx context.Context) ([]string, error) {
	return disturbed(f, ctx, CallServices, anywhere, f.inner.Services)
}

// Records implements journal.Keeper.
func (f *Faulty) Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error) {
	return disturbed(f, ctx, CallRecords, only(ref), func(ctx context.Context) ([]journal.CommandRecord, error) {
		return f.inner.Records(ctx, ref, after, limit)
	})
}

// Span implements journal.Keeper.
func (f *Faulty) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	return disturbed(f, ctx, CallSpan, only(ref), func(ctx context.Context) (journal.Span, error) { return f.inner.Span(ctx, ref) })
}

// Forget implements journal.Keeper.
func (f *Faulty) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	return f.disturbWrite(ctx, CallForget, only(ref), func(ctx context.Context) error {
		return f.inner.Forget(ctx, ref, through, wholeValues)
	})
}

// ForgetRecords implements journal.Keeper.
func (f *Faulty) ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error {
	return f.disturbWrite(ctx, CallForget, only(ref), func(ctx context.Context) error { return f.inner.ForgetRecords(ctx, ref, through) })
}

// Erase implements journal.Keeper.
func (f *Faulty) Erase(ctx context.Context, ref actors.Ref) error {
	return f.disturbWrite(ctx, CallErase, only(ref), func(ctx context.Context) error { return f.inner.Erase(ctx, ref) })
}

// Restore implements journal.Keeper.
func (f *Faulty) Restore(ctx context.Context, r journal.Restored) error {
	return f.disturbWrite(ctx, CallRestore, only(r.Ref), func(ctx context.Context) error { return f.inner.Restore(ctx, r) })
}
