package journaltest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// ErrInjected is matched by the errors that a Faulty journal makes up.
var ErrInjected = errors.New("injected fault")

// Call is a method of the journal. Append and Transact count their calls together.
type Call uint8

// The calls that can be disturbed.
const (
	CallAppend Call = iota // Append and Transact
	CallFence
	CallLoad
	CallRead // Read, and the events of a Loading
	CallHeads
	CallLast
	CallList
	CallEnqueue
	CallDue
	CallSettle
	CallParked
	CallRelease
	CallDiscard
	CallTail
	CallCell
	CallCells
	CallPut
	CallPutEach
	CallRemove
	CallServices
	CallRecords
	CallSpan
	CallForget
	CallErase
	CallRestore
	calls
)

func (c Call) String() string {
	return [...]string{"append", "fence", "load", "read", "heads", "last", "list", "enqueue", "due", "settle", "parked",
		"release", "discard", "tail", "cell", "cells", "put", "put each", "remove",
		"services", "records", "span", "forget", "erase", "restore"}[c]
}

// Fault is what happens to a call.
type Fault uint8

const (
	// Slow only delays the call.
	Slow Fault = iota
	// Lost does not carry the call out. Appends are Unknown, the others return an error.
	Lost
	// LostReply carries the call out and loses the answer. Appends are Unknown, the others return an error.
	LostReply
	// Late answers at once as Lost does, and carries the call out when its delay is over, however the stream has moved
	// by then. The journal's Close waits for it.
	Late
	// Refuse answers appends with Refused, and does not carry them out; the others return an error.
	Refuse
	// Conflict answers appends with Conflict, at the stream's true head, and does not carry them out; the others return
	// an error.
	Conflict
	// Again carries appends out twice and answers as the second time, as a driver does that repeats a statement when its
	// reply is lost: with our own commit's Conflict, or AlreadyApplied. The others return an error.
	Again
)

func (f Fault) String() string {
	return [...]string{"slow", "lost", "lost reply", "late", "refuse", "conflict", "again"}[f]
}

// Disturbance says which call gets which fault. Each strikes once.
type Disturbance struct {
	Call  Call
	Fault Fault
	// Nth call, counted from the Disturb that set it up, that it matches. Defaults to 1.
	Nth int
	// Ref limits it to the calls that touch this stream; of a batch it strikes this stream's appends only, of a
	// transaction all. The zero Ref matches every call, and strikes all of a batch.
	Ref actors.Ref
	// Delay before the call is carried out. It ends early if the call's context does.
	Delay time.Duration
	// Hold, if set, delays the call until it is closed.
	Hold <-chan struct{}
	// Err is the cause that is reported. Defaults to one that matches ErrInjected.
	Err error
}

// Rates are the shares of calls, 0 to 1, that get each fault by chance.
type Rates struct {
	Lost, LostReply, Late, Refuse, Conflict, Again, Slow float64
	// Delay is the longest delay of Slow and Late. Defaults to 10 ms.
	Delay time.Duration
}

// Faulty is a journal whose calls fail as told, by script (Disturb) or by chance (Chance). What it does not disturb is
// the inner journal's. It may be used from many goroutines at once.
type Faulty struct {
	inner journal.Journal
	late  sync.WaitGroup

	mu     sync.Mutex
	script []*Disturbance
	rates  Rates
	random *rand.Rand
	count  [calls]int
	struck int
}

// NewFaulty wraps a journal. It disturbs nothing until told to.
func NewFaulty(inner journal.Journal) *Faulty { return &Faulty{inner: inner} }

// Disturb adds to the script.
func (f *Faulty) Disturb(script ...Disturbance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range script {
		d.Nth = max(d.Nth, 1)
		f.script = append(f.script, &d)
	}
}

// Chance disturbs calls at random from now on. The same seed and order of calls give the same faults; a zero Rates
// ends it.
func (f *Faulty) Chance(seed uint64, rates Rates) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rates.Delay == 0 {
		rates.Delay = 10 * time.Millisecond
	}
	f.rates, f.random = rates, rand.New(rand.NewPCG(seed, seed))
	if rates == (Rates{Delay: rates.Delay}) {
		f.random = nil
	}
}

// Calls is how often a method was called.
func (f *Faulty) Calls(c Call) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[c]
}

