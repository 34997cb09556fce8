package actorhost

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/dapr-entities/entities/actors"
)

func TestRegistration(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		if h.Ready() == nil {
			t.Error("ready before the stream is open")
		}
		s := <-f.streams
		want := &runtime.SubscribeActorEventsRequestInitialAlpha1{
			Entities: []string{"Cart", "Order"}, ActorIdleTimeout: durationpb.New(time.Hour),
			DrainOngoingCallTimeout: durationpb.New(2 * time.Second), DrainRebalancedActors: new(true),
		}
		if diff := cmp.Diff(want, s.initial, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		synctest.Wait()
		if h.Ready() == nil {
			t.Error("ready before the sidecar has answered")
		}
		f.streams <- s
		f.accept()
		if err := h.Ready(); err != nil {
			t.Error(err)
		}
		h.stop()
		if h.Ready() == nil {
			t.Error("ready after Run")
		}
		if all, _ := h.entities.losses(); all != 1 {
			t.Errorf("everything was disowned %d times", all)
		}
		f.set(func() {
			if f.released != 1 {
				t.Errorf("the sidecar was released %d times", f.released)
			}
		})
	})
}

func TestRefusals(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.FailedPrecondition: "no --app-port",
		codes.Unimplemented:      "1.18.2 or later",
		codes.Unauthenticated:    "DAPR_API_TOKEN",
		codes.PermissionDenied:   "DAPR_API_TOKEN",
	} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
				f.set(func() { f.refusal = status.Error(code, "go away") })
				time.Sleep(time.Minute)
				if err := h.Ready(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "go away") {
					t.Errorf("Ready says %v", err)
				}
				f.set(func() {
					if n := len(f.attempts); n < 3 || n > 6 {
						t.Errorf("%d attempts in a minute", n)
					}
					f.refusal = nil
				})
				f.accept()
				if err := h.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRetries(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		f.set(func() { f.refusal = status.Error(codes.Unavailable, "not now") })
		time.Sleep(30 * time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.attempts); n < 7 || n > 14 {
			t.Errorf("%d attempts in half a minute", n)
		}
		if wait := f.attempts[1].Sub(f.attempts[0]); wait < 160*time.Millisecond || wait > 240*time.Millisecond {
			t.Errorf("the second attempt came after %v", wait)
		}
		if h.Ready() == nil || !strings.Contains(h.Ready().Error(), "not now") {
			t.Errorf("Ready says %v", h.Ready())
		}
		f.refusal = nil
	})
}

// lines counts the log's lines of one level and more.
type lines struct {
	slog.Handler
	level slog.Level
	n     atomic.Int32
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l *lines) Handle(context.Context, slog.Record) error {
	l.n.Add(1)
	return nil
}

// A sidecar that is only starting is no reason for a warning. One that stays away is one, once; and so is each refusal.
func TestWarnings(t *testing.T) {
	log := &lines{Handler: slog.DiscardHandler, level: slog.LevelWarn}
	var up, down atomic.Int32
	observe := func(is bool) {
		if is {
			up.Add(1)
		} else {
			down.Add(1)
		}
	}
	bubble(t, Config{Log: slog.New(log), Observe: observe}, func(t *testing.T, f *fake, h *hosted) {
		expect := func(when string, n int32) {
			t.Helper()
			if got := log.n.Load(); got != n {
				t.Errorf("%s: %d warnings, want %d", when, got, n)
			}
		}
		f.set(func() { f.refusal = status.Error(codes.Unavailable, "not yet") })
		time.Sleep(8 * time.Second)
		expect("the sidecar starts", 0)
		f.set(func() { f.refusal = nil })
		s := f.accept()
		f.set(func() { f.refusal = status.Error(codes.Unavailable, "gone") })
		close(s.end)
		time.Sleep(8 * time.Second)
		expect("the sidecar restarts", 0)
		time.Sleep(time.Minute)
		expect("the sidecar stays away", 1)
		f.set(func() { f.refusal = status.Error(codes.Unauthenticated, "who are you") })
		time.Sleep(time.Minute)
		expect("the sidecar refuses", 2)
		f.set(func() { f.refusal = nil })
		f.accept()
		if up.Load() != 2 || down.Load() != 1 {
			t.Errorf("the stream was up %d times and down %d times", up.Load(), down.Load())
		}
	})
}

