package actorhost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

func TestDaprReload(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	h.awaitReady(10 * time.Second)
	for i := range 3 {
		if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		s.signal(syscall.SIGHUP)
		await(t, 5*time.Second, "everything disowned", func() bool { all, _ := h.entities.losses(); return all == i+1 })
		t.Logf("ready %v later", h.awaitReady(5*time.Second))
	}
	if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
}

func TestDaprRestart(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	h.awaitReady(10 * time.Second)
	if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	s.exits(syscall.SIGKILL)
	await(t, time.Second, "everything disowned", func() bool { all, _ := h.entities.losses(); return all == 1 })
	await(t, 2*time.Second, "not ready", func() bool { return h.Ready() != nil })
	t.Log(h.Ready())
	if !s.start() {
		t.Fatal("daprd does not start again")
	}
	t.Logf("ready %v later", h.awaitReady(8*time.Second))
	if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
}

func TestDaprStop(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	begun, finish := make(chan struct{}), make(chan struct{})
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		if string(c.Payload.Data) == `"slow"` {
			close(begun)
			<-finish
		}
		return echo(ctx, c)
	}
	h.awaitReady(10 * time.Second)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if r := s.invoke("Cart", "c1", "Echo", `"slow"`); r.status != 200 {
			t.Errorf("the command in flight: got %d %s", r.status, r.body)
		}
	})
	<-begun
	group.Go(h.stop)
	await(t, 5*time.Second, "new commands are refused", func() bool {
		r := s.invoke("Cart", "c2", "Echo", `{}`)
		return r.status == 500 && strings.Contains(r.body, "this host is stopping") && strings.Contains(r.body, "UNAVAILABLE")
	})
	close(finish)
	await(t, 5*time.Second, "not running", func() bool { return errors.Is(h.Ready(), errNotRunning) })
}

func TestDaprDeactivate(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{IdleTimeout: time.Second}, "Cart")
	h.awaitReady(10 * time.Second)
	id := "a/b"
	if r := s.invoke("Cart", "a%252Fb", "Echo", `{}`); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	await(t, 10*time.Second, "deactivated", func() bool { _, alone := h.entities.losses(); return len(alone) > 0 })
	if _, alone := h.entities.losses(); alone[0] != (actors.Ref{Service: "shop.v1.Cart", ID: id}) {
		t.Errorf("disowned %v", alone)
	}
	if r := s.invoke("Cart", "a%252Fb", "Echo", `{}`); r.status != 200 {
		t.Fatalf("after the deactivation: got %d %s", r.status, r.body)
	}
}

func TestDaprUpdate(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	h.awaitReady(10 * time.Second)
	sets := [][]string{{"Cart", "Order"}, {"Cart"}, {"Order", "Cart", "Stock"}, {"Cart"}}
	for i, types := range sets {
		for _, id := range []string{"1", "2", "3"} {
			if r := s.invoke("Cart", id, "Echo", `{}`); r.status != 200 {
				t.Fatalf("got %d %s", r.status, r.body)
			}
		}
		h.services.set(cart(t, types...))
		h.Update()
		await(t, 5*time.Second, "everything disowned", func() bool { all, _ := h.entities.losses(); return all == i+1 })
		t.Logf("ready %v later", h.awaitReady(5*time.Second))
		for _, actorType := range types {
			if r := s.invoke(actorType, "1", "Echo", `{}`); r.status != 200 {
				t.Fatalf("%v: %s: got %d %s", types, actorType, r.status, r.body)
			}
		}
	}
	// The same types are no reason to let go of everything.
	h.services.set(cart(t, "Cart"))
	h.Update()
	time.Sleep(100 * time.Millisecond)
	if all, _ := h.entities.losses(); all != len(sets) {
		t.Errorf("everything was disowned %d times, want %d", all, len(sets))
	}
	h.services.set(nil)
	h.Update()
	await(t, 5*time.Second, "no types", func() bool { all, _ := h.entities.losses(); return all == len(sets)+1 })
	h.awaitReady(time.Second)
	h.services.set(cart(t, "Order"))
	h.Update()
	await(t, 10*time.Second, "Order is served", func() bool { return s.invoke("Order", "1", "Echo", `{}`).status == 200 })
}

