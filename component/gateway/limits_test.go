package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// base returns the number of goroutines, and a check that they are not more again.
func base(t *testing.T) func() {
	n := runtime.NumGoroutine()
	return func() {
		t.Helper()
		for began := time.Now(); runtime.NumGoroutine() > n; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				stacks := make([]byte, 64<<10)
				t.Fatalf("%d goroutines, want %d\n%s", runtime.NumGoroutine(), n, stacks[:runtime.Stack(stacks, true)])
			}
		}
	}
}

// endless answers until somebody stops it.
func endless(stopped *atomic.Int32) func(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
	return func(ctx context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
		defer stopped.Add(1)
		p := &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: text(strings.Repeat("x", 100))}
		for ctx.Err() == nil {
			if err := out(actors.Outcome{Reply: p}); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
}

// Callers who go away in the middle of a stream, by every protocol, stop it; nothing stays behind. Not parallel: it counts
// goroutines.
func TestCancelledStreams(t *testing.T) {
	r := start(t, nil)
	var stopped atomic.Int32
	if _, err := invoke(r.conn, "/shop.v1.Echo/Say", nil); err != nil {
		t.Fatal(err)
	}
	r.user.stream = endless(&stopped)
	leftBehind := base(t)
	for range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		s := open(ctx, t, r.conn, "/shop.v1.Echo/Out")
		s.SendMsg(&message{})
		s.CloseSend()
		if err := s.RecvMsg(new(message)); err != nil {
			t.Fatal(err)
		}
		cancel()
		for _, contentType := range []string{"application/json", webBinary} {
			body := "{}"
			if contentType == webBinary {
				body = string(webFrame(nil))
			}
			resp, err := r.http.Post(r.url+"/shop.v1.Echo/Out", contentType, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	leftBehind()
	if n := stopped.Load(); n != 30 {
		t.Errorf("%d streams have stopped, want 30", n)
	}
}

// A caller who takes an answer too slowly holds the giver back, and loses the connection.
func TestSlowReaders(t *testing.T) {
	r := start(t, func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	var stopped, sent atomic.Int32
	stream := endless(&stopped)
	r.user.stream = func(ctx context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
		return stream(ctx, c, in, func(o actors.Outcome) error {
			sent.Add(1)
			return out(o)
		})
	}
	leftBehind := base(t)
	ctx, cancel := context.WithCancel(context.Background())
	s := open(ctx, t, r.conn, "/shop.v1.Echo/Out")
	s.SendMsg(&message{})
	s.CloseSend()
	time.Sleep(200 * time.Millisecond)
	if before := sent.Load(); before > 10_000 {
		t.Errorf("%d messages went to a caller who takes none", before)
	} else if time.Sleep(100 * time.Millisecond); sent.Load() != before {
		t.Errorf("%d messages more went to a caller who takes none", sent.Load()-before)
	}
	cancel()
	conn := dial(t, r)
	conn.send("POST /shop.v1.Echo/Out HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
	for began := time.Now(); stopped.Load() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the slow reader is still served")
		}
	}
	conn.Close()
	r.conn.Close()
	leftBehind()
}

func TestOversize(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MaxMessage = 1 << 10 })
	// Documents of a stream are bounded one by one, however many there are.
	doc := `{"text":"` + strings.Repeat("a", 900) + `"}` + "\n"
	if got := r.call(t, "POST", "/shop.v1.Echo/Both", strings.Repeat(doc, 20)); got.status != 200 || got.body != strings.Repeat(doc, 20) {
		t.Errorf("got %d, %d bytes", got.status, len(got.body))
	}
	if got := r.call(t, "POST", "/shop.v1.Echo/Both", `{"text":"`+strings.Repeat("a", 4000)); got.status != 413 {
		t.Errorf("got %v", got)
	}
	// A reply that is too large for gRPC is an error of that call alone.
	r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) {
		return actors.Outcome{Reply: &actors.Payload{Data: make([]byte, 1<<10+1)}}, nil
	}
	if _, err := invoke(r.conn, "/shop.v1.Echo/Say", nil); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

// Routes are replaced under load: every call is answered.
func TestUpdateUnderLoad(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	catalogs := []func() error{}
	one, two := shop(t), newCatalog(t, shopSet(), entity(actors.Action, "shop.v1.Echo"))
	catalogs = append(catalogs, func() error { return r.Update(one) }, func() error { return r.Update(two) })
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var callers sync.WaitGroup
	var calls atomic.Int32
	for i := range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if i%2 == 0 {
					if _, err := invoke(r.conn, "/shop.v1.Echo/Say", text("a")); err != nil {
						t.Errorf("gRPC: %v", err)
						return
					}
				} else if got := r.call(t, "POST", "/shop.v1.Echo/Say", `{}`); got.status != 200 {
					t.Errorf("HTTP: %v", got)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		if err := catalogs[i%2](); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
	}
	callers.Wait()
	if calls.Load() == 0 {
		t.Error("no calls were made")
	}
}

// Calls in flight end when the gateway is told to stop, and those that do not are cut off in time.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, stuck := range map[string]bool{"in time": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, func(c *Config) { c.DrainTimeout = time.Second })
			var arrived sync.WaitGroup
			arrived.Add(3)
			release := make(chan struct{})
			r.user.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
				arrived.Done()
				select {
				case <-release:
					return actors.Outcome{Reply: &c.Payload}, nil
				case <-ctx.Done():
					return actors.Outcome{}, ctx.Err()
				}
			}
			results := make(chan error, 3)
			go func() {
				_, err := invoke(r.conn, "/shop.v1.Echo/Say", text("a"))
				results <- err
			}()
			for _, client := range []*http.Client{r.http, overH2(t)} {
				go func() {
					resp, err := client.Post(r.url+"/shop.v1.Echo/Say", "application/json", strings.NewReader(`{"text":"a"}`))
					if err == nil {
						if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != 200 {
							err = fmt.Errorf("status %d", resp.StatusCode)
						}
						resp.Body.Close()
					}
					results <- err
				}()
			}
			arrived.Wait()
			done := make(chan error, 1)
			go func() { done <- r.stop() }()
			time.Sleep(50 * time.Millisecond)
			if !stuck {
				close(release)
			}
			for range 3 {
				if err := <-results; (err != nil) != stuck {
					t.Errorf("a call in flight: %v", err)
				}
			}
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it does not stop")
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Address: "nowhere", MaxMessage: -1, MaxStreams: 1 << 30, Origins: []string{"shop.example", "https://x/y"}})
	for _, want := range []string{"Commands", "nowhere", "MaxMessage is negative", "MaxStreams", "shop.example", "https://x/y"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	r := start(t, nil)
	g, err := New(Config{Address: r.Address().String(), Commands: new(user)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	r := start(t, func(c *Config) {
		c.Observe = func(protocol, service, method, code string, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			if took <= 0 {
				t.Errorf("it took %v", took)
			}
			seen = append(seen, protocol+" "+service+" "+method+" "+code)
		}
	})
	invoke(r.conn, "/shop.v1.Echo/Say", nil)
	invoke(r.conn, "/shop.v1.ShoppingCart/Plain", nil)
	webCall(t, r.http, r.url+"/shop.v1.Echo/Say", webBinary, webFrame(nil))
	r.call(t, "POST", "/shop.v1.Echo/Say", "{")
	r.stop()
	want := "grpc shop.v1.Echo Say OK\ngrpc shop.v1.ShoppingCart Plain INVALID_ARGUMENT\ngrpc-web shop.v1.Echo Say OK\nhttp shop.v1.Echo Say INVALID_ARGUMENT"
	if got := strings.Join(seen, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
