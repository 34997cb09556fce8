package actorhost

import (
	"context"
	"sync"
)

// answer is a message to the sidecar, and what to do when it is out.
type answer struct {
	response *response
	release  func()
}

// queue holds answers for the writer. Adding never blocks: the reader adds too, and must not wait for the writer.
type queue struct {
	limit int
	wake  chan struct{}

	mu      sync.Mutex
	waiting []answer
}

// add reports false if the queue is full.
func (q *queue) add(a answer) bool {
	q.mu.Lock()
	full := len(q.waiting) >= q.limit
	if !full {
		q.waiting = append(q.waiting, a)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return !full
}

// next waits for an answer. ok is false when ctx ends. There is one caller at a time.
func (q *queue) next(ctx context.Context) (a answer, ok bool) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			a, q.waiting[0] = q.waiting[0], answer{}
			q.waiting = q.waiting[1:]
			q.mu.Unlock()
			return a, true
		}
		q.waiting = nil
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return answer{}, false
		case <-q.wake:
		}
	}
}
