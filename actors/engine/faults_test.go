package engine

import (
	"context"
	"errors"
	"fmt"
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

// disturbed runs f in a bubble, with an engine whose journal is disturbed as told. Everything told must happen.
func disturbed(t *testing.T, f func(r *rig, j *journaltest.Faulty)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var j *journaltest.Faulty
		r := start(t, nil, func(c *Config) {
			j = journaltest.NewFaulty(c.Journal)
			c.Journal = j
		})
		f(r, j)
		r.stop()
		if err := j.Close(); err != nil || j.Pending() > 0 {
			t.Errorf("%d disturbances did not happen; %v", j.Pending(), err)
		}
	})
}

func fault(c journaltest.Call, f journaltest.Fault) journaltest.Disturbance {
	return journaltest.Disturbance{Call: c, Fault: f}
}

// foreign appends to a's stream as another host does.
func foreign(t testing.TB, j journal.Journal, expected, n int64) {
	t.Helper()
	res := j.Append(t.Context(), []journal.Append{{Ref: actors.Ref{Service: "bank", ID: "a"}, Expected: expected,
		Command: fmt.Sprint("foreign", expected), Events: []journal.Event{{Name: "x", Payload: *amount(n)}}}})
	if res[0].Status != journal.Committed {
		t.Fatal(res)
	}
}

func TestAppendFaults(t *testing.T) {
	t.Parallel()
	const heads, app, fence = journaltest.CallHeads, journaltest.CallAppend, journaltest.CallFence
	down := func(c journaltest.Call, times int) (script []journaltest.Disturbance) {
		for range times {
			script = append(script, fault(c, journaltest.Lost))
		}
		return script
	}
	for _, x := range []struct {
		name    string
		script  []journaltest.Disturbance
		code    actors.Code // OK: the command succeeds
		text    string
		history string
		runs    int
	}{
		{"lost reply", []journaltest.Disturbance{fault(app, journaltest.LostReply)}, actors.OK, "", "1 2", 1},
		{"lost", []journaltest.Disturbance{fault(app, journaltest.Lost)}, actors.OK, "", "1 2", 2},
		{"lost twice", []journaltest.Disturbance{fault(app, journaltest.Lost), fault(app, journaltest.Lost)}, actors.Unavailable, "certainly not carried out", "1", 2},
		{"late", []journaltest.Disturbance{{Call: app, Fault: journaltest.Late, Delay: time.Second}}, actors.OK, "", "1 2", 2},
		{"conflict", []journaltest.Disturbance{fault(app, journaltest.Conflict)}, actors.OK, "", "1 2", 2},
		{"carried out twice", []journaltest.Disturbance{fault(app, journaltest.Again)}, actors.OK, "", "1 2", 1},
		{"conflict twice", []journaltest.Disturbance{fault(app, journaltest.Conflict), fault(app, journaltest.Conflict)}, actors.Aborted, "another host", "1", 2},
		{"refused", []journaltest.Disturbance{fault(app, journaltest.Refuse)}, actors.Internal, "not carried out", "1", 1},
		{"refused, no room", []journaltest.Disturbance{{Call: app, Fault: journaltest.Refuse, Err: fmt.Errorf("%w: 53100", journal.ErrFull)}}, actors.ResourceExhausted, "not carried out", "1", 1},
		{"refused, unreachable", []journaltest.Disturbance{{Call: app, Fault: journaltest.Refuse, Err: fmt.Errorf("dial a-secret: %w", journal.ErrUnavailable)}}, actors.Unavailable, "cannot be written to; try again", "1", 1},
		{"lost reply, journal down", append(down(heads, 5), fault(app, journaltest.LostReply)), actors.OK, "", "1 2", 1},
		{"lost, fence fails", append(down(fence, 3), fault(app, journaltest.Lost)), actors.OK, "", "1 2", 2},
		{"lost, fence reply lost", []journaltest.Disturbance{fault(app, journaltest.Lost), fault(fence, journaltest.LostReply)}, actors.OK, "", "1 2", 2},
		{"lost, journal stays down", append(down(heads, 30), fault(app, journaltest.LostReply)), actors.Aborted, "not known", "1 2", 1},
	} {
		for _, key := range []string{"", "k"} {
			t.Run(x.name+key, func(t *testing.T) {
				t.Parallel()
				script := x.script
				if x.text == "not known" {
					script = down(heads, 1000)
					script = append(script, fault(app, journaltest.LostReply))
				}
				synctest.Test(t, func(t *testing.T) {
					var j *journaltest.Faulty
					r := start(t, nil, func(c *Config) {
						j = journaltest.NewFaulty(c.Journal)
						c.Journal = j
					})
					r.do(command("a", "add", 1))
					r.bank.log = nil
					j.Disturb(script...)
					c := keyed(command("a", "add", 2), key)
					o, err := r.Handle(t.Context(), c)
					recorded := key != "" && x.name == "carried out twice" // whose commit it was is not to be seen
					if x.code == actors.OK && (err != nil || o.Sequence != 2 || number(o.Reply) != 3 || o.Repeated && !recorded) {
						t.Errorf("%+v, %v", o, err)
					}
					if x.code != actors.OK {
						wantError(t, err, x.code, x.text)
						if strings.Contains(err.Error(), "secret") {
							t.Errorf("%v tells a secret", err)
						}
						var u interface {
							error
							Undecided() bool
						}
						if errors.As(err, &u) != (x.text == "not known") {
							t.Errorf("%v is in doubt or not, unlike its text", err)
						}
					}
					if x.text == "not known" && key != "" && !strings.Contains(err.Error(), `"k"`) {
						t.Errorf("%q does not say how to ask", err)
					}
					if runs := len(r.bank.log); runs != x.runs {
						t.Errorf("it was handled %d times", runs)
					}
					if x.text != "not known" && j.Pending() > 0 {
						t.Errorf("%d disturbances did not happen", j.Pending())
					}
					time.Sleep(time.Minute)
					if got := r.history("a"); got != x.history {
						t.Errorf("the journal has %s", got)
					}
					r.stop()
					j.Close()
				})
			})
		}
	}
}

