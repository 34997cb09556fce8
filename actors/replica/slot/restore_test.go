package slot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/crdt"
)

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
