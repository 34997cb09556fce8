package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

// deciding is a bank that answers the method "decide" with what decide makes, and anything else as ever.
func deciding(decide func(a *account, t Turn) Reply) *bank {
	return &bank{script: func(_ context.Context, a *account, t Turn) (Reply, error, bool) {
		if t.Command.Method != "decide" {
			return Reply{}, nil, false
		}
		return decide(a, t), nil, true
	}}
}

func TestEffects(t *testing.T) {
	t.Parallel()
	to := func(method string) actors.Effect {
		return actors.Effect{Ref: account1("b"), Method: method, Payload: *amount(1), Metadata: actors.Metadata{{Key: "k", Text: "v"}}}
	}
	soon, now, named := to("soon"), to("now"), to("named")
	now.Synchronous = true
	soon.Delay = time.Nanosecond
	named.Key = "n"
	stream := actors.Ref{Service: "bank", ID: "a"}
	event := []Event{{Payload: *amount(1)}}
	refusal := actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}
	forward := &actors.Forward{Ref: account1("b"), Method: "on", Payload: *amount(1), Key: "of the user function"}
	for _, x := range []struct {
		name    string
		reply   Reply
		effects []actors.Effect
		// kept and left are the methods of the effects that the journal and the outcome have, by their ordinals.
		kept, left string
	}{
		{"with an event", Reply{Events: event}, []actors.Effect{to("later"), now, soon, to("last")}, "1later 3soon 4last", "2now"},
		{"alone", Reply{}, []actors.Effect{now, to("later"), now}, "2later", "1now 3now"},
		{"of a refusal", Reply{Outcome: refusal}, []actors.Effect{to("later")}, "1later", ""},
		{"of a refusal with an event", Reply{Outcome: refusal, Events: event}, []actors.Effect{to("later")}, "1later", ""},
		{"of a restart", Reply{Outcome: refusal, Restart: true, Events: event}, []actors.Effect{to("later")}, "1later", ""},
		{"synchronous ones only", Reply{}, []actors.Effect{now}, "", "1now"},
		{"replaced", Reply{}, []actors.Effect{named, to("later"), named}, "2later 3named", ""},
		{"taken back", Reply{}, []actors.Effect{named, {Key: "n", Cancel: true}}, "", ""},
		{"beside a forward", Reply{Outcome: actors.Outcome{Forward: forward}}, []actors.Effect{to("later")}, "1later", ""},
		{"none beside a forward", Reply{Outcome: actors.Outcome{Forward: forward}}, nil, "", ""},
	} {
		x.reply.Outcome.Effects = x.effects
		for _, key := range []string{"", "k"} {
			t.Run(x.name+key, func(t *testing.T) {
				t.Parallel()
				r := start(t, deciding(func(*account, Turn) Reply { return x.reply }), nil)
				events := int64(len(x.reply.Events))
				if x.reply.Restart {
					events = 0
				}
				c := keyed(command("a", "decide", 1), key)
				o, err := r.Handle(t.Context(), c)
				if err != nil || o.Sequence != events || r.history("a") != strings.Repeat("1", int(events)) {
					t.Fatalf("%+v, %v; %q", o, err, r.history("a"))
				}
				time.Sleep(time.Millisecond)
				id := func(ordinal int) string { return actors.EffectID(stream, CommandID(key), ordinal) }
				describe := func(effects []actors.Effect) string {
					var s []string
					for _, e := range effects {
						ordinal := 1
						for ; ordinal <= len(x.effects) && (x.effects[ordinal-1].Method != e.Method || key != "" && id(ordinal) != e.ID); ordinal++ {
						}
						if e.Method == "named" {
							ordinal = 3
						}
						if e.ID == "" || e.Service != bankService || string(e.Payload.Data) != "1" || e.Metadata.Get("k") != "v" {
							t.Errorf("%+v", e)
						}
						s = append(s, fmt.Sprint(ordinal, e.Method))
					}
					return strings.ReplaceAll(strings.Join(s, " "), "1now 1now", "1now 3now")
				}
				var kept []actors.Effect
				for _, p := range r.kept("a") {
					kept = append(kept, p.Effect)
				}
				if got := describe(kept); got != x.kept {
					t.Errorf("the journal keeps %q, want %q", got, x.kept)
				}
				if got := describe(o.Effects); got != x.left {
					t.Errorf("the outcome has %q, want %q", got, x.left)
				}
				if f := o.Forward; (f != nil) != (x.reply.Outcome.Forward != nil) || f != nil && (f.Method != "on" || key == "" && f.Key != "" || key != "" && f.Key != id(0)) {
					t.Errorf("forwards %+v", f)
				}
				if forward.Key != "of the user function" || x.effects != nil && x.effects[0].ID != "" {
					t.Error("the session's reply was changed")
				}
				// A repeat is answered with the same, and keeps nothing new.
				again, err := r.Handle(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				wrote := x.kept != "" || events > 0 || x.name == "taken back"
				if key != "" && again.Repeated != wrote {
					t.Errorf("%+v", again)
				}
				again.Repeated = false
				if d := cmp.Diff(o, again, cmpopts.IgnoreFields(actors.Error{}, "Cause")); key != "" && d != "" {
					t.Error(d)
				}
				if n := len(r.kept("a")); key != "" && n != len(kept) {
					t.Errorf("%d effects are kept", n)
				}
			})
		}
	}
}

