package engine

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

func TestActivationFailures(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		open func(context.Context, Start) error
		code actors.Code
		text string
	}{
		{"known", func(context.Context, Start) error {
			return actors.Errorf(actors.Unavailable, "the user function is down")
		}, actors.Unavailable, "the user function is down"},
		{"lost", func(context.Context, Start) error { return ErrSessionLost }, actors.Unavailable, "try again"},
		{"other", func(context.Context, Start) error { return errors.New("secret") }, actors.Unavailable, "cannot be reached"},
		{"late", func(ctx context.Context, _ Start) error { <-ctx.Done(); return ctx.Err() }, actors.Unavailable, "20s"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := &bank{opening: x.open}
				r := start(t, b, func(c *Config) { c.ActivationTimeout = 20 * time.Second })
				_, err := r.Handle(t.Context(), command("a", "get", 0))
				wantError(t, err, x.code, x.text)
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("%v tells a secret", err)
				}
				synctest.Wait()
				if n := r.resident(); n != 0 {
					t.Errorf("%d are resident", n)
				}
				b.opening = nil
				r.do(command("a", "get", 0))
			})
		})
	}
}

// deaf opens sessions without reading the events.
type deaf struct{ *bank }

func (d deaf) Open(ctx context.Context, s Start) (Session, error) {
	s.Events = func(func(Event, error) bool) {}
	return d.bank.Open(ctx, s)
}

func TestSessionWithoutEvents(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	r.do(command("a", "add", 1))
	r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: deaf{r.bank}}})
	_, err := r.Handle(t.Context(), command("a", "get", 0))
	wantError(t, err, actors.Internal, "0 of 1 events")
	r.do(command("new", "get", 0))
}

// damaged is a journal in which one entity's second event is missing.
type damaged struct{ journal.Journal }

func (d damaged) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	l, err := d.Journal.Load(ctx, ref)
	if inner := l.Events; err == nil && ref.ID == "bad" {
		l.Events = func(yield func(journal.Event, error) bool) {
			for ev, err := range inner {
				if ev.Sequence != 2 && !yield(ev, err) {
					return
				}
			}
		}
	}
	return l, err
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(c *Config) { c.Journal = damaged{c.Journal} })
	for _, id := range []string{"bad", "good"} {
		for range 3 {
			r.do(command(id, "add", 1))
		}
	}
	r.DisownAll()
	r.vacate()
	_, err := r.Handle(t.Context(), command("bad", "add", 1))
	wantError(t, err, actors.DataLoss, "event 2 of bank/bad is damaged", "backup")
	if got := r.do(command("good", "add", 1)); got != 4 {
		t.Errorf("the other one has %d", got)
	}
}

func TestPassivation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var reasons []Reason
		r := start(t, nil, func(c *Config) {
			c.MaxResident = 2
			c.Observer.Passivated = func(_ string, reason Reason) {
				mu.Lock()
				defer mu.Unlock()
				reasons = append(reasons, reason)
			}
		})
		r.Own(account1("a"))
		r.do(command("a", "add", 1))
		time.Sleep(20 * time.Second)
		r.do(command("a", "add", 1))
		time.Sleep(29 * time.Second)
		if _, open := r.bank.sessions(); open != 1 {
			t.Error("it was passivated too early")
		}
		time.Sleep(2 * time.Second)
		if _, open := r.bank.sessions(); open != 0 || r.resident() != 0 {
			t.Error("it was not passivated")
		}
		if !r.Owned(account1("a")) {
			t.Error("passivation disowned it")
		}
		for _, id := range []string{"a", "b", "c"} {
			r.do(command(id, "get", 0))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		r.mu.Lock()
		gone := r.instances[account1("a")] == nil
		r.mu.Unlock()
		if !gone || r.resident() != 2 {
			t.Error("the one that was idle for longest is still there")
		}
		r.Own(account1("b"))
		busy := r.begin(command("b", "sleep", 5))
		next := r.begin(command("b", "sleep", 5))
		time.Sleep(time.Second)
		r.Disown(account1("b"))
		if r.Owned(account1("b")) {
			t.Error("it is still owned")
		}
		for n, wait := range []func() (actors.Outcome, error){busy, next} {
			if o, err := wait(); err != nil || number(o.Reply) != int64(5*(n+1)) {
				t.Errorf("%+v, %v", o, err)
			}
		}
		synctest.Wait()
		if r.resident() != 1 {
			t.Error("a disowned one stayed after its turns")
		}
		r.DisownAll()
		if r.resident() != 0 {
			t.Error("DisownAll left some")
		}
		mu.Lock()
		defer mu.Unlock()
		if d := cmp.Diff([]Reason{Idle, Evicted, Disowned, Disowned}, reasons); d != "" {
			t.Error(d)
		}
	})
}

func TestServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := &bank{}
		r := start(t, old, nil)
		r.do(command("idle", "add", 1))
		busy := r.begin(command("busy", "sleep", 5))
		next := r.begin(command("busy", "add", 1))
		r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: old, Idle: time.Hour}})
		if _, open := old.sessions(); open != 2 {
			t.Error("serving the same function closed sessions")
		}
		b := &bank{t: t}
		r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: b}})
		if _, open := old.sessions(); open != 1 {
			t.Error("the idle session of the old function is still open")
		}
		if o, err := busy(); err != nil || number(o.Reply) != 5 {
			t.Error(o, err)
		}
		if o, err := next(); err != nil || number(o.Reply) != 6 {
			t.Error(o, err)
		}
		if opens, open := b.sessions(); opens != 1 || open != 1 {
			t.Errorf("the new function has %d sessions", opens)
		}
		if _, open := old.sessions(); open != 0 {
			t.Error("the busy session of the old function is still open")
		}
		wait := r.begin(command("busy", "sleep", 5))
		queued := r.begin(command("busy", "sleep", 5))
		r.Serve(nil)
		if _, err := wait(); err != nil {
			t.Error(err)
		}
		_, err := queued()
		wantError(t, err, actors.Unimplemented, bankService)
		synctest.Wait()
		if r.resident() != 0 {
			t.Errorf("%d are resident", r.resident())
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		r.do(command("idle", "get", 0))
		a, b := r.begin(command("a", "sleep", 5)), r.begin(command("a", "sleep", 5))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 commands") {
			t.Errorf("drain: %v", err)
		}
		_, err := r.Handle(t.Context(), command("x", "get", 0))
		wantError(t, err, actors.Unavailable, "shutting down")
		if err := r.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		for _, wait := range []func() (actors.Outcome, error){a, b} {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		if _, open := r.bank.sessions(); open != 0 {
			t.Errorf("%d sessions are open", open)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// Without Drain: turns are ended, the queue is answered.
		r := start(t, nil, nil)
		a, b := r.begin(command("a", "hang", 5)), r.begin(command("a", "add", 5))
		r.stop()
		for _, wait := range []func() (actors.Outcome, error){a, b} {
			_, err := wait()
			wantError(t, err, actors.Unavailable, "nothing came of it")
		}
		if err := r.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

// TestManyEntities sends commands to many more entities than may be resident.
func TestManyEntities(t *testing.T) {
	t.Parallel()
	const most = 100
	r := start(t, nil, func(c *Config) { c.MaxResident = most })
	for n := range 10_000 {
		r.do(command(strconv.Itoa(n), "add", int64(n)))
		if n%1000 == 0 {
			if got := r.resident(); got > most+1 {
				t.Fatalf("%d entities are resident", got)
			}
		}
	}
	for _, n := range []int64{0, 5000, 9999} {
		if got := r.do(command(strconv.FormatInt(n, 10), "get", 0)); got != n {
			t.Errorf("entity %d has %d", n, got)
		}
	}
}

// A journal that stands still makes commands wait up to the bounds, and no longer than their deadlines.
func TestStalledJournal(t *testing.T) {
	t.Parallel()
	disturbed(t, func(r *rig, j *journaltest.Faulty) {
		hold := make(chan struct{})
		r.do(command("a", "get", 0))
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold})
		c := keyed(command("a", "add", 1), "k")
		c.Deadline = time.Now().Add(3 * time.Second)
		_, err := r.Handle(context.Background(), c)
		wantError(t, err, actors.DeadlineExceeded, "may still be", `"k"`)
		var waits []func() (actors.Outcome, error)
		for range 999 {
			waits = append(waits, r.begin(command("a", "add", 1)))
		}
		_, err = r.Handle(context.Background(), command("a", "add", 1))
		wantError(t, err, actors.ResourceExhausted, settingQueued)
		// The append's own deadline passes; it is resolved, and all goes on.
		c.Deadline = time.Time{}
		if o, err := r.Handle(context.Background(), c); err != nil || o.Sequence == 0 {
			t.Errorf("%+v, %v", o, err)
		}
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		if got := r.do(command("a", "get", 0)); got != 1000 {
			t.Errorf("the balance is %d", got)
		}
	})
}
