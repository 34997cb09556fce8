package slot

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/crdt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a Group that runs, on a journal of its own making that can be cut off.
type running struct {
	*Group
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// wire is one process's way to the journal.
type wire struct {
	journal.Journal
	mu   sync.Mutex
	down bool
}

func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

func (w *wire) through(ctx context.Context) error {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (w *wire) Cell(ctx context.Context, key string) (journal.Cell, error) {
	if err := w.through(ctx); err != nil {
		return journal.Cell{}, err
	}
	return w.Journal.Cell(ctx, key)
}

func (w *wire) Put(ctx context.Context, c journal.Cell) (int64, error) {
	if err := w.through(ctx); err != nil {
		return 0, err
	}
	return w.Journal.Put(ctx, c)
}

func run(t *testing.T, cells journal.Cells, change ...func(*Config)) *running {
	t.Helper()
	config := Config{Cells: cells, Group: "g", Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&config)
	}
	g, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Group: g, t: t, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		r.err = g.Run(ctx)
	}()
	return r
}

func (r *running) acquire() *Lease {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	l, err := r.Acquire(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *running) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

func (r *running) sees(id uint64, members ...Member) {
	r.t.Helper()
	v, err := r.Current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(members, v.Members); diff != "" || v.ID != id || v.ClusterUID == 0 {
		r.t.Errorf("view %d of %d, want %d, members (- want, + got):\n%s", v.ID, v.ClusterUID, id, diff)
	}
}

func is(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (- want, + got):\n%s", what, diff)
	}
}

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		a := run(t, j, func(c *Config) { c.Address, c.Features = "10.0.0.1:7000", "seal" })
		la := a.acquire()
		first := Member{Slot: 0, Epoch: 1, Address: "10.0.0.1:7000", Features: "seal"}
		is(t, "a", la.Member(), first)
		if !la.Valid() || la.Check(t.Context()) != nil || la.ClusterUID() == 0 {
			t.Error("a's lease is not valid")
		}
		_, changed := a.State()
		b := run(t, j)
		lb := b.acquire()
		joined := time.Now()
		second := Member{Slot: 1, Epoch: 1}
		is(t, "b", lb.Member(), second)
		b.sees(2, first, second)
		<-changed // a hears of it without asking
		for a.View().ID != 2 {
			_, changed := a.State()
			<-changed
		}
		if took := time.Since(joined); took > time.Second {
			t.Errorf("a hears of b after %s", took)
		}
		if a.View().Majority() != 2 || !a.View().Has(1, 1) || a.View().Has(1, 2) || a.View().Has(2, 1) {
			t.Errorf("a's view is %+v", a.View())
		}
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		if la.Valid() || !errors.Is(la.Check(t.Context()), ErrLost) {
			t.Error("a has left, and its lease is valid")
		}
		<-la.Lost()
		b.sees(3, second)
		c := run(t, j)
		is(t, "c", c.acquire().Member(), Member{Slot: 0, Epoch: 2})
		if c.View().ClusterUID != la.ClusterUID() {
			t.Error("the cluster's id has changed")
		}
		time.Sleep(10 * time.Second)
		if !b.Fenced(0, 1) || b.Fenced(0, 2) || b.Fenced(1, 1) || b.Fenced(7, 1) || b.Fenced(0, 3) {
			t.Error("what is fenced is wrong")
		}
		b.stop()
		c.stop()
	})
}

// A lease goes on for as long as the journal answers, and hardly longer.
func TestSelfFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &wire{Journal: memory.Open()}
		a := run(t, j)
		lease := a.acquire()
		for range 100 {
			time.Sleep(5 * time.Second)
			if !lease.Valid() {
				t.Fatal("lost without a reason")
			}
		}
		j.cut(true)
		began := time.Now()
		<-lease.Lost()
		if took := time.Since(began); took > 7500*time.Millisecond || took < 2400*time.Millisecond || lease.Valid() {
			t.Errorf("fenced after %s", took)
		}
		if s, _ := a.State(); s.Lease != nil || s.Err == nil {
			t.Errorf("state %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), errFenced.Error()) {
			t.Errorf("acquire: %v", err)
		}
		j.cut(false)
		again := a.acquire()
		is(t, "the next lease", again.Member(), Member{Slot: 0, Epoch: 2})
		if lease.Valid() {
			t.Error("the old lease is valid again")
		}
		a.sees(2, Member{Slot: 0, Epoch: 2})
		if s, _ := a.State(); s.Err != nil {
			t.Error(s.Err)
		}
		j.cut(true)
		began = time.Now()
		if err := a.stop(); err != nil || time.Since(began) > 12*time.Second {
			t.Errorf("stopped after %s: %v", time.Since(began), err)
		}
	})
}

