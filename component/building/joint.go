package building

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// joint lets calls that are made at the same time be carried out together. One of the callers carries them out for all:
// there is no goroutine, and who is alone waits for nobody. While calls are being carried out, the next ones gather.
type joint[Q, A any] struct {
	// join begins a batch; the function it returns reports whether another call may go with it. It takes the first.
	join func() func(Q) bool
	// carry carries calls out and sets their answers.
	carry func(context.Context, []*joined[Q, A])
	// gather is for how long a batch waits at most until it is as large as the one before. Zero: it does not.
	gather time.Duration

	mu      sync.Mutex
	waiting []*joined[Q, A]
	led     bool
	// last is how many calls the batch before had, and took how long they took to be carried out.
	last int
	took time.Duration
	// enough is closed when a batch that waits is as large as the one before. It is nil while none waits.
	enough chan struct{}
}

// joined is one call.
type joined[Q, A any] struct {
	question Q
	answer   A
	// wake is told once that the answer is there, or, before that, that it is this call's turn to lead.
	wake    chan struct{}
	leads   bool // under the joint's lock
	settled bool // as above
	carried bool // as above
}

var (
	// errNotBegun is matched by errors of do that leave nothing behind.
	errNotBegun = errors.New("not begun")
	errBroken   = errors.New("it broke while it was carried out")
)

// do carries a call out, with those of others. If ctx ends before the answer is there, the error is ctx's; it matches
// errNotBegun if the call has not been carried out and will not be.
func (j *joint[Q, A]) do(ctx context.Context, question Q) (A, error) {
	c := &joined[Q, A]{question: question, wake: make(chan struct{}, 2)}
	j.mu.Lock()
	j.waiting = append(j.waiting, c)
	if j.enough != nil && len(j.waiting) >= j.last {
		close(j.enough)
		j.enough = nil
	}
	if !j.led {
		j.led, c.leads = true, true
		c.wake <- struct{}{}
	}
	j.mu.Unlock()
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			if err := j.leave(ctx, c); err != nil {
				var none A
				return none, err
			}
		}
		j.mu.Lock()
		settled, carried, leads := c.settled, c.carried, c.leads
		j.mu.Unlock()
		switch {
		case settled && !carried:
			return c.answer, errBroken
		case settled:
			return c.answer, nil
		case leads:
			j.lead(ctx, c)
			return c.answer, nil
		}
	}
}

// leave takes a call back whose caller does not wait any longer. There is no error if the answer is there all the same.
func (j *joint[Q, A]) leave(ctx context.Context, c *joined[Q, A]) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c.settled {
		return nil
	}
	i := slices.Index(j.waiting, c)
	if i < 0 {
		return context.Cause(ctx)
	}
	j.waiting = slices.Delete(j.waiting, i, i+1)
	if c.leads {
		j.next()
	}
	return fmt.Errorf("%w: %w", errNotBegun, context.Cause(ctx))
}

// lead carries out the batch that begins with c, and hands over to the next one.
func (j *joint[Q, A]) lead(ctx context.Context, c *joined[Q, A]) {
	// Callers that are about to come join. Without it the first of many ends up alone when the journal is fast.
	runtime.Gosched()
	j.await()
	j.mu.Lock()
	batch := j.take()
	j.last = len(batch)
	j.mu.Unlock()
	began := time.Now()
	carried := false
	defer func() { // also when the journal panics, which the server outlives
		j.mu.Lock()
		defer j.mu.Unlock()
		j.took = time.Since(began)
		for _, other := range batch {
			other.settled, other.carried = true, carried
			if other != c {
				other.wake <- struct{}{}
			}
		}
		j.next()
	}()
	if len(batch) > 1 {
		// The others' calls do not end with this caller's patience.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
	}
	j.carry(ctx, batch)
	carried = true
}

// worthAwaiting is how long a wait must be allowed to take to be begun: the timer's own cost is not far below.
const worthAwaiting = 50 * time.Microsecond

// await lets calls that are about to come join the batch: the batch before says how many there may be. To carry out many
// costs little more than one, and every process on the way works in larger strokes when answers leave together. It waits no
// longer than two batches take. A lone caller does not wait: the batch before was as small.
func (j *joint[Q, A]) await() {
	j.mu.Lock()
	patience := min(2*j.took, j.gather)
	if len(j.waiting) >= j.last || patience < worthAwaiting {
		j.mu.Unlock()
		return
	}
	enough := make(chan struct{})
	j.enough = enough
	j.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-enough:
	case <-timer.C:
	}
	j.mu.Lock()
	j.enough = nil
	j.mu.Unlock()
}

// take removes the calls that go together from those that wait: the first, which leads, and all that may go with it.
func (j *joint[Q, A]) take() []*joined[Q, A] {
	fits := j.join()
	var batch []*joined[Q, A]
	j.waiting = slices.DeleteFunc(j.waiting, func(c *joined[Q, A]) bool {
		if !fits(c.question) {
			return false
		}
		batch = append(batch, c)
		return true
	})
	return batch
}

// next lets the first that waits lead.
func (j *joint[Q, A]) next() {
	j.led = len(j.waiting) > 0
	if j.led {
		j.waiting[0].leads = true
		j.waiting[0].wake <- struct{}{}
	}
}
