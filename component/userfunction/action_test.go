package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// acting is a client of a user function with the action shop.Act, which has been discovered.
func acting(t testing.TB, f *scripted, config Config, extensions ...string) *running {
	t.Helper()
	f.spec = ofKind(spec(extensions, "Cart1", "Act"), actors.Action, "Act")
	config.Address = f.start(t, "")
	r := run(t, config)
	r.next(t)
	return r
}

// answering sends the answers, one for each input, and then ends the call.
func answering(answers ...*result) func(*actionWire) error {
	return func(l *actionWire) error {
		if l.rpc == "handleStreamedOut" || l.rpc == "handleStreamed" {
			if _, err := l.recv(); err != nil {
				return err
			}
			for _, a := range answers {
				if l.rpc == "handleStreamed" {
					if _, err := l.recv(); err != nil {
						return err
					}
				}
				if err := l.send(a); err != nil {
					return err
				}
			}
			if l.rpc == "handleStreamed" {
				_, _ = l.recv()
			}
			return nil
		}
		for {
			if _, err := l.recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		return l.send(answers[0])
	}
}

func TestActionTranscripts(t *testing.T) {
	t.Parallel()
	rich := toAct("Unary", "tea")
	rich.Key = "key-1"
	rich.Metadata = actors.Metadata{{Key: "User", Text: "ann"}, {Key: "bin", Bytes: []byte{1}}}
	richOut, richBoth := rich, toAct("Both", "")
	richOut.Method, richBoth.Metadata, richBoth.Key = "Out", rich.Metadata, rich.Key
	effects := []*cloudstate.SideEffect{
		{ServiceName: "shop.Cart1", CommandName: "Add", Payload: toAny(payload("")), EntityId: "c9"},
		{ServiceName: "shop.Act", CommandName: "Unary", Payload: toAny(payload("x")), Synchronous: true},
	}
	withEffects := func(r *result) *result { r.SideEffects = effects; return r }
	rows := []struct {
		name       string
		extensions []string
		command    actors.Command
		in         []string
		action     func(*actionWire) error
	}{
		{name: "unary", command: rich, action: answering(actReply("ok"))},
		{name: "unary_with_key", extensions: []string{"idempotency"}, command: rich, action: answering(actReply("ok"))},
		{name: "unary_without_answer", command: toAct("Unary", "tea"), action: answering(new(result))},
		{name: "unary_failure", command: toAct("Unary", "tea"), action: answering(actFailure(&cloudstate.Failure{Description: "no tea", Code: 5, Restart: true}))},
		{name: "unary_failure_with_code", extensions: []string{"codes"}, command: toAct("Unary", "tea"), action: answering(actFailure(&cloudstate.Failure{Description: "no tea", Code: 5}))},
		{name: "unary_forward_with_effects", extensions: catalog.Extensions, command: toAct("Unary", "tea"),
			action: answering(withEffects(actForward(&cloudstate.Forward{ServiceName: "shop.Cart1", CommandName: "Get", EntityId: "c7", Payload: toAny(payload("x"))})))},
		{name: "unary_forward_to_nowhere", command: toAct("Unary", "tea"), action: answering(actForward(&cloudstate.Forward{ServiceName: "shop.Nowhere", CommandName: "Get"}))},
		{name: "unary_aborted", command: toAct("Unary", "tea"), action: func(l *actionWire) error { return status.Error(codes.Internal, "s3cret") }},
		{name: "streamed_in", command: toAct("In", ""), in: []string{"a", "b"}, action: answering(actReply("ok"))},
		{name: "streamed_in_nothing", command: toAct("In", ""), action: answering(withEffects(new(result))), extensions: []string{"targets"}},
		{name: "streamed_out", command: richOut, action: answering(actReply("a"), withEffects(actReply("b")), new(result), actReply("c")), extensions: []string{"targets", "idempotency"}},
		{name: "streamed_out_failure", command: toAct("Out", "tea"), action: func(l *actionWire) error {
			_ = answering(actReply("a"), actFailure(&cloudstate.Failure{Description: "enough"}))(l)
			return l.hang()
		}},
		{name: "streamed_out_aborted", command: toAct("Out", "tea"), action: func(l *actionWire) error {
			_ = answering(actReply("a"))(l)
			return status.Error(codes.Internal, "s3cret")
		}},
		{name: "streamed", extensions: []string{"idempotency"}, command: richBoth, in: []string{"x", "y", "z"}, action: answering(actReply("a"), actReply("b"), actReply("c"))},
		{name: "streamed_ends_first", command: toAct("Both", ""), in: []string{"x"}, action: func(l *actionWire) error {
			_, _ = l.recv()
			return l.send(actReply("a"))
		}},
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{action: tt.action}
			r := acting(t, f, Config{}, tt.extensions...)
			var caller strings.Builder
			out := func(o actors.Outcome) error { describeOutcome(&caller, tt.command.Method, o); return nil }
			var err error
			switch tt.command.Method {
			case "Unary":
				var o actors.Outcome
				if o, err = r.Handle(t.Context(), tt.command); err == nil {
					_ = out(o)
				}
			case "Out":
				err = r.Stream(t.Context(), tt.command, nil, out)
			default:
				err = r.Stream(t.Context(), tt.command, inputs(tt.in...), out)
			}
			fmt.Fprintf(&caller, "  end: %s %v\n", actors.CodeOf(err), err)
			if strings.Contains(caller.String(), "s3cret") {
				t.Error("the caller reads what is for the log")
			}
			golden(t, "action_"+tt.name, f.transcript(t)+"caller\n"+caller.String())
		})
	}
}