// Whoever crashes or is cut off is taken out when its TTL is over, and has stopped before.
func TestZombieProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		zombies := &wire{Journal: j}
		zombie := run(t, zombies)
		lease := zombie.acquire()
		other := run(t, j)
		other.acquire()
		for other.View().ID != 2 || zombie.View().ID != 2 {
			time.Sleep(time.Second)
		}
		zombies.cut(true)
		began := time.Now()
		for other.View().Has(0, 1) {
			_, changed := other.State()
			<-changed
			if other.View().Has(0, 1) == false && lease.Valid() {
				t.Error("taken out of the view while it writes")
			}
		}
		if took := time.Since(began); took < 10*time.Second || took > 25*time.Second || !other.Fenced(0, 1) {
			t.Errorf("taken out after %s", took)
		}
		other.sees(3, Member{Slot: 1, Epoch: 1})
		zombies.cut(false)
		next := zombie.acquire().Member()
		is(t, "the zombie is", next, Member{Slot: 0, Epoch: 2})
		other.sees(4, next, Member{Slot: 1, Epoch: 1})
		zombie.stop()
		other.stop()
	})
}

// A slow journal that loses answers costs leases but harms none.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := journaltest.NewFaulty(memory.Open())
		f.Disturb(
			journaltest.Disturbance{Call: journaltest.CallPut, Fault: journaltest.LostReply},         // the slot
			journaltest.Disturbance{Call: journaltest.CallPut, Fault: journaltest.LostReply, Nth: 3}, // the view
			journaltest.Disturbance{Call: journaltest.CallPut, Fault: journaltest.LostReply, Nth: 4}, // the first renewal
			journaltest.Disturbance{Call: journaltest.CallPut, Fault: journaltest.Lost, Nth: 6},
			journaltest.Disturbance{Call: journaltest.CallCells, Fault: journaltest.Lost, Nth: 3},
		)
		a := run(t, f)
		lease := a.acquire()
		is(t, "member", lease.Member(), Member{Slot: 0, Epoch: 2}) // the first one may have been ours, and may not
		time.Sleep(time.Minute)
		if f.Pending() != 0 || !lease.Valid() {
			t.Errorf("%d faults to come, valid: %v", f.Pending(), lease.Valid())
		}
		a.sees(1, lease.Member())
		a.stop()
	})
}

func TestEpochExhaustionRetiresSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		last := record{Epoch: crdt.MaxEpochs - 2}
		if _, err := j.Put(t.Context(), journal.Cell{Key: slotKey("g", 0), Value: encode(last)}); err != nil {
			t.Fatal(err)
		}
		a := run(t, j)
		is(t, "the last epoch", a.acquire().Member(), Member{Slot: 0, Epoch: crdt.MaxEpochs - 1})
		a.stop()
		b := run(t, j)
		is(t, "after the last epoch", b.acquire().Member(), Member{Slot: 1, Epoch: 1})
		b.stop()
		only := run(t, j, func(c *Config) { c.Slots = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if l, err := only.Acquire(ctx); err == nil || !strings.Contains(err.Error(), "all 1 slots") {
			t.Errorf("acquire: %+v, %v", l, err)
		}
		only.stop()
		cell, err := j.Cell(t.Context(), slotKey("g", 0))
		if r, err2 := decodeRecord(cell); err != nil || err2 != nil || !r.Retired || r.Owner != "" {
			t.Errorf("slot 0 is %+v, %v, %v", r, err, err2)
		}
	})
}

func TestFullGroupWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		one := func(c *Config) { c.Slots = 1 }
		a := run(t, j, one)
		a.acquire()
		b := run(t, j, one)
		time.Sleep(time.Minute)
		if s, _ := b.State(); s.Lease != nil || s.Err == nil || s.View.ID != 1 {
			t.Errorf("state %+v", s)
		}
		a.stop()
		is(t, "b", b.acquire().Member(), Member{Slot: 0, Epoch: 2})
		b.stop()
	})
}