// What is kept is that of the appends that were committed, whatever happens to them.
func TestEffectFaults(t *testing.T) {
	t.Parallel()
	const app = journaltest.CallAppend
	for _, x := range []struct {
		name   string
		script []journaltest.Disturbance
		code   actors.Code
		runs   int
		kept   int
	}{
		{"lost reply", []journaltest.Disturbance{fault(app, journaltest.LostReply)}, actors.OK, 1, 1},
		{"lost", []journaltest.Disturbance{fault(app, journaltest.Lost)}, actors.OK, 2, 1},
		{"lost twice", []journaltest.Disturbance{fault(app, journaltest.Lost), fault(app, journaltest.Lost)}, actors.Unavailable, 2, 0},
		{"late", []journaltest.Disturbance{{Call: app, Fault: journaltest.Late, Delay: time.Second}}, actors.OK, 2, 1},
		{"conflict", []journaltest.Disturbance{fault(app, journaltest.Conflict)}, actors.OK, 2, 1},
		{"carried out twice", []journaltest.Disturbance{fault(app, journaltest.Again)}, actors.OK, 1, 1},
		{"refused", []journaltest.Disturbance{fault(app, journaltest.Refuse)}, actors.Internal, 1, 0},
		{"lost reply, then down", []journaltest.Disturbance{fault(app, journaltest.LostReply), fault(journaltest.CallHeads, journaltest.Lost)}, actors.OK, 1, 1},
	} {
		for _, key := range []string{"", "k"} {
			t.Run(x.name+key, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var j *journaltest.Faulty
					var mu sync.Mutex
					var rung []string
					r := start(t, nil, func(c *Config) {
						j = journaltest.NewFaulty(c.Journal)
						c.Journal = j
						c.Landed = func(events, effects bool) {
							mu.Lock()
							defer mu.Unlock()
							rung = append(rung, fmt.Sprint(events, effects))
						}
					})
					r.do(command("a", "add", 5))
					r.bank.log = nil
					j.Disturb(x.script...)
					o, err := r.Handle(t.Context(), keyed(command("a", "nudge", 2), key))
					recorded := key != "" && x.name == "carried out twice" // whose commit it was is not to be seen
					if x.code != actors.OK {
						wantError(t, err, x.code, "not carried out")
					} else if err != nil || o.Sequence != 1 || number(o.Reply) != 5 || o.Repeated != recorded {
						t.Errorf("%+v, %v", o, err)
					}
					if runs := len(r.bank.log); runs != x.runs || j.Pending() > 0 {
						t.Errorf("it was handled %d times, %d disturbances did not happen", runs, j.Pending())
					}
					time.Sleep(time.Minute)
					if kept := r.kept("a"); len(kept) != x.kept {
						t.Errorf("%+v are kept", kept)
					}
					// The entity goes on.
					if got := r.do(command("a", "add", 1)); got != 6 {
						t.Errorf("the balance is %d", got)
					}
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					want := []string{"true false", "false true", "true false"}
					if x.kept == 0 {
						want = []string{"true false", "true false"}
					}
					if d := cmp.Diff(want, rung); d != "" {
						t.Error(d)
					}
					r.stop()
					j.Close()
				})
			})
		}
	}
}

// Turns that only keep effects stand in the pipeline like any others: what is read behind them waits for them.
func TestEffectsInPipeline(t *testing.T) {
	t.Parallel()
	for _, f := range []journaltest.Fault{journaltest.Slow, journaltest.LostReply, journaltest.Lost, journaltest.Conflict, journaltest.Again} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			disturbed(t, func(r *rig, j *journaltest.Faulty) {
				r.do(command("a", "add", 1))
				hold := make(chan struct{})
				j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold},
					journaltest.Disturbance{Call: journaltest.CallAppend, Fault: f, Nth: 2})
				var waits []func() (actors.Outcome, error)
				for _, c := range []actors.Command{command("a", "nudge", 10), command("a", "get", 0), keyed(command("a", "nudge", 11), "k"),
					command("a", "add", 2), command("a", "nudge", 12), command("a", "get", 0), command("a", "nudge", 13)} {
					waits = append(waits, r.begin(c))
				}
				synctest.Wait()
				if n := r.load(account1("a")); n != 7 {
					t.Errorf("%d commands are unanswered", n)
				}
				close(hold)
				for n, want := range []int64{1, 1, 1, 3, 3, 3, 3} {
					o, err := waits[n]()
					if n == 1 && err == nil && o.Sequence == 2 {
						want = 3 // it was done again when everything was there
					}
					if err != nil || number(o.Reply) != want {
						t.Errorf("%d: %+v, %v", n, o, err)
					}
				}
				var got []string
				for _, p := range r.kept("a") {
					got = append(got, string(p.Payload.Data))
				}
				if d := cmp.Diff([]string{"10", "11", "12", "13"}, got); d != "" || r.history("a") != "1 2" {
					t.Error(r.history("a"), d)
				}
			})
		})
	}
}