// A key that another host used at the same time: its record is the answer, not what was computed here.
func TestKeyUsedElsewhere(t *testing.T) {
	t.Parallel()
	disturbed(t, func(r *rig, j *journaltest.Faulty) {
		other := start(t, nil, func(c *Config) { c.Journal = j })
		r.do(command("a", "add", 1))
		other.do(command("a", "add", 2))
		other.do(keyed(command("a", "add", 5), "k"))
		j.Disturb(fault(journaltest.CallAppend, journaltest.Conflict))
		o, err := r.Handle(context.Background(), keyed(command("a", "add", 5), "k"))
		if err != nil || !o.Repeated || o.Sequence != 3 || number(o.Reply) != 8 {
			t.Errorf("%+v, %v", o, err)
		}
		j.Disturb(fault(journaltest.CallAppend, journaltest.Lost))
		_, err = r.Handle(context.Background(), keyed(command("a", "add", 7), "k"))
		wantError(t, err, actors.InvalidArgument, "another request")
		if got := r.history("a"); got != "1 2 5" {
			t.Errorf("the journal has %s", got)
		}
		other.stop()
	})
}

// While an append is on its way the next commands are handled, but no answer leaves, and the appends after it share
// one batch.
func TestPipelining(t *testing.T) {
	t.Parallel()
	disturbed(t, func(r *rig, j *journaltest.Faulty) {
		r.do(command("a", "add", 1))
		hold := make(chan struct{})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold})
		before := j.Calls(journaltest.CallAppend)
		var waits []func() (actors.Outcome, error)
		for _, c := range []actors.Command{command("a", "add", 1), command("a", "get", 0), command("a", "spend", 100),
			command("a", "add", 1), command("a", "add", 1), command("a", "crash", 0), command("b", "add", 9)} {
			waits = append(waits, r.begin(c))
		}
		synctest.Wait()
		if n := len(r.bank.log); n != 8 {
			t.Errorf("%d commands were handled meanwhile", n)
		}
		if n := r.load(account1("a")); n != 6 {
			t.Errorf("%d commands of a are unanswered", n)
		}
		close(hold)
		for n, want := range []string{"2", "2", "F2", "3", "4", "E", "9"} {
			o, err := waits[n]()
			got := "E"
			switch {
			case err != nil:
			case o.Failure != nil:
				got = "F" + o.Failure.Message
			default:
				got = string(o.Reply.Data)
			}
			if got != want {
				t.Errorf("%d: %s, want %s", n, got, want)
			}
		}
		if n := j.Calls(journaltest.CallAppend) - before; n != 2 {
			t.Errorf("%d batches", n)
		}
	})
}

