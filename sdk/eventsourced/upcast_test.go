package eventsourced_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// ledger has come to note3, by way of two other shapes.
type (
	ledger struct{ Notes []string }
	note1  struct{ Text string }
	note2  struct{ Lines []string }
	note3  struct {
		Lines []string
		By    string
	}
	struck struct{ Last int }
)

const (
	writeNote sdk.Method[string, int]   = "test.Ledger/Write"
	strike    sdk.Method[int, struct{}] = "test.Ledger/Strike"
)

var ledgers = eventsourced.Entity[ledger]{
	Service: "test.Ledger",
	Commands: []eventsourced.Command[ledger]{
		eventsourced.Handle(writeNote, func(_ context.Context, t *eventsourced.Turn[ledger], text string) (int, error) {
			t.Emit(note3{Lines: []string{text}, By: "now"})
			return len(t.State().Notes), nil
		}),
		eventsourced.Handle(strike, func(_ context.Context, t *eventsourced.Turn[ledger], n int) (struct{}, error) {
			t.Emit(struck{n})
			return struct{}{}, nil
		}),
	},
	Events: []eventsourced.Event[ledger]{
		eventsourced.On("noted.v3", func(l *ledger, e note3) {
			l.Notes = append(l.Notes, strings.Join(e.Lines, "/")+" by "+e.By)
		}),
		eventsourced.On("struck", func(l *ledger, e struck) { l.Notes = l.Notes[:len(l.Notes)-e.Last] }),
		eventsourced.On("texted", func(l *ledger, e *wrapperspb.StringValue) { l.Notes = append(l.Notes, e.GetValue()) }),
	},
	Upcasters: []eventsourced.Upcaster{
		eventsourced.Upcast("noted.v2", func(e note2) note3 { return note3{e.Lines, "somebody"} }),
		eventsourced.Upcast("noted", func(e note1) note2 { return note2{[]string{e.Text}} }),
		eventsourced.Renamed("written", "noted"),
		eventsourced.Renamed("penned", "written"),
		eventsourced.Renamed("crossed-out", "struck"),
		// The name is that of today; the type of the message says which is which.
		eventsourced.Upcast("texted", func(e *wrapperspb.BytesValue) *wrapperspb.StringValue { return wrapperspb.String(string(e.GetValue())) }),
		eventsourced.Upcast("counted", func(e *wrapperspb.Int64Value) *wrapperspb.BytesValue {
			return wrapperspb.Bytes(fmt.Append(nil, e.GetValue()))
		}),
	},
}

func TestStoredEventsOfThePast(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		events []string
		want   string
	}{
		{"as of today", []string{jsonEvent("noted.v3", "", `{"Lines":["a","b"],"By":"me"}`)}, "a/b by me"},
		{"one step", []string{jsonEvent("noted.v2", "", `{"Lines":["a","b"]}`)}, "a/b by somebody"},
		{"two steps", []string{jsonEvent("noted", "", `{"Text":"a"}`)}, "a by somebody"},
		{"renamed, then two steps", []string{jsonEvent("written", "", `{"Text":"a"}`)}, "a by somebody"},
		{"renamed twice", []string{jsonEvent("penned", "", `{"Text":"a"}`)}, "a by somebody"},
		{"renamed", []string{jsonEvent("noted", "", `{"Text":"a"}`), jsonEvent("noted", "", `{"Text":"b"}`), jsonEvent("crossed-out", "", `{"Last":1}`)}, "a by somebody"},
		{"by the type alone", []string{jsonEvent("", "noted", `{"Text":"a"}`), jsonEvent("", "penned", `{"Text":"b"}`)}, "a by somebody,b by somebody"},
		{"a name that another journal gave", []string{jsonEvent("test.Noted", "noted.v2", `{"Lines":["a"]}`)}, "a by somebody"},
		{"a message of today", []string{protoEvent("texted", wrapperspb.String("t"))}, "t"},
		{"another message under the same name", []string{protoEvent("texted", wrapperspb.Bytes([]byte("b")))}, "b"},
		{"a message by its type alone", []string{protoEvent("", wrapperspb.Int64(7)), protoEvent("", wrapperspb.Bytes([]byte("b")))}, "7,b"},
		{"a chain of messages", []string{protoEvent("counted", wrapperspb.Int64(7))}, "7"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, ledgers, "l")
			path := filepath.Join(t.TempDir(), "events.jsonl")
			if err := os.WriteFile(path, []byte(strings.Join(test.events, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			h.GivenFile(path)
			if got := strings.Join(sdktest.State[ledger](h).Notes, ","); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			// What comes now goes on from there, in today's shape.
			sdktest.Do(h, writeNote, "new")
			if names := h.Journal(); names[len(names)-1] != "noted.v3" {
				t.Errorf("journal %v", names)
			}
		})
	}
}

