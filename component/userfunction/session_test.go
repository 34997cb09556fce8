package userfunction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

var ok = answer(func(r *reply) { r.ClientAction = replies("ok") })

func TestConnectionLostDuringATurn(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1")}
	f.handle = follow(ok, func(l *wire, _ *cloudstate.Command) error { return l.hang() })
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Fatal(err)
	}
	stopped := time.AfterFunc(20*time.Millisecond, f.server.Stop)
	defer stopped.Stop()
	if _, err := s.Handle(t.Context(), turn("Add", "b")); !errors.Is(err, engine.ErrSessionLost) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Handle(t.Context(), turn("Add", "c")); !errors.Is(err, engine.ErrSessionEnded) {
		t.Errorf("after that: %v", err)
	}
}

func TestConnectionLostBetweenTurns(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	r := run(t, Config{Address: f.start(t, "")})
	c := r.next(t)
	s, err := c.function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Fatal(err)
	}
	f.server.Stop()
	eventually(t, "noticed", func() bool { return r.Ready() != nil })
	// The connection's state changes a moment before its streams end.
	if _, err := s.Handle(t.Context(), turn("Add", "b")); !errors.Is(err, engine.ErrSessionEnded) && !errors.Is(err, engine.ErrSessionLost) {
		t.Errorf("got %v", err)
	}
	_, err = c.function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c2")})
	if actors.CodeOf(err) != actors.Unavailable || !strings.Contains(err.Error(), "shop.Cart1/c2") || !strings.Contains(err.Error(), r.config.Address) {
		t.Errorf("open: %v", err)
	}
}

// TestRestart plays what the engine does when a failure asks for a restart: a new stream from the journal, on which
// commands count from 1 again.
func TestRestart(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1")}
	f.handle = follow(answer(func(r *reply) {
		r.ClientAction = fails(&cloudstate.Failure{CommandId: 1, Description: "again", Restart: true})
	}), ok)
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	var engineSide strings.Builder
	for i := range 2 {
		s, err := function.Open(t.Context(), engine.Start{Ref: ref("c1"), Events: events(engine.Event{Sequence: 1, Payload: payload("a")})})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Handle(t.Context(), turn("Add", "b"))
		describe(&engineSide, "Add", got, err)
		if got.Restart != (i == 0) {
			t.Errorf("stream %d: restart %t", i+1, got.Restart)
		}
		s.Close()
		f.wait(t)
	}
	golden(t, "restart", f.transcript(t)+"engine\n"+engineSide.String())
}

// TestStreamEndedBetweenTurns has the user function end an idle session of its own accord.
func TestStreamEndedBetweenTurns(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.OK, codes.Internal, codes.Unavailable} {
		end := make(chan struct{})
		f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error {
			<-end
			return status.Error(code, "enough")
		}}
		r := run(t, Config{Address: f.start(t, "")})
		s := r.open(t, engine.Start{Ref: ref("c1")})
		close(end)
		// Until the end has arrived here, the turn would take it for an answer.
		if _, err := s.(*session).stream.Header(); err == nil {
			time.Sleep(20 * time.Millisecond)
		}
		if _, err := s.Handle(t.Context(), turn("Add", "a")); !errors.Is(err, engine.ErrSessionEnded) {
			t.Errorf("%v: got %v", code, err)
		}
		s.Close()
	}
}

func TestFailureDuringReplay(t *testing.T) {
	t.Parallel()
	for _, extensions := range [][]string{nil, {"codes"}} {
		f := &scripted{spec: spec(extensions, "Cart1")}
		f.handle = func(l *wire) error {
			for range 2 {
				if _, err := l.recv(); err != nil {
					return err
				}
			}
			return topLevel(&cloudstate.Failure{Description: "no such event"})(l, nil)
		}
		r := run(t, Config{Address: f.start(t, "")})
		f1 := r.next(t).function("shop.Cart1")
		// So many events that the end comes in the midst of them, or so few that it comes after.
		for _, n := range []int{1, 100_000} {
			many := func(yield func(engine.Event, error) bool) {
				for i := range n {
					if !yield(engine.Event{Sequence: int64(i + 1), Payload: payload("a")}, nil) {
						return
					}
				}
			}
			s, err := f1.Open(t.Context(), engine.Start{Ref: ref("c1"), Events: many})
			if err == nil {
				_, err = s.Handle(t.Context(), turn("Add", "a"))
				s.Close()
			}
			want := "Unexpected entity failure"
			if extensions != nil {
				want = "no such event"
			}
			if actors.CodeOf(err) != actors.Unknown || err.Error() != want {
				t.Errorf("%v, %d events: %v", extensions, n, err)
			}
		}
	}
}

