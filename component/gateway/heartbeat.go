package gateway

import (
	"sync"
	"time"
)

// heartbeat writes a comment into a stream of server-sent events that has been silent for a while, so that nobody on the way
// takes the connection for dead, and that a caller who has gone is noticed.
type heartbeat struct {
	every time.Duration
	beat  func() error

	mu      sync.Mutex
	last    time.Time
	stopped chan struct{}
	ended   chan struct{}
}

// startHeartbeat beats until stop. beat is never called beside what do runs.
func startHeartbeat(every time.Duration, beat func() error) *heartbeat {
	h := &heartbeat{every: every, beat: beat, last: time.Now(), stopped: make(chan struct{}), ended: make(chan struct{})}
	go h.run()
	return h
}

func (h *heartbeat) run() {
	defer close(h.ended)
	timer := time.NewTimer(h.every)
	defer timer.Stop()
	for {
		select {
		case <-h.stopped:
			return
		case <-timer.C:
		}
		h.mu.Lock()
		silent := time.Since(h.last)
		if silent >= h.every {
			// Who cannot be written to is gone, which the server says to the call as well.
			if h.beat() != nil {
				h.mu.Unlock()
				return
			}
			h.last, silent = time.Now(), 0
		}
		h.mu.Unlock()
		timer.Reset(h.every - silent)
	}
}

// do runs a write of the stream's own. A nil heartbeat runs it as well.
func (h *heartbeat) do(write func() error) error {
	if h == nil {
		return write()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = time.Now()
	return write()
}

// stop returns when nothing is written any more.
func (h *heartbeat) stop() {
	if h == nil {
		return
	}
	close(h.stopped)
	<-h.ended
}
