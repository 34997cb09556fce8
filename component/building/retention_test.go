package building

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/component/config"
)

// rules makes the settings of metadata.
func rules(t testing.TB, metadata ...string) *config.Config {
	t.Helper()
	m := map[string]string{"appId": "shop"}
	for i := 0; i < len(metadata); i += 2 {
		m[metadata[i]] = metadata[i+1]
	}
	c, err := config.FromMetadata(m)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// retain runs retention on a space. It returns what ends it.
func retain(t testing.TB, j RetentionJournal, c *config.Config, space string, change func(*RetentionConfig)) (stop func() error) {
	t.Helper()
	rc := RetentionConfig{Journal: j, Rule: c.RetentionOf, Version: fmt.Sprint(c.Retention), Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&rc)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewRetention(rc).Work(ctx, space, func() bool { return true }) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("retention: %v", err)
		}
	})
	return stop
}

// put appends versions of a key, past the state store.
func put(t testing.TB, j Journal, key string, events ...journal.Event) {
	t.Helper()
	for _, e := range events {
		r := j.Append(t.Context(), []journal.Append{{
			Ref: stateRef(key), Expected: journal.AnySequence, Command: fmt.Sprint(time.Now().UnixNano(), len(e.Payload.Data)), Events: []journal.Event{e},
		}})
		if r[0].Status != journal.Committed {
			t.Fatalf("%+v", r[0])
		}
	}
}

func valued(text string, expires time.Time) journal.Event {
	return journal.Event{Name: eventSet, Payload: actors.Payload{TypeURL: typeOf(expires), Data: []byte(text)}}
}

var deleted = journal.Event{Name: eventDeleted, Payload: actors.Payload{TypeURL: valueType}}

func floorOf(t testing.TB, j Journal, key string) int64 {
	t.Helper()
	span, err := j.Span(t.Context(), stateRef(key))
	if err != nil {
		t.Fatal(err)
	}
	return span.Floor
}

// Retention through the state store, on the real journals: what is kept, what is listed, and what is said of the rest.
func TestRetention(t *testing.T) { onEach(t, testRetention) }