func TestEffectLimits(t *testing.T) {
	t.Parallel()
	var effects []actors.Effect
	var mu sync.Mutex
	var limited []string
	r := start(t, deciding(func(*account, Turn) Reply {
		return Reply{Outcome: actors.Outcome{Effects: effects}, Events: []Event{{Payload: *amount(1)}}}
	}), func(c *Config) {
		c.MaxEffects, c.MaxMessage, c.MaxMetadata = 2, 100, 10
		c.Observer.Limited = func(_, setting string) {
			mu.Lock()
			defer mu.Unlock()
			limited = append(limited, setting)
		}
	})
	ok := actors.Effect{Ref: account1("b"), Method: "x"}
	with := func(change func(*actors.Effect)) actors.Effect {
		x := ok
		change(&x)
		return x
	}
	long := strings.Repeat("x", journal.MaxEffectIDBytes)
	kept := 0
	for _, x := range []struct {
		effects []actors.Effect
		code    actors.Code
		text    string
	}{
		{[]actors.Effect{ok, ok}, actors.OK, ""},
		{[]actors.Effect{ok, ok, ok}, actors.ResourceExhausted, "maxEffects"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Payload.Data = make([]byte, 100) })}, actors.OK, ""},
		{[]actors.Effect{ok, with(func(x *actors.Effect) { x.Payload.Data = make([]byte, 101) })}, actors.ResourceExhausted, "effect 2 of decide"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Metadata = actors.Metadata{{Key: "12345", Text: "67890"}} })}, actors.OK, ""},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Metadata = actors.Metadata{{Key: "12345", Text: "678901"}} })}, actors.ResourceExhausted, "maxMetadata"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Key = long })}, actors.OK, ""},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Key = long + "x" })}, actors.Internal, "513 bytes"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Key = "\x00" })}, actors.Internal, "zero bytes"},
		{[]actors.Effect{{Cancel: true}}, actors.Internal, "no key"},
		{[]actors.Effect{{}}, actors.Internal, "no target"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Synchronous, x.Delay = true, time.Second })}, actors.Internal, "synchronous"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Synchronous, x.Key = true, "k" })}, actors.Internal, "synchronous"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Delay = -1 })}, actors.Internal, "delay"},
		{[]actors.Effect{with(func(x *actors.Effect) { x.Delay, x.Due = 1, time.Now() })}, actors.Internal, "both"},
	} {
		effects = x.effects
		o, err := r.Handle(t.Context(), command("a", "decide", 0))
		if x.code != actors.OK {
			wantError(t, err, x.code, x.text)
			continue
		}
		if kept += len(effects); err != nil || len(r.kept("a")) != kept {
			t.Errorf("%+v, %v; %d are kept, want %d", o, err, len(r.kept("a")), kept)
		}
	}
	if d := cmp.Diff([]string{"maxEffects", "maxMessage", "maxMetadata"}, limited); d != "" {
		t.Error(d)
	}
	if got := r.history("a"); got != "1 1 1 1" {
		t.Errorf("the journal has %s", got)
	}
}

// The size of effects counts towards that of a batch.
func TestEffectsInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var batches []int
		hold := make(chan struct{})
		var j *journaltest.Faulty
		r := start(t, nil, func(c *Config) {
			j = journaltest.NewFaulty(c.Journal)
			c.Journal, c.MaxBatchBytes = j, 350
			c.Observer.Appended = func(n, _ int, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				batches = append(batches, n)
			}
		})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold})
		var waits []func() (actors.Outcome, error)
		for n := range 5 {
			c := command(fmt.Sprint(n), "nudge", 1)
			c.Payload.Data = fmt.Appendf(nil, "1:%080d", n)
			waits = append(waits, r.begin(c))
		}
		synctest.Wait()
		close(hold)
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if d := cmp.Diff([]int{1, 2, 2}, batches); d != "" {
			t.Error(d)
		}
	})
}