func jsonEvent(name, typ, text string) string {
	if typ == "" {
		typ = name
	}
	payload := append([]byte{0x0a, byte(len(text))}, text...)
	return fmt.Sprintf(`{"name":%q,"type":%q,"payload":%q}`, name, codec.JSONPrefix+typ, base64.StdEncoding.EncodeToString(payload))
}

func protoEvent(name string, m proto.Message) string {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	typ := codec.ProtobufPrefix + string(m.ProtoReflect().Descriptor().FullName())
	return fmt.Sprintf(`{"name":%q,"type":%q,"payload":%q}`, name, typ, base64.StdEncoding.EncodeToString(b))
}

func TestProblemsOfUpcasters(t *testing.T) {
	t.Parallel()
	type (
		a struct{ A int }
		b struct{ B int }
		c struct{ C int }
		d struct{ d int }
		e struct{ E int }
		f struct{ F int }
	)
	bad := ledgers
	bad.Upcasters = []eventsourced.Upcaster{
		{},
		eventsourced.Upcast[a, note3]("no conversion", nil),
		eventsourced.Upcast("string", func(string) note3 { return note3{} }),
		eventsourced.Upcast("lossy", func(d) note3 { return note3{} }),
		eventsourced.Upcast("noted.v3", func(a) note3 { return note3{} }),
		eventsourced.Renamed("struck", "noted.v3"),
		eventsourced.Upcast("nowhere", func(e) f { return f{} }),
		eventsourced.Upcast("to-pointer", func(struct{ P int }) *note3 { return nil }),
		eventsourced.Renamed("lost", "noted.v9"),
		eventsourced.Upcast("circle-1", func(a) b { return b{} }),
		eventsourced.Upcast("circle-2", func(b) a { return a{} }),
		eventsourced.Renamed("round-1", "round-2"),
		eventsourced.Renamed("round-2", "round-1"),
		eventsourced.Renamed("self", "self"),
		eventsourced.Upcast("twice", func(c) note3 { return note3{} }),
		eventsourced.Upcast("twice", func(c) note3 { return note3{} }),
		eventsourced.Upcast("texted", func(*wrapperspb.StringValue) note3 { return note3{} }),
		eventsourced.Upcast("one", func(note1) note3 { return note3{} }),
		eventsourced.Upcast("other", func(note1) note3 { return note3{} }),
		eventsourced.Upcast("either", func(note2) note1 { return note1{} }),
	}
	_, err := bad.Definition()
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{
		`upcaster 0 was made neither by Upcast nor by Renamed`,
		`upcaster "no conversion": a name has 1 to 128 bytes and neither space nor slash`,
		`the conversion is nil`,
		`upcaster "string": string is neither a struct nor a pointer to a protobuf message`,
		`upcaster "lossy": eventsourced_test.d.d is unexported`,
		`upcaster "noted.v3": an event has this name too; a reshaped JSON event needs a new one`,
		`upcaster "struck": an event has this name too`,
		`upcaster "nowhere": neither an event nor an upcaster takes eventsourced_test.f`,
		`upcaster "to-pointer": neither an event nor an upcaster takes *eventsourced_test.note3`,
		`upcaster "lost": neither an event nor an upcaster takes "noted.v9"`,
		`upcaster "circle-1": it goes round in a circle: circle-1 → circle-2 → circle-1`,
		`upcaster "round-1": it goes round in a circle: round-1 → round-2 → round-1`,
		`upcaster "self": it goes round in a circle: self → self`,
		`upcaster "twice": it is listed twice`,
		`upcaster "texted": an event has this name too`,
		`upcaster "either": eventsourced_test.note1 is taken by more than one upcaster, "one" and "other"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
