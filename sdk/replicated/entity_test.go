package replicated_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

type (
	set  = *replicated.Set[string]
	turn = *replicated.Turn[set]
)

const (
	do     sdk.Method[string, []string]    = "test.v1.Set/Do"
	look   sdk.Method[string, []string]    = "test.v1.Set/Look"
	follow sdk.StreamOut[string, []string] = "test.v1.Set/Follow"
	other  sdk.Method[string, []string]    = "test.v1.Other/Do"
)

// entity runs f for Do, and what a test wants for the others.
func entity(f func(t turn, in string) error, w replicated.Watch[set, string, []string]) replicated.Entity[set] {
	if w.Next == nil {
		w.Next = func(s set, _ string) ([]string, bool, bool) { return slices.Collect(s.All()), true, true }
	}
	return replicated.Entity[set]{
		Service: "test.v1.Set",
		Commands: []replicated.Command[set]{
			replicated.Handle(do, func(_ context.Context, t turn, in string) ([]string, error) {
				if err := f(t, in); err != nil {
					return nil, err
				}
				return slices.Collect(t.Data().All()), nil
			}),
			replicated.Read(look, func(_ context.Context, s set, in string) ([]string, error) {
				if in != "" {
					s.Add(in)
				}
				return slices.Collect(s.All()), nil
			}),
			replicated.Stream(follow, w),
		},
	}
}

func add(t turn, in string) error {
	t.Data().Add(in)
	return nil
}

func TestFailuresTakeBack(t *testing.T) {
	t.Parallel()
	e := entity(func(t turn, in string) error {
		t.Data().Add(in)
		switch in {
		case "refuse":
			return sdk.Errorf(sdk.CodeNotFound, "no %s", in)
		case "fail":
			return errors.New("plain")
		case "panic":
			panic("secret")
		case "invalid":
			t.Data().Add("\xff")
		case "recovered":
			func() {
				defer func() { _ = recover() }()
				t.Data().Add("\xff")
			}()
		case "named":
			replicated.Effect(t, other.On("1", ""), sdk.Named("n"))
		case "level":
			t.Write(replicated.All + 1)
		case "metadata":
			t.SetMetadata("", "")
		case "twice":
			_, _ = replicated.Forward(t, other.On("1", ""))
			_, _ = replicated.Forward(t, other.On("1", ""))
		case "clear":
			t.Data().Remove("a")
			t.Data().Clear()
			return errors.New("cleared")
		}
		return nil
	}, replicated.Watch[set, string, []string]{})
	h := sdktest.New(t, e, "1")
	sdktest.Do(h, do, "a")
	for in, want := range map[string]struct {
		code sdk.Code
		text string
	}{
		"refuse":    {sdk.CodeNotFound, "no refuse"},
		"fail":      {sdk.CodeUnknown, "plain"},
		"panic":     {sdk.CodeInternal, "failed inside its handler"},
		"invalid":   {sdk.CodeInvalidArgument, "not valid UTF-8"},
		"recovered": {sdk.CodeInvalidArgument, "not valid UTF-8"},
		"named":     {sdk.CodeInternal, "failed inside its handler"},
		"level":     {sdk.CodeInternal, "failed inside its handler"},
		"metadata":  {sdk.CodeInternal, "failed inside its handler"},
		"twice":     {sdk.CodeInternal, "failed inside its handler"},
		"clear":     {sdk.CodeUnknown, "cleared"},
	} {
		got := sdktest.Do(h, do, in)
		if got.Err == nil || sdk.CodeOf(got.Err) != want.code || !strings.Contains(got.Err.Error(), want.text) || strings.Contains(got.Err.Error(), "secret") {
			t.Errorf("%s: %v", in, got.Err)
		}
		if len(got.Events) != 0 || len(got.Effects) != 0 || got.Forward != nil {
			t.Errorf("%s: %+v", in, got)
		}
		if d := cmp.Diff([]string{"a"}, sdktest.Do(h, look, "").Reply); d != "" {
			t.Errorf("%s leaves %s", in, d)
		}
	}
	if got := sdktest.Do(h, look, "b"); sdk.CodeOf(got.Err) != sdk.CodeInternal || sdktest.Data[set](h).Len() != 1 {
		t.Errorf("a reader has changed the data: %+v", got)
	}
}

