package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// loop is one run of a consumer.
type loop struct {
	*Consumer
	results chan tried      // after a try; has room for all that are tried
	tries   context.Context // of the handler
	cut     context.CancelFunc
	valid   func() bool
	working sync.WaitGroup
	failing bool
}

// consume returns when ctx has ended, or another consumer has taken over.
func (l *loop) consume(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for more := true; ctx.Err() == nil; {
		if more && l.room() {
			moved, err := l.fetch(ctx)
			l.complain(ctx, err)
			more = moved
		}
		next := l.begin()
		if err := l.saveSoon(ctx); err != nil {
			return err
		}
		if more && l.room() {
			continue
		}
		timer.Reset(max(0, time.Until(next)))
		select {
		case <-ctx.Done():
		case t := <-l.results:
			l.result(t)
		case <-l.bell:
			more = true
		case <-timer.C:
			more = more || time.Since(l.fetched) >= l.config.Poll
		}
	}
	return nil
}

// complain once when the journal begins to fail, and tell when it is over.
func (l *loop) complain(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !l.failing:
		l.config.Log.Warn("the feed waits for the journal", logError, err)
	case err == nil && l.failing:
		l.config.Log.Info("the feed goes on")
	}
	l.failing = err != nil
}

// room for another batch.
func (l *loop) room() bool { return len(l.window)+l.config.Batch <= windowBatches*l.config.Batch }

// fetch the next batch, and what was released. It reports whether there may be more.
func (l *loop) fetch(ctx context.Context) (more bool, err error) {
	l.fetched = time.Now()
	if time.Since(l.looked) >= lookReleased {
		l.looked = time.Now()
		tickets, err := l.trial.released(ctx, l.config.Service, l.config.Batch, func(key string, _ actors.Ref) bool { return !l.again[key] })
		if err != nil {
			return false, err
		}
		for _, t := range tickets {
			l.again[t.released.Key] = true
			l.queue(t)
		}
	}
	events, to, err := l.config.Tailer.Tail(ctx, []string{l.config.Service}, l.read, l.config.Batch)
	corrupt, damaged := errors.AsType[*journal.CorruptError](err)
	if err != nil && !damaged {
		return false, fmt.Errorf("read events: %w", err)
	}
	for _, e := range events {
		l.add(&ticket{event: e})
	}
	if damaged {
		e := journal.Event{Ref: corrupt.Ref, Sequence: corrupt.Sequence, Position: to}
		l.add(&ticket{event: e, hopeless: true, problem: err.Error()})
	}
	if to == l.read {
		return false, l.block.look(ctx)
	}
	l.read = to
	l.block.over()
	if len(l.window) == 0 {
		l.at = to
	}
	return true, nil
}

func (l *loop) add(t *ticket) {
	l.window = append(l.window, t)
	l.queue(t)
}

func (l *loop) queue(t *ticket) {
	id := t.event.Ref.ID
	l.queues[id] = append(l.queues[id], t)
	if len(l.queues[id]) == 1 {
		l.ready = append(l.ready, t)
	}
}

// begin tries what can be tried now. It returns when to look again.
func (l *loop) begin() (next time.Time) {
	now := time.Now()
	next = l.fetched.Add(l.config.Poll)
	if !l.room() {
		next = now.Add(l.config.Poll)
	}
	waiting := l.waiting[:0]
	for _, t := range l.waiting {
		if t.due.After(now) {
			waiting = append(waiting, t)
			if t.due.Before(next) {
				next = t.due
			}
		} else {
			l.ready = append(l.ready, t)
		}
	}
	clear(l.waiting[len(waiting):])
	l.waiting = waiting
	for len(l.ready) > 0 && l.trying < l.config.Concurrency && l.valid() {
		t := l.ready[0]
		l.ready = l.ready[1:]
		l.trying++
		l.working.Go(func() {
			l.results <- tried{t, l.trial.try(l.tries, t, l.config.Timeout, l.config.Handle)}
		})
	}
	return next
}

// tried is a ticket after a try, and whether it is done. Only the loop marks it so: it looks at the marks of tickets that
// are being tried.
type tried struct {
	*ticket
	done bool
}

// result of a try.
func (l *loop) result(r tried) {
	t := r.ticket
	l.trying--
	if t.done = r.done; !t.done {
		t.due = time.Now().Add(l.trial.after(t.tries))
		l.waiting = append(l.waiting, t)
		return
	}
	delete(l.again, t.released.Key)
	id := t.event.Ref.ID
	if queue := l.queues[id][1:]; len(queue) > 0 {
		l.queues[id] = queue
		l.ready = append(l.ready, queue[0])
	} else {
		delete(l.queues, id)
	}
	for len(l.window) > 0 && l.window[0].done {
		l.at = l.window[0].event.Position
		l.window = l.window[1:]
		l.unsaved++
	}
	if len(l.window) == 0 {
		l.at = l.read
	}
}

// saveSoon saves the cursor after a batch, when there is nothing else to do, and now and then. A cursor that only passes
// other services' events has time.
func (l *loop) saveSoon(ctx context.Context) error {
	since := time.Since(l.saved)
	switch {
	case l.at == l.kept:
		return nil
	case l.unsaved >= l.config.Batch, l.unsaved > 0 && len(l.window) == 0 && since >= l.config.Poll:
	case since >= l.config.Save && l.unsaved > 0, since >= 10*l.config.Save:
	default:
		return nil
	}
	return l.save(ctx)
}

// save the cursor. A journal that does not take it is tried again; only a successor is an error.
func (l *loop) save(ctx context.Context) error {
	if l.at == l.kept {
		return nil
	}
	l.unsaved, l.saved = 0, time.Now()
	err := l.cursor.save(ctx, l.at)
	if errors.Is(err, ErrReplaced) {
		return err
	}
	l.complain(ctx, err)
	if err != nil {
		l.unsaved = 1
		return nil
	}
	l.kept = l.at
	lag := time.Duration(0)
	if len(l.window) > 0 {
		lag = time.Since(l.window[0].event.Time)
	}
	l.config.Observer.Moved(l.at, lag)
	return nil
}

// drain waits for what is still being tried. Without a lease it is cut soon, and without a cursor at once.
func (l *loop) drain(err error, lost <-chan struct{}) {
	if err != nil {
		l.cut()
	}
	finish := time.AfterFunc(l.config.Drain, l.cut)
	defer finish.Stop()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		l.working.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-lost:
		l.cut()
	}
	waiting.Wait()
	for range len(l.results) {
		l.result(<-l.results)
	}
}