func TestOpenReturnsTheErrorOfItsEvents(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	r := run(t, Config{Address: f.start(t, "")})
	broken := errors.New("the journal broke")
	_, err := r.next(t).function("shop.Cart1").Open(t.Context(), engine.Start{Ref: ref("c1"), Events: func(yield func(engine.Event, error) bool) {
		_ = yield(engine.Event{Sequence: 1, Payload: payload("a")}, nil) && yield(engine.Event{}, broken)
	}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	eventually(t, "seen", func() bool { return f.opened() == 1 })
	if text := f.transcript(t); !strings.HasSuffix(text, "-> Canceled\n") {
		t.Errorf("the stream was not cancelled:\n%s", text)
	}
}

// TestFlowControl opens a session with a user function that does not read.
func TestFlowControl(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error { return l.hang() }}
	r := run(t, Config{Address: f.start(t, "")})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	sent := 0
	_, err := r.next(t).function("shop.Cart1").Open(ctx, engine.Start{Ref: ref("c1"), Events: func(yield func(engine.Event, error) bool) {
		big := actors.Payload{TypeURL: "x/y", Data: make([]byte, 64<<10)}
		for yield(engine.Event{Sequence: int64(sent + 1), Payload: big}, nil) {
			sent++
		}
	}})
	if actors.CodeOf(err) != actors.DeadlineExceeded || !strings.Contains(err.Error(), "shop.Cart1/c1") {
		t.Errorf("got %v", err)
	}
	if sent > 100 {
		t.Errorf("%d events of 64 KiB were sent to nobody", sent)
	}
	f.wait(t)
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(func(l *wire, _ *cloudstate.Command) error { return l.hang() })}
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := function.Open(gone, engine.Start{Ref: ref("c1")}); actors.CodeOf(err) != actors.Canceled {
		t.Errorf("open: %v", err)
	}
	s, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Handle(gone, turn("Add", "a")); actors.CodeOf(err) != actors.Canceled {
		t.Errorf("handle: %v", err)
	}
}

