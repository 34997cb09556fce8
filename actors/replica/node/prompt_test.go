package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/crdt"
)

// poor is a bus that begins late, is slow, and loses some of what it is given.
type poor struct {
	replica.Bus
	late time.Duration
	next func() (lost bool, after time.Duration)
}

func (p *poor) Run(ctx context.Context, deliver func([]byte)) error {
	time.Sleep(p.late)
	return p.Bus.Run(ctx, func(batch []byte) {
		if lost, after := p.next(); !lost {
			time.AfterFunc(after, func() { deliver(batch) })
		}
	})
}

// dice are thrown by many.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) intn(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) upto(most time.Duration) time.Duration {
	return time.Duration(d.intn(int(most))) + 1
}

// maybe is such a time or none.
func (d *dice) maybe(most time.Duration) time.Duration {
	return time.Duration(d.intn(2)) * d.upto(most)
}

// prompt is the longest that a write may take here. Callers give up after 5 seconds.
const prompt = time.Second

// While nobody dies and members can be asked, it costs a write moments, and not seconds, that others have just joined or
// that the bus loses what it carries.
func TestPromptConfirmation(t *testing.T) {
	log := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(log) })
	first, seeds := *node.FirstSeed, node.SeedsOf(t, 200)
	confirmed := 0
	for seed := first; seed < first+uint64(seeds) && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) { confirmed += confirmPromptly(t, seed) })
	}
	t.Logf("%d writes of %d schedules", confirmed, seeds)
	if !t.Failed() && confirmed < 30*seeds {
		t.Errorf("%d writes of %d schedules are confirmed, which shows little", confirmed, seeds)
	}
}

// confirmPromptly returns how many writes were confirmed.
func confirmPromptly(t *testing.T, seed uint64) int {
	var confirmed atomic.Int64
	d := &dice{r: rand.New(rand.NewPCG(seed, 0))}
	cells, h := memory.Open(), newHub()
	loss, slow := d.intn(3)*d.intn(30), d.upto(60*time.Millisecond) // percent
	var users sync.WaitGroup
	for n := range 3 {
		late := d.maybe(2 * time.Second)
		m := start(t, cells, h, fmt.Sprint(n), func(c *node.Config) {
			c.Bus = &poor{c.Bus, late, func() (bool, time.Duration) { return d.intn(100) < loss, d.upto(slow) }}
		})
		users.Go(func() { confirmed.Add(writePromptly(t, seed, m, d)) })
		time.Sleep(d.maybe(3 * time.Second))
	}
	users.Wait()
	return int(confirmed.Load())
}

// writePromptly writes to some entities, at all levels, and opens and closes them.
func writePromptly(t *testing.T, seed uint64, m *member, d *dice) (confirmed int64) {
	replicas := map[string]replica.Replica{}
	leave := func(id string) {
		if r := replicas[id]; r != nil {
			r.Close()
			delete(replicas, id)
		}
	}
	for range 25 {
		id := fmt.Sprint("entity-", d.intn(3))
		r := replicas[id]
		if r == nil {
			r = open(t, m, id, nil)
			replicas[id] = r
		}
		level := []replica.Level{replica.Local, replica.Majority, replica.All}[d.intn(3)]
		began := time.Now()
		what, err := writeSome(r, level, d)
		switch took := time.Since(began); {
		case errors.Is(err, replica.ErrDeleted):
			leave(id)
		case errors.Is(err, replica.ErrReadOnly), err != nil && strings.Contains(err.Error(), "deleted meanwhile"):
		case err != nil, took > prompt:
			t.Errorf("seed %d: %s of %s at level %v took %v: %v", seed, what, id, level, took, err)
		case level != replica.Local:
			confirmed++
		}
		if d.intn(6) == 0 {
			leave(id)
		}
		time.Sleep(d.maybe(300*time.Millisecond) + 1)
	}
	for id := range replicas {
		leave(id)
	}
	return confirmed
}

func writeSome(r replica.Replica, level replica.Level, d *dice) (what string, err error) {
	done := make(chan error, 1)
	if d.intn(12) == 0 {
		what, err = "a deletion", r.Delete(level, func(err error) { done <- err })
	} else {
		by := d.intn(2)
		what = fmt.Sprint("an increment by ", by)
		err = r.Update(&crdt.Update{Kind: crdt.GCounter, Increment: uint64(by)}, level, func(err error) { done <- err })
	}
	if err != nil {
		return what, err
	}
	return what, <-done
}
