package slot

import (
	"context"
	"errors"
	"fmt"
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
		second := Member{Slot: 1, Epoch: 1}
		is(t, "b", lb.Member(), second)
		b.sees(2, first, second)
		<-changed // a hears of it without asking
		for a.View().ID != 2 {
			_, changed := a.State()
			<-changed
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

// copyCells is a backup.
func copyCells(t *testing.T, j *memory.Journal) *memory.Journal {
	t.Helper()
	restored := memory.Open()
	cells, err := j.Cells(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		if _, err := restored.Put(t.Context(), journal.Cell{Key: c.Key, Value: c.Value}); err != nil {
			t.Fatal(err)
		}
	}
	return restored
}

// A restored journal hands out an epoch again, under another cluster's id; and a component that saw the journal from before
// takes no part any more.
func TestBackupRestoreRotatesClusterUID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		empty := run(t, j)
		uid := empty.acquire().ClusterUID()
		empty.stop()
		backup := copyCells(t, j)
		live := &swapped{Journal: j}
		before := run(t, live)
		used := before.acquire().Member()
		view, err := Rotate(t.Context(), backup, "g")
		if err != nil || view.ClusterUID == uid || len(view.Members) != 0 || view.ID != 3 {
			t.Fatalf("rotate: %+v, %v", view, err)
		}
		after := run(t, backup)
		lease := after.acquire()
		is(t, "the epoch that was used before", lease.Member(), used)
		if lease.ClusterUID() != view.ClusterUID {
			t.Error("the cluster's id is not the new one")
		}
		live.swap(backup)
		<-before.done
		if !errors.Is(before.err, ErrRestored) && !errors.Is(before.err, ErrRotated) {
			t.Errorf("the component from before: %v", before.err)
		}
		if s, _ := before.State(); s.Lease != nil || s.Err == nil {
			t.Errorf("the component from before is %+v", s)
		}
		if _, err := Rotate(t.Context(), backup, "g"); err != nil {
			t.Fatal(err)
		}
		<-after.done
		if !errors.Is(after.err, ErrRotated) || lease.Valid() {
			t.Errorf("a component whose id was rotated: %v", after.err)
		}
		if _, err := after.Current(t.Context()); !errors.Is(err, ErrRotated) {
			t.Errorf("its view: %v", err)
		}
	})
}

// swapped is a journal that becomes another.
type swapped struct {
	journal.Journal // the first
	mu              sync.Mutex
	now             journal.Journal
}

func (s *swapped) swap(to journal.Journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = to
}

func (s *swapped) to() journal.Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return s.Journal
	}
	return s.now
}

func (s *swapped) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	return s.to().Cells(ctx, prefix, after, limit)
}

func (s *swapped) Cell(ctx context.Context, key string) (journal.Cell, error) {
	return s.to().Cell(ctx, key)
}

func (s *swapped) Put(ctx context.Context, c journal.Cell) (int64, error) { return s.to().Put(ctx, c) }

// A journal that has lost what it had, without a rotation.
func TestForgetfulJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := &swapped{Journal: memory.Open()}
		a := run(t, live)
		lease := a.acquire()
		live.swap(memory.Open())
		if _, err := a.Current(t.Context()); !errors.Is(err, ErrRestored) {
			t.Errorf("view: %v", err)
		}
		<-a.done
		if !errors.Is(a.err, ErrRestored) || lease.Valid() {
			t.Errorf("run: %v", a.err)
		}
	})
}

func TestDamagedCells(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, key, value string
		slot             crdt.Slot
		report           string
		member           bool
	}{
		{"a slot", slotKey("g", 0), "{", 1, "slot/g/0000", true},
		{"a slot without an epoch", slotKey("g", 0), "{}", 1, "slot/g/0000", true},
		{"no slot", "slot/g/x", "{}", 0, "slot/g/x", true},
		{"too high a slot", "slot/g/4096", "{}", 0, "slot/g/4096", true},
		{"the group", groupKey("g"), "[]", 0, "slots/g", false},
		{"the group's id", groupKey("g"), `{"view":1}`, 0, "slots/g", false},
		{"the group's members", groupKey("g"), `{"view":1,"clusterUID":1,"members":[{"slot":1,"epoch":1},{"slot":1,"epoch":2}]}`, 0, "slots/g", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := memory.Open()
				if _, err := j.Put(t.Context(), journal.Cell{Key: test.key, Value: []byte(test.value)}); err != nil {
					t.Fatal(err)
				}
				a := run(t, j)
				time.Sleep(time.Minute)
				s, _ := a.State()
				if s.Err == nil || !strings.Contains(s.Err.Error(), test.report) || (s.Lease != nil) != test.member {
					t.Errorf("state %+v", s)
				}
				if s.Lease != nil && s.Lease.Member().Slot != test.slot {
					t.Errorf("member %+v", s.Lease.Member())
				}
				a.stop()
			})
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Group: "a/b", Address: strings.Repeat("x", MaxAddressBytes+1), Features: "\x00", TTL: time.Millisecond, Slots: crdt.MaxSlots + 1})
	for _, word := range []string{"Cells", "Group", "Address", "Features", "TTL", "Slots"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not reported: %v", word, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", MaxGroupBytes+1), "\xff"} {
		if _, err := Rotate(t.Context(), memory.Open(), name); err == nil {
			t.Errorf("the group %.5q is accepted", name)
		}
	}
	if _, err := New(Config{Cells: memory.Open(), Group: strings.Repeat("x", MaxGroupBytes), Address: strings.Repeat("x", MaxAddressBytes), Slots: crdt.MaxSlots}); err != nil {
		t.Error(err)
	}
}

// A thousand members fit into the group's cell with the longest addresses and features.
func TestLargestGroup(t *testing.T) {
	t.Parallel()
	g := group{ClusterUID: 1<<64 - 1, View: 1<<64 - 1}
	for i := range 1024 {
		g.Members = append(g.Members, Member{Slot: crdt.Slot(3000 + i), Epoch: crdt.MaxEpochs - 1,
			Address: strings.Repeat("x", MaxAddressBytes), Features: strings.Repeat("x", MaxFeaturesBytes)})
	}
	if n := len(encode(g)); n > journal.MaxCellBytes {
		t.Error(fmt.Sprint(n, " bytes"))
	}
}
