package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"
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
	// What waits for a journal that stands still counts with its answer, be that read or written.
	for _, method := range []string{"answer", "fee"} {
		synctest.Test(t, func(t *testing.T) {
			large := bytes.Repeat([]byte("0"), 1000)
			b := &bank{script: func(_ context.Context, a *account, turn Turn) (Reply, error, bool) {
				r := Reply{Outcome: actors.Outcome{Reply: &actors.Payload{Data: large}}}
				if turn.Command.Method == "fee" {
					r.Events = []Event{{Payload: turn.Command.Payload}}
				}
				return r, nil, turn.Command.Method != "get"
			}}
			var j *journaltest.Faulty
			r := start(t, b, func(c *Config) {
				j = journaltest.NewFaulty(c.Journal)
				c.Journal, c.MaxBuffered = j, 2*workBytes+1000
			})
			r.do(command("a", "get", 0))
			hold := make(chan struct{})
			j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold}, journaltest.Disturbance{Call: journaltest.CallHeads, Hold: hold})
			wait := r.begin(command("a", method, 1))
			synctest.Wait()
			_, err := r.Handle(t.Context(), command("b", "get", 0))
			wantError(t, err, actors.ResourceExhausted, settingBuffered)
			close(hold)
			if _, err := wait(); err != nil {
				t.Error(err)
			}
			if s := r.Stats(); s.Bytes != 0 || s.InFlight != 0 {
				t.Errorf("%+v is left", s)
			}
		})
	}
	if limited.Load() == 0 {
		t.Error("the observer was not told")
	}
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
