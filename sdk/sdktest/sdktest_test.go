package sdktest_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a testing.TB that keeps what would have failed the test.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any)                 { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }

// record runs f and returns what it reported.
func record(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(r) })
	wg.Wait()
	return strings.Join(r.said, "\n")
}

type (
	state struct {
		Names  []string
		Counts map[string]int
		At     time.Time
		Cache  int `json:"-"`
	}
	named struct {
		Name  string
		Extra any
	}
	turn = eventsourced.Turn[state]
)

const service = "test.Names"

const (
	do    sdk.Method[string, []string] = service + "/Do"
	other sdk.Method[string, []string] = "test.Other/Do"
)

// entity applies its one event by apply and handles its one command by handle.
func entity(apply func(*state, named), handle func(*turn, string) error) eventsourced.Entity[state] {
	return eventsourced.Entity[state]{
		Service: service,
		Commands: []eventsourced.Command[state]{eventsourced.Handle(do, func(_ context.Context, t *turn, in string) ([]string, error) {
			return slices.Clone(t.State().Names), handle(t, in)
		})},
		Events: []eventsourced.Event[state]{eventsourced.On("named", apply)},
		New:    func() *state { return &state{Counts: map[string]int{}} },
	}
}

func keep(s *state, e named) { s.Names = append(s.Names, e.Name); s.Counts[e.Name]++ }

func emit(t *turn, in string) error { t.Emit(named{Name: in}); return nil }

func TestFindsWhatReplayWouldNot(t *testing.T) {
	t.Parallel()
	var clock int
	tests := []struct {
		name   string
		entity eventsourced.Entity[state]
		want   string
	}{
		{"sound", entity(keep, emit), ""},
		{"a handler that changes the state", entity(keep, func(t *turn, in string) error {
			t.State().Names = append(t.State().Names, in)
			return nil
		}), "state.Names has 1 elements, replayed 0"},
		{"a failing handler that changes the state", entity(keep, func(t *turn, in string) error {
			t.State().Counts["100%"] = 1
			return sdk.Errorf(sdk.CodeAborted, "no")
		}), `state.Counts[100%] is 1, replayed missing`},
		{"an applier that reads the clock", entity(func(s *state, e named) {
			clock++
			s.At = time.Unix(int64(clock), 0)
		}, emit), "state.At is"},
		{"an event that its encoding changes", entity(func(s *state, e named) {
			s.Names = append(s.Names, fmt.Sprintf("%T", e.Extra))
		}, func(t *turn, in string) error { t.Emit(named{Extra: 5}); return nil }), `state.Names[0] is "int", replayed "float64"`},
		{"a state that its snapshot changes", entity(func(s *state, e named) { s.Cache++ }, emit), "state.Cache is 1, restored 0"},
		{"a snapshot that replaces what New makes", entity(func(s *state, e named) { s.Counts = nil }, emit), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := record(t, func(t testing.TB) { sdktest.Do(sdktest.New(t, test.entity, "n"), do, "a") })
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("reported %q, want %q", got, test.want)
			}
		})
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	e := entity(keep, emit)
	for want, f := range map[string]func(testing.TB){
		"belongs to another service":                  func(t testing.TB) { sdktest.Do(sdktest.New(t, e, "n"), other, "") },
		"there are no Commands":                       func(t testing.TB) { sdktest.New(t, eventsourced.Entity[state]{Service: "a.B"}, "n") },
		"the state is *sdktest_test.state, want *int": func(t testing.TB) { sdktest.State[int](sdktest.New(t, e, "n")) },
		"given int": func(t testing.TB) { sdktest.New(t, e, "n").Given(5) },
		"the applier panicked": func(t testing.TB) {
			sdktest.New(t, entity(func(*state, named) { panic("x") }, emit), "n").Given(named{})
		},
	} {
		if got := record(t, f); !strings.Contains(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
	}
}

func TestReopenGoesOnFromTheSnapshot(t *testing.T) {
	t.Parallel()
	replayed := 0
	e := entity(func(s *state, v named) { replayed++; keep(s, v) }, emit)
	e.SnapshotEvery = 2
	h := sdktest.New(t, e, "n")
	h.Given(named{Name: "a"})
	if got := sdktest.Do(h, do, "b"); !got.Snapshot || got.Restarted || !slices.Equal(got.Events, []string{"named"}) {
		t.Errorf("got %+v", got)
	}
	sdktest.Do(h, do, "c")
	replayed = 0
	h.Reopen()
	if replayed != 1 {
		t.Errorf("replayed %d events, want the one after the snapshot", replayed)
	}
	if s := sdktest.State[state](h); !slices.Equal(s.Names, []string{"a", "b", "c"}) || !maps.Equal(s.Counts, map[string]int{"a": 1, "b": 1, "c": 1}) {
		t.Errorf("state %+v", s)
	}
	h.Snapshot()
	replayed = 0
	h.Reopen()
	if replayed != 0 {
		t.Errorf("replayed %d events, want none", replayed)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	conn := sdktest.Serve(t, entity(keep, emit))
	spec, err := cloudstate.NewEntityDiscoveryClient(conn).Discover(t.Context(), new(cloudstate.ProxyInfo))
	if err != nil || spec.GetEntities()[0].GetServiceName() != service {
		t.Error(spec, err)
	}
}
