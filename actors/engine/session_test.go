package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
)

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
