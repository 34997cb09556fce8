package eventsourced_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

const service = "test.Counter"

type (
	counter struct {
		N    int
		Last string
	}
	added    struct{ N int }
	noted    struct{ Text string }
	unlisted struct{}
	fragile  struct{ X any }
	turn     = eventsourced.Turn[counter]
)

const (
	add     sdk.Method[int, int]           = service + "/Add"
	note    sdk.Method[string, struct{}]   = service + "/Note"
	do      sdk.Method[string, struct{}]   = service + "/Do"
	missing sdk.Method[struct{}, struct{}] = service + "/Missing"
)

// entity is a counter; the command Do runs what the test wants.
func entity(f func(*turn) error) eventsourced.Entity[counter] {
	return eventsourced.Entity[counter]{
		Service: service,
		Commands: []eventsourced.Command[counter]{
			eventsourced.Handle(add, func(_ context.Context, t *turn, n int) (int, error) {
				t.Emit(added{n})
				return t.State().N, nil
			}),
			eventsourced.Handle(note, func(_ context.Context, t *turn, s string) (struct{}, error) {
				t.Emit(&noted{s})
				return struct{}{}, nil
			}),
			eventsourced.Handle(do, func(_ context.Context, t *turn, _ string) (struct{}, error) { return struct{}{}, f(t) }),
		},
		Events: []eventsourced.Event[counter]{
			eventsourced.On("added", func(c *counter, e added) {
				if e.N == 13 {
					panic("unlucky")
				}
				c.N += e.N
			}),
			eventsourced.On("noted", func(c *counter, e noted) { c.Last = e.Text }),
			eventsourced.On("fragile", func(*counter, fragile) {}),
		},
		SnapshotEvery: 3,
	}
}

func TestEmitAppliesAtOnce(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(func(tn *turn) error {
		if tn.ID() != "c-1" || tn.Sequence() != 2 || tn.State().N != 5 {
			t.Errorf("%s at %d has %d", tn.ID(), tn.Sequence(), tn.State().N)
		}
		tn.Emit(added{4})
		if tn.Sequence() != 3 || tn.State().N != 9 {
			t.Errorf("after Emit: at %d has %d", tn.Sequence(), tn.State().N)
		}
		return nil
	}), "c-1")
	h.Given(added{2}, added{3})
	got := sdktest.Do(h, do, "")
	if got.Err != nil || !got.Snapshot {
		t.Errorf("got %+v, want a snapshot at event 3", got)
	}
	h.Reopen()
	if n := sdktest.State[counter](h).N; n != 9 {
		t.Errorf("N = %d, want 9", n)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	const neutral = "Do of test.Counter failed inside its handler; the log of the service has the details"
	tests := []struct {
		name      string
		f         func(*turn) error
		code      sdk.Code
		text      string
		restarted bool
	}{
		{"coded", func(*turn) error { return sdk.Errorf(sdk.CodeNotFound, "no %s", "tea") }, sdk.CodeNotFound, "no tea", false},
		{"plain", func(*turn) error { return errors.New("no") }, sdk.CodeUnknown, "no", false},
		{"deadline", func(*turn) error { return context.DeadlineExceeded }, sdk.CodeDeadlineExceeded, "context deadline exceeded", false},
		{"without text", func(*turn) error { return &sdk.Error{Code: sdk.CodeAborted} }, sdk.CodeAborted, "ABORTED", false},
		{"after emit", func(t *turn) error { t.Emit(added{1}); return errors.New("no") }, sdk.CodeUnknown, "no", true},
		{"panic", func(*turn) error { panic("secret") }, sdk.CodeInternal, neutral, true},
		{"panic after emit", func(t *turn) error { t.Emit(added{1}); panic("secret") }, sdk.CodeInternal, neutral, true},
		{"panic of an applier", func(t *turn) error { t.Emit(added{13}); return nil }, sdk.CodeInternal, neutral, true},
		{"unlisted event", func(t *turn) error { t.Emit(unlisted{}); return nil }, sdk.CodeInternal, neutral, true},
		{"nil event", func(t *turn) error { t.Emit(nil); return nil }, sdk.CodeInternal, neutral, true},
		{"event that JSON refuses", func(t *turn) error { t.Emit(fragile{make(chan int)}); return nil }, sdk.CodeInternal, neutral, true},
		{"refused event, recovered", func(t *turn) error {
			defer func() { _ = recover() }()
			t.Emit(unlisted{})
			return nil
		}, sdk.CodeInternal, neutral, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, entity(test.f), "c")
			h.Given(added{5})
			got := sdktest.Do(h, do, "")
			if sdk.CodeOf(got.Err) != test.code || got.Err.Error() != test.text || got.Restarted != test.restarted {
				t.Errorf("got %v %v, restarted %v", sdk.CodeOf(got.Err), got.Err, got.Restarted)
			}
			if len(got.Events) != 0 || len(h.Journal()) != 1 {
				t.Errorf("events %v, journal %v", got.Events, h.Journal())
			}
			if after := sdktest.Do(h, add, 2); after.Reply != 7 || after.Err != nil {
				t.Errorf("afterwards %+v, want 7", after)
			}
		})
	}
}