func TestTurnIsOver(t *testing.T) {
	t.Parallel()
	var kept turn
	var data set
	h := sdktest.New(t, entity(func(t turn, in string) error {
		kept, data = t, t.Data()
		return nil
	}, replicated.Watch[set, string, []string]{}), "1")
	sdktest.Do(h, do, "")
	for name, f := range map[string]func(){
		"ID": func() { kept.ID() }, "Data": func() { kept.Data() }, "Delete": func() { kept.Delete() }, "Write": func() { kept.Write(replicated.All) },
		"Metadata": func() { kept.Metadata() }, "SetMetadata": func() { kept.SetMetadata("a", "b") }, "IdempotencyKey": func() { kept.IdempotencyKey() },
		"Effect": func() { replicated.Effect(kept, other.On("1", "")) }, "Forward": func() { _, _ = replicated.Forward(kept, other.On("1", "")) },
		"the data": func() { data.Add("x") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s works after the turn", name)
				}
			}()
			f()
		}()
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := replicated.Watch[set, string, []string]{
		Open: func(_ context.Context, t turn, in string) error {
			t.Data().Add("open " + in)
			switch in {
			case "refused":
				return sdk.Errorf(sdk.CodePermissionDenied, "not you")
			case "forward":
				_, _ = replicated.Forward(t, other.On("1", ""))
			case "delete":
				t.Delete()
			}
			return nil
		},
		Next: func(s set, in string) (out []string, send, more bool) {
			if s.Has("poison " + in) {
				panic("secret")
			}
			if s.Has("write " + in) {
				s.Add("written")
			}
			return []string{in}, !s.Has("quiet"), !s.Has("end " + in)
		},
		Effects: func(e *replicated.Effects, s set, in string) {
			if in == "effects" {
				replicated.Effect(e, other.On("1", in), sdk.Synchronous())
			}
			if in == "named" {
				replicated.Effect(e, other.On("1", in), sdk.Named("x"))
			}
		},
		Done: func(_ context.Context, t turn, in string) {
			t.Data().Remove("open " + in)
			if in == "poison" {
				panic("at the end")
			}
			replicated.Effect(t, other.On("2", in))
		},
	}
	e := entity(add, w)
	e.Write = replicated.Majority
	c := sdktest.Cluster(t, e, "1", 3)
	first := sdktest.Watch(c.Node(0), follow, "first")
	effects := sdktest.Watch(c.Node(0), follow, "effects")
	named := sdktest.Watch(c.Node(2), follow, "named")
	if got := first.Take(); len(got) != 3 || !got[0].Replied || got[0].Reply[0] != "first" {
		t.Errorf("the first is told %+v", got)
	}
	if got := effects.Take(); len(got) != 2 || len(got[0].Effects) != 0 || len(got[1].Effects) != 1 || !got[1].Effects[0].Synchronous {
		t.Errorf("effects: %+v", got)
	}
	if got := sdktest.Do(c.Node(1), do, "x"); got.Err != nil || got.Level != replicated.Majority {
		t.Errorf("%+v", got)
	}
	if got := named.Take(); len(got) != 2 || sdk.CodeOf(got[1].Err) != sdk.CodeInternal || !named.Ended() {
		t.Errorf("a named effect of a watch: %+v", got)
	}
	if got := first.Replies(); len(got) != 1 {
		t.Errorf("told %v", got)
	}
	for _, in := range []string{"refused", "forward"} {
		r := sdktest.Watch(c.Node(0), follow, in)
		if got := r.Take(); len(got) != 1 || got[0].Err == nil || !r.Ended() || sdktest.Data[set](c.Node(0)).Has("open "+in) {
			t.Errorf("%s: %+v", in, got)
		}
	}
	// A change that changes nothing is none.
	if got := sdktest.Do(c.Node(0), do, "x"); len(got.Events) != 0 || len(first.Take()) != 0 {
		t.Errorf("%+v", got)
	}
	// The end, by either side.
	sdktest.Do(c.Node(1), do, "end first")
	if got := first.Replies(); len(got) != 1 || !first.Ended() || !sdktest.Data[set](c.Node(0)).Has("open first") {
		t.Errorf("told %v", got)
	}
	effects.Take()
	if got := effects.Cancel(); len(got) != 1 || got[0].Service != "test.v1.Other" || sdktest.Data[set](c.Node(2)).Has("open effects") {
		t.Errorf("the end asks for %+v", got)
	}
	over := sdktest.Watch(c.Node(0), follow, "first")
	if got := over.Replies(); len(got) != 1 || !over.Ended() {
		t.Errorf("a stream that ends at once: %v, %t", got, over.Ended())
	}
	// Panics.
	write, poison := sdktest.Watch(c.Node(0), follow, "write"), sdktest.Watch(c.Node(0), follow, "poison")
	if poison.Cancel(); !sdktest.Data[set](c.Node(0)).Has("open poison") {
		t.Error("an end that panics has changed the data")
	}
	poison = sdktest.Watch(c.Node(0), follow, "poison")
	poison.Take()
	write.Take()
	sdktest.Do(c.Node(0), do, "poison poison")
	sdktest.Do(c.Node(0), do, "write write")
	for _, w := range []*sdktest.Watching[[]string]{poison, write} {
		got := w.Take()
		if last := got[len(got)-1]; sdk.CodeOf(last.Err) != sdk.CodeInternal || strings.Contains(last.Err.Error(), "secret") || !w.Ended() {
			t.Errorf("a panic: %+v", got)
		}
	}
	sdktest.Do(c.Node(0), do, "quiet")
	silent := sdktest.Watch(c.Node(0), follow, "silent")
	if got := silent.Take(); len(got) != 0 || silent.Ended() {
		t.Errorf("a silent stream: %+v", got)
	}
	deleting := sdktest.Watch(c.Node(1), follow, "delete")
	if !deleting.Ended() || !silent.Ended() || sdktest.Data[set](c.Node(0)).Len() != 0 {
		t.Error("the deleted entity goes on")
	}
	c.Converge()
}

