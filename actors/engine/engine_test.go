package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	if got := r.do(command("a", "get", 0)); got != 0 {
		t.Errorf("a new account has %d", got)
	}
	for n := int64(1); n <= 3; n++ {
		o, err := r.Handle(t.Context(), command("a", "add", n))
		if err != nil || o.Sequence != n {
			t.Fatalf("add %d: sequence %d, %v", n, o.Sequence, err)
		}
	}
	o, err := r.Handle(t.Context(), command("a", "spend", 100))
	if err != nil || o.Failure == nil || o.Failure.Code != actors.FailedPrecondition || o.Sequence != 3 {
		t.Errorf("overspending: %+v, %v", o, err)
	}
	o, err = r.Handle(t.Context(), command("a", "fee", 4))
	if err != nil || o.Failure == nil || o.Failure.Message != "a fee" || o.Sequence != 4 {
		t.Errorf("a failure with an event: %+v, %v", o, err)
	}
	if got := r.do(command("a", "spend", 5)); got != 5 {
		t.Errorf("the balance is %d", got)
	}
	if got := r.history("a"); got != "1 2 3 4 -5" {
		t.Errorf("the journal has %s", got)
	}
	if _, err := r.Handle(t.Context(), actors.Command{Ref: actors.Ref{Service: "shop.v1.Nope", ID: "x"}}); true {
		wantError(t, err, actors.Unimplemented, "shop.v1.Nope", bankService)
	}
	if _, err := r.Handle(t.Context(), command("", "get", 0)); true {
		wantError(t, err, actors.InvalidArgument)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	snapshot := false
	b := &bank{script: func(_ context.Context, _ *account, turn Turn) (Reply, error, bool) {
		r := Reply{Events: []Event{
			{Name: "Added", Payload: *amount(1)},
			{Payload: *amount(2)},
			{Payload: actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Added", ContentType: actors.ContentProtobuf, Data: []byte("3")}},
		}}
		if snapshot {
			r.Snapshot = amount(12)
		}
		return r, nil, turn.Command.Method == "three"
	}}
	r := start(t, b, nil)
	c := command("a", "three", 0)
	c.Metadata = actors.Metadata{{Key: "TraceParent", Text: "00-1"}, {Key: "dapr-caller-app-id", Text: "app"},
		{Key: "Correlation-Id", Text: "c\xff"}, {Key: "causation-id", Text: "k"}}
	if _, err := r.Handle(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	snapshot = true
	if _, err := r.Handle(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stream := actors.Ref{Service: "bank", ID: "a"}
	var names []string
	for ev, err := range r.journal.Read(t.Context(), stream, 0, 3) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, ev.Name)
		if want := (journal.Context{Traceparent: "00-1", Caller: "app", Correlation: "c?", Causation: "k"}); ev.Context != want {
			t.Errorf("context %+v", ev.Context)
		}
		if !strings.HasPrefix(ev.Command, "g:") {
			t.Errorf("command id %q", ev.Command)
		}
	}
	if d := cmp.Diff([]string{"Added", "amount", "shop.v1.Added"}, names); d != "" {
		t.Error(d)
	}
	// The snapshot is from where the next session begins.
	r.Disown(account1("a"))
	if got := r.do(command("a", "get", 0)); got != 12 {
		t.Errorf("the balance is %d", got)
	}
	l, err := r.journal.Load(t.Context(), stream)
	if err != nil || l.Snapshot == nil || l.Snapshot.Sequence != 6 {
		t.Errorf("snapshot %+v, %v", l.Snapshot, err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	add := keyed(command("a", "add", 5), "k1")
	first, err := r.Handle(t.Context(), add)
	if err != nil || first.Repeated {
		t.Fatal(first, err)
	}
	r.do(command("a", "add", 1))
	for _, forget := range []bool{false, true} {
		if forget {
			r.Disown(add.Ref)
		}
		again, err := r.Handle(t.Context(), add)
		if err != nil || !again.Repeated {
			t.Fatal(again, err)
		}
		again.Repeated = false
		if d := cmp.Diff(first, again); d != "" {
			t.Error(d)
		}
		_, err = r.Handle(t.Context(), keyed(command("a", "add", 6), "k1"))
		wantError(t, err, actors.InvalidArgument, `"k1"`, "another request")
		_, err = r.Handle(t.Context(), keyed(command("a", "get", 5), "k1"))
		wantError(t, err, actors.InvalidArgument, `"k1"`)
	}
	// A command that would be refused now was carried out before: its record wins.
	spend := keyed(command("a", "spend", 6), "k2")
	r.do(spend)
	o, err := r.Handle(t.Context(), spend)
	if err != nil || o.Failure != nil || !o.Repeated || number(o.Reply) != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	// What wrote nothing leaves no record.
	refused := keyed(command("a", "spend", 7), "k3")
	if o, err := r.Handle(t.Context(), refused); err != nil || o.Failure == nil {
		t.Error(o, err)
	}
	r.do(command("a", "add", 7))
	if o, err := r.Handle(t.Context(), refused); err != nil || o.Failure != nil || o.Repeated {
		t.Error(o, err)
	}
	if got := r.history("a"); got != "5 1 -6 7 -7" {
		t.Errorf("the journal has %s", got)
	}
	_, err = r.Handle(t.Context(), keyed(command("a", "add", 1), strings.Repeat("k", 511)))
	wantError(t, err, actors.InvalidArgument, "511", "510")
	r.do(keyed(command("a", "add", 1), strings.Repeat("k", 510)))
	_, err = r.Handle(t.Context(), keyed(command("a", "add", 1), "a\x00"))
	wantError(t, err, actors.InvalidArgument, "zero bytes")
}

func TestConcurrentDuplicates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		c := keyed(command("a", "sleep", 5), "k")
		var waits []func() (actors.Outcome, error)
		for range 4 {
			waits = append(waits, r.begin(c))
			time.Sleep(time.Second)
		}
		other := keyed(command("a", "sleep", 6), "k")
		_, err := r.Handle(t.Context(), other)
		wantError(t, err, actors.InvalidArgument, "another request")
		for n, wait := range waits {
			o, err := wait()
			if err != nil || o.Repeated != (n > 0) || number(o.Reply) != 5 {
				t.Errorf("%d: %+v, %v", n, o, err)
			}
		}
		if got := r.history("a"); got != "5" {
			t.Errorf("the journal has %s", got)
		}
	})
}

