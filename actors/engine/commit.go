package engine

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// batch of appends. The committer has one and fills it again and again: the journal does not keep it.
type batch struct {
	works     []*work
	appends   []journal.Append
	instances []*instance
}

// commit is the committer: it carries the appends of all entities to the journal, one batch at a time.
func (e *Engine) commit(stop <-chan struct{}) {
	var b batch
	var took time.Duration // by the journal for the last batch
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		// Turns that are about to end join the batch. Without it the first of many ends up alone: with a journal that
		// takes no time, 32 callers on 2 cores share batches of 1.1 instead of 15, and get two thirds of the throughput.
		runtime.Gosched()
		e.gather(timer, min(took, e.config.Gather))
		if e.launch(&b); len(b.works) == 0 {
			select {
			case <-e.toCommit:
				continue
			case <-stop:
				return
			}
		}
		// What is decided is carried out, whatever becomes of the commands' contexts.
		ctx, cancel := context.WithTimeout(context.Background(), e.config.AppendTimeout)
		began := time.Now()
		results := e.config.Journal.Append(ctx, b.appends)
		cancel()
		events := 0
		for k := range b.appends {
			events += len(b.appends[k].Events)
		}
		took = time.Since(began)
		e.config.Observer.Appended(len(b.appends), events, took)
		if events, effects := e.land(&b, results); events || effects {
			e.config.Landed(events, effects)
		}
	}
}

// worthGathering is how long a wait must be allowed to take to be begun: the timer's own cost is not far below.
const worthGathering = 50 * time.Microsecond

// gather lets turns that are being handled join the batch, and those that are about to come, for as long as patience
// lasts: the batch before says how many there may be. A commit costs nearly the same for one append as for thirty, and
// every process on the way works in larger strokes when replies leave together, so waiting no longer than the journal
// itself takes makes more of the same machine. With processors to spare it makes nothing more, and its price is the wait.
// A lone caller does not wait: no other turn is in progress then, and the batch before was as small.
func (e *Engine) gather(timer *time.Timer, patience time.Duration) {
	if patience < worthGathering {
		return
	}
	e.mu.Lock()
	wait := len(e.appends) > 0 && !e.enough()
	e.gathering = wait
	e.mu.Unlock()
	if !wait {
		return
	}
	timer.Reset(patience)
	select {
	case <-e.gathered:
	case <-timer.C:
	}
	e.mu.Lock()
	e.gathering = false
	select {
	case <-e.gathered: // rung just when the time was up
	default:
	}
	e.mu.Unlock()
}

// enough reports whether there is nothing that a batch should wait for.
func (e *Engine) enough() bool {
	n := len(e.appends)
	return n >= e.config.MaxBatch || e.turning == 0 && n >= e.batched
}

// turned counts a turn that has ended, and lets a batch go for which it was the last one to wait for.
func (e *Engine) turned() {
	e.turning--
	if e.gathering && e.enough() {
		e.gathering = false
		ring(e.gathered)
	}
}

// launch takes the next batch, in the order in which the turns ended.
func (e *Engine) launch(b *batch) {
	e.mu.Lock()
	defer e.unlock()
	n, size := 0, 0
	for n < len(e.appends) && n < e.config.MaxBatch {
		size += appendSize(&e.appends[n].append)
		if n > 0 && size > e.config.MaxBatchBytes {
			break
		}
		n++
	}
	if n == 0 {
		return
	}
	e.batched = n
	e.tick++
	b.works = append(b.works, e.appends[:n]...)
	left := copy(e.appends, e.appends[n:])
	clear(e.appends[left:])
	e.appends = e.appends[:left]
	for _, w := range b.works {
		w.launched = e.tick
		w.instance.launched++
		b.appends = append(b.appends, w.append)
	}
}

var errNoResult = errors.New("the journal gave no result")

// land puts the results to the works, settles their instances, and empties b. It reports what became durable.
func (e *Engine) land(b *batch, results []journal.Result) (events, effects bool) {
	e.mu.Lock()
	defer e.unlock()
	for k, w := range b.works {
		w.result = journal.Result{Status: journal.Unknown, Err: errNoResult}
		if k < len(results) && results[k].Status >= journal.Committed && results[k].Status <= journal.Refused {
			w.result = results[k]
		}
		if w.result.Status == journal.AlreadyApplied && w.command.Key == "" {
			// Nobody else knows a drawn id: some driver sent the append twice.
			w.result.Status = journal.Committed
		}
		if w.landed() || w.result.Status == journal.AlreadyApplied {
			events = events || len(w.append.Events) > 0
			effects = effects || len(w.append.Effects) > 0
		}
		i := w.instance
		i.launched--
		if i.launched == 0 {
			b.instances = append(b.instances, i)
		}
		if !w.landed() && !i.broken {
			e.fail(i)
		}
	}
	for _, i := range b.instances {
		e.settle(i)
		e.advance(i)
	}
	clear(b.works)
	clear(b.appends)
	clear(b.instances)
	b.works, b.appends, b.instances = b.works[:0], b.appends[:0], b.instances[:0]
	return events, effects
}

