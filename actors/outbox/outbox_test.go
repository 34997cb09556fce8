package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target records what it is told, and answers as scripted.
type target struct {
	mu    sync.Mutex // guards what follows
	keys  []string
	tries map[string][]time.Duration // when, since the beginning
	began time.Time
	reply func(ctx context.Context, c actors.Command, try int) (actors.Outcome, error)
}

func (g *target) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	g.mu.Lock()
	g.keys = append(g.keys, c.Key)
	g.tries[c.Key] = append(g.tries[c.Key], time.Since(g.began))
	try, reply := len(g.tries[c.Key]), g.reply
	g.mu.Unlock()
	if reply == nil {
		return actors.Outcome{}, nil
	}
	return reply(ctx, c, try)
}

func (g *target) got() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.keys)
}

type rig struct {
	*target
	t       *testing.T
	journal *journaltest.Faulty
	worker  *Worker
	cancel  context.CancelFunc
	done    sync.WaitGroup
	parked  []string // guarded by target.mu
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, journal: journaltest.NewFaulty(memory.Open()), target: &target{tries: map[string][]time.Duration{}, began: time.Now()}}
	config := Config{
		Outbox: r.journal, Handler: r.target, Log: slog.New(slog.DiscardHandler),
		Report: func(_ context.Context, p journal.Pending, why error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.parked = append(r.parked, fmt.Sprintf("%s: %v", p.ID, why))
		},
	}
	if change != nil {
		change(&config)
	}
	var err error
	if r.worker, err = New(config); err != nil {
		t.Fatal(err)
	}
	return r
}

// start the worker with all lanes.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel = cancel
	r.hold(ctx, nil)
	r.done.Go(func() {
		if err := r.worker.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) hold(ctx context.Context, lost <-chan struct{}) {
	for n := range journal.Lanes {
		r.done.Go(func() {
			if err := r.worker.hold(ctx, n, func() bool { return true }, lost); err != nil {
				r.t.Error(err)
			}
		})
	}
}

func (r *rig) stop() {
	r.cancel()
	r.done.Wait()
}

func (r *rig) keep(source string, effects ...actors.Effect) {
	r.t.Helper()
	if err := r.journal.Enqueue(r.t.Context(), actors.Ref{Service: "from", ID: source}, effects); err != nil {
		r.t.Fatal(err)
	}
	r.worker.Ring()
}

// left returns the ids of what is pending and due.
func (r *rig) left() (ids []string) {
	r.t.Helper()
	var lanes []int
	for n := range journal.Lanes {
		lanes = append(lanes, n)
	}
	pending, err := r.journal.Due(r.t.Context(), nil, lanes, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range pending {
		ids = append(ids, fmt.Sprintf("%s/%d", p.ID, p.Tries))
	}
	return ids
}

func effect(id string) actors.Effect {
	return actors.Effect{
		Ref: actors.Ref{Service: "to", ID: "t"}, Method: "do", ID: id,
		Payload: actors.Payload{TypeURL: "x", ContentType: actors.ContentJSON, Data: []byte(id)}, Metadata: actors.Metadata{{Key: "k", Text: "v"}},
	}
}

func effects(prefix string, n int) (list []actors.Effect) {
	for i := range n {
		list = append(list, effect(fmt.Sprintf("%s%04d", prefix, i)))
	}
	return list
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestCarriesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.reply = func(_ context.Context, c actors.Command, _ int) (actors.Outcome, error) {
			want := actors.Command{Ref: effect("").Ref, Method: "do", Payload: effect(c.Key).Payload, Metadata: effect("").Metadata, Key: c.Key, Deadline: time.Now().Add(time.Minute)}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("the command (-want +got):\n%s", diff)
			}
			return actors.Outcome{}, nil
		}
		r.start()
		r.keep("a", effects("e", 700)...)
		synctest.Wait()
		if got := r.got(); len(got) != 700 || !slices.IsSorted(got) {
			t.Errorf("%d commands, sorted %t", len(got), slices.IsSorted(got))
		}
		same(t, "left", r.left(), nil)
		r.stop()
	})
}

