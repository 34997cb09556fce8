package userfunction

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
)

// running is a client at work.
type running struct {
	*Client
	changes chan change
	log     *logged
	stop    func()
}

type change struct {
	catalog  *catalog.Catalog
	function func(string) engine.Function
}

func run(t testing.TB, config Config) *running {
	t.Helper()
	r := &running{changes: make(chan change, 16), log: new(logged)}
	config.OnChange = func(c *catalog.Catalog, f func(string) engine.Function) { r.changes <- change{c, f} }
	config.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	if config.RetryMin == 0 {
		config.RetryMin, config.RetryMax = 5*time.Millisecond, 20*time.Millisecond
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = c
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(r.stop)
	return r
}

func (r *running) next(t testing.TB) change {
	t.Helper()
	select {
	case c := <-r.changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatalf("no change was announced; %v\n%s", r.Ready(), r.log)
		return change{}
	}
}

func (r *running) open(t testing.TB, start engine.Start) engine.Session {
	t.Helper()
	s, err := r.next(t).function("shop.Cart1").Open(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// logged is a log that can be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
