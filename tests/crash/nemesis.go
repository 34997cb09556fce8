package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// fault is one planned blow, made before the run from the seed.
type fault struct {
	After  time.Duration `json:"after"` // since the one before
	Victim string        `json:"victim"`
	// Pause stops the process for that long and lets it go on as if nothing had been; 0 kills it.
	Pause time.Duration `json:"pause,omitempty"`
	// Down is how long a killed process stays away.
	Down time.Duration `json:"down,omitempty"`
}

// blow is a fault that was struck, with what shows that it was felt.
type blow struct {
	fault
	// Struck: the process was running and got the signal.
	Struck bool `json:"struck"`
	// Failures of clients while it was away and shortly after.
	Failures int64 `json:"failures"`
}

// victim is something that can be killed and come back.
type victim interface {
	Pid() int
	Kill()
	Signal(syscall.Signal) error
	Start(context.Context) error
}

// plan makes the faults of a seed: every victim is struck at least once, in random order.
func plan(random *rand.Rand, victims []string, faults int) []fault {
	order := make([]string, 0, faults+len(victims))
	for len(order) < faults {
		for _, i := range random.Perm(len(victims)) {
			order = append(order, victims[i])
		}
	}
	var all []fault
	for _, v := range order[:faults] {
		f := fault{After: time.Duration(300+random.IntN(1200)) * time.Millisecond, Victim: v}
		if random.IntN(4) == 0 {
			f.Pause = time.Duration(1000+random.IntN(3000)) * time.Millisecond
		} else {
			f.Down = time.Duration(random.IntN(600)) * time.Millisecond
		}
		all = append(all, f)
	}
	return all
}

// strike carries the plan out and brings every victim back. failed is the clients' count of attempts without an answer.
func strike(ctx context.Context, faults []fault, victims map[string]victim, failed *atomic.Int64) ([]blow, error) {
	var blows []blow
	for _, f := range faults {
		if !sleep(ctx, f.After) {
			return blows, ctx.Err()
		}
		v := victims[f.Victim]
		before := failed.Load()
		b := blow{fault: f, Struck: v.Pid() != 0}
		if f.Pause > 0 {
			b.Struck = b.Struck && v.Signal(syscall.SIGSTOP) == nil
			sleep(ctx, f.Pause)
			if err := v.Signal(syscall.SIGCONT); err != nil {
				b.Struck = false
			}
		} else {
			v.Kill()
			sleep(ctx, f.Down)
			if err := revive(ctx, v); err != nil {
				return blows, fmt.Errorf("bring %s back: %w", f.Victim, err)
			}
		}
		sleep(ctx, 300*time.Millisecond)
		b.Failures = failed.Load() - before
		blows = append(blows, b)
	}
	return blows, nil
}

// revive is the supervisor that Dapr expects of its surroundings: what exits at start because another process is not
// there yet is started again.
func revive(ctx context.Context, v victim) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return harness.Poll(ctx, 300*time.Millisecond, func(ctx context.Context) error {
		if v.Pid() != 0 {
			return nil
		}
		return v.Start(ctx)
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