// A cached read needs no proof, but what it saw must have come to be.
func TestCachedReadBehindAFailedAppend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j *journaltest.Faulty
		r := start(t, nil, func(c *Config) {
			j = journaltest.NewFaulty(c.Journal)
			c.Journal, c.Reads = j, Cached
		})
		r.do(command("a", "add", 1))
		hold := make(chan struct{})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Fault: journaltest.Conflict, Hold: hold})
		add, get := r.begin(command("a", "add", 2)), r.begin(command("a", "get", 0))
		synctest.Wait()
		foreign(t, j, 1, 10)
		close(hold)
		for _, wait := range []func() (actors.Outcome, error){add, get} {
			if o, err := wait(); err != nil || number(o.Reply) != 13 {
				t.Errorf("%+v, %v", o, err)
			}
		}
	})
}

// What was handled behind a failed append is handled again, in order; other entities of the batch are untouched.
func TestPipelineBreaks(t *testing.T) {
	t.Parallel()
	for _, f := range []journaltest.Fault{journaltest.Lost, journaltest.LostReply, journaltest.Conflict, journaltest.Refuse, journaltest.Late} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			disturbed(t, func(r *rig, j *journaltest.Faulty) {
				r.do(command("a", "add", 1))
				hold := make(chan struct{})
				j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold},
					journaltest.Disturbance{Call: journaltest.CallAppend, Fault: f, Nth: 2, Ref: actors.Ref{Service: "bank", ID: "a"}})
				var waits []func() (actors.Outcome, error)
				for _, c := range []actors.Command{command("a", "add", 10), command("a", "add", 100), command("b", "add", 7),
					keyed(command("a", "add", 1000), "k"), command("a", "get", 0), command("a", "add", 10000)} {
					waits = append(waits, r.begin(c))
				}
				synctest.Wait()
				close(hold)
				wants := []int64{11, 111, 7, 1111, 1111, 11111}
				if f == journaltest.Refuse {
					wants = []int64{11, -1, 7, 1011, 1011, 11011}
				}
				for n, want := range wants {
					o, err := waits[n]()
					if want < 0 {
						wantError(t, err, actors.Internal)
					} else if err != nil || number(o.Reply) != want {
						t.Errorf("%d: %+v, %v", n, o, err)
					}
				}
				if got := r.do(command("a", "get", 0)); got != wants[5] {
					t.Errorf("the balance is %d", got)
				}
			})
		})
	}
}

// A key recorded before, in the middle of a pipeline: its stored outcome, and the rest on the true state.
func TestRepeatInPipeline(t *testing.T) {
	t.Parallel()
	disturbed(t, func(r *rig, j *journaltest.Faulty) {
		r.do(keyed(command("a", "add", 1), "k"))
		hold := make(chan struct{})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold})
		var waits []func() (actors.Outcome, error)
		for _, c := range []actors.Command{command("a", "add", 10), keyed(command("a", "add", 1), "k"), command("a", "add", 100),
			keyed(command("a", "add", 2), "k"), command("a", "add", 1000)} {
			waits = append(waits, r.begin(c))
		}
		synctest.Wait()
		close(hold)
		for n, want := range []int64{11, 1, 111, -1, 1111} {
			o, err := waits[n]()
			if want < 0 {
				wantError(t, err, actors.InvalidArgument)
			} else if err != nil || number(o.Reply) != want || o.Repeated != (n == 1) {
				t.Errorf("%d: %+v, %v", n, o, err)
			}
		}
	})
}

