package sdktest_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
	"github.com/dapr-entities/entities/sdk/value"
)

type (
	note  struct{ Text string }
	tnote = value.Turn[note]
)

const (
	write  sdk.Method[string, string]                  = "test.Notes/Write"
	share  sdk.Method[string, string]                  = "test.Notes/Share"
	remind sdk.Method[int, struct{}]                   = "test.Notes/Remind"
	store  sdk.Method[*wrapperspb.StringValue, string] = "test.Store/Put"
)

var notes = value.Entity[note]{Service: "test.Notes", Commands: []value.Command[note]{
	value.Handle(write, func(_ context.Context, t *tnote, text string) (string, error) { t.Set(note{text}); return text, nil }),
	value.Handle(share, func(_ context.Context, t *tnote, with string) (string, error) {
		return value.Forward(t, write.On(with, "shared"))
	}),
	value.Handle(remind, func(_ context.Context, t *tnote, seconds int) (struct{}, error) {
		value.Effect(t, write.On(t.ID(), "remember"), sdk.After(time.Duration(seconds)*time.Second))
		value.Effect(t, store.On("s", wrapperspb.String("<a b>")))
		return struct{}{}, nil
	}),
}}

// Protobuf inputs are shown as JSON that is the same on every run.
func TestEffectsOfMessages(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, notes, "n")
	got := sdktest.Do(h, remind, 1).Effects
	want := []sdktest.Effect{
		{Call: sdktest.Call{Service: "test.Notes", Method: "Write", ID: "n", Input: `"remember"`}, After: time.Second},
		{Call: sdktest.Call{Service: "test.Store", Method: "Put", ID: "s", Input: `"\u003ca b\u003e"`}},
	}
	want[1].Input = sdktest.CallOf(t, store.On("s", wrapperspb.String("<a b>"))).Input
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if in := sdktest.Input(t, store, got[1].Call); in.GetValue() != "<a b>" {
		t.Errorf("the input is %v", in)
	}
}

func TestValueHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	h := sdktest.New(t, notes, "n")
	h.Given(note{"a"}, nil)
	if _, exists := sdktest.Value[note](h); exists {
		t.Error("a deleted note exists")
	}
	sdktest.Do(h, write, "b")
	h.WriteFile(path)
	again := sdktest.New(t, notes, "n")
	again.GivenFile(path)
	if n, exists := sdktest.Value[note](again); !exists || n.Text != "b" || !slices.Equal(again.Journal(), []string{"updated", "deleted", "updated"}) {
		t.Errorf("%v %v", n, again.Journal())
	}
}

// worse is a value that another encoding makes of it each time, or that cannot be read back.
type worse struct{ text string }

func (w worse) MarshalJSON() ([]byte, error) { return json.Marshal(w.text + "!") }
func (w *worse) UnmarshalJSON(b []byte) error {
	err := json.Unmarshal(b, &w.text)
	if strings.HasPrefix(w.text, "bad") {
		panic("secret")
	}
	return err
}

func TestFindsValuesThatDoNotLast(t *testing.T) {
	t.Parallel()
	const put sdk.Method[string, struct{}] = "test.Worse/Put"
	e := value.Entity[worse]{Service: "test.Worse", Commands: []value.Command[worse]{
		value.Handle(put, func(_ context.Context, t *value.Turn[worse], in string) (struct{}, error) {
			t.Set(worse{in})
			return struct{}{}, nil
		}),
	}}
	got := record(t, func(t testing.TB) { sdktest.Do(sdktest.New(t, e, "w"), put, "a") })
	if want := `the value changes when it is stored again: state.text is "a!", then "a!!"`; !strings.Contains(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
	got = record(t, func(t testing.TB) { sdktest.Do(sdktest.New(t, e, "w"), put, "bad") })
	if want := "test.Worse/w: panic: secret"; !strings.Contains(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func TestMisuseOfValues(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(broken, []byte(`{"name":"updated","of":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]func(testing.TB){
		"test.Notes is a value entity: use Value":      func(t testing.TB) { sdktest.State[note](sdktest.New(t, notes, "n")) },
		"the value is sdktest_test.note, want int":     func(t testing.TB) { sdktest.Value[int](sdktest.New(t, notes, "n")) },
		"test.Names is not a value entity: use State":  func(t testing.TB) { sdktest.Value[int](sdktest.New(t, entity(keep, emit), "n")) },
		"a value entity has no snapshots":              func(t testing.TB) { sdktest.New(t, notes, "n").Snapshot() },
		"given int: the value of test.Notes is":        func(t testing.TB) { sdktest.New(t, notes, "n").Given(5) },
		"no such file":                                 func(t testing.TB) { sdktest.New(t, notes, "n").GivenFile("none.jsonl") },
		`event 1: json: unknown field "of"`:            func(t testing.TB) { sdktest.New(t, notes, "n").GivenFile(broken) },
		"there are none":                               func(t testing.TB) { sdktest.New(t, notes, "n").GivenFile(empty) },
		"the call is one of a.B/c, not of test.Notes/": func(t testing.TB) { sdktest.Input(t, write, sdktest.Call{Service: "a.B", Method: "c"}) },
		"test.Notes/Write: decode the input": func(t testing.TB) {
			sdktest.Input(t, write, sdktest.Call{Service: "test.Notes", Method: "Write", Input: "{"})
		},
	} {
		if got := record(t, f); !strings.Contains(got, want) {
			t.Errorf("reported %q, want %q", got, want)
		}
	}
}
