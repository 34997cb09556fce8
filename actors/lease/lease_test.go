package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "x", "y")
		synctest.Wait()
		want(t, "a holds", a.Held(), "x", "y")
		if err := a.Names([]string{"y", "z", "y"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, "a works for", c.working("a"), "y", "z")
		a.stop()
		want(t, "a works for, at the end,", c.working("a"))
		if cells, err := c.journal.Cells(t.Context(), "member/", "", 0); err != nil || len(cells) != 0 {
			t.Errorf("what is left of members: %v, %v", cells, err)
		}
	})
}

// A clean stop hands over at the others' next poll, a crash within the TTL and a poll.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		leave  func(m *member)
		within time.Duration
	}{
		{"stopped", (*member).stop, time.Second},
		{"crashed", (*member).crash, 6 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				names := lanes(16)
				a := c.start("a", names...)
				time.Sleep(300 * time.Millisecond)
				b := c.start("b", names...)
				time.Sleep(10*time.Second + 150*time.Millisecond)
				if n, m := len(a.Held()), len(b.Held()); n != 8 || m != 8 {
					t.Fatalf("a holds %d, b %d", n, m)
				}
				test.leave(a)
				time.Sleep(test.within)
				synctest.Wait()
				want(t, "b holds", b.Held(), names...)
				c.end()
			})
		})
	}
}

func TestSpreadsEvenly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		names := lanes(16)
		a := c.start("a", names...)
		time.Sleep(time.Second)
		want(t, "a holds", a.Held(), names...)
		b, d := c.start("b", names...), c.start("d", names...)
		time.Sleep(4 * time.Second)
		for _, m := range []*member{a, b, d} {
			if n := len(m.Held()); n < 4 || n > 6 {
				t.Errorf("%s holds %d of 16", m.name, n)
			}
		}
		before := a.Held()
		b.stop()
		time.Sleep(4 * time.Second) // one poll to give back, one to take, one for their being apart, one for the same moment
		if n, m := len(a.Held()), len(d.Held()); n != 8 || m != 8 {
			t.Errorf("a holds %d, d %d", n, m)
		}
		kept := 0
		for _, name := range a.Held() {
			if slices.Contains(before, name) {
				kept++
			}
		}
		if kept < len(before)-2 {
			t.Errorf("a kept %d of its %d leases when another left", kept, len(before))
		}
		d.crash()
		time.Sleep(7 * time.Second) // one poll to see its last sign of life, the TTL, and one for their being at the same moment
		want(t, "a holds", a.Held(), names...)
		c.end()
	})
}

// During an upgrade components differ in what they can do.
func TestNamesThatNotAllWant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.start("a", "old", "both"), c.start("b", "both", "new1", "new2", "new3")
		time.Sleep(4 * time.Second)
		if !slices.Contains(a.Held(), "old") {
			t.Errorf("a holds %v", a.Held())
		}
		for _, name := range []string{"new1", "new2", "new3"} {
			if !slices.Contains(b.Held(), name) {
				t.Errorf("nobody holds %s: a has %v, b %v", name, a.Held(), b.Held())
			}
		}
		c.end()
	})
}

// A journal that does not answer stops the works before others may take the leases, and they come back.
func TestJournalUnavailable(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs %t", hangs), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "x")
				time.Sleep(10*time.Second + 500*time.Millisecond)
				a.cells.set(func(f *faultyCells) { f.down, f.hangs = true, hangs })
				time.Sleep(2 * time.Second) // the last sign of life is 2.5 s old
				want(t, "a works for", c.working("a"), "x")
				time.Sleep(1250*time.Millisecond + time.Nanosecond)
				want(t, "a, without a journal, works for", c.working("a"))
				c.mu.Lock()
				why := c.why["x"]
				c.mu.Unlock()
				if !errors.Is(why, ErrLost) {
					t.Errorf("the work ended because %v", why)
				}
				a.cells.set(func(f *faultyCells) { f.down = false })
				time.Sleep(6 * time.Second)
				want(t, "a works for", c.working("a"), "x")
				c.end()
			})
		})
	}
}

// Who was buried while it could not reach the journal holds nothing, and must not think so either.
func TestZombie(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "x")
		time.Sleep(time.Second)
		c.mu.Lock()
		held := c.held["x"]
		c.mu.Unlock()
		if err := held.Check(t.Context()); err != nil || !held.Valid() {
			t.Errorf("a's lease is not valid: %v", err)
		}
		a.cells.set(func(f *faultyCells) { f.down = true })
		b := c.start("b", "x")
		time.Sleep(10 * time.Second)
		want(t, "b works for", c.working("b"), "x")
		// A process that was stopped finds its clock late and its lease's cell changed: either is enough to know.
		if held.Valid() {
			t.Error("a's lease is valid, and b has it")
		}
		a.cells.set(func(f *faultyCells) { f.down = false })
		a.mu.Lock()
		a.renewed, held.lost = time.Now(), make(chan struct{})
		a.mu.Unlock()
		if err := held.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("a checked its lease that b has: %v", err)
		}
		b.stop()
		time.Sleep(time.Second)
		want(t, "a works again for", c.working("a"), "x")
		c.end()
	})
}

// A work that takes its time to stop keeps its lease until it has.
func TestSlowWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.slow = 20 * time.Second
		a := c.start("a", "x")
		time.Sleep(time.Second)
		c.mu.Lock()
		c.slow = 0
		c.mu.Unlock()
		c.start("b", "x")
		stopped := make(chan struct{})
		go func() { defer close(stopped); a.stop() }()
		time.Sleep(19 * time.Second)
		want(t, "b works for", c.working("b"))
		time.Sleep(4 * time.Second)
		want(t, "b works for", c.working("b"), "x")
		<-stopped
		c.end()
	})
}

func TestWorkIsBegunAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		began, failures := 0, []string{}
		l, err := New(Config{
			Cells: j, Group: "g", Member: "m", Log: slog.New(slog.DiscardHandler),
			Work: func(ctx context.Context, _ *Held) error {
				began++
				switch began {
				case 1:
					return errors.New("broken")
				case 2:
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			},
			Observer: Observer{Failed: func(name string, err error) { failures = append(failures, name+": "+err.Error()) }},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Names([]string{"x"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"x: broken", "x: it returned without being told to"}, failures); diff != "" || began != 3 {
			t.Errorf("began %d times; failures (-want +got):\n%s", began, diff)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Group: "a/b", Member: strings.Repeat("m", MaxGroupBytes+1), TTL: time.Second, Poll: time.Second})
	for _, part := range []string{"Cells", "Work", `Group is "a/b"`, "Member is", "TTL is 1s"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error says nothing of %s: %v", part, err)
		}
	}
	l, err := New(Config{Cells: memory.Open(), Group: "g", Member: strings.Repeat("m", MaxGroupBytes), Work: func(context.Context, *Held) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	many := lanes(MaxNamesBytes / 4)
	for _, test := range []struct {
		names []string
		wrong string
	}{
		{[]string{strings.Repeat("n", MaxNameBytes)}, ""},
		{[]string{strings.Repeat("n", MaxNameBytes+1)}, "the name"},
		{[]string{"", "a\x00", "\xff"}, `the name "\xff"`},
		{many, "bytes; at most"},
	} {
		if err := l.Names(test.names); test.wrong == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%d names %.20q: %v", len(test.names), test.names, err)
		}
	}
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s %v, want %v", what, got, want)
	}
}

func lanes(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%04d", i))
	}
	return names
}
