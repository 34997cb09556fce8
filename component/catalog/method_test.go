package catalog

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func TestContentType(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                                  actors.ContentJSON,
		"application/x-www-form-urlencoded": actors.ContentJSON,
		"application/json; charset=utf-8":   actors.ContentJSON,
		"application/problem+json":          actors.ContentJSON,
		"text/plain":                        actors.ContentJSON,
		"Application/Protobuf":              actors.ContentProtobuf,
		"application/x-protobuf; a=b":       actors.ContentProtobuf,
		"application/protobuf; ;;broken":    actors.ContentProtobuf,
		"application/octet-stream":          actors.ContentProtobuf,
	} {
		if got := ContentType(header); got != want {
			t.Errorf("%q: got %s", header, got)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	c := mustNew(t, shop(t), Options{MaxBytes: 100, MaxDepth: 5})
	j := mustNew(t, jsonSpec(&cloudstate.Method{Name: "Add", Input: "AddTodo"}, &cloudstate.Method{Name: "Clear"}), Options{MaxBytes: 100, MaxDepth: 5})
	tests := []struct {
		name, method, id, content, data string
		want                            string // payload's bytes
		code                            actors.Code
		says                            string
	}{
		{"fills the key", "Add", "c1", "", `{"product":"tea","quantity":2}`, "\x12\x03tea\x18\x02\x0a\x02c1", actors.OK, ""},
		{"the same key", "Add", "c1", "", `{"cart_id":"c1"}`, "\x0a\x02c1", actors.OK, ""},
		{"json name", "Add", "c1", "", `{"cartId":"c1"}`, "\x0a\x02c1", actors.OK, ""},
		{"nothing", "Get", "c1", "application/json", ``, "\x0a\x02c1", actors.OK, ""},
		{"nothing as protobuf", "Get", "c1", "application/protobuf", ``, "\x0a\x02c1", actors.OK, ""},
		{"another key", "Add", "c1", "", `{"cartId":"c2"}`, "", actors.InvalidArgument, `field cartId of the payload of shop.v1.ShoppingCart.Add names the entity "c2", but the command is addressed to "c1"`},
		{"unknown field", "Add", "c1", "", `{"prodct":"tea"}`, "", actors.InvalidArgument, `unknown field "prodct" (line 1:2)`},
		{"duplicate field", "Add", "c1", "", `{"product":"tea","product":"tea"}`, "", actors.InvalidArgument, `duplicate field "product"`},
		{"wrong type", "Add", "c1", "", `{"quantity":"s3cret"}`, "", actors.InvalidArgument, "the field quantity wants a value of type int32 (line 1:13)"},
		{"misleading value", "Add", "c1", "", `{"quantity":"unknown field \"s3cret\""}`, "", actors.InvalidArgument, "the field quantity wants a value of type int32"},
		{"enum", "Add", "c1", "", `{"size":"s3cret"}`, "", actors.InvalidArgument, "the field size wants a value of type enum"},
		{"timestamp", "Add", "c1", "", `{"at":"s3cret"}`, "", actors.InvalidArgument, "a value does not have the form"},
		{"any of unknown type", "Add", "c1", "", `{"extra":{"@type":"type.googleapis.com/s3cret"}}`, "", actors.InvalidArgument, "a value does not have the form"},
		{"any", "Get", "c1", "", `{"cartId":null}`, "\x0a\x02c1", actors.OK, ""},
		{"malformed", "Add", "c1", "", `{"product":s3cret}`, "", actors.InvalidArgument, "not valid JSON at byte 12 of 18"},
		{"cut off", "Add", "c1", "", `{"product":`, "", actors.InvalidArgument, "not valid JSON at byte 11 of 11"},
		{"two values", "Add", "c1", "", `{} {}`, "", actors.InvalidArgument, "not valid JSON at byte 4"},
		{"not UTF-8", "Add", "c1", "", "{\"product\":\"\xff\"}", "", actors.InvalidArgument, "not valid UTF-8"},
		{"an array", "Add", "c1", "", `[]`, "", actors.InvalidArgument, "is not a shop.v1.AddItem"},
		{"depth", "Add", "c1", "", `{"nested":[{"nested":[{"product":"tea"}]}]}`, "\x32\x07\x32\x05\x12\x03tea\x0a\x02c1", actors.OK, ""},
		{"too deep", "Add", "c1", "", `{"nested":[{"nested":[{"nested":[]}]}]}`, "", actors.InvalidArgument, "nested more than 5 deep"},
		{"size", "Add", "c1", "", `{"product":"` + strings.Repeat("x", 86) + `"}`, "\x12\x56" + strings.Repeat("x", 86) + "\x0a\x02c1", actors.OK, ""},
		{"too large", "Add", "c1", "", `{"product":"` + strings.Repeat("x", 87) + `"}`, "", actors.ResourceExhausted, "101 bytes; at most 100"},
		{"too large with its key", "Add", strings.Repeat("c", 20), "application/protobuf", "\x12\x56" + strings.Repeat("x", 86), "", actors.ResourceExhausted, "becomes 110 bytes"},
		{"protobuf as it is", "Add", "c1", "application/x-protobuf", "\x18\x02\x0a\x02c1\xf8\x07\x01", "\x18\x02\x0a\x02c1\xf8\x07\x01", actors.OK, ""},
		{"protobuf key", "Add", "c1", "application/octet-stream", "\x18\x02", "\x18\x02\x0a\x02c1", actors.OK, ""},
		{"protobuf of another key", "Add", "c1", "application/protobuf", "\x0a\x02c2", "", actors.InvalidArgument, `"c2"`},
		{"protobuf malformed", "Add", "c1", "application/protobuf", "\x0a\x05c2", "", actors.InvalidArgument, "not a serialized shop.v1.AddItem"},
		{"protobuf too deep", "Add", "c1", "application/protobuf", "\x32\x0a\x32\x08\x32\x06\x32\x04\x32\x02\x32\x00", "", actors.InvalidArgument, "nested at most 5 deep"},
		{"two keys", "Both", "eu-7", "", `{"region":"eu","number":7}`, "\x08\x07\x12\x02eu", actors.OK, ""},
		{"two keys, other", "Both", "eu-7", "", `{"region":"eu"}`, "", actors.InvalidArgument, `fields region, number of the payload of shop.v1.ShoppingCart.Both, joined by -, name the entity "eu-0"`},
		{"number", "Count", "7", "", `{"number":"7"}`, "\x08\x07", actors.OK, ""},
		{"number is never filled", "Count", "7", "", `{}`, "", actors.InvalidArgument, `field number of the payload of shop.v1.ShoppingCart.Count names the entity "0"`},

		{"json", "todo.List.Add", "t", "text/plain", `{"a": 1}`, `{"a": 1}`, actors.OK, ""},
		{"json nothing", "todo.List.Clear", "t", "", ``, `{}`, actors.OK, ""},
		{"json scalar", "todo.List.Add", "t", "", `"x{[{[{[{["`, `"x{[{[{[{["`, actors.OK, ""},
		{"json as protobuf", "todo.List.Add", "t", "application/protobuf", ``, "", actors.InvalidArgument, "todo.List.Add takes JSON"},
		{"json malformed", "todo.List.Add", "t", "", `{"a":s3cret}`, "", actors.InvalidArgument, "at byte 6"},
		{"json deep", "todo.List.Add", "t", "", `[[[[[]]]]]`, `[[[[[]]]]]`, actors.OK, ""},
		{"json too deep", "todo.List.Add", "t", "", `[[[[[[]]]]]]`, "", actors.InvalidArgument, "nested"},
		{"json too large", "todo.List.Add", "t", "", strings.Repeat(" ", 101), "", actors.ResourceExhausted, "101"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var m *Method
			if name, ok := strings.CutPrefix(tt.method, "todo.List."); ok {
				m = mustMethod(t, j, "List", name)
			} else {
				m = mustMethod(t, c, "ShoppingCart", tt.method)
			}
			data := []byte(tt.data)
			p, err := m.Decode(tt.id, tt.content, data)
			if string(data) != tt.data {
				t.Error("the caller's data were changed")
			}
			if actors.CodeOf(err) != tt.code {
				t.Fatalf("got %v, want %v", err, tt.code)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %q, want it to say %q and keep the secret", err, tt.says)
				}
				return
			}
			if diff := cmp.Diff(tt.want, string(p.Data)); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			if p.TypeURL != m.Input {
				t.Errorf("type %s", p.TypeURL)
			}
		})
	}
	if m := mustMethod(t, j, "List", "Clear"); m.Input != "json.cloudstate.io/object" || m.Output != "" {
		t.Errorf("types of a method without any: %q %q", m.Input, m.Output)
	}
}