func TestStreamedAndNot(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(add, replicated.Watch[set, string, []string]{}), "1")
	if got := sdktest.Do(h, sdk.Method[string, []string](follow), ""); sdk.CodeOf(got.Err) != sdk.CodeUnimplemented {
		t.Errorf("a streamed command that is called as another: %+v", got)
	}
	w := sdktest.Watch(h, sdk.StreamOut[string, []string](do), "a")
	if got := w.Replies(); len(got) != 1 || !w.Ended() {
		t.Errorf("a command that is called as a streamed one: %v", got)
	}
}

func TestDefinitionProblems(t *testing.T) {
	t.Parallel()
	server := sdk.NewServer(sdk.Config{})
	type wrong struct{ Any any }
	const (
		bad  sdk.Method[func(), string]      = "test.v1.Bad/Bad"
		twin sdk.StreamOut[string, []string] = "test.v1.Bad/Twin"
	)
	type data = *replicated.Map[json.RawMessage, *replicated.Map[*structpb.Struct, *replicated.Set[wrong]]]
	err := server.Register(
		replicated.Entity[data]{
			Service: "bad", PersistenceID: "\n", Idle: -time.Second, Write: 7,
			Commands: []replicated.Command[data]{
				{},
				replicated.Handle[data](do, nil),
				replicated.Handle[data, func(), string](bad, nil),
				replicated.Stream(twin, replicated.Watch[data, string, []string]{}),
			},
		},
		replicated.Entity[replicated.Data]{Service: "test.v1.NoNew"},
		replicated.Entity[*replicated.Map[*anypb.Any, replicated.Data]]{Service: "test.v1.NoMap"},
		replicated.Entity[*replicated.Register[chan int]]{Service: "test.v1.Register"},
		replicated.Entity[*replicated.GSet[*wrapperspb.StringValue]]{Service: "test.v1.Fine", Commands: []replicated.Command[*replicated.GSet[*wrapperspb.StringValue]]{
			replicated.Handle("test.v1.Fine/Do", func(context.Context, *replicated.Turn[*replicated.GSet[*wrapperspb.StringValue]], *emptypb.Empty) (*emptypb.Empty, error) {
				return new(emptypb.Empty), nil
			}),
		}},
	)
	if err == nil {
		t.Fatal("no problem is seen")
	}
	for _, want := range []string{
		"bad: PersistenceID", "bad: Idle", "bad: Write is 7", "command 0 was made neither by Handle nor by Read nor by Stream",
		"bad: command test.v1.Set/Do belongs to another service", "belongs to another service",
		"bad: the data: a map's keys: json.RawMessage is json.RawMessage, which has many spellings",
		"bad: the data: a map's keys: google.protobuf.Struct.fields is a map",
		"bad: the data: a set's elements: replicated_test.wrong.Any is interface {}",
		"test.v1.NoNew: the data: replicated.Data is none of the types of this package",
		"test.v1.NoMap: the data: a map's keys: google.protobuf.Any has no encoding of its own",
		"test.v1.NoMap: the data: a map's entries: replicated.Data is none",
		"test.v1.Register: the data: a register's value: chan int has the type chan int",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no problem with %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "test.v1.Fine") {
		t.Error(err)
	}
	for want, d := range map[string]sdk.Definition{
		"input: func()":     replicated.Entity[set]{Service: "test.v1.Bad", Commands: []replicated.Command[set]{replicated.Handle[set, func(), string](bad, nil)}},
		"Watch has no Next": replicated.Entity[set]{Service: "test.v1.Bad", Commands: []replicated.Command[set]{replicated.Stream(twin, replicated.Watch[set, string, []string]{})}},
		"listed twice": replicated.Entity[set]{Service: "test.v1.Set", Commands: append(entity(add, replicated.Watch[set, string, []string]{}).Commands,
			replicated.Read(look, func(context.Context, set, string) ([]string, error) { return nil, nil }))},
	} {
		if _, err := d.Definition(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no problem with %q: %v", want, err)
		}
	}
}
