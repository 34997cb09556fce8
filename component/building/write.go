package building

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// The events of a state key.
const (
	eventSet     = "set"
	eventDeleted = "deleted"
)

// op sets or deletes a key.
type op struct {
	key         string
	delete      bool
	data        []byte
	contentType string
	expires     time.Time // zero if it does not
	context     journal.Context
	// expects is the sequence at which the key must exist, 0 if it need not.
	expects int64
	// fresh: the key must not exist.
	fresh bool
}

func (o *op) conditional() bool { return o.expects > 0 || o.fresh }

// write is all that one request does to one key: one append.
type write struct {
	ref     actors.Ref
	ops     []op
	command string
	// plan sets these.
	expected int64
	events   []journal.Event
	// epoch is raised to what conflicts report.
	epoch int64
	done  bool
	err   error
}

// group makes one write for each key, in the order of their first ops.
func group(ops []op) []*write {
	var writes []*write
	byKey := map[string]*write{}
	for _, o := range ops {
		w := byKey[o.key]
		if w == nil {
			w = &write{ref: stateRef(o.key), command: "state-" + rand.Text()}
			byKey[o.key] = w
			writes = append(writes, w)
		}
		w.ops = append(w.ops, o)
	}
	return writes
}

// look reports whether the plan depends on what is there.
func (w *write) look() bool {
	for i := range w.ops {
		if w.ops[i].conditional() || w.ops[i].delete {
			return true
		}
	}
	return false
}

// plan decides the events, given the last one and the time. A delete of what is not there makes none.
func (w *write) plan(last journal.Event, now time.Time) error {
	w.events, w.expected = nil, journal.AnySequence
	sequence, there := last.Sequence, exists(last, now)
	for i := range w.ops {
		o := &w.ops[i]
		if o.conditional() {
			w.expected = last.Sequence
		}
		switch {
		case o.expects > 0 && !there:
			return mismatch("%q does not exist (any more), and the ETag %d was given", cut(o.key), o.expects)
		case o.expects > 0 && o.expects != sequence:
			return mismatch("%q has the ETag %d, and %d was given", cut(o.key), sequence, o.expects)
		case o.fresh && there:
			return mismatch("%q exists, and first-write without an ETag was asked for", cut(o.key))
		case o.delete && !there:
			continue
		}
		e := journal.Event{Name: eventSet, Payload: actors.Payload{TypeURL: typeOf(o.expires), ContentType: o.contentType, Data: o.data}}
		if o.delete {
			e = journal.Event{Name: eventDeleted, Payload: actors.Payload{TypeURL: valueType}}
		}
		e.Context = o.context
		w.events = append(w.events, e)
		sequence, there = sequence+1, !o.delete
	}
	return nil
}

func mismatch(format string, args ...any) error {
	return &etagError{codes.FailedPrecondition, "etag mismatch: " + fmt.Sprintf(format, args...)}
}

// attempts bounds how often a write that keeps being overtaken is tried. One with an ETag fails long before.
const attempts = 20

// writing carries writes out.
type writing struct {
	journal Journal
	whole   bool // all or nothing
	writes  []*write
}

// run returns the first write's error that there is. Without whole, the other writes are done all the same.
func (g *writing) run(ctx context.Context) error {
	pending := g.writes
	for range attempts {
		if err := g.prepare(ctx, pending); err != nil {
			return err
		}
		if g.whole {
			if err := g.failure(); err != nil {
				return err
			}
		}
		pending = open(pending)
		if len(pending) == 0 {
			return g.failure()
		}
		if err := g.append(ctx, pending); err != nil {
			return err
		}
		if pending = open(pending); len(pending) == 0 || g.whole && g.failure() != nil {
			return g.failure()
		}
	}
	return actors.Errorf(actors.Aborted, "write %q: other writers were faster %d times; try again", cut(pending[0].ref.ID), attempts)
}

// open returns the writes that are neither done nor lost.
func open(writes []*write) []*write {
	var left []*write
	for _, w := range writes {
		if !w.done && w.err == nil {
			left = append(left, w)
		}
	}
	return left
}

func (g *writing) failure() error {
	for _, w := range g.writes {
		if w.err != nil {
			return w.err
		}
	}
	return nil
}