// A repeat whose first was given up in the queue takes its place.
func TestDuplicateOfDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		block := r.begin(command("a", "sleep", 10))
		short := keyed(command("a", "add", 5), "k")
		short.Deadline = time.Now().Add(2 * time.Second)
		first := r.begin(short)
		long := keyed(command("a", "add", 5), "k")
		second := r.begin(long)
		_, err := first()
		wantError(t, err, actors.DeadlineExceeded, "not begun", "nothing came of it")
		o, err := second()
		if err != nil || o.Repeated || number(o.Reply) != 15 {
			t.Errorf("%+v, %v", o, err)
		}
		if _, err := block(); err != nil {
			t.Error(err)
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	var limited atomic.Int32
	small := func(c *Config) {
		c.MaxQueued, c.MaxInFlight, c.MaxMessage, c.MaxMetadata, c.MaxEvents = 3, 4, 100, 20, 2
		c.MaxBuffered = 6 * workBytes
		c.Observer.Limited = func(_, setting string) { limited.Add(1) }
	}
	synctest.Test(t, func(t *testing.T) {
		b := &bank{script: func(_ context.Context, a *account, turn Turn) (Reply, error, bool) {
			n := int(number(&turn.Command.Payload))
			switch turn.Command.Method {
			case "events":
				return a.reply(0, make([]Event, n)...), nil, true
			case "large":
				p := *amount(0)
				p.Data = bytes.Repeat([]byte("0"), n)
				return a.reply(0, Event{Payload: p}), nil, true
			case "answer":
				p := amount(0)
				p.Data = bytes.Repeat([]byte("0"), n)
				return Reply{Outcome: actors.Outcome{Reply: p}}, nil, true
			}
			return Reply{}, nil, false
		}}
		r := start(t, b, small)
		for _, x := range []struct {
			method  string
			n       int64
			setting string
		}{
			{"events", 2, ""}, {"events", 3, settingEvents}, {"large", 100, ""}, {"large", 101, settingMessage},
			{"answer", 100, ""}, {"answer", 101, settingMessage},
		} {
			_, err := r.Handle(t.Context(), command("x", x.method, x.n))
			if x.setting == "" {
				if err != nil {
					t.Errorf("%s %d: %v", x.method, x.n, err)
				}
				continue
			}
			wantError(t, err, actors.ResourceExhausted, x.setting, fmt.Sprint(x.n))
		}
		if got := r.do(command("x", "get", 0)); got != 0 {
			t.Errorf("the balance is %d", got)
		}
		c := command("x", "add", 1)
		c.Payload.Data = bytes.Repeat([]byte("0"), 101)
		_, err := r.Handle(t.Context(), c)
		wantError(t, err, actors.ResourceExhausted, settingMessage)
		c = command("x", "add", 1)
		c.Metadata = actors.Metadata{{Key: "12345", Text: "12345", Bytes: []byte("12345678901")}}
		_, err = r.Handle(t.Context(), c)
		wantError(t, err, actors.ResourceExhausted, settingMetadata)

		var waits []func() (actors.Outcome, error)
		for range 3 {
			waits = append(waits, r.begin(command("a", "sleep", 1)))
		}
		_, err = r.Handle(t.Context(), command("a", "get", 0))
		wantError(t, err, actors.ResourceExhausted, settingQueued, "3")
		waits = append(waits, r.begin(command("b", "sleep", 1)))
		_, err = r.Handle(t.Context(), command("c", "get", 0))
		wantError(t, err, actors.ResourceExhausted, settingInFlight, "4")
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		r.do(command("c", "get", 0))
	})
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, func(c *Config) { c.MaxBuffered = 3 * workBytes })
		a, b := r.begin(command("a", "sleep", 1)), r.begin(command("b", "sleep", 1))
		_, err := r.Handle(t.Context(), command("c", "get", 0))
		wantError(t, err, actors.ResourceExhausted, settingBuffered)
		for _, wait := range []func() (actors.Outcome, error){a, b} {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		big := command("c", "add", 1)
		big.Payload.Data = bytes.Repeat([]byte("0"), 1<<20)
		r.do(big) // alone it is taken
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.buffered != 0 || r.inflight != 0 {
			t.Errorf("%d bytes and %d commands are left", r.buffered, r.inflight)
		}
	})
	if limited.Load() == 0 {
		t.Error("the observer was not told")
	}
}

