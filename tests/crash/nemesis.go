package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// sort of a fault: each needs evidence of its own.
type sort string

const (
	// kill ends a process at once; it comes back.
	kill sort = "kill"
	// pause stops a process for as long as a long garbage collection or a moved virtual machine does.
	pause sort = "pause"
	// zombie stops a component, and soon its sidecar, for so long that placement gives them up and their entities live
	// elsewhere. Then the component goes on as if nothing had been, with the commands that it still holds. Without its
	// sidecar nobody would give it up: a sidecar waits for a component for ever.
	zombie sort = "zombie"
)

// fault is one planned blow, made before the run from the seed.
type fault struct {
	After  time.Duration `json:"after"` // since the one before
	Sort   sort          `json:"sort"`
	Victim string        `json:"victim"`
	// For is how long it lasts: the pause, or how long what was killed stays away.
	For time.Duration `json:"for"`
	// Sidecar is what happens to a zombie's: it is paused as long, or killed and back afterwards.
	Sidecar sort `json:"sidecar,omitempty"`
}

// part of a host that the victim is, such as component.
func (f fault) part() string {
	part, _, _ := strings.Cut(f.Victim, " ")
	return part
}

// blow is a fault that was struck, with what shows that it was felt.
type blow struct {
	fault
	// At and Until are on the history's clock.
	At    time.Duration `json:"at"`
	Until time.Duration `json:"until"`
	// Struck: the process was running and got the signal, and did what it is for: it is gone, or still the same.
	Struck bool `json:"struck"`
	// Failures of clients while it was away and shortly after.
	Failures int64 `json:"failures"`
	// Conflicts that a zombie found after it woke up: what the fence is for.
	Conflicts int `json:"conflicts,omitempty"`
}

// victim is something that can be killed and come back.
type victim interface {
	Pid() int
	Kill()
	Signal(syscall.Signal) error
	Start(context.Context) error
}

// The parts of a host, and what all hosts share.
var parts = []string{"handler", "component", "daprd"}

const database = "postgres"

// How many faults have to be at least, and how many of them fall while the zombie sleeps. After them the other host is
// left alone until it wakes.
const (
	leastFaults = 9
	asleep      = 2
)

// stagger is how long after a zombie its sidecar follows.
const stagger = 1500 * time.Millisecond