// daprd 1.18 leaks the claim of a call that comes before its type is registered, and waits for it when the type is.
func TestDaprCallBeforeHost(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		begin := time.Now()
		if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
			t.Errorf("got %d %s", r.status, r.body)
		}
		t.Logf("answered after %v", time.Since(begin))
	})
	time.Sleep(100 * time.Millisecond)
	host(t, s, Config{DrainTimeout: time.Second}, "Cart").awaitReady(5 * time.Second)
	group.Wait()
}

// An HTTP body just below daprd's limit does not fit the stream, and ends it.
func TestDaprOversize(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	invoker := s.client().Invoker(simpleName)
	h.awaitReady(10 * time.Second)

	fits := `"` + strings.Repeat("x", 4_000_000) + `"`
	if r := s.invoke("Cart", "c1", "Echo", fits); r.status != 200 || r.body != fits {
		t.Fatalf("4 MB: got %d, %d bytes", r.status, len(r.body))
	}
	_, err := invoker.Handle(t.Context(), command("c1", `"`+strings.Repeat("x", 4_190_000)+`"`))
	if actors.CodeOf(err) != actors.ResourceExhausted {
		t.Fatalf("our own client lets it through: %v", err)
	}
	if all, _ := h.entities.losses(); all != 0 {
		t.Fatalf("everything was disowned %d times", all)
	}

	// Others go on calling all the while. Their calls may fail or wait, but only for a while.
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for i := range 8 {
		group.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				_, err := invoker.Handle(ctx, command(fmt.Sprint("other-", i), `{}`))
				if code := actors.CodeOf(err); err != nil && code != actors.Unavailable && ctx.Err() == nil {
					t.Errorf("another call: got %v", err)
				}
				if took := time.Since(begin); took > 4*time.Second {
					t.Errorf("another call took %v", took)
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	begin := time.Now()
	if r := s.invoke("Cart", "c1", "Echo", `"`+strings.Repeat("x", 4_194_198)+`"`); r.status == 200 {
		t.Fatal("4,194,200 bytes pass")
	}
	await(t, 3*time.Second, "everything disowned", func() bool { all, _ := h.entities.losses(); return all == 1 })
	h.awaitReady(3 * time.Second)
	t.Logf("the stream was back after %v", time.Since(begin))
	if r := s.invoke("Cart", "c1", "Echo", fits); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	// The calls of the others came before the types were registered again: daprd drains for the whole drain timeout.
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the first answer came after %v", took)
	} else {
		t.Logf("the first answer came after %v", took)
	}
}

func TestDaprWithoutPlacement(t *testing.T) {
	t.Parallel()
	s := daprd(t, "")
	h := host(t, s, Config{}, "Cart")
	await(t, 10*time.Second, "disabled", func() bool { return strings.Contains(fmt.Sprint(h.Ready()), "--placement-host-address") })
	if _, err := s.client().Invoker(simpleName).Handle(t.Context(), command("c1", `{}`)); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestDaprOfAnHTTPApp(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	port := app.URL[strings.LastIndexByte(app.URL, ':')+1:]
	s := daprd(t, placement(t), "--app-port", port, "--app-protocol", "http")
	h := host(t, s, Config{}, "Cart")
	await(t, 10*time.Second, "refused", func() bool { return strings.Contains(fmt.Sprint(h.Ready()), "run it with no --app-port") })
}

func TestDaprShutdown(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	h.awaitReady(10 * time.Second)
	if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	begin := time.Now()
	if err := s.client().Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
		t.Logf("exited within %v", time.Since(begin))
	case <-time.After(5 * time.Second):
		t.Fatal("daprd hangs")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.client().WaitReady(ctx); err == nil {
		t.Error("a sidecar that is gone is ready")
	}
	if _, err := s.client().Invoker(simpleName).Handle(t.Context(), command("c1", `{}`)); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("got %v", err)
	}
}