func TestJSONServiceWithMessages(t *testing.T) {
	t.Parallel()
	s := shop(t)
	s.Entities[0].ServiceName = "shop.v1.Untyped"
	s.Entities[0].Methods = []*cloudstate.Method{{Name: "Add", Input: "shop.v1.AddItem", Output: "shop.v1.Cart"}}
	m := mustMethod(t, mustNew(t, with(s, "json", "targets"), Options{}), "Untyped", "Add")
	p, err := m.Decode("c1", "", []byte(`{"quantity":1}`))
	if err != nil || p.TypeURL != "type.googleapis.com/shop.v1.AddItem" || string(p.Data) != "\x18\x01\x0a\x02c1" {
		t.Errorf("got %v %q, %v", p.TypeURL, p.Data, err)
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	c := mustNew(t, shop(t), Options{})
	m := mustMethod(t, c, "ShoppingCart", "Get")
	cart := actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Cart", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x05\x0a\x03tea")}
	plain := actors.Payload{TypeURL: "json.cloudstate.io/Cart", ContentType: actors.ContentJSON, Data: []byte(`{"a": 1}`)}
	other := actors.Payload{TypeURL: "type.googleapis.com/shop.v2.Cart", ContentType: actors.ContentProtobuf, Data: []byte{1}}
	scalar := actors.Payload{TypeURL: "p.cloudstate.io/string", ContentType: actors.ContentProtobuf, Data: []byte{1}}
	bad := actors.Payload{TypeURL: cart.TypeURL, ContentType: actors.ContentProtobuf, Data: []byte{1}}
	for _, tt := range []struct {
		name       string
		p          actors.Payload
		content    string
		want, kind string
		people     string
	}{
		{"json", cart, "", `{"items":[{"product":"tea","quantity":0}]}`, actors.ContentJSON, `{"items":[{"product":"tea","quantity":0}]}`},
		{"protobuf", cart, "application/x-protobuf", string(cart.Data), actors.ContentProtobuf, `{"items":[{"product":"tea","quantity":0}]}`},
		{"plain", plain, "", `{"a": 1}`, actors.ContentJSON, `{"a": 1}`},
		{"plain as protobuf", plain, "application/protobuf", `{"a": 1}`, actors.ContentJSON, `{"a": 1}`},
		{"unknown type", other, "", `{"@type":"type.googleapis.com/shop.v2.Cart","base64":"AQ=="}`, actors.ContentJSON, `{"@type":"type.googleapis.com/shop.v2.Cart","base64":"AQ=="}`},
		{"scalar", scalar, "", `{"@type":"p.cloudstate.io/string","base64":"AQ=="}`, actors.ContentJSON, `{"@type":"p.cloudstate.io/string","base64":"AQ=="}`},
		{"none", actors.Payload{}, "", "", actors.ContentJSON, `{"@type":"","base64":null}`},
	} {
		got, kind, err := m.Encode(tt.p, tt.content)
		if err != nil || string(got) != tt.want || kind != tt.kind {
			t.Errorf("%s: got %q, %s, %v", tt.name, got, kind, err)
		}
		if people, err := c.JSON(tt.p); err != nil || string(people) != tt.people {
			t.Errorf("%s: JSON gives %s, %v", tt.name, people, err)
		}
	}
	if _, _, err := m.Encode(bad, ""); actors.CodeOf(err) != actors.Internal || !strings.Contains(err.Error(), "not a valid shop.v1.Cart") {
		t.Errorf("bad reply: %v", err)
	}
	if people, err := c.JSON(bad); err != nil || string(people) != `{"@type":"type.googleapis.com/shop.v1.Cart","base64":"AQ=="}` {
		t.Errorf("bad event: %s, %v", people, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	m := mustMethod(b, mustNew(b, shop(b), Options{}), "ShoppingCart", "Add")
	j := mustMethod(b, mustNew(b, jsonSpec(&cloudstate.Method{Name: "Add", Input: "AddTodo"}), Options{}), "List", "Add")
	text := []byte(`{"product":"tea","quantity":2}`)
	for _, bb := range []struct {
		name, content string
		m             *Method
		data          []byte
	}{
		{"json to protobuf", "", m, text},
		{"protobuf", "application/protobuf", m, []byte("\x12\x03tea\x18\x02")},
		{"json", "", j, text},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bb.m.Decode("c1", bb.content, bb.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	c := mustNew(f, shop(f), Options{})
	j := mustNew(f, jsonSpec(&cloudstate.Method{Name: "Add", Input: "AddTodo"}), Options{})
	methods := []*Method{
		mustMethod(f, c, "ShoppingCart", "Add"), mustMethod(f, c, "ShoppingCart", "Both"),
		mustMethod(f, c, "ShoppingCart", "Count"), mustMethod(f, j, "List", "Add"),
	}
	f.Add(byte(0), "", []byte(`{"product":"tea","at":"2020-01-01T00:00:00Z","extra":{"@type":"type.googleapis.com/shop.v1.Item","product":"x"}}`))
	f.Add(byte(0), "application/protobuf", []byte("\x12\x03tea"))
	f.Add(byte(1), "", []byte(`{"region":"c","number":"1"}`))
	f.Add(byte(2), "", []byte(`{"number":1e2}`))
	f.Add(byte(3), "", []byte(`[1,"\u0000",{}]`))
	f.Fuzz(func(t *testing.T, which byte, contentType string, data []byte) {
		m := methods[int(which)%len(methods)]
		p, err := m.Decode("c-1", contentType, data)
		if err != nil {
			if code := actors.CodeOf(err); code != actors.InvalidArgument && code != actors.ResourceExhausted {
				t.Fatalf("code %v: %v", code, err)
			}
			return
		}
		if p.ContentType == actors.ContentJSON {
			if !json.Valid(p.Data) {
				t.Fatalf("not JSON: %q", p.Data)
			}
			return
		}
		msg := dynamicpb.NewMessage(m.input)
		if err := proto.Unmarshal(p.Data, msg); err != nil {
			t.Fatal(err)
		}
		if missing, err := m.checkKey("c-1", msg); err != nil || missing != nil {
			t.Fatalf("the payload names another entity: %v", err)
		}
		if _, _, err := m.Encode(p, ""); err != nil && actors.CodeOf(err) != actors.Internal {
			t.Fatal(err)
		}
	})
}
