package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Held is a lease that is held, as its work sees it.
type Held struct {
	leases *Leases
	name   string
	// cell's version since we took it.
	version int64
	ctx     context.Context
	cancel  context.CancelCauseFunc
	// lost is closed, under Leases.mu, when others may take the lease soon.
	lost chan struct{}
	// ended is set, under Leases.mu, when the work has returned for good.
	ended bool
}

// Name whose lease it is.
func (h *Held) Name() string { return h.name }

// Lost is closed when another member may take the lease as soon as Grace is over. A work that was told to stop for another
// reason keeps its lease until it returns, and may use the time to finish what it has begun, but not beyond this.
func (h *Held) Lost() <-chan struct{} { return h.lost }

// Valid reports, by this process's clock alone, that nobody else can have taken the lease. It costs next to nothing: ask
// before everything that cannot be undone.
func (h *Held) Valid() bool {
	l := h.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-h.lost:
		return false
	default:
		return time.Now().Before(l.until())
	}
}

// Check asks the journal whether nobody else has taken the lease. The error matches ErrLost if somebody may have, and the
// work has to stop then; any other error leaves it open.
func (h *Held) Check(ctx context.Context) error {
	if h.Valid() {
		cell, err := h.leases.config.Cells.Cell(ctx, h.leases.leaseKey(h.name))
		if err != nil {
			return fmt.Errorf("check the lease of %s: %w", h.name, err)
		}
		if cell.Version == h.version {
			return nil
		}
	}
	h.leases.mu.Lock()
	defer h.leases.mu.Unlock()
	h.lose()
	return fmt.Errorf("check the lease of %s: %w", h.name, ErrLost)
}

// lose tells the work to stop soon. Leases.mu is held.
func (h *Held) lose() {
	h.cancel(ErrLost)
	select {
	case <-h.lost:
	default:
		close(h.lost)
	}
}

// How long a work that returned too soon is left alone.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// run does the work until the lease has to be given up.
func (h *Held) run() {
	l := h.leases
	l.config.Observer.Taken(h.name)
	backoff := minBackoff
	for {
		began := time.Now()
		err := l.config.Work(h.ctx, h)
		if h.ctx.Err() != nil {
			break
		}
		if err == nil {
			err = errors.New("it returned without being told to")
		}
		l.config.Log.Error("work under a lease ended, and is begun again", logName, h.name, logError, err, "after", backoff)
		l.config.Observer.Failed(h.name, err)
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		sleep(h.ctx, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, maxBackoff)
		if h.ctx.Err() != nil {
			break
		}
	}
	l.mu.Lock()
	h.ended = true
	l.mu.Unlock()
	l.config.Observer.Ended(h.name, context.Cause(h.ctx))
	ring(l.wake)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