func testRetention(t *testing.T, j Journal) {
	r := store(t, j, nil)
	c := rules(t, "retention", "count=3", "retention.short-", "age=1s", "retention.one-", "count=1", "retention.all-", "off", "retention.Cart||", "count=1")
	for i := range 9 {
		for _, key := range []string{"shop||k", "shop||short-k", "shop||one-k", "shop||all-k", "shop||Cart||id||items", "other||k", "k"} {
			if err := r.set(key, strconv.Itoa(i+1), nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.setTTL(t, "shop||one-gone", "x", "1")
	if err := r.set("shop||short-gone", "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.del("shop||short-gone", nil); err != nil {
		t.Fatal(err)
	}
	var removed atomic.Int64
	retain(t, j.(RetentionJournal), c, "shop||", func(rc *RetentionConfig) {
		rc.Interval, rc.Grace, rc.Removed = 10*time.Millisecond, time.Millisecond, func(n int64) { removed.Add(n) }
	})
	for key, floor := range map[string]int64{
		"shop||k": 6, "shop||short-k": 8, "shop||one-k": 8, "shop||all-k": 0, "shop||Cart||id||items": 8, "other||k": 0, "k": 0,
		"shop||one-gone": 1, "shop||short-gone": 2,
	} {
		waitLong(t, func() bool { return floorOf(t, j, key) >= floor })
		if got := floorOf(t, j, key); got != floor {
			t.Errorf("%s is kept from %d on, want %d", key, got, floor)
		}
	}
	waitLong(t, func() bool { return removed.Load() == 6+8+8+8+1+2 })

	resp, err := r.ask("shop||k", "history", "true")
	list := versions(t, resp, err)
	if len(list) != 3 || list[0].Version != 7 || list[2].Version != 9 {
		t.Errorf("%+v", list)
	}
	resp, err = r.ask("shop||k", "history", "true", "after", "2", "limit", "2")
	if page := versions(t, resp, err); len(page) != 2 || page[0].Version != 7 || resp.GetMetadata()["next"] != "8" {
		t.Errorf("%+v, %v", page, resp.GetMetadata())
	}
	if resp, err := r.ask("shop||k", "version", "7"); err != nil || string(resp.GetData()) != "7" {
		t.Errorf("%v, %v", resp, err)
	}
	if resp, err := r.ask("shop||k", "asOf", list[0].Time.Format(time.RFC3339Nano)); err != nil || string(resp.GetData()) != "7" {
		t.Errorf("%v, %v", resp, err)
	}
	for _, question := range [][]string{
		{"version", "6"}, {"version", "1"}, {"asOf", list[0].Time.Add(-time.Microsecond).Format(time.RFC3339Nano)}, {"asOf", "1970-01-01T00:00:00Z"},
	} {
		_, err := r.ask("shop||k", question...)
		wantCode(t, err, codes.OutOfRange)
		if err == nil || !strings.Contains(err.Error(), "no longer kept; the oldest that is kept is version 7") {
			t.Errorf("%v: %v", question, err)
		}
	}
	_, err = r.ask("shop||k", "version", "10")
	wantCode(t, err, codes.NotFound)

	// Of a key that is gone altogether nothing is left but the number from which it goes on.
	for key, last := range map[string]int{"shop||one-gone": 1, "shop||short-gone": 2} {
		r.want(t, key, "<nothing>")
		resp, err := r.ask(key, "history", "true")
		if list := versions(t, resp, err); len(list) != 0 {
			t.Errorf("%s: %+v", key, list)
		}
		_, err = r.ask(key, "version", "1")
		wantCode(t, err, codes.OutOfRange)
		_, err = r.ask(key, "asOf", list[0].Time.Format(time.RFC3339Nano))
		wantCode(t, err, codes.OutOfRange)
		if resp, err := r.ask(key, "asOf", time.Now().Add(time.Second).Format(time.RFC3339Nano)); err != nil || resp.GetEtag() != nil {
			t.Errorf("%s now: %v, %v", key, resp, err)
		}
		wantEtagError(t, r.set(key, "y", etag("1"), nil), codes.FailedPrecondition)
		if err := r.del(key, nil); err != nil {
			t.Error(err)
		}
		if err := r.set(key, "again", etag(""), firstWrite); err != nil {
			t.Error(err)
		}
		r.want(t, key, fmt.Sprintf("again@%d", last+1))
		if err := r.transact(setOp(key, "more", etag(strconv.Itoa(last+1)))); err != nil {
			t.Error(err)
		}
		r.want(t, key, fmt.Sprintf("more@%d", last+2))
	}
}

func waitLong(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// What is kept is exact, to the moment, whatever has been written when.
func TestRetentionModel(t *testing.T) {
	t.Parallel()
	type write struct {
		after time.Duration
		event string
		ttl   int
	}
	writes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) write {
		return write{
			after: time.Duration(rapid.IntRange(0, 40).Draw(t, "after")) * time.Second / 2,
			event: rapid.SampledFrom([]string{eventSet, eventSet, eventSet, eventDeleted}).Draw(t, "event"),
			ttl:   rapid.SampledFrom([]int{0, 0, 5, 30}).Draw(t, "ttl"),
		}
	}), 1, 25)
	rapid.Check(t, func(rt *rapid.T) {
		rule := config.Retention{Count: rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(rt, "count")}
		if rule.Age = time.Duration(rapid.SampledFrom([]int{0, 10, 60}).Draw(rt, "age")) * time.Second; rule.Age == 0 && rule.Count == 0 {
			rule.Count = 3
		}
		list := writes.Draw(rt, "writes")
		problem := ""
		synctest.Test(t, func(t *testing.T) {
			j := memory.Open()
			const interval, grace = 2 * time.Second, 3 * time.Second
			c := rules(t, "retention", rule.String())
			stop := retain(t, j, c, "", func(rc *RetentionConfig) { rc.Interval, rc.Grace = interval, grace })
			var all []journal.Event
			for i := 0; i <= len(list)+10 && problem == ""; i++ {
				if i < len(list) {
					w := list[i]
					time.Sleep(w.after)
					e := deleted
					if w.event == eventSet {
						expires := time.Time{}
						if w.ttl > 0 {
							expires = time.Now().Add(time.Duration(w.ttl) * time.Second)
						}
						e = valued(strconv.Itoa(i), expires)
					}
					put(t, j, "k", e)
					e.Time, e.Sequence = time.Now(), int64(len(all)+1)
					all = append(all, e)
				} else {
					time.Sleep(11 * time.Second)
				}
				synctest.Wait()
				// Between what had to be gone a sweep ago and what may be gone now.
				now := time.Now()
				least, most := wantFloor(all, rule, grace, now.Add(-interval-time.Second)), wantFloor(all, rule, grace, now)
				for _, e := range all { // what has gone does not come back with a write
					least = max(least, wantFloor(all, rule, grace, e.Time.Add(-interval-time.Second)))
					most = max(most, wantFloor(all, rule, grace, e.Time.Add(-1)))
				}
				if floor := floorOf(t, j, "k"); floor < least || floor > most {
					problem = fmt.Sprintf("after %d writes it is kept from %d on, want %d to %d", len(all), floor, least, most)
				}
				if problem == "" && rule.Age > 0 && rule.Count == 0 {
					problem = askBack(t.Context(), j, all, now, rule.Age)
				}
			}
			if err := stop(); err != nil {
				problem = err.Error()
			}
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// wantFloor is what retention comes to at a time, in its plainest form.
func wantFloor(all []journal.Event, rule config.Retention, grace time.Duration, now time.Time) (floor int64) {
	n := len(all)
	for n > 0 && all[n-1].Time.After(now) {
		n--
	}
	all = all[:n]
	passed := func(t time.Time) bool { return !now.Before(t) }
	if n > 0 && (rule.Age > 0 || rule.Count == 1) {
		e := all[n-1]
		ended := expiryOf(e)
		if e.Name == eventDeleted {
			ended = e.Time
		}
		if !ended.IsZero() && passed(ended.Add(rule.Age)) && passed(e.Time.Add(grace)) {
			return int64(n)
		}
	}
	for i := range n - 1 {
		byCount := rule.Count > 0 && i+1 <= n-rule.Count
		byAge := rule.Age > 0 && passed(all[i+1].Time.Add(rule.Age))
		if !(byCount || byAge) || !passed(all[i].Time.Add(grace)) {
			break
		}
		floor = int64(i + 1)
	}
	return floor
}

// askBack asks what there was within the age: it is all there.
func askBack(ctx context.Context, j Journal, all []journal.Event, now time.Time, age time.Duration) string {
	for back := time.Duration(0); back < age; back += age / 7 {
		at := now.Add(-back)
		var want journal.Event
		for _, e := range all {
			if !e.Time.After(at) {
				want = e
			}
		}
		e, err := versionAt(ctx, j, "k", at)
		gone := actors.CodeOf(err) == actors.OutOfRange && !exists(want, at)
		if !gone && (err != nil || exists(e, at) != exists(want, at) || exists(e, at) && e.Sequence != want.Sequence) {
			return fmt.Sprintf("%v ago: version %d, %v; want %d", back, e.Sequence, err, want.Sequence)
		}
	}
	return ""
}

// TestTTLToTheSecond: a value is there until its second is over, and gone with it, whatever retention does.
func TestTTLToTheSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := memory.Open()
		retain(t, j, rules(t, "retention", "count=1"), "", func(rc *RetentionConfig) { rc.Interval, rc.Grace = 100*time.Millisecond, time.Millisecond })
		began := time.Now()
		for n := 1; n <= 5; n++ {
			put(t, j, fmt.Sprint("k", n), valued("x", began.Add(time.Duration(n)*time.Second)))
		}
		for n := 1; n <= 5; n++ {
			key := fmt.Sprint("k", n)
			there := func() bool {
				last, err := j.Last(t.Context(), []actors.Ref{stateRef(key)})
				return err == nil && exists(last[0], time.Now())
			}
			time.Sleep(time.Until(began.Add(time.Duration(n)*time.Second - time.Microsecond)))
			if !there() || floorOf(t, j, key) > 0 {
				t.Errorf("%s is gone too early", key)
			}
			time.Sleep(time.Microsecond)
			if there() {
				t.Errorf("%s is there too long", key)
			}
			time.Sleep(300 * time.Millisecond)
			if floorOf(t, j, key) != 1 {
				t.Errorf("what has expired is kept: %s", key)
			}
		}
		if span, err := j.Span(t.Context(), stateRef("k1")); err != nil || span.Epoch != 0 {
			t.Errorf("writers of the key are kept out: %+v, %v", span, err)
		}
	})
}

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
