package codec

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type line struct {
	Product string         `json:"product"`
	Parts   map[string]int `json:"parts,omitempty"`
	At      time.Time      `json:"at,omitzero"`
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c, err := For[line]("line")
	if err != nil {
		t.Fatal(err)
	}
	in := line{Product: "tea", Parts: map[string]int{"a": 1}, At: time.Unix(5, 0).UTC()}
	a, err := c.Pack(in)
	if err != nil {
		t.Fatal(err)
	}
	if a.GetTypeUrl() != "json.cloudstate.io/line" || !bytes.HasPrefix(a.GetValue(), []byte{0x0a, byte(len(a.GetValue()) - 2), '{'}) {
		t.Errorf("packed %s %q", a.GetTypeUrl(), a.GetValue())
	}
	a.TypeUrl = JSONPrefix + "renamed" // names are not looked at where the type is known
	out, err := c.Unpack(a)
	if err != nil || out.Product != in.Product || out.Parts["a"] != 1 || !out.At.Equal(in.At) {
		t.Errorf("unpacked %v, %v", out, err)
	}

	m, err := For[*wrapperspb.StringValue]("unused")
	if err != nil {
		t.Fatal(err)
	}
	a, err = m.Pack(wrapperspb.String("x"))
	if err != nil || a.GetTypeUrl() != "type.googleapis.com/google.protobuf.StringValue" {
		t.Fatal(a, err)
	}
	a.TypeUrl = "type.example.com/deep/google.protobuf.StringValue"
	if got, err := m.Unpack(a); err != nil || got.GetValue() != "x" {
		t.Error(got, err)
	}
	if a, err := m.Pack(nil); err != nil || len(a.GetValue()) != 0 {
		t.Errorf("nil packs as %v, %v", a, err)
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	for _, a := range []*anypb.Any{nil, {}, {TypeUrl: JSONPrefix + "x"}, {TypeUrl: JSONPrefix + "x", Value: []byte{0x10, 1, 0x0a, 2, '{', '}'}}} {
		c, _ := For[line]("line")
		if got, err := c.Unpack(a); err != nil || got.Product != "" {
			t.Errorf("%v: %v, %v", a, got, err)
		}
		n, _ := For[struct{}]("nothing")
		if _, err := n.Unpack(a); err != nil {
			t.Errorf("%v: %v", a, err)
		}
	}
	e, _ := For[*emptypb.Empty]("")
	if got, err := e.Unpack(nil); err != nil || got == nil {
		t.Errorf("no payload: %v, %v", got, err)
	}
	s, _ := For[string]("s")
	if got, err := s.Unpack(nil); err != nil || got != "" {
		t.Errorf("no payload: %q, %v", got, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	c, _ := For[line]("line")
	m, _ := For[*wrapperspb.StringValue]("")
	envelope := &anypb.Any{TypeUrl: JSONPrefix + "x", Value: wrap([]byte(`{"product":5}`))}
	for want, unpack := range map[string]func() error{
		"want JSON":            func() error { _, err := c.Unpack(&anypb.Any{TypeUrl: ProtobufPrefix + "a.B"}); return err },
		"want type.googleapis": func() error { _, err := m.Unpack(envelope); return err },
		"google.protobuf.Int": func() error {
			_, err := m.Unpack(&anypb.Any{TypeUrl: ProtobufPrefix + "google.protobuf.Int64Value"})
			return err
		},
		"line.product of type": func() error { _, err := c.Unpack(envelope); return err },
		"field 1": func() error {
			_, err := c.Unpack(&anypb.Any{TypeUrl: JSONPrefix, Value: []byte(`{"a":1}`)})
			return err
		},
		"cannot parse invalid":    func() error { _, err := m.Unpack(&anypb.Any{TypeUrl: m.TypeURL(), Value: []byte{0xff}}); return err },
		"the content type is app": func() error { _, err := c.Unmarshal([]byte("{}"), ContentProtobuf); return err },
	} {
		if err := unpack(); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

type (
	hidden    struct{ lines []int }
	embedded  struct{ Inner }
	Inner     struct{ X int }
	lower     struct{ inner }
	inner     struct{ X int }
	recursive struct {
		Next *recursive
		Bad  []hidden
	}
	custom struct{ secret int }
)

func (custom) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }

func TestLossless(t *testing.T) {
	t.Parallel()
	good := map[string]error{}
	_, good["embedded"] = For[embedded]("")
	_, good["embedded lower"] = For[lower]("")
	_, good["custom"] = For[custom]("")
	_, good["time"] = For[struct{ At time.Time }]("")
	_, good["left out"] = For[struct {
		x func() `json:"-"`
	}]("")
	_, good["any"] = For[map[string]any]("")
	for name, err := range good {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string]error{}
	_, bad["codec.hidden.lines is unexported"] = For[hidden]("")
	_, bad["codec.recursive.Bad.lines is unexported"] = For[*recursive]("")
	_, bad["X has the type func()"] = For[struct{ X func() }]("")
	_, bad["use *wrapperspb.StringValue"] = For[wrapperspb.StringValue]("")
	_, bad["not the pointer to a generated"] = For[proto.Message]("")
	for want, err := range bad {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// FuzzUnwrap: no input panics, and what wrap made comes back.
func FuzzUnwrap(f *testing.F) {
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte{0x0a, 0x02, '{', '}'})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x10, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		unwrap(data)
		got, err := unwrap(wrap(data))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%q comes back as %q, %v", data, got, err)
		}
	})
}