// question about the head of a stream, and about the key of a work, if one is set.
type question struct {
	instance   *instance
	work       *work
	generation uint32
	// Set when it is sent: the sequence at which the head should be, and the tick.
	sequence int64
	launched uint64
}

// check is the checker: it asks the journal the questions of all entities, one batch at a time.
func (e *Engine) check(stop <-chan struct{}) {
	for {
		runtime.Gosched() // as in commit
		batch, checks := e.pose()
		if len(batch) == 0 {
			select {
			case <-e.toCheck:
				continue
			case <-stop:
				return
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), e.config.AppendTimeout)
		began := time.Now()
		answers, err := e.config.Journal.Heads(ctx, checks)
		cancel()
		if err == nil && len(answers) != len(checks) {
			err = errNoResult
		}
		e.config.Observer.Checked(len(checks), time.Since(began))
		e.learn(batch, answers, err)
	}
}

// pose takes the next batch of questions.
func (e *Engine) pose() ([]question, []journal.Check) {
	e.mu.Lock()
	defer e.unlock()
	n := min(len(e.questions), e.config.MaxBatch)
	if n == 0 {
		return nil, nil
	}
	e.tick++
	batch := make([]question, n)
	checks := make([]journal.Check, n)
	copy(batch, e.questions)
	left := copy(e.questions, e.questions[n:])
	clear(e.questions[left:])
	e.questions = e.questions[:left]
	for k := range batch {
		q := &batch[k]
		q.launched, q.sequence = e.tick, q.instance.durable
		checks[k] = journal.Check{Ref: q.instance.stream(), After: -1}
		if q.work != nil {
			q.sequence = q.work.base
			checks[k].Command = commandID(q.work.command.Key)
		} else {
			q.instance.asking = false
		}
	}
	return batch, checks
}

// learn puts the answers to the instances and settles them.
func (e *Engine) learn(batch []question, answers []journal.Checked, err error) {
	e.mu.Lock()
	defer e.unlock()
	for k := range batch {
		q := &batch[k]
		i := q.instance
		if q.generation != i.generation || i.broken {
			continue
		}
		if err != nil {
			e.unproved(q, err)
		} else {
			e.answered(q, &answers[k])
		}
	}
	for k := range batch {
		if i := batch[k].instance; !i.broken {
			e.settle(i)
		}
		e.advance(batch[k].instance)
	}
}

// answered uses one answer.
func (e *Engine) answered(q *question, a *journal.Checked) {
	i, w := q.instance, q.work
	if w != nil {
		if w.stage != pending {
			return
		}
		if a.Applied {
			i.pending.remove(func(x *work) bool { return x == w })
			if a.Record != nil && a.Record.Hash != w.hash {
				e.finish(w, actors.Outcome{}, reused(&w.command))
				return
			}
			o, err := storedOutcome(&w.command, a.Record)
			e.finish(w, o, err)
			return
		}
		w.keyKnown = true
	}
	if e.config.Reads == Cached {
		return
	}
	switch {
	case a.Head.Sequence == q.sequence && a.Head.Epoch == i.epoch:
		// It proves as much for other reads that came in before the question was sent, but not for those of a later
		// state.
		if q.sequence == i.durable {
			i.proofAt, i.proofTick = q.sequence, q.launched
		}
		if w != nil {
			w.headKnown = true
		}
	case q.sequence != i.durable || i.writing > 0:
		// An own append may have moved the head. Its result decides, or has decided.
	default:
		if i.unproved() {
			i.stale = true
			e.fail(i)
		}
	}
}

// unproved reports whether a read waits for a proof.
func (i *instance) unproved() bool {
	for w := i.pending.first; w != nil && !w.wrote; w = w.next {
		if w.failure == nil && !w.headKnown {
			return true
		}
	}
	return false
}

// unproved answers the reads that waited for a question which the journal did not answer.
func (e *Engine) unproved(q *question, err error) {
	blocked := false
	q.instance.pending.remove(func(w *work) bool {
		blocked = blocked || w.wrote
		mine := w == q.work || q.work == nil && w.command.Key == "" && w.asked && w.arrived < q.launched
		if blocked || !mine {
			return false
		}
		c := &w.command
		e.finish(w, actors.Outcome{}, &actors.Error{Code: actors.Unavailable, Cause: err,
			Message: "the journal cannot be reached to confirm the answer of " + c.Method + " to " + c.Ref.String() + "; nothing came of it; try again"})
		return true
	})
}