// prepare plans the writes, on what the journal holds now where that matters.
func (g *writing) prepare(ctx context.Context, writes []*write) error {
	var refs []actors.Ref
	var asking []*write
	now := time.Now()
	for _, w := range writes {
		if w.look() {
			refs, asking = append(refs, w.ref), append(asking, w)
		} else {
			w.err = w.plan(journal.Event{}, now)
		}
	}
	for from := 0; from < len(refs); from += bulk {
		to := min(from+bulk, len(refs))
		last, err := g.journal.Last(ctx, refs[from:to])
		if err != nil {
			return journalError(fmt.Sprintf("write %q", cut(refs[0].ID)), err)
		}
		for i, w := range asking[from:to] {
			w.err = w.plan(last[i], now)
			w.done = w.err == nil && len(w.events) == 0
		}
	}
	return nil
}

func (g *writing) append(ctx context.Context, writes []*write) error {
	send, size := g.journal.Append, bulk
	if g.whole {
		send, size = g.journal.Transact, len(writes)
	}
	for from := 0; from < len(writes); from += size {
		part := writes[from:min(from+size, len(writes))]
		batch := make([]journal.Append, len(part))
		for i, w := range part {
			batch[i] = journal.Append{Ref: w.ref, Expected: w.expected, Epoch: w.epoch, Command: w.command, Events: w.events}
		}
		results := send(ctx, batch)
		for i, w := range part {
			if err := g.settle(ctx, w, results[i]); err != nil {
				return err
			}
			if g.whole && w.done { // then all are
				for _, other := range part {
					other.done = true
				}
				return nil
			}
		}
	}
	return nil
}

// settle takes in what became of a write. It leaves it as it is to be tried again. The error ends the whole request.
func (g *writing) settle(ctx context.Context, w *write, r journal.Result) error {
	switch r.Status {
	case journal.Committed, journal.AlreadyApplied:
		w.done = true
	case journal.Conflict:
		w.epoch = max(w.epoch, r.Head.Epoch)
		if w.expected == journal.AnySequence {
			break // it was the epoch, and a commit of our own would not have raised that
		}
		applied, err := g.applied(ctx, w)
		if err != nil {
			return journalError(fmt.Sprintf("write %q", cut(w.ref.ID)), err)
		}
		w.done = applied
	case journal.Unknown:
		return g.resolve(ctx, w, r.Err)
	default:
		if !errors.Is(r.Err, journal.ErrTransaction) { // else another write of the transaction was at fault
			w.err = journalError(fmt.Sprintf("write %q", cut(w.ref.ID)), r.Err)
		}
	}
	return nil
}

// resolve finds out about a write whose commit is not known. If it did not happen, the stream is fenced, so that it
// cannot happen later, over writes that come after this one. With whole, one stream of the transaction stands for all.
func (g *writing) resolve(ctx context.Context, w *write, cause error) error {
	if ctx.Err() != nil { // The caller has gone and is not told anything: what he does not know is no harm.
		return journalError(fmt.Sprintf("write %q, which may have happened", cut(w.ref.ID)), ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	applied, err := g.applied(ctx, w)
	if err == nil && !applied {
		var head journal.Head
		if head, err = g.journal.Fence(ctx, w.ref, w.epoch+1); err == nil {
			w.epoch = head.Epoch
			applied, err = g.applied(ctx, w)
		}
	}
	if err != nil {
		return actors.Errorf(actors.Aborted, "write %q: it is not known whether it happened (%v), and finding out did not work: %w; read it before trying again",
			cut(w.ref.ID), cause, err)
	}
	w.done = applied
	return nil
}

// lookBack is how many events are searched for one that was added wherever the stream was. More of them cannot have
// been added to one key while one append was under way.
const lookBack = 10_000

// applied reports whether the write is in the journal.
func (g *writing) applied(ctx context.Context, w *write) (bool, error) {
	checked, err := g.journal.Heads(ctx, []journal.Check{{Ref: w.ref, Command: w.command, After: w.expected}})
	if err != nil || checked[0].Applied || w.expected != journal.AnySequence {
		return err == nil && checked[0].Applied, err
	}
	after := max(0, checked[0].Head.Sequence-lookBack)
	for e, err := range readKept(ctx, g.journal, w.ref, after, 0) {
		if err != nil {
			return false, err
		}
		if e.Command == w.command {
			return true, nil
		}
	}
	return false, nil
}