func TestPointerIsNotTheListedType(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(nil), "c")
	if got := sdktest.Do(h, note, "x"); sdk.CodeOf(got.Err) != sdk.CodeInternal {
		t.Errorf("got %+v", got)
	}
}

func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(nil), "c")
	got := sdktest.Do(h, missing, struct{}{})
	if sdk.CodeOf(got.Err) != sdk.CodeUnimplemented || !strings.Contains(got.Err.Error(), "it has Add, Do, Note") || got.Restarted {
		t.Errorf("got %+v", got)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(nil), "c")
	const other sdk.Method[string, int] = service + "/Add"
	got := sdktest.Do(h, other, "two")
	if sdk.CodeOf(got.Err) != sdk.CodeInvalidArgument || strings.Contains(got.Err.Error(), "two") {
		t.Errorf("got %+v", got)
	}
}

func TestTurnEndsWithItsHandler(t *testing.T) {
	t.Parallel()
	var kept *turn
	h := sdktest.New(t, entity(func(t *turn) error { kept = t; return nil }), "c")
	sdktest.Do(h, do, "")
	for name, use := range map[string]func(){
		"ID": func() { kept.ID() }, "State": func() { kept.State() }, "Emit": func() { kept.Emit(added{}) },
		"Sequence": func() { kept.Sequence() }, "Metadata": func() { kept.Metadata() }, "IdempotencyKey": func() { kept.IdempotencyKey() },
	} {
		func() {
			defer func() {
				if v := recover(); v != "eventsourced: the Turn was used after its handler had returned" {
					t.Errorf("%s: %v", name, v)
				}
			}()
			use()
		}()
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		every int
		want  []bool // after each event
	}{{0, make([]bool, 9)}, {-3, make([]bool, 9)}, {3, []bool{false, false, true, false, false, true, false, false, true}}, {1, []bool{true, true}}} {
		e := entity(nil)
		e.SnapshotEvery = test.every
		h := sdktest.New(t, e, "c")
		for i, want := range test.want {
			if got := sdktest.Do(h, add, 1); got.Snapshot != want {
				t.Errorf("every %d: snapshot after event %d is %v", test.every, i+1, got.Snapshot)
			}
		}
	}
	e := entity(nil)
	e.SnapshotEvery = 0
	h := sdktest.New(t, e, "c")
	for range 99 {
		sdktest.Do(h, add, 1)
	}
	if !sdktest.Do(h, add, 1).Snapshot {
		t.Error("no snapshot after the default of 100 events")
	}
}

