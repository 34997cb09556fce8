// Package codec turns Go values into payloads and back: generated protobuf messages as protobuf, everything else as
// JSON by encoding/json.
//
// A payload on the inverted protocol is a google.protobuf.Any. Protobuf messages are in it as usual
// (type.googleapis.com/<message>). JSON has the type URL json.cloudstate.io/<name>, and the value is a message whose
// field 1 holds the JSON text.
package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// The type URL prefixes of payloads.
const (
	ProtobufPrefix = "type.googleapis.com/"
	JSONPrefix     = "json.cloudstate.io/"
)

// The content types of payloads outside the inverted protocol.
const (
	ContentProtobuf = "application/protobuf"
	ContentJSON     = "application/json"
)

// Codec encodes and decodes values of type T. The zero Codec is of no use; For makes one.
type Codec[T any] struct {
	name string // of a JSON type
	url  string // of a JSON type
	// message is nil for JSON. It is asked late, because definitions are package variables, and generated messages know
	// their type only once their own package has been initialized.
	message func() protoreflect.MessageType
}

// For makes the codec of T. A JSON type gets jsonName as its name; a protobuf message has its own. An error means that
// T cannot travel, and says why.
func For[T any](jsonName string) (Codec[T], error) {
	t := reflect.TypeFor[T]()
	messages := reflect.TypeFor[proto.Message]()
	switch {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Implements(messages):
		return Codec[T]{message: sync.OnceValue(func() protoreflect.MessageType {
			var zero T
			return any(zero).(proto.Message).ProtoReflect().Type()
		})}, nil
	case t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(messages):
		return Codec[T]{}, fmt.Errorf("%v is a protobuf message: use *%v", t, t)
	case t.Implements(messages):
		return Codec[T]{}, fmt.Errorf("%v is not the pointer to a generated protobuf message", t)
	}
	if err := lossless(t); err != nil {
		return Codec[T]{}, err
	}
	return Codec[T]{name: jsonName, url: JSONPrefix + jsonName}, nil
}

// Name is the JSON name or the message's full name.
func (c Codec[T]) Name() string {
	if c.message == nil {
		return c.name
	}
	return string(c.message().Descriptor().FullName())
}

// IsMessage says whether T is a protobuf message.
func (c Codec[T]) IsMessage() bool { return c.message != nil }

// Descriptor is the message's, or nil for JSON.
func (c Codec[T]) Descriptor() protoreflect.MessageDescriptor {
	if c.message == nil {
		return nil
	}
	return c.message().Descriptor()
}

// TypeURL is the type URL of T's payloads.
func (c Codec[T]) TypeURL() string {
	if c.message == nil {
		return c.url
	}
	return ProtobufPrefix + c.Name()
}

// Pack encodes v for the inverted protocol.
func (c Codec[T]) Pack(v T) (*anypb.Any, error) {
	data, _, err := c.Marshal(v)
	if err != nil {
		return nil, err
	}
	if c.message == nil {
		data = wrap(data)
	}
	return &anypb.Any{TypeUrl: c.TypeURL(), Value: data}, nil
}

// Unpack decodes what Pack made. The name of a JSON payload is not looked at: where it is decoded, its type is known. No
// payload at all is the empty value. Whoever wants a *anypb.Any gets any payload as it came.
func (c Codec[T]) Unpack(a *anypb.Any) (T, error) {
	var zero T
	data := a.GetValue()
	name, isJSON := strings.CutPrefix(a.GetTypeUrl(), JSONPrefix)
	switch {
	case a.GetTypeUrl() == "" && len(data) == 0:
	case c.message != nil:
		if got := name[strings.LastIndexByte(name, '/')+1:]; isJSON || got != c.Name() {
			if _, ok := any(zero).(*anypb.Any); ok {
				return any(a).(T), nil
			}
			return zero, fmt.Errorf("the payload's type is %s, want %s", a.GetTypeUrl(), c.TypeURL())
		}
		return c.Unmarshal(data, ContentProtobuf)
	case !isJSON:
		return zero, fmt.Errorf("the payload's type is %s, want JSON", a.GetTypeUrl())
	default:
		var err error
		if data, err = unwrap(data); err != nil {
			return zero, err
		}
	}
	if c.message != nil {
		return c.Unmarshal(nil, ContentProtobuf)
	}
	return c.Unmarshal(data, ContentJSON)
}

// Marshal encodes v in T's own content type.
func (c Codec[T]) Marshal(v T) (data []byte, contentType string, err error) {
	if c.message != nil {
		data, err = proto.MarshalOptions{Deterministic: true}.Marshal(any(v).(proto.Message))
		return data, ContentProtobuf, err
	}
	data, err = json.Marshal(v)
	return data, ContentJSON, err
}

// JSON encodes v as JSON text.
func (c Codec[T]) JSON(v T) ([]byte, error) {
	if c.message != nil {
		return protojson.Marshal(any(v).(proto.Message))
	}
	return json.Marshal(v)
}

// Unmarshal decodes data of that content type. No data is the empty value.
func (c Codec[T]) Unmarshal(data []byte, contentType string) (T, error) {
	var v T
	if c.message == nil {
		if contentType != ContentJSON {
			return v, fmt.Errorf("the content type is %s, want %s", contentType, ContentJSON)
		}
		if len(data) == 0 {
			data = []byte("{}")
			if k := reflect.TypeFor[T]().Kind(); k != reflect.Struct && k != reflect.Map && k != reflect.Pointer {
				return v, nil
			}
		}
		err := json.Unmarshal(data, &v)
		return v, err
	}
	m := c.message().New().Interface()
	v = m.(T)
	switch {
	case contentType != ContentJSON:
		return v, proto.Unmarshal(data, m)
	case len(data) == 0:
		return v, nil
	default:
		return v, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
	}
}

// Text is the JSON text of any payload. A protobuf message must be linked into the program.
func Text(a *anypb.Any) ([]byte, error) {
	if strings.HasPrefix(a.GetTypeUrl(), JSONPrefix) {
		return unwrap(a.GetValue())
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer // protojson varies its spaces
	err = json.Compact(&b, text)
	return b.Bytes(), err
}

func wrap(data []byte) []byte {
	b := make([]byte, 0, len(data)+6)
	return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), data)
}

var errEnvelope = errors.New("the JSON payload is not a message with the text in field 1")

// unwrap returns field 1, empty if it is missing, and skips other fields.
func unwrap(b []byte) ([]byte, error) {
	var data []byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, errEnvelope
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil, errEnvelope
			}
			data, b = v, b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 || num == 1 {
			return nil, errEnvelope
		}
		b = b[n:]
	}
	return data, nil
}
