package gateway

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wellKnown are the messages that JSON writes in their own way.
var wellKnown = map[protoreflect.FullName]object{
	"google.protobuf.Timestamp":   {"type": "string", "format": "date-time"},
	"google.protobuf.Duration":    {"type": "string", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?s$`},
	"google.protobuf.FieldMask":   {"type": "string"},
	"google.protobuf.Empty":       {"type": "object"},
	"google.protobuf.Struct":      {"type": "object"},
	"google.protobuf.Value":       {},
	"google.protobuf.ListValue":   {"type": "array", "items": object{}},
	"google.protobuf.Any":         {"type": "object", "properties": object{"@type": object{"type": "string"}}, "additionalProperties": true},
	"google.protobuf.StringValue": {"type": []string{"string", "null"}},
	"google.protobuf.BytesValue":  {"type": []string{"string", "null"}, "contentEncoding": "base64"},
	"google.protobuf.BoolValue":   {"type": []string{"boolean", "null"}},
	"google.protobuf.Int32Value":  {"type": []string{"integer", "null"}, "format": "int32"},
	"google.protobuf.UInt32Value": {"type": []string{"integer", "null"}, "format": "uint32"},
	"google.protobuf.Int64Value":  {"type": []string{"string", "null"}, "format": "int64"},
	"google.protobuf.UInt64Value": {"type": []string{"string", "null"}, "format": "uint64"},
	"google.protobuf.FloatValue":  {"type": []string{"number", "null"}, "format": "float"},
	"google.protobuf.DoubleValue": {"type": []string{"number", "null"}, "format": "double"},
}

// message refers to a message's schema, and writes it on the first time.
func (d *document) message(md protoreflect.MessageDescriptor) object {
	if s, ok := wellKnown[md.FullName()]; ok {
		return s
	}
	name := string(md.FullName())
	ref := object{"$ref": "#/components/schemas/" + name}
	if _, done := d.schemas[name]; done {
		return ref
	}
	properties := object{}
	schema := object{"type": "object", "properties": properties}
	d.schemas[name] = schema // before its fields, which may be of the same type
	var required []string
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		properties[fd.JSONName()] = d.field(fd)
		if fd.Cardinality() == protoreflect.Required {
			required = append(required, fd.JSONName())
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}

func (d *document) field(fd protoreflect.FieldDescriptor) object {
	switch {
	case fd.IsMap():
		return object{"type": "object", "additionalProperties": d.single(fd.MapValue())}
	case fd.IsList():
		return object{"type": "array", "items": d.single(fd)}
	default:
		return d.single(fd)
	}
}

func (d *document) single(fd protoreflect.FieldDescriptor) object {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.EnumKind:
		var names []string
		for i := range fd.Enum().Values().Len() {
			names = append(names, string(fd.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "format": "int32"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "format": "uint32", "minimum": 0}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return object{"type": "string", "format": "int64"}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": "string", "format": "uint64"}
	case protoreflect.FloatKind:
		return object{"type": "number", "format": "float"}
	case protoreflect.DoubleKind:
		return object{"type": "number", "format": "double"}
	default:
		return d.message(fd.Message())
	}
}
