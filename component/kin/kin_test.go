package kin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is where hosts meet: a placement that a test moves by hand.
type town struct {
	t     *testing.T
	mu    sync.Mutex
	owner *Kin
	err   error
	calls int
	hosts []*host
}

func (w *town) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	w.mu.Lock()
	owner, err := w.owner, w.err
	w.calls++
	w.mu.Unlock()
	if err != nil || owner == nil {
		return actors.Outcome{}, errors.Join(err, ctx.Err())
	}
	owner.Own(c.Ref)
	return owner.Handle(ctx, c)
}

// move makes another host the owner, as Dapr does it.
func (w *town) move(to *host) {
	w.mu.Lock()
	before := w.owner
	w.owner = to.Kin
	w.mu.Unlock()
	if before != nil && before != to.Kin {
		before.Disown(actors.Ref{Service: "Meeting", ID: "shop"})
	}
}

func (w *town) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (*town) text(context.Context) (string, error) { return "x", nil }

// host is a Kin that runs.
type host struct {
	*Kin
	log     *lines
	hosting atomic.Bool
	stop    func()
	// crash ends it without a goodbye.
	crash func()
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(level string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "level="+level+" ")
}

var incarnations atomic.Int64

func (w *town) host(app, name, journal string) *host {
	w.t.Helper()
	h := &host{log: &lines{}}
	h.hosting.Store(true)
	var err error
	h.Kin, err = New(Config{
		ActorType: "Meeting", Incarnation: fmt.Sprint(incarnations.Add(1)), Name: name, Remote: w,
		AppID:   func(context.Context) (string, error) { return app, nil },
		Journal: func(context.Context) (string, error) { return journal, nil },
		Hosting: func() error {
			if !h.hosting.Load() {
				return errors.New("not now")
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := h.Run(ctx); err != nil {
			w.t.Errorf("Run returned %v", err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		run.Wait()
	})
	h.crash = func() {
		h.hosting.Store(false)
		h.stop()
	}
	w.set(func() {
		if w.owner == nil {
			w.owner = h.Kin
		}
		w.hosts = append(w.hosts, h)
	})
	return h
}

func bubble(t *testing.T, test func(t *testing.T, w *town)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &town{t: t}
		defer func() {
			for _, h := range w.hosts {
				h.stop()
			}
		}()
		test(t, w)
	})
}

// within checks that the condition holds after at most d.
func within(t *testing.T, d time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !condition() {
		if time.Since(begin) > d {
			t.Fatalf("%s: not after %s", what, d)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(begin)
}

// always checks that the condition holds for all of d.
func always(t *testing.T, d time.Duration, what string, condition func() bool) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < d; time.Sleep(100 * time.Millisecond) {
		if !condition() {
			t.Fatalf("%s: not after %s", what, time.Since(begin))
		}
	}
}

func ready(hosts ...*host) func() bool {
	return func() bool {
		for _, h := range hosts {
			if h.Ready() != nil {
				return false
			}
		}
		return true
	}
}

func unready(hosts ...*host) func() bool {
	return func() bool {
		for _, h := range hosts {
			if h.Ready() == nil {
				return false
			}
		}
		return true
	}
}

func TestSameJournal(t *testing.T) {
	bubble(t, func(t *testing.T, w *town) {
		a, b := w.host("shop", "host a", "one"), w.host("shop", "host b", "one")
		always(t, 10*time.Minute, "ready", ready(a, b))
		a.stop()
		b.stop()
		if w.calls < 2*19 || w.calls > 2*25 {
			t.Errorf("%d reports of two hosts in 10 minutes", w.calls)
		}
		if n := a.log.count("ERROR") + a.log.count("WARN") + a.log.count("INFO"); n > 0 {
			t.Errorf("logged:\n%s", a.log.text.String())
		}
	})
}

// Both hosts know within seconds, whichever has the actor, for as long as both are there, however often the actor moves;
// and the one that stays is ready again soon, whether it has the actor or not.
func TestAnotherJournal(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		for _, crashes := range []bool{true, false} {
			t.Run(fmt.Sprintf("actor stays %t crash %t", keeps, crashes), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *town) {
					a := w.host("shop", "host a", "one")
					always(t, 100*time.Second, "alone", ready(a))
					b := w.host("shop", "host b", "two")
					if keeps {
						w.move(b)
					}
					took := within(t, 4*time.Second, "both unready", unready(a, b))
					for _, h := range []*host{a, b} {
						for _, name := range []string{"host a", "host b", "PostgreSQL"} {
							if !strings.Contains(h.Ready().Error(), name) {
								t.Errorf("%q does not say %q", h.Ready(), name)
							}
						}
					}
					for i := range 20 {
						w.move([]*host{a, b}[i%2])
						always(t, time.Duration(8+i)*time.Second, "unready while the actor moves", unready(a, b))
					}
					always(t, 10*time.Minute, "unready", unready(a, b))
					if a.log.count("ERROR") != 1 || b.log.count("ERROR") != 1 {
						t.Errorf("logged:\n%s\n%s", a.log.text.String(), b.log.text.String())
					}

					end := a.stop
					if crashes {
						end = a.crash
					}
					w.move(map[bool]*host{true: b, false: a}[keeps])
					end()
					w.move(b)
					recovered := within(t, 22*time.Second, "the other one ready", ready(b))
					always(t, 10*time.Minute, "ready", ready(b))
					if b.log.count("INFO") != 1 || b.log.count("ERROR") != 1 {
						t.Errorf("logged:\n%s", b.log.text.String())
					}
					t.Logf("both unready after %s, ready again after %s", took, recovered)
				})
			})
		}
	}
}