func TestSessionErrors(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		method string
		code   actors.Code
		text   string
		runs   int
	}{
		{"crash", actors.Unknown, "Unexpected entity failure", 1},
		{"nope", actors.Unimplemented, "no such method", 1},
		{"lost", actors.Unavailable, "nothing came of it", 2},
		{"ended", actors.Unavailable, "nothing came of it", maxTries},
		{"hang", actors.DeadlineExceeded, "nothing came of it", 1},
	} {
		t.Run(x.method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, nil, nil)
				first := r.begin(command("a", "sleep", 1))
				bad := command("a", x.method, 0)
				bad.Deadline = time.Now().Add(10 * time.Second)
				second := r.begin(bad)
				third := r.begin(command("a", "add", 2))
				fourth := r.begin(command("a", "get", 0))
				if o, err := first(); err != nil || number(o.Reply) != 1 {
					t.Error(o, err)
				}
				_, err := second()
				wantError(t, err, x.code, x.text)
				if o, err := third(); err != nil || number(o.Reply) != 3 {
					t.Error(o, err)
				}
				if o, err := fourth(); err != nil || number(o.Reply) != 3 {
					t.Error(o, err)
				}
				opens, open := r.bank.sessions()
				if opens != x.runs+1 || open != 1 {
					t.Errorf("%d sessions, %d open", opens, open)
				}
				runs := 0
				for _, s := range r.bank.log {
					if strings.HasPrefix(s, x.method) {
						runs++
					}
				}
				if runs != x.runs {
					t.Errorf("it was handled %d times", runs)
				}
			})
		})
	}
}

// Appendix B.2 of the original's tests: what is queued behind a restart is handled by the new session, in order.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := start(t, &bank{script: func(_ context.Context, _ *account, turn Turn) (Reply, error, bool) {
			if turn.Command.Method == "restart" {
				<-release
			}
			return Reply{}, nil, false
		}}, nil)
		r.do(command("a", "add", 1))
		waits := []func() (actors.Outcome, error){r.begin(command("a", "restart", 100))}
		for n := int64(2); n <= 4; n++ {
			waits = append(waits, r.begin(command("a", "add", n)))
		}
		close(release)
		if o, err := waits[0](); err != nil || o.Failure == nil || o.Failure.Message != "restarting" || o.Sequence != 1 {
			t.Errorf("%+v, %v", o, err)
		}
		for n, want := range []int64{3, 6, 10} {
			if o, err := waits[n+1](); err != nil || number(o.Reply) != want {
				t.Errorf("%+v, %v", o, err)
			}
		}
		if opens, _ := r.bank.sessions(); opens != 2 || r.history("a") != "1 2 3 4" {
			t.Errorf("%d sessions, journal %s", opens, r.history("a"))
		}
		// With nothing queued the new session is opened all the same.
		if o, err := r.Handle(t.Context(), command("a", "restart", 0)); err != nil || o.Failure == nil {
			t.Errorf("%+v, %v", o, err)
		}
		synctest.Wait()
		if opens, open := r.bank.sessions(); opens != 3 || open != 1 {
			t.Errorf("%d sessions, %d open", opens, open)
		}
	})
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		began := time.Now()
		_, err := r.Handle(t.Context(), command("a", "hang", 0))
		wantError(t, err, actors.DeadlineExceeded)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it took %s", took)
		}
		// A caller that goes away stops neither its turn nor what is behind it.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = r.Handle(ctx, keyed(command("a", "sleep", 5), "k"))
		wantError(t, err, actors.Canceled, "may still be", `"k"`)
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = r.Handle(ctx, command("a", "add", 100))
		wantError(t, err, actors.Canceled, "not begun", "nothing came of it")
		if got := r.do(command("a", "get", 0)); got != 5 {
			t.Errorf("the balance is %d", got)
		}
		late := command("a", "add", 1)
		late.Deadline = time.Now().Add(-time.Second)
		_, err = r.Handle(t.Context(), late)
		wantError(t, err, actors.DeadlineExceeded, "not begun")
	})
}

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

func TestValidate(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Idle: -1, MaxBatch: -1, MaxResident: -2, Reads: 9})
	for _, s := range []string{"Journal", "Idle", "MaxBatch", "MaxResident", "Reads"} {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%v does not name %s", err, s)
		}
	}
	if _, err := New(Config{Journal: journaltest.NewFaulty(memory.Open())}); err != nil {
		t.Error(err)
	}
}
