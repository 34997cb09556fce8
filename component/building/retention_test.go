package building

import (
	"context"
	"fmt"
	"log/slog"
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
				// A write may come before the sweep that would have found the key at its end.
				gone := func(by time.Time) int64 {
					from := by.Add(-interval - time.Second)
					for _, e := range all {
						if e.Time.After(from) && e.Time.Before(by) {
							return 0
						}
					}
					return wantFloor(all, rule, grace, from)
				}
				least, most := gone(now), wantFloor(all, rule, grace, now)
				for _, e := range all { // what has gone does not come back with a write
					least = max(least, gone(e.Time))
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
