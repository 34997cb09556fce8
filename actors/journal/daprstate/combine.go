package daprstate

import (
	"context"
	"sync"
)

// combiner has what many ask for at the same time done together.
type combiner[T any] struct {
	j *Journal
	// run does all jobs, each of which gets its answer by its own fields.
	run func(ctx context.Context, jobs []T) error

	mu    sync.Mutex
	queue []*job[T]
	busy  bool
}

type job[T any] struct {
	what T
	done chan struct{}
	err  error
}

// do returns when it is done, or ctx has ended: it may be done all the same then.
func (c *combiner[T]) do(ctx context.Context, what T) error {
	w := c.add(what)
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add has it done in the background.
func (c *combiner[T]) add(what T) *job[T] {
	w := &job[T]{what: what, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, w)
	if !c.busy {
		c.busy = true
		c.j.background.Go(c.work)
	}
	return w
}

func (c *combiner[T]) work() {
	for {
		c.mu.Lock()
		batch := c.queue
		if c.queue = nil; len(batch) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.batch(batch)
	}
}

// batch runs with a time limit of its own: nobody who waits may end it for the others.
func (c *combiner[T]) batch(batch []*job[T]) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*c.j.config.Timeout)
	defer cancel()
	jobs := make([]T, len(batch))
	for i, w := range batch {
		jobs[i] = w.what
	}
	err := c.run(ctx, jobs)
	for _, w := range batch {
		w.err = err
		close(w.done)
	}
}
