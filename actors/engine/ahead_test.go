package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// What a session was given ahead of a command that ends it comes to nothing there, and is handled by the next session,
// in the same order.
func TestAheadOfTrouble(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		// trouble answers the first command, once let go.
		trouble func(ctx context.Context) (Reply, error)
		want    actors.Code
	}{
		{"restart", func(context.Context) (Reply, error) {
			return Reply{Restart: true, Outcome: actors.Outcome{Failure: actors.Errorf(actors.FailedPrecondition, "no")}}, nil
		}, actors.FailedPrecondition},
		{"error", func(context.Context) (Reply, error) { return Reply{}, actors.Errorf(actors.Unknown, "broken") }, actors.Unknown},
		{"deadline", func(ctx context.Context) (Reply, error) { <-ctx.Done(); return Reply{}, ctx.Err() }, actors.DeadlineExceeded},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hold, first := make(chan struct{}), true
				b := &bank{eager: true, script: func(ctx context.Context, _ *account, turn Turn) (Reply, error, bool) {
					if turn.Command.Method != "trouble" {
						return Reply{}, nil, false
					}
					if first {
						first = false
						<-hold // until there is a queue
						return Reply{}, nil, true
					}
					r, err := x.trouble(ctx)
					return r, err, true
				}}
				r := start(t, b, nil)
				begin := r.begin(command("a", "trouble", 0))
				short := command("a", "trouble", 0)
				short.Deadline = time.Now().Add(time.Second)
				bad := r.begin(short)
				var rest []func() (actors.Outcome, error)
				for n := range 30 {
					rest = append(rest, r.begin(command("a", "add", int64(n+1))))
				}
				close(hold)
				if _, err := begin(); err != nil {
					t.Fatal(err)
				}
				o, err := bad()
				if got := actors.CodeOf(err); err != nil && got != x.want || err == nil && (o.Failure == nil || o.Failure.Code != x.want) {
					t.Errorf("the command that ended the session: %v, %v", o.Failure, err)
				}
				var want []string
				sum := int64(0)
				for n, wait := range rest {
					sum += int64(n + 1)
					want = append(want, fmt.Sprint(n+1))
					if o, err := wait(); err != nil || number(o.Reply) != sum {
						t.Errorf("add %d: %v, %v", n+1, o.Reply, err)
					}
				}
				if got := r.history("a"); got != strings.Join(want, " ") {
					t.Errorf("history %q", got)
				}
				if n := b.ahead.Load(); n < 30 {
					t.Errorf("only %d commands were given ahead", n)
				}
				if opens, _ := b.sessions(); opens != 2 {
					t.Errorf("%d sessions, want 2", opens)
				}
			})
		})
	}
}

// A large command is not given ahead: the transport might wait with it for a user function that waits for us.
func TestAheadIsBounded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	b := &bank{eager: true, script: func(_ context.Context, _ *account, turn Turn) (Reply, error, bool) {
		if turn.Command.Method == "wait" {
			<-hold
		}
		return Reply{}, nil, turn.Command.Method != "add"
	}}
	r := start(t, b, nil)
	waits := []func() (actors.Outcome, error){r.begin(command("a", "wait", 0))}
	for range 4 {
		c := command("a", "large", 0)
		c.Payload.Data = []byte(strings.Repeat("x", aheadBytes/2+1))
		waits = append(waits, r.begin(c))
	}
	close(hold)
	for _, wait := range waits {
		if _, err := wait(); err != nil {
			t.Error(err)
		}
	}
	// Each of the four is given with at most one behind it.
	if n := b.ahead.Load(); n > 5 {
		t.Errorf("%d large commands were given ahead", n)
	}
}