// A host that stops in order leaves nothing behind at an actor of somebody else: its successor, with a new journal in
// memory, is not compared with it. Other apps meet elsewhere.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *town) {
		other := w.host("bank", "bank", "another")
		first := w.host("shop", "shop", "one")
		always(t, time.Minute, "ready", ready(other, first))
		first.stop()
		second := w.host("shop", "shop", "two")
		always(t, 2*time.Minute, "ready", ready(other, second))
	})
}

// That hosts cannot meet is no verdict, and is said once.
func TestFailure(t *testing.T) {
	bubble(t, func(t *testing.T, w *town) {
		w.err = actors.Errorf(actors.Unavailable, "the sidecar is away")
		a, b := w.host("shop", "host a", "one"), w.host("shop", "host b", "two")
		always(t, 30*time.Second, "ready", ready(a, b))
		if a.log.count("WARN") > 0 {
			t.Error("a start that takes 30 s is warned of")
		}
		time.Sleep(time.Hour)
		if a.log.count("WARN") != 1 || a.log.count("ERROR")+a.log.count("INFO") > 0 {
			t.Errorf("logged:\n%s", a.log.text.String())
		}
		w.set(func() {
			if w.calls > 300 {
				t.Errorf("%d attempts of two hosts in an hour", w.calls)
			}
			w.err = nil
		})
		within(t, 70*time.Second, "both unready", unready(a, b))
		w.set(func() { w.err = actors.Errorf(actors.Unavailable, "the sidecar is away") })
		within(t, 46*time.Second, "both ready", ready(a, b))
	})
}

// Without the registration of the actor type nobody is called: daprd would let the call hang.
func TestNotHosting(t *testing.T) {
	bubble(t, func(t *testing.T, w *town) {
		a := w.host("shop", "host a", "one")
		a.hosting.Store(false)
		time.Sleep(time.Hour)
		w.set(func() {
			if w.calls > 1 {
				t.Errorf("%d calls", w.calls)
			}
			w.calls = 0
		})
		a.hosting.Store(true)
		within(t, 3*time.Second, "a report", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.calls == 1
		})
		a.DisownAll()
		within(t, 3*time.Second, "a report after the stream", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.calls == 2
		})
		if a.log.count("WARN") > 0 {
			t.Errorf("logged:\n%s", a.log.text.String())
		}
	})
}