func TestActionsThatAreNotThere(t *testing.T) {
	t.Parallel()
	f := &scripted{action: answering(actReply("ok"))}
	r := acting(t, f, Config{})
	at := func(service, method string) actors.Command {
		return actors.Command{Ref: actors.Ref{Service: service}, Method: method}
	}
	refused := func(err error, code actors.Code, says string) {
		t.Helper()
		if actors.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("got %s: %v, want %s: %s", actors.CodeOf(err), err, code, says)
		}
	}
	nothing := func(actors.Outcome) error { t.Error("an outcome"); return nil }
	_, err := r.Handle(t.Context(), at("shop.Nowhere", "A"))
	refused(err, actors.Unimplemented, `no action "shop.Nowhere"`)
	_, err = r.Handle(t.Context(), at("shop.Cart1", "Add"))
	refused(err, actors.Unimplemented, `no action "shop.Cart1"`)
	_, err = r.Handle(t.Context(), at("shop.Act", "A"))
	refused(err, actors.Unimplemented, "Both, In, Out, Unary")
	_, err = r.Handle(t.Context(), at("shop.Act", "Out"))
	refused(err, actors.Unimplemented, "shop.Act.Out is streamed")
	refused(r.Stream(t.Context(), at("shop.Act", "In"), nil, nothing), actors.InvalidArgument, "takes a stream: true")
	refused(r.Stream(t.Context(), at("shop.Act", "Out"), inputs(), nothing), actors.InvalidArgument, "takes a stream: false")
	got := 0
	if err := r.Stream(t.Context(), toAct("Unary", "a"), nil, func(actors.Outcome) error { got++; return nil }); err != nil || got != 1 {
		t.Errorf("%d answers, %v", got, err)
	}
	f.server.Stop()
	eventually(t, "noticed", func() bool { return r.Ready() != nil })
	_, err = r.Handle(t.Context(), toAct("Unary", "a"))
	refused(err, actors.Unavailable, r.config.Address)
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Handle(t.Context(), toAct("Unary", "a"))
	refused(err, actors.Unavailable, "try again")
}

func TestActionDeadlines(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error { return l.hang() }}
	r := acting(t, f, Config{CommandTimeout: 30 * time.Millisecond})
	late := func(err error) {
		t.Helper()
		if actors.CodeOf(err) != actors.DeadlineExceeded || !strings.Contains(err.Error(), "shop.Act.") {
			t.Errorf("got %v", err)
		}
	}
	_, err := r.Handle(t.Context(), toAct("Unary", "a"))
	late(err)
	soon := toAct("Out", "a")
	soon.Deadline = time.Now().Add(30 * time.Millisecond)
	late(r.Stream(t.Context(), soon, nil, nil))
	both := toAct("Both", "")
	both.Deadline = time.Now().Add(30 * time.Millisecond)
	held := make(chan struct{})
	defer close(held)
	late(r.Stream(t.Context(), both, func() (actors.Input, error) { <-held; return actors.Input{}, io.EOF }, nil))
	// A stream without a deadline outlives the timeout of the others.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	begin := time.Now()
	if err := r.Stream(ctx, toAct("Out", "a"), nil, nil); actors.CodeOf(err) != actors.Canceled || time.Since(begin) < 90*time.Millisecond {
		t.Errorf("got %v after %v", err, time.Since(begin))
	}
	f.wait(t)
}

