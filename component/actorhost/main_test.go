package actorhost

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entities are fake ones: they remember who owns what and answer by a function.
type entities struct {
	handle func(context.Context, actors.Command) (actors.Outcome, error)

	mu       sync.Mutex
	owned    map[actors.Ref]bool
	commands []actors.Command
	disowned []actors.Ref
	all      int
}

func (e *entities) Own(r actors.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owned == nil {
		e.owned = make(map[actors.Ref]bool)
	}
	e.owned[r] = true
}

func (e *entities) Disown(r actors.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.owned, r)
	e.disowned = append(e.disowned, r)
}

func (e *entities) DisownAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.owned)
	e.all++
}

func (e *entities) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	e.mu.Lock()
	if !e.owned[c.Ref] {
		e.mu.Unlock()
		return actors.Outcome{}, actors.Errorf(actors.Internal, "%s is handled without being owned", c.Ref)
	}
	e.commands = append(e.commands, c)
	e.mu.Unlock()
	if e.handle != nil {
		return e.handle(ctx, c)
	}
	return echo(ctx, c)
}

func (e *entities) last() actors.Command {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.commands) == 0 {
		return actors.Command{}
	}
	return e.commands[len(e.commands)-1]
}

func (e *entities) owns(r actors.Ref) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.owned[r]
}

// losses is how often everything was disowned, and what was disowned alone.
func (e *entities) losses() (all int, alone []actors.Ref) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all, append([]actors.Ref(nil), e.disowned...)
}

func echo(_ context.Context, c actors.Command) (actors.Outcome, error) {
	return actors.Outcome{Reply: &c.Payload, Sequence: 7}, nil
}

// cart is a catalog with services of the package shop.v1 that take JSON.
func cart(t testing.TB, names ...string) *catalog.Catalog {
	t.Helper()
	if len(names) == 0 {
		return nil
	}
	spec := &cloudstate.EntitySpec{ServiceInfo: &cloudstate.ServiceInfo{
		ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"},
	}}
	for _, name := range names {
		spec.Entities = append(spec.Entities, &cloudstate.Entity{
			EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: "shop.v1." + name, PersistenceId: name,
			Methods: []*cloudstate.Method{{Name: "Echo"}, {Name: "Fail"}},
		})
	}
	c, err := catalog.New(spec, catalog.Options{MaxBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// services is a catalog that changes.
type services struct {
	mu  sync.Mutex
	now *catalog.Catalog
}

func (s *services) get() *catalog.Catalog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *services) set(c *catalog.Catalog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = c
}

// testLog writes to the test's log, and to nothing once the test is over.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over = true
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

type testWriter struct {
	t    testing.TB
	mu   sync.Mutex
	over bool
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.t.Logf("%s", b)
	}
	return len(b), nil
}
