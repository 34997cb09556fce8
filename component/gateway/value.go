package gateway

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dapr-entities/entities/actors"
)

// textual messages have a form in JSON that one text can give.
var textual = map[protoreflect.FullName]bool{
	"google.protobuf.Timestamp": true, "google.protobuf.Duration": true, "google.protobuf.FieldMask": true,
	"google.protobuf.StringValue": true, "google.protobuf.BytesValue": true,
	"google.protobuf.Int32Value": true, "google.protobuf.Int64Value": true,
	"google.protobuf.UInt32Value": true, "google.protobuf.UInt64Value": true,
	"google.protobuf.FloatValue": true, "google.protobuf.DoubleValue": true,
	"google.protobuf.BoolValue": true,
}

// set puts text at the path in msg: where says for an error what gave it. A repeated field gets one value more.
func (p fieldPath) set(msg protoreflect.Message, text, where string) error {
	for _, fd := range p[:len(p)-1] {
		msg = msg.Mutable(fd).Message()
	}
	fd := p.leaf()
	if fd.Cardinality() == protoreflect.Repeated {
		list := msg.Mutable(fd).List()
		v, ok := parse(fd, list.NewElement, text)
		if !ok {
			return malformed(p, where)
		}
		list.Append(v)
		return nil
	}
	v, ok := parse(fd, func() protoreflect.Value { return msg.NewField(fd) }, text)
	if !ok {
		return malformed(p, where)
	}
	msg.Set(fd, v)
	return nil
}

// malformed does not repeat the value: it may be a secret that went to the wrong field.
func malformed(p fieldPath, where string) error {
	fd := p.leaf()
	kind := fd.Kind().String()
	switch {
	case fd.Enum() != nil:
		kind = string(fd.Enum().FullName())
	case fd.Message() != nil:
		kind = string(fd.Message().FullName())
	}
	return actors.Errorf(actors.InvalidArgument, "the %s gives the field %s a value that is not of the type %s", where, p, kind)
}

func parse(fd protoreflect.FieldDescriptor, empty func() protoreflect.Value, text string) (v protoreflect.Value, ok bool) {
	var err error
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), utf8.ValidString(text)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(strings.EqualFold(text, "true")), strings.EqualFold(text, "true") || strings.EqualFold(text, "false")
	case protoreflect.BytesKind:
		b, ok := parseBytes(text)
		return protoreflect.ValueOfBytes(b), ok
	case protoreflect.EnumKind:
		return parseEnum(fd.Enum(), text)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		var n int64
		n, err = strconv.ParseInt(text, 10, 32)
		v = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v = protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 32)
		v = protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v = protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		var f float64
		f, err = strconv.ParseFloat(text, 32)
		v = protoreflect.ValueOfFloat32(float32(f))
	case protoreflect.DoubleKind:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v = protoreflect.ValueOfFloat64(f)
	default:
		return parseMessage(empty(), text)
	}
	return v, err == nil
}

// parseMessage reads one of the textual messages from the inside of its JSON.
func parseMessage(v protoreflect.Value, text string) (protoreflect.Value, bool) {
	msg := v.Message()
	if !textual[msg.Descriptor().FullName()] || !utf8.ValidString(text) {
		return v, false
	}
	quoted, err := json.Marshal(text)
	if err == nil && protojson.Unmarshal(quoted, msg.Interface()) == nil {
		return v, true
	}
	// Only a bool is not a string as well.
	return v, (text == "true" || text == "false") && protojson.Unmarshal([]byte(text), msg.Interface()) == nil
}

func parseEnum(ed protoreflect.EnumDescriptor, text string) (protoreflect.Value, bool) {
	if d := ed.Values().ByName(protoreflect.Name(text)); d != nil {
		return protoreflect.ValueOfEnum(d.Number()), true
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || ed.IsClosed() && ed.Values().ByNumber(protoreflect.EnumNumber(n)) == nil {
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), true
}

// parseBytes reads base64 of either alphabet, with padding or without.
func parseBytes(text string) ([]byte, bool) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	b, err := encoding.DecodeString(strings.TrimRight(text, "="))
	return b, err == nil
}

// valueOf is a scalar in plain JSON, in which Cloudstate gave the values of response_body: numbers of all sizes as
// numbers.
func valueOf(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.EnumKind:
		if d := fd.Enum().Values().ByNumber(v.Enum()); d != nil {
			return string(d.Name())
		}
		return int32(v.Enum())
	case protoreflect.BytesKind:
		return strings.ToValidUTF8(string(v.Bytes()), "\uFFFD")
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return strings.ReplaceAll(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity")
		}
		if fd.Kind() == protoreflect.FloatKind {
			return float32(v.Float())
		}
		return v.Float()
	default:
		return v.Interface()
	}
}