// The caller's side ends a call: its inputs fail, or it takes no more outputs.
func TestCallerEndsAStream(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error {
		_, _ = l.recv()
		_ = l.send(actReply("a"))
		return l.hang()
	}}
	r := acting(t, f, Config{})
	gone := errors.New("gone")
	coded := &actors.Error{Code: actors.DataLoss, Message: "lost"}
	ignore := func(actors.Outcome) error { return nil }
	held := make(chan struct{})
	defer close(held)
	wait := func() (actors.Input, error) { <-held; return actors.Input{}, io.EOF }
	if err := r.Stream(t.Context(), toAct("Both", ""), wait, func(actors.Outcome) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("an error of out: %v", err)
	}
	if err := r.Stream(t.Context(), toAct("Both", ""), func() (actors.Input, error) { return actors.Input{}, coded }, ignore); !errors.Is(err, coded) {
		t.Errorf("an error of in: %v", err)
	}
	if err := r.Stream(t.Context(), toAct("Both", ""), func() (actors.Input, error) { return actors.Input{}, gone }, ignore); actors.CodeOf(err) != actors.Canceled || !errors.Is(err, gone) {
		t.Errorf("an error of in without a code: %v", err)
	}
	large := status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)")
	if err := r.Stream(t.Context(), toAct("Both", ""), func() (actors.Input, error) { return actors.Input{}, large }, ignore); actors.CodeOf(err) != actors.ResourceExhausted ||
		!strings.Contains(err.Error(), "2 vs. 1") {
		t.Errorf("an input that is too large: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Stream(ctx, toAct("Both", ""), wait, func(actors.Outcome) error { cancel(); return nil }); actors.CodeOf(err) != actors.Canceled {
		t.Errorf("a caller that goes: %v", err)
	}
	f.wait(t)
	for _, call := range strings.Split(f.transcript(t), "stream ")[1:] {
		if !strings.HasSuffix(call, "-> Canceled\n") {
			t.Errorf("not cancelled: %s", call)
		}
	}
}

// An answer that comes while inputs are being waited for completes the call.
func TestAnswerBeforeTheInputsEnd(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error {
		_, _ = l.recv()
		return l.send(actReply("ok"))
	}}
	r := acting(t, f, Config{})
	held := make(chan struct{})
	defer close(held)
	for _, method := range []string{"In", "Both"} {
		got := 0
		err := r.Stream(t.Context(), toAct(method, ""), func() (actors.Input, error) { <-held; return actors.Input{}, io.EOF },
			func(o actors.Outcome) error { got++; return nil })
		if err != nil || got != 1 {
			t.Errorf("%s: %d answers, %v", method, got, err)
		}
	}
}