func TestProblemsAreReportedTogether(t *testing.T) {
	t.Parallel()
	type closed struct{ n int }
	const elsewhere sdk.Method[struct{}, struct{}] = "test.Other/Do"
	const nowhere sdk.Method[struct{}, closed] = "Do"
	handler := func(context.Context, *turn, struct{}) (struct{}, error) { return struct{}{}, nil }
	bad := eventsourced.Entity[counter]{
		Service:       service,
		PersistenceID: "a\nb",
		Idle:          time.Microsecond,
		Commands: []eventsourced.Command[counter]{
			{},
			eventsourced.Handle(elsewhere, handler),
			eventsourced.Handle(missing, handler),
			eventsourced.Handle(missing, handler),
			eventsourced.Handle[counter](nowhere, nil),
			eventsourced.Handle[counter](add, nil),
		},
		Events: []eventsourced.Event[counter]{
			{},
			eventsourced.On("a", func(*counter, added) {}),
			eventsourced.On("a", func(*counter, noted) {}),
			eventsourced.On("b", func(*counter, added) {}),
			eventsourced.On("c d", func(*counter, closed) {}),
			eventsourced.On("e", func(*counter, string) {}),
			eventsourced.On[counter, unlisted]("f", nil),
		},
	}
	pointer := eventsourced.Entity[*tckmodel.Persisted]{Service: "no name", Commands: []eventsourced.Command[*tckmodel.Persisted]{}}
	lossy := eventsourced.Entity[closed]{Service: "test.Lossy", Commands: []eventsourced.Command[closed]{eventsourced.Handle(
		sdk.Method[struct{}, struct{}]("test.Lossy/Do"), func(context.Context, *eventsourced.Turn[closed], struct{}) (struct{}, error) { return struct{}{}, nil })}}
	wrong := eventsourced.Entity[counter]{Service: tckmodel.Model.Service, PersistenceID: service, Commands: []eventsourced.Command[counter]{
		eventsourced.Handle(sdk.Method[struct{}, *tckmodel.Request]("cloudstate.tck.model.EventSourcedTckModel/Process"),
			func(context.Context, *turn, struct{}) (*tckmodel.Request, error) { return nil, nil }),
		eventsourced.Handle(sdk.Method[struct{}, struct{}]("cloudstate.tck.model.EventSourcedTckModel/Process2"), handler)}}
	half := tckmodel.Two
	half.Commands = nil

	good := entity(nil)
	server := sdk.NewServer(sdk.Config{})
	err := server.Register(bad, pointer, lossy, wrong, half, nil, good)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`test.Counter: PersistenceID "a\nb" contains a control character`,
		`test.Counter: Idle is 1µs, want a positive number of milliseconds`,
		`test.Counter: command 0 was not made by Handle`,
		`test.Counter: command test.Other/Do belongs to another service`,
		`test.Counter: command Missing is listed twice`,
		`test.Counter: command /Do belongs to another service`,
		`test.Counter: command Add: the handler is nil`,
		`test.Counter: event 0 was not made by On`,
		`test.Counter: event name "a" is listed twice`,
		`test.Counter: event type eventsourced_test.added is listed twice, as "a" and "b"`,
		`test.Counter: event "c d": a name has 1 to 128 bytes and neither space nor slash`,
		`eventsourced_test.closed.n is unexported`,
		`test.Counter: event "e": string is neither a struct nor a pointer to a protobuf message`,
		`test.Counter: event "f": the applier is nil`,
		`no name: Service "no name" is not a full name such as shop.v1.ShoppingCart`,
		`no name: there are no Commands`,
		`no name: the state is *tckmodel.Persisted: use tckmodel.Persisted`,
		`test.Lossy: the state cannot be stored in a snapshot`,
		`EventSourcedTckModel: command Process: the input is JSON, the protobuf method wants cloudstate.tck.model.Request`,
		`EventSourcedTckModel: command Process: the reply is cloudstate.tck.model.Request, the protobuf method wants cloudstate.tck.model.Response`,
		`EventSourcedTckModel: command Process2: the protobuf service has no such method`,
		`EventSourcedTwo: the protobuf method Call has no handler`,
		`definition 5 is nil`,
		`test.Counter: registered twice`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	if served := server.ListenAndServe(t.Context(), "127.0.0.1:0"); served == nil || !strings.Contains(served.Error(), "definition 5 is nil") {
		t.Errorf("serve: %v", served)
	}
	same := sdk.NewServer(sdk.Config{})
	good.PersistenceID = "x"
	two := tckmodel.Two
	two.PersistenceID = "x"
	if err := same.Register(good, two); err == nil || !strings.Contains(err.Error(), `the PersistenceID "x" is also that of test.Counter`) {
		t.Error(err)
	}
}
