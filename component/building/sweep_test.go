package building

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// counted counts what retention asks for.
type counted struct {
	RetentionJournal
	lists, lasts, reads atomic.Int64
}

func (c *counted) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	c.lists.Add(1)
	return c.RetentionJournal.List(ctx, service, after, limit)
}

func (c *counted) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	c.lasts.Add(1)
	return c.RetentionJournal.Last(ctx, refs)
}

// Pages to which nothing happens are passed by, also when there are more keys than before, and others are left alone.
func TestRetentionPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const keys = 1200
		j := memory.Open()
		for n := range keys {
			put(t, j, fmt.Sprintf("shop||k%05d", n), valued("a", time.Time{}), valued("b", time.Time{}))
		}
		for _, key := range []string{"shoo||k", "shop|", "shop|}k", "shop}||k", "a"} {
			put(t, j, key, valued("a", time.Time{}), valued("b", time.Time{}))
		}
		c := &counted{RetentionJournal: j}
		var sweeps atomic.Int64
		stop := retain(t, c, rules(t, "retention", "age=1h"), "shop||", func(rc *RetentionConfig) {
			rc.Swept, rc.Interval = func(time.Duration) { sweeps.Add(1) }, 5*time.Minute
		})
		time.Sleep(50 * time.Minute)
		if n := c.lasts.Load(); n != 0 || sweeps.Load() < 7 {
			t.Errorf("%d keys looked at in %d sweeps before any was old enough", n, sweeps.Load())
		}
		time.Sleep(20 * time.Minute)
		pages := c.lasts.Load()
		if pages < keys/retentionKeys || pages > keys/20 {
			t.Errorf("%d pages", pages)
		}
		for _, n := range []int{0, 777, keys - 1} {
			if f := floorOf(t, j, fmt.Sprintf("shop||k%05d", n)); f != 1 {
				t.Errorf("key %d is kept from %d on", n, f)
			}
		}
		time.Sleep(20 * time.Minute)
		before := c.lasts.Load()
		if before > 2*pages+2 { // once more each, because what had gone changed them
			t.Errorf("%d questions after nothing happened, %d pages", before, pages)
		}
		for n := range 5 { // new keys, all over the place
			put(t, j, fmt.Sprintf("shop||k%05d-new", n*240), valued("a", time.Time{}))
		}
		time.Sleep(3 * time.Hour)
		if n := c.lasts.Load() - before; n == 0 || n > 40 {
			t.Errorf("%d pages were looked at again because of 5 new keys", n)
		}
		for _, key := range []string{"shoo||k", "shop|", "shop|}k", "shop}||k", "a"} {
			if floorOf(t, j, key) != 0 {
				t.Errorf("retention went for %q, which is another space's", key)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A sweep that is interrupted goes on where it was, unless the rules have changed; and who has lost his lease stops.
func TestRetentionResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const keys = 2000
		j := memory.Open()
		key := func(n int) string { return fmt.Sprintf("shop||k%05d", n) }
		for n := range keys {
			put(t, j, key(n), valued("a", time.Time{}), valued("b", time.Time{}))
		}
		time.Sleep(time.Hour)
		// Each call takes long, so that where it is gets saved on the way.
		f := journaltest.NewFaulty(j)
		slow := func() {
			for n := range 10_000 {
				f.Disturb(journaltest.Disturbance{Call: journaltest.CallList, Fault: journaltest.Slow, Nth: n + 1, Delay: time.Second})
			}
		}
		slow()
		c := rules(t, "retention", "count=1")
		stop := retain(t, f, c, "shop||", nil)
		time.Sleep(40 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		done := 0
		for done < keys && floorOf(t, j, key(done)) == 1 {
			done++
		}
		if done == 0 || done == keys {
			t.Fatalf("%d of %d keys are done", done, keys)
		}
		// Whoever goes on does not look at the first ones again: give the first one something to do.
		put(t, j, key(0), valued("c", time.Time{}))
		time.Sleep(time.Hour)
		g := &counted{RetentionJournal: j}
		stop = retain(t, g, c, "shop||", func(rc *RetentionConfig) { rc.Interval = 24 * time.Hour })
		time.Sleep(time.Hour)
		if floorOf(t, j, key(keys-1)) != 1 || floorOf(t, j, key(0)) != 1 {
			t.Errorf("the rest is kept from %d on, the first from %d on", floorOf(t, j, key(keys-1)), floorOf(t, j, key(0)))
		}
		// Somebody else has taken over without its knowledge.
		cell, err := j.Cell(t.Context(), retentionCell+`"shop||"`)
		if err != nil || cell.Version == 0 {
			t.Fatalf("%+v, %v", cell, err)
		}
		cell.Value = []byte(`{"after":"shop||k01000","version":"other"}`)
		if _, err := j.Put(t.Context(), cell); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		stop = retain(t, j, c, "shop||", func(rc *RetentionConfig) { rc.Interval = 24 * time.Hour })
		time.Sleep(time.Hour)
		if floorOf(t, j, key(0)) != 2 {
			t.Error("other rules did not begin anew")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRetentionStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		for n := range 1000 {
			put(t, j, fmt.Sprint("k", n), valued("a", time.Time{}), valued("b", time.Time{}))
		}
		time.Sleep(time.Minute)
		c := rules(t, "retention", "count=1")
		work := func(j RetentionJournal, valid func() bool) error {
			return NewRetention(RetentionConfig{Journal: j, Rule: c.RetentionOf, Log: slog.New(slog.DiscardHandler)}).Work(t.Context(), "", valid)
		}
		pages := 0
		err := work(j, func() bool { pages++; return pages < 3 })
		if !errors.Is(err, errNotOurs) {
			t.Errorf("without the lease: %v", err)
		}
		n := 0
		for i := range 1000 {
			n += int(floorOf(t, j, fmt.Sprint("k", i)))
		}
		if n == 0 || n > 2*retentionKeys {
			t.Errorf("%d keys were done in two pages", n)
		}
		// Another one has worked on it meanwhile, without either noticing.
		pages = 0
		err = work(j, func() bool {
			if pages++; pages == 2 {
				cell, err := j.Cell(t.Context(), retentionCell+`""`)
				if err == nil {
					cell.Value = []byte("{}")
					_, err = j.Put(t.Context(), cell)
				}
				if err != nil {
					t.Error(err)
				}
			}
			return true
		})
		if !errors.Is(err, errNotOurs) || !errors.Is(err, journal.ErrConflict) {
			t.Errorf("with another one beside it: %v", err)
		}
		for _, call := range []journaltest.Call{journaltest.CallList, journaltest.CallForget, journaltest.CallCell, journaltest.CallPut, journaltest.CallLast} {
			f := journaltest.NewFaulty(j)
			put(t, j, "k1", valued("a", time.Time{}))
			time.Sleep(time.Minute)
			f.Disturb(journaltest.Disturbance{Call: call, Fault: journaltest.Lost})
			if err := work(f, func() bool { return true }); !errors.Is(err, journaltest.ErrInjected) {
				t.Errorf("%s: %v", call, err)
			}
		}
	})
}

// A damaged key is left alone, and does not keep the others from being looked at. A long one is removed bit by bit.
func TestRetentionOfOddKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		for n := range 3*retentionEvents + 7 {
			put(t, j, "long", valued(strconv.Itoa(n), time.Time{}))
			put(t, j, "longer", valued(strconv.Itoa(n), time.Time{}))
			time.Sleep(time.Second)
		}
		for _, key := range []string{"a", "z"} {
			put(t, j, key, valued("x", time.Time{}), valued("y", time.Time{}))
		}
		bad := &damagedKey{j, "a"}
		retain(t, bad, rules(t, "retention", "age=5m", "retention.longer", "count=2,age=5m"), "", nil)
		time.Sleep(4 * time.Minute)
		if f := floorOf(t, j, "long"); f < 480 || f > 560 {
			t.Errorf("it is kept from %d on", f)
		}
		if f := floorOf(t, j, "longer"); f != 3*retentionEvents+5 {
			t.Errorf("it is kept from %d on", f)
		}
		time.Sleep(10 * time.Minute)
		for key, want := range map[string]int64{"long": 3*retentionEvents + 6, "longer": 3*retentionEvents + 6, "z": 1, "a": 0} {
			if f := floorOf(t, j, key); f != want {
				t.Errorf("%s is kept from %d on, want %d", key, f, want)
			}
		}
	})
}

// damagedKey is a journal one of whose keys cannot be read.
type damagedKey struct {
	RetentionJournal
	id string
}

func (d *damagedKey) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	if slices.Contains(refs, stateRef(d.id)) {
		return nil, &journal.CorruptError{Ref: stateRef(d.id), Sequence: 2, Reason: "so"}
	}
	return d.RetentionJournal.Last(ctx, refs)
}

func (d *damagedKey) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	if ref == stateRef(d.id) {
		return func(yield func(journal.Event, error) bool) {
			yield(journal.Event{}, &journal.CorruptError{Ref: ref, Sequence: 1, Reason: "so"})
		}
	}
	return d.RetentionJournal.Read(ctx, ref, after, limit)
}
