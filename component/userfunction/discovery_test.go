package userfunction

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:8080", "[::1]:80", "app.default:80", "unix:/run/x.sock", "unix:x.sock", ""} {
		if _, err := New(Config{Address: address}); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"8080", ":8080", "host:", "unix:", "unix:///", "http://x:1/"} {
		if _, err := New(Config{Address: address}); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%q: %v", address, err)
		}
	}
	_, err := New(Config{Address: "x", RetryMin: time.Minute, RetryMax: time.Second, CloseGrace: -1, MaxMessage: -1})
	for _, want := range []string{`"x"`, "RetryMax 1s", "CloseGrace", "MaxMessage -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec([]string{"codes"}, "Cart1", "Cart2"), handle: follow()}
	r := run(t, Config{Address: f.start(t, ""), Version: "1.2"})
	c := r.next(t)
	eventually(t, "ready", func() bool { return r.Ready() == nil })
	if s, ok := c.catalog.Service("Cart2"); !ok || !s.Extensions["codes"] {
		t.Errorf("catalog: %+v", s)
	}
	if c.function("shop.Cart1") == nil || c.function("shop.Cart3") != nil {
		t.Error("a function for each service, and for nothing else")
	}
	f.mu.Lock()
	info := f.asked[0]
	f.mu.Unlock()
	if info.GetProtocolMajorVersion() != 0 || info.GetProtocolMinorVersion() != 2 || info.GetProxyName() != "entities" || info.GetProxyVersion() != "1.2" ||
		!slices.Equal(info.GetSupportedEntityTypes(), entityTypes(catalog.Supported())) || !slices.Equal(info.GetExtensions(), catalog.Extensions) {
		t.Errorf("the user function was told %v", info)
	}
	r.stop()
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "shut down") {
		t.Errorf("after the end: %v", err)
	}
}

func TestUserFunctionComesLate(t *testing.T) {
	t.Parallel()
	address := free(t)
	var ok, unreachable atomic.Int32
	r := run(t, Config{Address: address, Observe: func(result string) { map[string]*atomic.Int32{"ok": &ok, "unreachable": &unreachable}[result].Add(1) }})
	if err := r.Ready(); !errors.Is(err, ErrAbsent) {
		t.Errorf("at first: %v", err)
	}
	eventually(t, "it says who does not answer", func() bool {
		err := r.Ready()
		return errors.Is(err, ErrAbsent) && strings.Contains(err.Error(), address) && strings.Contains(err.Error(), "connection refused") &&
			strings.Contains(err.Error(), "host:")
	})
	time.Sleep(100 * time.Millisecond) // many tries
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow()}
	f.start(t, address)
	r.next(t)
	eventually(t, "ready", func() bool { return r.Ready() == nil })
	eventually(t, "both are observed", func() bool { return ok.Load() > 0 && unreachable.Load() > 0 })
	if n := strings.Count(r.log.String(), "no user function has answered yet"); n != 1 || strings.Contains(r.log.String(), "WARN") {
		t.Errorf("the log said %d times that none has answered:\n%s", n, r.log)
	}
}

func TestUserFunctionRestarts(t *testing.T) {
	t.Parallel()
	first := &scripted{spec: spec(nil, "Cart1"), handle: follow()}
	address := first.start(t, "")
	r := run(t, Config{Address: address, Rediscover: -1})
	r.next(t)
	eventually(t, "ready", func() bool { return r.Ready() == nil })

	first.server.Stop()
	eventually(t, "not ready", func() bool {
		err := r.Ready()
		return err != nil && !errors.Is(err, ErrAbsent) && strings.Contains(err.Error(), address) && strings.Contains(err.Error(), "start it again")
	})
	same := &scripted{spec: spec(nil, "Cart1"), handle: follow()}
	same.spec.ServiceInfo.ServiceVersion = "2"
	same.start(t, address)
	eventually(t, "ready again", func() bool { return r.Ready() == nil })
	if len(r.changes) != 0 {
		t.Error("the same spec was announced as a change")
	}

	same.server.Stop()
	other := &scripted{spec: spec(nil, "Cart1", "Cart2"), handle: follow()}
	other.start(t, address)
	if c := r.next(t); len(c.catalog.Services()) != 2 {
		t.Errorf("got %d services", len(c.catalog.Services()))
	}
	eventually(t, "ready with another spec", func() bool { return r.Ready() == nil })
}