func TestFirstMessageOfAnotherKind(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		s := <-f.streams
		s.deactivate("1", "Cart", "c")
		synctest.Wait()
		if err := h.Ready(); err == nil || !strings.Contains(err.Error(), "is it daprd?") {
			t.Errorf("Ready says %v", err)
		}
		f.accept()
	})
}

func TestCallbacks(t *testing.T) {
	bubble(t, Config{MaxInFlight: 2}, func(t *testing.T, f *fake, h *hosted) {
		finish := make(chan struct{})
		h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
			if c.ID == "slow" {
				<-finish
			}
			return echo(ctx, c)
		}
		s := f.accept()

		t.Log("a deactivation is acknowledged while a turn runs")
		s.invoke("1", "Cart", "slow", "Echo", `{}`)
		synctest.Wait()
		s.deactivate("2", "Cart", "slow")
		if got := s.receive().GetDeactivateResponse().GetId(); got != "2" {
			t.Errorf("got %q", got)
		}
		if _, alone := h.entities.losses(); len(alone) != 1 || alone[0] != (actors.Ref{Service: "shop.v1.Cart", ID: "slow"}) {
			t.Errorf("disowned %v", alone)
		}

		t.Log("more commands than allowed are refused at once")
		s.invoke("3", "Cart", "slow", "Echo", `{}`)
		synctest.Wait()
		s.invoke("4", "Cart", "c", "Echo", `{}`)
		if got := s.receive().GetRequestFailed(); got.GetId() != "4" || got.GetCode() != 8 ||
			!strings.Contains(got.GetMessage(), "maxInFlight [entities code=RESOURCE_EXHAUSTED entity=shop.v1.Cart/c sequence=0]") {
			t.Errorf("got %v", got)
		}
		close(finish)
		ids := s.receive().GetInvokeResponse().GetId() + s.receive().GetInvokeResponse().GetId()
		if ids != "13" && ids != "31" {
			t.Errorf("got answers to %s", ids)
		}
		synctest.Wait()
		s.invoke("5", "Cart", "c", "Echo", `{"a":1}`)
		if got := s.receive().GetInvokeResponse(); got.GetId() != "5" || string(got.GetData()) != `{"a":1}` || got.GetError() {
			t.Errorf("got %v", got)
		}

		t.Log("what is not for us is answered")
		s.send(&request{}) // of an unknown type: there is no id to answer
		s.invoke("6", "Nope", "c", "Echo", `{}`)
		s.invoke("7", "shop.v1.Cart", "c", "Echo", `{}`)
		s.invoke("8", "Cart", "%", "Echo", `{}`)
		s.invoke("9", "Cart", "", "Echo", `{}`)
		s.invoke("10", "Cart", strings.Repeat("x", 1<<20), "Echo", `{}`)
		s.send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_ReminderRequest{
			ReminderRequest: &runtime.SubscribeActorEventsResponseReminderRequestAlpha1{Id: "11", ActorType: "Cart", ActorId: "c", Name: "r"},
		}})
		s.send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_TimerRequest{
			TimerRequest: &runtime.SubscribeActorEventsResponseTimerRequestAlpha1{Id: "12", ActorType: "Cart", ActorId: "c", Name: "r"},
		}})
		for _, want := range []struct{ id, code, text string }{
			{"6", "UNIMPLEMENTED", "it hosts Cart, Order"},
			{"7", "UNIMPLEMENTED", "does not host"},
			{"8", "INVALID_ARGUMENT", "%25"},
			{"9", "INVALID_ARGUMENT", "empty"},
			{"10", "INVALID_ARGUMENT", "at most 256"},
			{"11", "UNIMPLEMENTED", "no reminders"},
			{"12", "UNIMPLEMENTED", "no timers"},
		} {
			got := s.receive().GetRequestFailed()
			if got.GetId() != want.id || !strings.Contains(got.GetMessage(), want.text) ||
				!strings.Contains(got.GetMessage(), "[entities code="+want.code) || len(got.GetMessage()) > 16<<10 {
				t.Errorf("got %.300v, want %v", got, want)
			}
		}
		s.deactivate("13", "Nope", "c")
		if got := s.receive().GetDeactivateResponse().GetId(); got != "13" {
			t.Errorf("got %q", got)
		}
		if all, _ := h.entities.losses(); all != 0 || h.Ready() != nil {
			t.Errorf("the stream did not last: %v", h.Ready())
		}
	})
}