// One that fails holds back the later ones of its source, and nothing else; in the end it is parked, and they go on.
func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxTries = 4 })
		r.reply = func(_ context.Context, c actors.Command, try int) (actors.Outcome, error) {
			switch {
			case c.Key == "bad":
				return actors.Outcome{}, actors.Errorf(actors.Unavailable, "nobody there")
			case c.Key == "never":
				return actors.Outcome{Failure: actors.Errorf(actors.InvalidArgument, "not this")}, nil
			case c.Key == "twice" && try < 3:
				return actors.Outcome{Failure: actors.Errorf(actors.Unknown, "not yet")}, nil
			}
			return actors.Outcome{}, nil
		}
		late := effect("late")
		late.Delay = time.Nanosecond
		r.keep("a", effect("bad"), late, effect("after bad"))
		r.keep("b", effect("never"), effect("after never"))
		r.keep("c", effect("twice"), effect("after twice"))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		r.start()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		got := r.got()
		slices.Sort(got)
		same(t, "at once", got, []string{"after never", "bad", "late", "never", "twice"})
		time.Sleep(time.Minute)
		synctest.Wait()
		r.mu.Lock()
		if g := r.tries["bad"]; len(g) != 4 || g[1]-g[0] < 50*time.Millisecond || g[3]-g[2] < 200*time.Millisecond || g[3] > 2*time.Second {
			t.Errorf("bad was tried at %v", g)
		}
		slices.Sort(r.parked)
		same(t, "parked", r.parked, []string{"bad: nobody there", "never: not this"})
		r.mu.Unlock()
		got = r.got()
		for _, order := range [][2]string{{"bad", "after bad"}, {"twice", "after twice"}} {
			last := 0
			for i, key := range got {
				if key == order[0] {
					last = i
				}
			}
			if slices.Index(got, order[1]) < last {
				t.Errorf("%s came before the end of %s: %v", order[1], order[0], got)
			}
		}
		list, err := r.journal.Parked(t.Context(), "", 0)
		if err != nil || len(list) != 2 || list[0].Problem != "UNAVAILABLE: nobody there" || list[0].Tries != 4 || list[1].Problem != "INVALID_ARGUMENT: not this" || list[1].Tries != 1 {
			t.Errorf("parked: %+v, %v", list, err)
		}
		same(t, "left", r.left(), nil)
		r.stop()
	})
}

// A source that hangs, with many effects, does not hide others.
func TestHangingSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Batch = 10 })
		r.reply = func(ctx context.Context, c actors.Command, _ int) (actors.Outcome, error) {
			if strings.HasPrefix(c.Key, "a") {
				<-ctx.Done()
				return actors.Outcome{}, ctx.Err()
			}
			return actors.Outcome{}, nil
		}
		r.keep("a", effects("a", 100)...)
		r.keep("b", effects("b", 30)...)
		r.start()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := r.got(); len(got) != 31 {
			t.Errorf("%d commands beside the one that hangs", len(got)-1)
		}
		time.Sleep(time.Minute + 30*time.Second)
		synctest.Wait()
		r.mu.Lock()
		if got := len(r.tries["a0000"]); got != 2 || len(r.tries["a0001"]) != 0 {
			t.Errorf("the one that hangs was tried %d times, its successor %d times", got, len(r.tries["a0001"]))
		}
		r.mu.Unlock()
		if asked := r.journal.Calls(journaltest.CallDue); asked > 1500 {
			t.Errorf("the journal was asked %d times in 90 seconds", asked)
		}
		r.stop()
	})
}

// slowAnswers is an outbox whose answers are old when they come.
type slowAnswers struct{ journal.Outbox }

func (s slowAnswers) Due(ctx context.Context, services []string, lanes []int, limit int) ([]journal.Pending, error) {
	pending, err := s.Outbox.Due(ctx, services, lanes, limit)
	time.Sleep(50 * time.Millisecond)
	return pending, err
}