func TestReads(t *testing.T) {
	t.Parallel()
	disturbed(t, func(r *rig, j *journaltest.Faulty) {
		if r.do(command("a", "get", 0)); j.Calls(journaltest.CallHeads) != 0 {
			t.Error("a read that the activation proves asked for the head")
		}
		r.do(command("a", "add", 1))
		foreign(t, j, 1, 5)
		if got := r.do(command("a", "get", 0)); got != 6 {
			t.Errorf("a stale read: %d", got)
		}
		// So is a refusal.
		foreign(t, j, 2, 5)
		if got := r.do(command("a", "spend", 11)); got != 0 {
			t.Errorf("a stale refusal: %d", got)
		}
		if _, err := j.Fence(context.Background(), actors.Ref{Service: "bank", ID: "a"}, 7); err != nil {
			t.Fatal(err)
		}
		opens, _ := r.bank.sessions()
		r.do(command("a", "get", 0))
		if now, _ := r.bank.sessions(); now != opens+1 {
			t.Error("a fenced instance went on")
		}
		r.do(command("a", "add", 1))
		j.Disturb(fault(journaltest.CallHeads, journaltest.Lost))
		_, err := r.Handle(context.Background(), command("a", "get", 0))
		wantError(t, err, actors.Unavailable, "confirm", "nothing came of it")
		j.Disturb(fault(journaltest.CallHeads, journaltest.Lost))
		_, err = r.Handle(context.Background(), keyed(command("a", "get", 0), "k"))
		wantError(t, err, actors.Unavailable, "confirm")
		// Reads that wait share a question, of other entities a batch.
		r.do(command("b", "get", 0))
		hold := make(chan struct{})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallHeads, Hold: hold})
		before := j.Calls(journaltest.CallHeads)
		var waits []func() (actors.Outcome, error)
		for n := range 10 {
			waits = append(waits, r.begin(command([]string{"a", "b"}[n%2], "get", 0)))
		}
		synctest.Wait()
		close(hold)
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		if n := j.Calls(journaltest.CallHeads) - before; n != 2 {
			t.Errorf("%d batches of questions", n)
		}
	})
}

func TestCachedReads(t *testing.T) {
	t.Parallel()
	var j *journaltest.Faulty
	r := start(t, nil, func(c *Config) {
		j = journaltest.NewFaulty(c.Journal)
		c.Journal, c.Reads = j, Cached
	})
	r.do(command("a", "add", 1))
	foreign(t, j, 1, 5)
	if got := r.do(command("a", "get", 0)); got != 1 || j.Calls(journaltest.CallHeads) != 0 {
		t.Errorf("%d, %d questions", got, j.Calls(journaltest.CallHeads))
	}
	if got := r.do(keyed(command("a", "get", 1), "k")); got != 1 || j.Calls(journaltest.CallHeads) != 1 {
		t.Errorf("%d, %d questions", got, j.Calls(journaltest.CallHeads))
	}
	if got := r.do(command("a", "add", 1)); got != 7 {
		t.Errorf("the append did not see the other host's: %d", got)
	}
}

// Batches keep to their bounds.
func TestBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var batches []int
		hold := make(chan struct{})
		var j *journaltest.Faulty
		r := start(t, nil, func(c *Config) {
			j = journaltest.NewFaulty(c.Journal)
			c.Journal, c.MaxBatch, c.MaxBatchBytes = j, 4, 200
			c.Observer.Appended = func(n, events int, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				batches = append(batches, n)
			}
		})
		j.Disturb(journaltest.Disturbance{Call: journaltest.CallAppend, Hold: hold})
		var waits []func() (actors.Outcome, error)
		for n := range 10 {
			c := command(fmt.Sprint(n), "add", 1)
			if n > 6 {
				c.Payload.Data = fmt.Appendf(nil, "1:%0100d", n)
			}
			waits = append(waits, r.begin(c))
		}
		synctest.Wait()
		close(hold)
		for _, wait := range waits {
			if _, err := wait(); err != nil {
				t.Error(err)
			}
		}
		if d := cmp.Diff([]int{1, 4, 3, 1, 1}, batches); d != "" {
			t.Error(d)
		}
	})
}