// The sidecar's GracefulStop waits for the stream: this test hangs unless the host cancels it.
func TestGoAway(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		s := f.accept()
		s.invoke("1", "Cart", "c", "Echo", `{}`)
		s.receive()
		old := f.server
		begin := time.Now()
		old.GracefulStop()
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("the sidecar stopped after %v", took)
		}
		synctest.Wait()
		if all, _ := h.entities.losses(); all != 1 || h.Ready() == nil {
			t.Errorf("everything was disowned %d times, ready: %v", all, h.Ready())
		}
		f.serve()
		f.accept()
		if err := h.Ready(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the stream was back after %v", took)
		}
	})
}

// Ids begin at 1 again on every stream: an answer to the old one would be taken for another's.
func TestAnswersOfAnOldStreamAreDropped(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		finish := make(chan struct{})
		var ended error
		h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
			if c.ID == "slow" {
				<-finish
				ended = ctx.Err()
			}
			return echo(ctx, c)
		}
		s := f.accept()
		s.invoke("1", "Cart", "slow", "Echo", `"old"`)
		synctest.Wait()
		s.end <- status.Error(codes.ResourceExhausted, "larger than max")
		s = f.accept()
		if all, _ := h.entities.losses(); all != 1 {
			t.Errorf("everything was disowned %d times", all)
		}
		close(finish)
		synctest.Wait()
		if ended == nil {
			t.Error("the context of the old command has not ended")
		}
		s.invoke("1", "Cart", "c", "Echo", `"new"`)
		if got := s.receive().GetInvokeResponse(); string(got.GetData()) != `"new"` {
			t.Errorf("got %v", got)
		}
	})
}

func TestUpdateWaitsForTheRegister(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		s := f.accept()
		f.set(func() { f.status, f.active = runtime.ActorRuntime_RUNNING, []string{"Cart", "Order"} })
		h.Update()
		synctest.Wait()
		if s.Context().Err() != nil {
			t.Fatal("the same types end the stream")
		}
		h.services.set(cart(t, "Stock"))
		h.Update()
		<-s.Context().Done()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if len(f.streams) != 0 {
			t.Error("the new stream is open before the old types are off the register")
		}
		f.set(func() { f.status, f.active = runtime.ActorRuntime_INITIALIZING, nil })
		begin := time.Now()
		s = f.accept()
		if took := time.Since(begin); took > 100*time.Millisecond {
			t.Errorf("the new stream came after %v", took)
		}
		if diff := cmp.Diff([]string{"Stock"}, s.initial.GetEntities()); diff != "" {
			t.Error(diff)
		}
		// A register that is never cleared does not stop the host for ever.
		f.set(func() { f.status, f.active = runtime.ActorRuntime_RUNNING, []string{"Stock"} })
		h.services.set(cart(t, "Cart", "Stock"))
		h.Update()
		f.accept()
	})
}

func TestNothingToHost(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, h *hosted) {
		s := f.accept()
		h.services.set(nil)
		h.Update()
		<-s.Context().Done()
		time.Sleep(time.Minute)
		f.set(func() {
			if len(f.streams) != 0 || f.released != 1 || h.Ready() != nil {
				t.Errorf("%d streams, released %d times, ready: %v", len(f.streams), f.released, h.Ready())
			}
			f.status = runtime.ActorRuntime_RUNNING
		})
		h.services.set(cart(t, "Cart"))
		h.Update()
		f.accept()
	})
}

// A sidecar that sends and does not read cannot make the host's memory grow for ever.
func TestSidecarThatDoesNotRead(t *testing.T) {
	bubble(t, Config{MaxInFlight: 1}, func(t *testing.T, f *fake, h *hosted) {
		s := f.accept()
		for i := range 200_000 {
			if s.Send(&request{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_DeactivateRequest{
				DeactivateRequest: &runtime.SubscribeActorEventsResponseDeactivateRequestAlpha1{Id: fmt.Sprint(i), ActorType: "Cart", ActorId: "c"},
			}}) != nil {
				break
			}
		}
		<-s.Context().Done()
		synctest.Wait()
		if err := h.Ready(); err == nil || !strings.Contains(err.Error(), errStuck.Error()) {
			t.Errorf("Ready says %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{IdleTimeout: 1, DrainTimeout: 8 * time.Second, MaxInFlight: -1, MaxReply: 1})
	for _, want := range []string{"Dial", "Catalog", "Entities", "idle timeout", "drain timeout", "in flight", "largest reply"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in %v", want, err)
		}
	}
}