// Nothing is gathered for a user function that does not read, nor for a caller that does not.
func TestActionBackPressure(t *testing.T) {
	t.Parallel()
	big := actors.Input{Payload: actors.Payload{TypeURL: "x/y", Data: make([]byte, 64<<10)}}
	slow := make(chan struct{})
	sent := 0
	f := &scripted{action: func(l *actionWire) error {
		if l.rpc == "handleStreamedOut" {
			for {
				r := actReply("")
				r.GetReply().Payload = toAny(big.Payload)
				if err := l.give(r); err != nil {
					return err
				}
				sent++
			}
		}
		return l.hang()
	}}
	r := acting(t, f, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	taken := 0
	err := r.Stream(ctx, toAct("In", ""), func() (actors.Input, error) { taken++; return big, nil }, nil)
	if actors.CodeOf(err) != actors.DeadlineExceeded || taken > 100 {
		t.Errorf("%d inputs of 64 KiB were taken for nobody, %v", taken, err)
	}
	time.AfterFunc(200*time.Millisecond, func() { close(slow) })
	err = r.Stream(t.Context(), toAct("Out", "a"), nil, func(actors.Outcome) error { <-slow; return context.Canceled })
	f.wait(t)
	if !errors.Is(err, context.Canceled) || sent > 600 { // the connection's window holds 256
		t.Errorf("%d outputs of 64 KiB were taken for nobody, %v", sent, err)
	}
}

func TestActionLimits(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error {
		c, err := l.recv()
		if err == nil && len(c.GetPayload().GetValue()) == 3 {
			r := actReply("")
			r.GetReply().Payload.Value = make([]byte, 20_100)
			return l.send(r)
		}
		return l.hang()
	}, options: []grpc.ServerOption{grpc.MaxRecvMsgSize(15_000)}}
	r := acting(t, f, Config{MaxMessage: 20_000, MaxCalls: 1})
	exhausted := func(err error, says string) {
		t.Helper()
		if actors.CodeOf(err) != actors.ResourceExhausted || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
	}
	big := toAct("Unary", "")
	big.Payload.Data = make([]byte, 20_000)
	_, err := r.Handle(t.Context(), big)
	exhausted(err, "the command shop.Act.Unary is larger")
	big.Payload.Data = make([]byte, 16_000)
	_, err = r.Handle(t.Context(), big)
	exhausted(err, "larger than its user function takes")
	_, err = r.Handle(t.Context(), toAct("Unary", "x"))
	exhausted(err, "what the user function answers for shop.Act.Unary")
	big.Payload.Data = make([]byte, 20_000)
	exhausted(r.Stream(t.Context(), toAct("Both", ""), func() (actors.Input, error) { return actors.Input{Payload: big.Payload}, nil }, nil),
		"an input of shop.Act.Both is larger")
	big.Method = "Out"
	exhausted(r.Stream(t.Context(), big, nil, nil), "the command shop.Act.Out is larger")

	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	time.AfterFunc(0, func() { running <- r.Stream(ctx, toAct("Out", "tea"), nil, nil) })
	eventually(t, "one is at work", func() bool { return r.calls.Load() == 1 })
	_, err = r.Handle(t.Context(), toAct("Unary", "x"))
	exhausted(err, "raise maxInFlight")
	cancel()
	<-running
	if n := r.calls.Load(); n != 0 {
		t.Errorf("%d calls are still counted", n)
	}
}

// TestShutdownOfActions ends Run with calls at work: they end, and so do their goroutines.
func TestShutdownOfActions(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error { return l.hang() }}
	r := acting(t, f, Config{})
	ended := make(chan error, 2)
	left := make(chan struct{})
	time.AfterFunc(0, func() {
		err := r.Stream(t.Context(), toAct("Both", ""), func() (actors.Input, error) { <-left; return actors.Input{}, io.EOF }, nil)
		close(left) // the caller's handler has returned
		ended <- err
	})
	time.AfterFunc(0, func() { _, err := r.Handle(t.Context(), toAct("Unary", "a")); ended <- err })
	eventually(t, "both are at work", func() bool { return f.opened() == 2 })
	r.stop()
	for range 2 {
		if err := <-ended; actors.CodeOf(err) != actors.Unavailable {
			t.Errorf("got %v", err)
		}
	}
}

func TestConnectionLostDuringACall(t *testing.T) {
	t.Parallel()
	f := &scripted{action: func(l *actionWire) error { return l.hang() }}
	r := acting(t, f, Config{})
	time.AfterFunc(30*time.Millisecond, f.server.Stop)
	_, err := r.Handle(t.Context(), toAct("Unary", "a"))
	if actors.CodeOf(err) != actors.Unavailable || !strings.Contains(err.Error(), "shop.Act.Unary") {
		t.Errorf("got %v", err)
	}
}

func FuzzActionResponse(f *testing.F) {
	client, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	a := serving(f, client, ofKind(spec(catalog.Extensions, "Cart1", "Act"), actors.Action, "Act")).actions["shop.Act"]
	m, err := a.Method("Unary")
	if err != nil {
		f.Fatal(err)
	}
	c := &call{a, m}
	for _, r := range []*result{actReply("ok"), actFailure(&cloudstate.Failure{Code: 3}), actForward(&cloudstate.Forward{ServiceName: "shop.Cart1", CommandName: "Get", EntityId: "x"}),
		{SideEffects: []*cloudstate.SideEffect{{ServiceName: "shop.Cart1", CommandName: "Add", DelayMillis: 1}, {Cancel: true, Key: "k"}}}} {
		f.Add(encoded(f, r))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := new(protocol.ActionResponse)
		if unmarshal(data, in) != nil {
			return
		}
		o, err := c.outcome(in)
		if err != nil {
			return
		}
		sound(t, o)
	})
}