// TestOpeningEnds shows that a session outlives the context that it was opened with.
func TestOpeningEnds(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	r := run(t, Config{Address: f.start(t, "")})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := r.next(t).function("shop.Cart1").Open(ctx, engine.Start{Ref: ref("c1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	time.Sleep(10 * time.Millisecond)
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Error(err)
	}
}

func TestCloseOfASessionThatHangs(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error {
		for {
			if _, err := l.recv(); err != nil {
				return l.hang()
			}
		}
	}}
	r := run(t, Config{Address: f.start(t, ""), CloseGrace: 50 * time.Millisecond})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	eventually(t, "seen", func() bool { return f.opened() == 1 })
	begin := time.Now()
	s.Close()
	s.Close()
	if d := time.Since(begin); d > 40*time.Millisecond {
		t.Errorf("Close took %v", d)
	}
	text := f.transcript(t)
	if d := time.Since(begin); d < 50*time.Millisecond {
		t.Errorf("the user function had %v of its grace", d)
	}
	if !strings.HasSuffix(text, "-> half-close\n  -> Canceled\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestCloseBeyondTheLimit(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error { return l.hang() }}
	r := run(t, Config{Address: f.start(t, ""), CloseGrace: time.Hour, MaxClosing: 1})
	function := r.next(t).function("shop.Cart1")
	var sessions []engine.Session
	for i := range 3 {
		s, err := function.Open(t.Context(), engine.Start{Ref: ref(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	eventually(t, "seen", func() bool { return f.opened() == 3 })
	for _, s := range sessions {
		s.Close()
	}
	eventually(t, "two are cancelled", func() bool {
		n := 0
		for _, s := range sessions {
			if s.(*session).stream.Context().Err() != nil {
				n++
			}
		}
		return n == 2
	})
	sessions[0].(*session).cancel() // or it would have its hour
}

func TestCloseDuringATurn(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(func(l *wire, _ *cloudstate.Command) error { return l.hang() })}
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	time.AfterFunc(20*time.Millisecond, s.Close)
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err == nil {
		t.Error("the turn went on")
	}
	f.wait(t)
}

// TestShutdown ends Run with sessions open and closing: it waits for the closing ones and cuts off the open ones.
func TestShutdown(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error {
		for {
			if _, err := l.recv(); errors.Is(err, io.EOF) {
				time.Sleep(30 * time.Millisecond)
				return nil
			} else if err != nil {
				return err
			}
		}
	}}
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	closing, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "seen", func() bool { return f.opened() == 1 })
	open, err := function.Open(t.Context(), engine.Start{Ref: ref("c2")})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "seen", func() bool { return f.opened() == 2 })
	closing.Close()
	r.stop()
	open.Close()
	text := f.transcript(t)
	if strings.Count(text, "-> half-close\n  <- end OK\n") != 1 || strings.Count(text, "-> Canceled") != 1 {
		t.Errorf("got\n%s", text)
	}
	if _, err := function.Open(t.Context(), engine.Start{Ref: ref("c3")}); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("open after the end: %v", err)
	}
}

func TestReplyOfAnotherType(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	for range 3 {
		for _, method := range []string{"Get", "Add", "NoSuch"} {
			got, err := s.Handle(t.Context(), turn(method, ""))
			if err != nil || got.Outcome.Reply == nil {
				t.Fatalf("%s is not delivered: %+v, %v", method, got, err)
			}
		}
	}
	eventually(t, "reported", func() bool { return len(f.reports()) > 0 })
	r.stop()
	want := []string{`Warning: shop.Cart1.Get replied with the type "type.googleapis.com/shop.Line", but declares "type.googleapis.com/shop.Cart"`}
	if diff := cmp.Diff(want, f.reports()); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// TestViolationsAreReported has the user function told what it did wrong, unless it meant to.
func TestViolationsAreReported(t *testing.T) {
	t.Parallel()
	const told = "the user function broke the protocol when it answered command 1, Add of shop.Cart1/c1: "
	for name, c := range map[string]struct {
		extensions []string
		step       step
		want       []string
	}{
		"another command":    {nil, answer(func(r *reply) { r.CommandId = 9 }), []string{told + "a reply to command 9"}},
		"untyped event":      {nil, answer(func(r *reply) { r.Events = []*anypb.Any{{}} }), []string{told + "event 1 of 1 has no type URL"}},
		"failure":            {nil, topLevel(&cloudstate.Failure{CommandId: 1, Description: "boom"}), []string{told + "failure of command 1: boom"}},
		"failure with codes": {[]string{"codes"}, topLevel(&cloudstate.Failure{CommandId: 1, Description: "boom"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{spec: spec(c.extensions, "Cart1"), handle: follow(c.step)}
			r := run(t, Config{Address: f.start(t, "")})
			s := r.open(t, engine.Start{Ref: ref("c1")})
			defer s.Close()
			if got, err := s.Handle(t.Context(), turn("Add", "tea")); err == nil {
				t.Errorf("got %+v", got)
			}
			eventually(t, "reported", func() bool { return len(f.reports()) == len(c.want) })
			r.stop()
			if diff := cmp.Diff(c.want, f.reports()); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReplyGivenTwice leaves the next command alone: it may be given to another session.
func TestReplyGivenTwice(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(func(l *wire, c *cloudstate.Command) error { return errors.Join(ok(l, c), ok(l, c)) })}
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	if _, err := s.Handle(t.Context(), turn("Add", "tea")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Handle(t.Context(), turn("Add", "tea")); !errors.Is(err, engine.ErrSessionLost) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestStreamLimit has as many sessions as the user function allows; one more fails, and discovery goes on.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: func(l *wire) error { return follow(ok)(l) }, options: []grpc.ServerOption{grpc.MaxConcurrentStreams(2)}}
	r := run(t, Config{Address: f.start(t, ""), Rediscover: 5 * time.Millisecond, DiscoverTimeout: time.Second})
	function := r.next(t).function("shop.Cart1")
	for i := range 2 {
		s, err := function.Open(t.Context(), engine.Start{Ref: ref(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := function.Open(ctx, engine.Start{Ref: ref("c3")})
	if actors.CodeOf(err) != actors.DeadlineExceeded || !strings.Contains(err.Error(), "no more streams") {
		t.Errorf("got %v", err)
	}
	f.announce(spec(nil, "Cart1", "Cart2"))
	r.next(t)
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

func TestManySessions(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	f.handle = func(l *wire) error { return follow(ok)(l) }
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			s, err := function.Open(t.Context(), engine.Start{Ref: ref(fmt.Sprint(i))})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for range 5 {
				if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.wait(t)
	if n := strings.Count(f.transcript(t), " id:5 "); n != 100 {
		t.Errorf("%d sessions counted to 5", n)
	}
}

func FuzzAny(f *testing.F) {
	f.Add("json.cloudstate.io/T", []byte("\x0a\x02{}"))
	f.Add("json.cloudstate.io/T", []byte("\x0a\x00"))
	f.Add("json.cloudstate.io/T", []byte("\x0a\x82\x00{}")) // a length longer than need be
	f.Add("json.cloudstate.io/T", []byte("\x0a\x02{}\x0a\x00"))
	f.Add("json.cloudstate.io/T", []byte{})
	f.Add("type.googleapis.com/T", []byte("\x0a\x02{}"))
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		p := fromAny(&anypb.Any{TypeUrl: url, Value: value})
		back := toAny(p)
		if back.TypeUrl != url || !bytes.Equal(back.Value, value) {
			t.Fatalf("%q became %q by way of %+v", value, back.Value, p)
		}
		if p.ContentType == actors.ContentJSON && !strings.HasPrefix(url, "json.cloudstate.io/") {
			t.Fatalf("%q is not JSON", url)
		}
		// And the other way: JSON of any sort survives.
		j := actors.Payload{TypeURL: "json.cloudstate.io/" + url, ContentType: actors.ContentJSON, Data: value}
		if got := fromAny(toAny(j)); got.ContentType != j.ContentType || !bytes.Equal(got.Data, j.Data) {
			t.Fatalf("%+v became %+v", j, got)
		}
	})
}