// TestNoSessionBeforeDiscovery has a user function come back that has not been told yet who we are.
func TestNoSessionBeforeDiscovery(t *testing.T) {
	t.Parallel()
	first := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	address := first.start(t, "")
	r := run(t, Config{Address: address})
	function := r.next(t).function("shop.Cart1")
	first.server.Stop()
	eventually(t, "not ready", func() bool { return r.Ready() != nil })
	second := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok), hold: make(chan struct{})}
	second.start(t, address)
	eventually(t, "discovery waits", func() bool { return second.waiting.Load() > 0 })
	if _, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")}); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("got %v", err)
	}
	close(second.hold)
	eventually(t, "ready", func() bool { return r.Ready() == nil })
	s, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Error(err)
	}
}

func TestSpecChangesWithoutReconnection(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow()}
	r := run(t, Config{Address: f.start(t, ""), Rediscover: 5 * time.Millisecond})
	r.next(t)
	f.announce(spec(nil, "Cart1", "Cart2"))
	if c := r.next(t); len(c.catalog.Services()) != 2 {
		t.Errorf("got %d services", len(c.catalog.Services()))
	}
	time.Sleep(50 * time.Millisecond) // many discoveries
	if len(r.changes) != 0 {
		t.Error("no change was announced as one")
	}
}

func TestSpecThatCannotBeServed(t *testing.T) {
	t.Parallel()
	bad := spec(nil, "Nowhere")
	bad.ServiceInfo.ProtocolMinorVersion = 1
	f := &scripted{spec: bad, handle: follow()}
	address := f.start(t, "")
	r := run(t, Config{Address: address, Rediscover: 5 * time.Millisecond})
	eventually(t, "reported", func() bool { return len(f.reports()) == 1 })
	for _, text := range []string{f.reports()[0], r.Ready().Error(), r.log.String()} {
		if !strings.Contains(text, "version 0.1") || !strings.Contains(text, "shop.Nowhere is not in the descriptors") {
			t.Errorf("got %q", text)
		}
	}
	if errors.Is(r.Ready(), ErrAbsent) {
		t.Error("a user function that is there is not absent")
	}
	time.Sleep(50 * time.Millisecond) // many discoveries
	if n := len(f.reports()); n != 1 {
		t.Errorf("one mistake was reported %d times", n)
	}
	f.announce(spec(nil, "Nowhere")) // another mistake
	eventually(t, "reported again", func() bool { return len(f.reports()) == 2 })
	f.announce(spec(nil, "Cart1"))
	r.next(t)
	eventually(t, "ready", func() bool { return r.Ready() == nil })

	// A mistake later on costs readiness, not what is served.
	f.announce(bad)
	eventually(t, "not ready", func() bool { return r.Ready() != nil })
	if len(r.changes) != 0 {
		t.Error("a bad spec was announced as a change")
	}
	f.announce(spec(nil, "Cart1"))
	eventually(t, "ready again", func() bool { return r.Ready() == nil })
	if len(r.changes) != 0 {
		t.Error("the spec that was served all the time was announced as a change")
	}

	f.server.Stop()
	again := &scripted{spec: bad, handle: follow()}
	again.start(t, address)
	eventually(t, "a new user function gets a report of its own", func() bool { return len(again.reports()) == 1 })
}

func TestAddressOfSomethingElse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close(); <-done })
	r := run(t, Config{Address: l.Addr().String()})
	eventually(t, "it says so", func() bool {
		return errors.Is(r.Ready(), ErrAbsent) && strings.Contains(r.Ready().Error(), "HTTP/1.1")
	})
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(answer(func(r *reply) { r.ClientAction = replies("ok") }))}
	r := run(t, Config{Address: f.start(t, "unix:"+filepath.Join(t.TempDir(), "s"))})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Fatal(err)
	}
}

func TestDiscoveryThatHangs(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(), hold: make(chan struct{})}
	address := f.start(t, "")
	r := run(t, Config{Address: address, DiscoverTimeout: 50 * time.Millisecond})
	eventually(t, "given up", func() bool { return strings.Contains(fmt.Sprint(r.Ready()), "deadline exceeded") })
	close(f.hold)
	r.next(t)
}

// free is an address where nobody listens.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestJitter(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if d := jitter(time.Second); d < 800*time.Millisecond || d > 1200*time.Millisecond {
			t.Fatalf("1 s became %v", d)
		}
	}
}