// An answer that is older than the end of a source's work does not make it be done again.
func TestOldAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Outbox = slowAnswers{c.Outbox} })
		r.reply = func(context.Context, actors.Command, int) (actors.Outcome, error) {
			time.Sleep(10 * time.Millisecond)
			return actors.Outcome{}, nil
		}
		r.keep("a", effect("e"))
		r.start()
		for range 100 {
			time.Sleep(5 * time.Millisecond)
			r.worker.Ring()
		}
		same(t, "carried out", r.got(), []string{"e"})
		r.stop()
	})
}

// What is being carried out may end within Drain; then it is cut, and neither counted nor lost.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost %t", lost), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *Config) { c.Drain = 3 * time.Second })
				r.reply = func(ctx context.Context, c actors.Command, _ int) (actors.Outcome, error) {
					took := 2 * time.Second
					if c.Key[0] == 'b' {
						took = time.Hour
					}
					select {
					case <-time.After(took):
						return actors.Outcome{}, nil
					case <-ctx.Done():
						return actors.Outcome{}, ctx.Err()
					}
				}
				r.keep("a", effects("a", 2)...)
				r.keep("b", effects("b", 2)...)
				ctx, cancel := context.WithCancel(t.Context())
				gone := make(chan struct{})
				r.hold(ctx, gone)
				var running sync.WaitGroup
				forever, end := context.WithCancel(t.Context())
				running.Go(func() {
					if err := r.worker.Run(forever); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Second)
				synctest.Wait()
				cancel()
				if lost {
					close(gone)
				}
				began := time.Now()
				r.done.Wait()
				wait, left := 3*time.Second, []string{"b0000/0", "b0001/0", "a0001/0"}
				if lost {
					wait, left = 0, append(left, "a0000/0")
				}
				if took := time.Since(began); took != wait {
					t.Errorf("the lanes ended after %s, want %s", took, wait)
				}
				got := r.left()
				slices.Sort(got)
				slices.Sort(left)
				same(t, "left", got, left)
				same(t, "carried out in all", r.sorted(), []string{"a0000", "b0000"})
				// Run goes on for other lanes, and would for these.
				r.mu.Lock()
				r.reply = nil
				r.mu.Unlock()
				r.hold(forever, nil)
				time.Sleep(time.Second)
				synctest.Wait()
				same(t, "left", r.left(), nil)
				end()
				r.done.Wait()
				running.Wait()
				if err := r.worker.Run(t.Context()); err == nil {
					t.Error("the worker ran twice")
				}
			})
		})
	}
}

func (g *target) sorted() []string {
	keys := g.got()
	slices.Sort(keys)
	return keys
}

// A journal that does not say what became of a settlement does not lose an effect, and it comes with the same id.
func TestSettleFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Backoff, c.MaxBackoff = time.Millisecond, time.Millisecond })
		for range settleTries {
			r.journal.Disturb(journaltest.Disturbance{Call: journaltest.CallSettle, Fault: journaltest.Lost})
		}
		r.journal.Disturb(journaltest.Disturbance{Call: journaltest.CallDue, Fault: journaltest.Lost})
		r.keep("a", effect("e"), effect("f"))
		r.start()
		time.Sleep(time.Second)
		synctest.Wait()
		got := r.got()
		if len(got) < 4 || r.journal.Pending() != 0 {
			t.Errorf("carried out: %v", got)
		}
		same(t, "left", r.left(), nil)
		r.stop()
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{MaxTries: -1, Backoff: time.Hour, Timeout: -1})
	for _, part := range []string{"Outbox", "Handler", "MaxTries", "MaxBackoff", "Timeout is"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error says nothing of %s: %v", part, err)
		}
	}
	if names := Names(); len(names) != journal.Lanes || names[journal.Lanes-1] != "15" {
		t.Errorf("the lanes are %v", names)
	}
}
