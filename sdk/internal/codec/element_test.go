package codec

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	name  string
	point struct {
		Y int `json:"y"`
		X int `json:"x"`
	}
)

func element[E any](t testing.TB) *Element[E] {
	t.Helper()
	e, err := ElementOf[E]("element")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// roundTrip checks the encoding of a value, and that it comes back.
func roundTrip[E any](t *testing.T, v E, url, value string) {
	t.Helper()
	e := element[E](t)
	raw, err := e.Encode(v)
	if want := (Raw{url, value}); err != nil || raw != want {
		t.Errorf("%v is encoded as %q, %v, want %q", v, raw, err, want)
	}
	got, err := e.Decode(raw)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%#v comes back as %#v, %v", v, got, err)
	}
	if got := RawOf(raw.Any()); got != raw {
		t.Errorf("%q is %q as a payload", raw, got)
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	roundTrip(t, "a", "p.cloudstate.io/string", "\x0a\x01a")
	roundTrip(t, name(""), "p.cloudstate.io/string", "")
	roundTrip(t, []byte("a"), "p.cloudstate.io/bytes", "\x0a\x01a")
	roundTrip(t, true, "p.cloudstate.io/bool", "\x08\x01")
	roundTrip(t, false, "p.cloudstate.io/bool", "")
	roundTrip(t, 1, "p.cloudstate.io/int64", "\x08\x01")
	roundTrip(t, int64(-1), "p.cloudstate.io/int64", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	roundTrip(t, int32(-1), "p.cloudstate.io/int32", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	roundTrip(t, int32(0), "p.cloudstate.io/int32", "")
	roundTrip(t, float32(1), "p.cloudstate.io/float", "\x0d\x00\x00\x80?")
	roundTrip(t, 1.0, "p.cloudstate.io/double", "\x09\x00\x00\x00\x00\x00\x00\xf0?")
	roundTrip(t, uint64(1<<63), "json.cloudstate.io/element", "\x0a\x139223372036854775808")
	roundTrip(t, point{1, 2}, "json.cloudstate.io/element", "\x0a\x0d"+`{"x":2,"y":1}`)
	roundTrip(t, []point{{1, 2}}, "json.cloudstate.io/element", "\x0a\x0f"+`[{"x":2,"y":1}]`)
	roundTrip(t, map[string]int{"b": 1, "a": 2}, "json.cloudstate.io/element", "\x0a\x0d"+`{"a":2,"b":1}`)
	roundTrip(t, time.Unix(0, 5).UTC(), "json.cloudstate.io/element", "\x0a\x20"+`"1970-01-01T00:00:00.000000005Z"`)
	e := element[*wrapperspb.StringValue](t)
	if raw, err := e.Encode(wrapperspb.String("a")); err != nil || raw != (Raw{"type.googleapis.com/google.protobuf.StringValue", "\x0a\x01a"}) {
		t.Error(raw, err)
	}
}

func TestElementsRefuse(t *testing.T) {
	t.Parallel()
	for what, err := range map[string]error{
		"text":    second(element[string](t).Encode("\xff")),
		"nil":     second(element[*wrapperspb.StringValue](t).Encode(nil)),
		"NaN":     second(element[point2](t).Encode(point2{math.NaN()})),
		"url":     second(element[string](t).Decode(Raw{"p.cloudstate.io/bytes", ""})),
		"JSON":    second(element[point](t).Decode(Raw{"p.cloudstate.io/string", ""})),
		"no JSON": second(element[point](t).Decode(Raw{"json.cloudstate.io/element", "\x0a\x01{"})),
		"UTF-8":   second(element[string](t).Decode(Raw{"p.cloudstate.io/string", "\x0a\x01\xff"})),
		"wire":    second(element[string](t).Decode(Raw{"p.cloudstate.io/string", "\x08\x01"})),
		"short":   second(element[string](t).Decode(Raw{"p.cloudstate.io/string", "\x0a\x02a"})),
		"range":   second(element[int32](t).Decode(Raw{"p.cloudstate.io/int32", "\x08\xff\xff\xff\xff\x7f"})),
		"float":   second(element[float32](t).Decode(Raw{"p.cloudstate.io/float", "\x0d\x00"})),
		"message": second(element[*wrapperspb.StringValue](t).Decode(Raw{"type.googleapis.com/google.protobuf.StringValue", "\xff"})),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	// Other fields are skipped, and the last of several counts.
	if got, err := element[int](t).Decode(Raw{"p.cloudstate.io/int64", "\x12\x01a\x08\x05\x08\x06"}); got != 6 || err != nil {
		t.Error(got, err)
	}
	if _, err := ElementOf[func()]("element"); err == nil {
		t.Error("a function is an element")
	}
}

type point2 struct{ X float64 }

func second[T any](_ T, err error) error { return err }

func TestStable(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"":                           element[map[string][]*point](t).Stable(),
		"fields is a map":            element[*structpb.Struct](t).Stable(),
		"has no encoding of its own": element[*anypb.Any](t).Stable(),
		"many spellings":             element[struct{ N []json.Number }](t).Stable(),
		"what comes back":            element[map[string]any](t).Stable(),
	} {
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func order[E any](t *testing.T, want ...E) {
	t.Helper()
	e := element[E](t)
	var raws []Raw
	for i := range want {
		raw, err := e.Encode(want[len(want)-1-i])
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	slices.SortFunc(raws, e.Compare)
	for i, raw := range raws {
		if got, _ := e.Decode(raw); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%v is number %d", got, i)
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	order(t, "", "aa", "b", strings.Repeat("b", 200), "c")
	order(t, math.MinInt, -1, 0, 1, 300, math.MaxInt)
	order(t, math.Inf(-1), -1, 0, 0.5, 2)
	order(t, float32(-1), 0, 2)
	order(t, false, true)
	order(t, []byte{}, []byte{1}, []byte{1, 2}, []byte{2})
	order(t, point{1, 1}, point{2, 1}, point{1, 2})
}

func TestShared(t *testing.T) {
	t.Parallel()
	if !element[string](t).Shared || !element[point](t).Shared || !element[[2]int](t).Shared || !element[time.Time](t).Shared {
		t.Error("what nobody can change is copied")
	}
	if element[[]byte](t).Shared || element[*point](t).Shared || element[struct{ M map[string]int }](t).Shared || element[*wrapperspb.StringValue](t).Shared {
		t.Error("what others can change is shared")
	}
}

// FuzzElement: no payload panics, and what is taken is encoded in one way only.
func FuzzElement(f *testing.F) {
	f.Add("p.cloudstate.io/string", []byte("\x0a\x01a"))
	f.Add("p.cloudstate.io/bytes", []byte("\x0a\x01a"))
	f.Add("p.cloudstate.io/int64", []byte("\x08\x80\x01"))
	f.Add("p.cloudstate.io/int32", []byte("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add("p.cloudstate.io/bool", []byte("\x08\x02"))
	f.Add("p.cloudstate.io/double", []byte("\x09\x01\x00\x00\x00\x00\x00\xf8\x7f"))
	f.Add("p.cloudstate.io/float", []byte("\x0d\x01\x00\xc0\x7f"))
	f.Add("json.cloudstate.io/element", []byte("\x0a\x0e{\"y\": 1,\"x\":2}"))
	f.Add("type.googleapis.com/google.protobuf.StringValue", []byte("\x0a\x01a\x10\x01"))
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		raw := Raw{url, string(value)}
		once[string](t, raw)
		once[[]byte](t, raw)
		once[int](t, raw)
		once[int32](t, raw)
		once[bool](t, raw)
		once[float64](t, raw)
		once[float32](t, raw)
		once[point](t, raw)
		once[*wrapperspb.StringValue](t, raw)
	})
}

func once[E any](t *testing.T, raw Raw) {
	e := element[E](t)
	v, err := e.Decode(raw)
	if err != nil {
		return
	}
	first, err := e.Encode(v)
	if err != nil {
		return
	}
	if v, err = e.Decode(first); err != nil {
		t.Fatalf("%q cannot be decoded again: %v", first, err)
	}
	if second, err := e.Encode(v); err != nil || second != first || e.Compare(first, second) != 0 {
		t.Errorf("%q is then %q, %v", first, second, err)
	}
}