// Struck is how many faults have happened.
func (f *Faulty) Struck() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.struck
}

// Pending is how many disturbances of the script have not happened yet. A test that ends with some has not tested what
// it meant to.
func (f *Faulty) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.script)
}

// strike counts a call and returns what is to happen to it, nil for nothing.
func (f *Faulty) strike(c Call, touches func(actors.Ref) bool) *Disturbance {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[c]++
	var hit *Disturbance
	for i := 0; i < len(f.script); i++ {
		d := f.script[i]
		if d.Call != c || d.Ref != (actors.Ref{}) && !touches(d.Ref) {
			continue
		}
		d.Nth--
		if d.Nth == 0 && hit == nil {
			hit = d
			f.script = append(f.script[:i], f.script[i+1:]...)
			i--
		} else if d.Nth == 0 {
			d.Nth = 1 // another one struck this call; the next is its
		}
	}
	if hit == nil && f.random != nil {
		hit = f.throw(c)
	}
	if hit == nil {
		return nil
	}
	f.struck++
	if hit.Err == nil {
		hit.Err = fmt.Errorf("%s %s: %w", hit.Fault, c, ErrInjected)
	}
	return hit
}

func (f *Faulty) throw(c Call) *Disturbance {
	x := f.random.Float64()
	delay := time.Duration(f.random.Int64N(int64(f.rates.Delay)))
	r := f.rates
	for _, o := range []struct {
		share float64
		fault Fault
	}{{r.Lost, Lost}, {r.LostReply, LostReply}, {r.Late, Late}, {r.Refuse, Refuse}, {r.Conflict, Conflict}, {r.Again, Again}, {r.Slow, Slow}} {
		if x < o.share {
			d := &Disturbance{Call: c, Fault: o.fault}
			if o.fault == Slow || o.fault == Late {
				d.Delay = delay
			}
			return d
		}
		x -= o.share
	}
	return nil
}

// wait lets the delay pass. It reports whether ctx lasted.
func (d *Disturbance) wait(ctx context.Context) bool {
	if d.Delay > 0 {
		t := time.NewTimer(d.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	if d.Hold != nil {
		select {
		case <-d.Hold:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// Append implements journal.Appender.
func (f *Faulty) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	d := f.strike(CallAppend, touches(batch))
	if d == nil {
		return f.inner.Append(ctx, batch)
	}
	if d.Ref == (actors.Ref{}) {
		return f.disturb(ctx, d, batch, f.inner.Append)
	}
	var struck, spared []journal.Append
	for _, a := range batch {
		if a.Ref == d.Ref {
			struck = append(struck, a)
		} else {
			spared = append(spared, a)
		}
	}
	spare := f.inner.Append(ctx, spared)
	hit := f.disturb(ctx, d, struck, f.inner.Append)
	results := make([]journal.Result, 0, len(batch))
	for _, a := range batch {
		from := &spare
		if a.Ref == d.Ref {
			from = &hit
		}
		results = append(results, (*from)[0])
		*from = (*from)[1:]
	}
	return results
}

// Transact implements journal.Appender.
func (f *Faulty) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	d := f.strike(CallAppend, touches(batch))
	if d == nil {
		return f.inner.Transact(ctx, batch)
	}
	return f.disturb(ctx, d, batch, f.inner.Transact)
}

func touches(batch []journal.Append) func(actors.Ref) bool {
	return func(ref actors.Ref) bool {
		for i := range batch {
			if batch[i].Ref == ref {
				return true
			}
		}
		return false
	}
}

func (f *Faulty) disturb(
	ctx context.Context, d *Disturbance, batch []journal.Append,
	call func(context.Context, []journal.Append) []journal.Result,
) []journal.Result {
	if d.Fault == Late {
		batch = append([]journal.Append(nil), batch...)
		f.late.Go(func() {
			d.wait(context.Background())
			call(context.WithoutCancel(ctx), batch)
		})
		return rules.All(len(batch), journal.Unknown, d.Err)
	}
	if !d.wait(ctx) {
		return rules.All(len(batch), journal.Unknown, context.Cause(ctx))
	}
	switch d.Fault {
	case Slow:
		return call(ctx, batch)
	case LostReply:
		call(ctx, batch)
		return rules.All(len(batch), journal.Unknown, d.Err)
	case Refuse:
		return rules.All(len(batch), journal.Refused, d.Err)
	case Conflict:
		return f.conflict(ctx, batch)
	case Again:
		call(ctx, batch)
		return call(ctx, batch)
	default:
		return rules.All(len(batch), journal.Unknown, d.Err)
	}
}

func (f *Faulty) conflict(ctx context.Context, batch []journal.Append) []journal.Result {
	results := rules.All(len(batch), journal.Conflict, nil)
	checks := make([]journal.Check, len(batch))
	for i := range batch {
		checks[i].Ref = batch[i].Ref
	}
	checked, err := f.inner.Heads(ctx, checks)
	for i := range results {
		if err == nil {
			results[i].Head = checked[i].Head
		}
	}
	return results
}

// Fence implements journal.Appender.
func (f *Faulty) Fence(ctx context.Context, ref actors.Ref, epoch int64) (journal.Head, error) {
	return disturbed(f, ctx, CallFence, only(ref), func(ctx context.Context) (journal.Head, error) {
		return f.inner.Fence(ctx, ref, epoch)
	})
}

// Load implements journal.Reader.
func (f *Faulty) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	l, err := disturbed(f, ctx, CallLoad, only(ref), func(ctx context.Context) (journal.Loading, error) {
		return f.inner.Load(ctx, ref)
	})
	if err == nil {
		l.Events = f.events(ctx, ref, l.Events)
	}
	return l, err
}

// Read implements journal.Reader.
func (f *Faulty) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	return f.events(ctx, ref, f.inner.Read(ctx, ref, after, limit))
}

// events fails, if it is to, behind the first event, so that the reader has begun.
func (f *Faulty) events(ctx context.Context, ref actors.Ref, inner iter.Seq2[journal.Event, error]) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		_, err := disturbed(f, ctx, CallRead, only(ref), func(context.Context) (struct{}, error) { return struct{}{}, nil })
		for e, e2 := range inner {
			if !yield(e, e2) || e2 != nil {
				return
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			yield(journal.Event{}, err)
		}
	}
}

