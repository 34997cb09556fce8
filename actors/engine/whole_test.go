package engine

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

// A service whose newest event is the state begins with that event, without a word of those before.
func TestWhole(t *testing.T) {
	t.Parallel()
	var j *journaltest.Faulty
	b := &bank{whole: true}
	var began atomic.Int64
	b.script = func(_ context.Context, a *account, turn Turn) (Reply, error, bool) {
		r := a.reply(1, Event{Payload: *amount(1)})
		r.Snapshot = amount(99)
		return r, nil, turn.Command.Method == "snapshot"
	}
	r := start(t, b, func(c *Config) {
		j = journaltest.NewFaulty(c.Journal)
		c.Journal, c.MaxResident = j, -1
		c.Observer.Activated = func(_ string, events int, _ time.Duration) { began.Store(int64(events)) }
	})
	for n, want := range []int64{1, 3, 6} {
		r.vacate()
		if got := r.do(command("a", "add", int64(n+1))); got != want || began.Load() != int64(min(n, 1)) {
			t.Errorf("the balance is %d, the session began with %d events", got, began.Load())
		}
	}
	if loads, reads := j.Calls(journaltest.CallLoad), j.Calls(journaltest.CallRead); loads != 0 || reads != 2 {
		t.Errorf("%d loadings, %d readings", loads, reads)
	}
	r.vacate()
	r.do(command("a", "snapshot", 0))
	r.vacate()
	if l, err := j.Load(t.Context(), actors.Ref{Service: "bank", ID: "a"}); err != nil || l.Snapshot != nil {
		t.Errorf("%+v, %v", l, err)
	}
	foreign(t, j, 4, 50)
	if got := r.do(command("a", "get", 0)); got != 50 {
		t.Errorf("the balance is %d", got)
	}
	if got := r.history("a"); got != "1: 3: 6: 7: 50" {
		t.Errorf("the journal has %s", got)
	}
}

// Sessions of a service that is whole now are of no use to one that was not.
func TestWholeChanges(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	r.do(command("a", "add", 1))
	r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: r.bank}})
	r.do(command("a", "add", 1))
	if opens, _ := r.bank.sessions(); opens != 1 {
		t.Errorf("%d sessions of the same service", opens)
	}
	r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: &bank{t: t, whole: true}, Whole: true}})
	r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: r.bank, Whole: true}})
	r.vacate()
	if opens, _ := r.bank.sessions(); opens != 1 {
		t.Errorf("%d sessions were opened", opens)
	}
}

// forgetful is a journal that answers a reading of the newest event with another one, so often.
type forgetful struct {
	journal.Journal
	times int
	other []journal.Event
}

func (j *forgetful) Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	if j.times--; j.times < 0 {
		return j.Journal.Read(ctx, ref, after, limit)
	}
	return func(yield func(journal.Event, error) bool) {
		for _, ev := range j.other {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func TestNewestEvent(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		times int
		other []journal.Event
		code  actors.Code
	}{
		{name: "newer once", times: 1, other: []journal.Event{{Sequence: 3}}},
		{name: "newer twice", times: 2, other: []journal.Event{{Sequence: 3}}},
		{name: "gone", times: 3, code: actors.DataLoss},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, &bank{whole: true}, func(c *Config) {
				c.Journal, c.MaxResident = &forgetful{c.Journal, 0, x.other}, -1
			})
			r.do(command("a", "add", 1))
			r.do(command("a", "add", 1))
			r.vacate()
			r.journal.(*forgetful).times = x.times
			o, err := r.Handle(t.Context(), command("a", "get", 0))
			if x.code != actors.OK {
				wantError(t, err, x.code, "event 2 of bank/a")
			} else if err != nil || number(o.Reply) != 2 {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
	for _, c := range []journaltest.Call{journaltest.CallHeads, journaltest.CallRead} {
		var j *journaltest.Faulty
		r := start(t, &bank{whole: true}, func(c *Config) {
			j = journaltest.NewFaulty(c.Journal)
			c.Journal, c.MaxResident, c.Reads = j, -1, Cached
		})
		r.do(command("a", "add", 1))
		r.vacate()
		j.Disturb(fault(c, journaltest.Lost))
		_, err := r.Handle(t.Context(), command("a", "get", 0))
		wantError(t, err, actors.Unavailable, "could not be activated")
		if got := r.do(command("a", "get", 0)); got != 1 || j.Pending() > 0 {
			t.Errorf("%s: the balance is %d", c, got)
		}
	}
}