// plan makes the faults of a seed. A component becomes a zombie; while it sleeps, the other handler and the database are
// killed; after it has woken up, everything else; what is left is killed or paused at random, one is paused at least.
func plan(random *rand.Rand, hosts []string, faults int) []fault {
	shuffled := random.Perm(len(hosts))
	sleeper, other := hosts[shuffled[0]], hosts[shuffled[1]]
	dead := fault{
		After: after(random), Sort: zombie, Victim: "component " + sleeper,
		For: time.Duration(12000+random.IntN(3000)) * time.Millisecond, Sidecar: []sort{pause, kill}[random.IntN(2)],
	}
	// A sidecar or a component that comes back meanwhile would make placement tell all sidecars, which cannot be done
	// while one of them is paused: nobody would get at anything, and nothing be written behind the zombie's back.
	early := []string{"handler " + other, database}
	late := []string{"handler " + sleeper, "component " + sleeper, "daprd " + sleeper, "component " + other, "daprd " + other}
	for _, list := range [][]string{early, late} {
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	all := []fault{dead}
	for _, v := range append(early, late...) {
		all = append(all, fault{After: after(random), Sort: kill, Victim: v, For: time.Duration(random.IntN(600)) * time.Millisecond})
	}
	all[1].After += stagger // see behind
	for n := 0; len(all) < max(faults, leastFaults); n++ {
		f := fault{After: after(random), Sort: kill, Victim: database, For: time.Duration(random.IntN(600)) * time.Millisecond}
		if random.IntN(4) > 0 {
			f.Victim = parts[random.IntN(len(parts))] + " " + hosts[random.IntN(len(hosts))]
		}
		// The database's processes cannot be stopped as one.
		if n == 0 || f.Victim != database && random.IntN(3) == 0 {
			f.Sort, f.Victim = pause, parts[random.IntN(len(parts))]+" "+hosts[random.IntN(len(hosts))]
			f.For = time.Duration(1000+random.IntN(2500)) * time.Millisecond
		}
		all = append(all, f)
	}
	return all
}

func after(random *rand.Rand) time.Duration {
	return time.Duration(300+random.IntN(1000)) * time.Millisecond
}

// nemesis strikes.
type nemesis struct {
	victims map[string]victim
	history *history
	// failed is the clients' count of attempts without an answer.
	failed *atomic.Int64
	// conflicts that the component of a host has counted in its life.
	conflicts func(ctx context.Context, host string) (int, error)
}

// strike carries the plan out and brings every victim back. A zombie sleeps while the blows after it fall.
func (n *nemesis) strike(ctx context.Context, faults []fault) ([]blow, error) {
	blows := make([]blow, len(faults))
	var waking sync.WaitGroup
	defer waking.Wait()
	var asleepErr error
	for i, f := range faults {
		if !sleep(ctx, f.After) {
			return blows[:i], ctx.Err()
		}
		if i > asleep {
			waking.Wait()
			if asleepErr != nil {
				return blows[:i], asleepErr
			}
		}
		b := &blows[i]
		*b = blow{fault: f, At: n.history.now()}
		if f.Sort == zombie {
			waking.Go(func() { asleepErr = n.bury(ctx, b) })
			continue
		}
		if f.Sort == pause {
			n.stop(ctx, b)
			continue
		}
		if err := n.kill(ctx, b); err != nil {
			return blows[:i+1], err
		}
	}
	return blows, nil
}

// aftermath is how long after a blow failures count as its consequence.
const aftermath = 300 * time.Millisecond

func (n *nemesis) stop(ctx context.Context, b *blow) {
	v, before := n.victims[b.Victim], n.failed.Load()
	pid := v.Pid()
	b.Struck = pid != 0 && v.Signal(syscall.SIGSTOP) == nil
	sleep(ctx, b.For)
	b.Struck = v.Pid() == pid && v.Signal(syscall.SIGCONT) == nil && b.Struck
	sleep(ctx, aftermath)
	b.Until, b.Failures = n.history.now(), n.failed.Load()-before
}

// bury makes a zombie.
func (n *nemesis) bury(ctx context.Context, b *blow) error {
	v, before := n.victims[b.Victim], n.failed.Load()
	host := strings.TrimPrefix(b.Victim, "component ")
	sidecar := n.victims["daprd "+host]
	pid := v.Pid()
	conflicts, err := n.conflicts(ctx, host)
	if err != nil {
		return fmt.Errorf("ask %s for its conflicts: %w", b.Victim, err)
	}
	b.Struck = pid != 0 && v.Signal(syscall.SIGSTOP) == nil
	sleep(ctx, stagger)
	if b.Sidecar == kill {
		sidecar.Kill()
	} else {
		b.Struck = sidecar.Signal(syscall.SIGSTOP) == nil && b.Struck
	}
	sleep(ctx, b.For-stagger)
	b.Struck = v.Pid() == pid && v.Signal(syscall.SIGCONT) == nil && b.Struck
	if b.Sidecar == pause {
		b.Struck = sidecar.Signal(syscall.SIGCONT) == nil && b.Struck
	} else if err := revive(ctx, sidecar); err != nil {
		return fmt.Errorf("bring the sidecar of %s back: %w", b.Victim, err)
	}
	sleep(ctx, 2*time.Second)
	b.Until, b.Failures = n.history.now(), n.failed.Load()-before
	after, err := n.conflicts(ctx, host)
	if err != nil {
		return fmt.Errorf("ask %s for its conflicts: %w", b.Victim, err)
	}
	b.Conflicts = after - conflicts
	return nil
}

func (n *nemesis) kill(ctx context.Context, b *blow) error {
	v, before := n.victims[b.Victim], n.failed.Load()
	pid := v.Pid()
	v.Kill()
	b.Struck = pid != 0 && v.Pid() == 0
	sleep(ctx, b.For)
	if err := revive(ctx, v); err != nil {
		return fmt.Errorf("bring %s back: %w", b.Victim, err)
	}
	sleep(ctx, aftermath)
	b.Until, b.Failures = n.history.now(), n.failed.Load()-before
	return nil
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