// Last implements journal.Reader.
func (f *Faulty) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	return disturbed(f, ctx, CallLast, func(ref actors.Ref) bool { return slices.Contains(refs, ref) },
		func(ctx context.Context) ([]journal.Event, error) { return f.inner.Last(ctx, refs) })
}

// Heads implements journal.Reader.
func (f *Faulty) Heads(ctx context.Context, checks []journal.Check) ([]journal.Checked, error) {
	return disturbed(f, ctx, CallHeads, func(ref actors.Ref) bool {
		for _, c := range checks {
			if c.Ref == ref {
				return true
			}
		}
		return false
	}, func(ctx context.Context) ([]journal.Checked, error) { return f.inner.Heads(ctx, checks) })
}

// List implements journal.Journal.
func (f *Faulty) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	return disturbed(f, ctx, CallList, func(ref actors.Ref) bool { return ref.Service == service },
		func(ctx context.Context) ([]journal.Summary, error) { return f.inner.List(ctx, service, after, limit) })
}

// ID implements journal.Journal.
func (f *Faulty) ID(ctx context.Context) (string, error) { return f.inner.ID(ctx) }

// Ping implements journal.Journal.
func (f *Faulty) Ping(ctx context.Context) error { return f.inner.Ping(ctx) }

// Close waits for late calls and closes the inner journal.
func (f *Faulty) Close() error {
	f.late.Wait()
	return f.inner.Close()
}

func only(ref actors.Ref) func(actors.Ref) bool {
	return func(r actors.Ref) bool { return r == ref }
}

func disturbed[T any](
	f *Faulty, ctx context.Context, c Call, touches func(actors.Ref) bool, call func(context.Context) (T, error),
) (T, error) {
	var zero T
	d := f.strike(c, touches)
	if d == nil {
		return call(ctx)
	}
	if d.Fault == Late {
		f.late.Go(func() {
			d.wait(context.Background())
			_, _ = call(context.WithoutCancel(ctx))
		})
		return zero, d.Err
	}
	if !d.wait(ctx) {
		return zero, context.Cause(ctx)
	}
	switch d.Fault {
	case Slow:
		return call(ctx)
	case LostReply:
		_, _ = call(ctx)
	}
	return zero, d.Err
}
