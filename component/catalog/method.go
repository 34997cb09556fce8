package catalog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
)

// Method is one command of a service.
type Method struct {
	// Service in full.
	Service string
	Name    string
	// Input and Output are type URLs. Output is empty if the user function promised none.
	Input, Output string
	// StreamedIn and StreamedOut say that any number of inputs, or of outputs, may come.
	StreamedIn, StreamedOut bool
	// In is where further inputs come from; nil if they come from callers alone.
	In *Source
	// Out is the topic to which replies are published besides being given to the caller; empty for none.
	Out string
	// Descriptor is nil for a method that the user function listed itself.
	Descriptor protoreflect.MethodDescriptor

	// input is nil for JSON.
	input protoreflect.MessageDescriptor
	keys  []protoreflect.FieldDescriptor
	types *dynamicpb.Types
	// Limits, see Options.
	maxBytes, maxDepth int
}

// String is service.method.
func (m *Method) String() string { return m.Service + "." + m.Name }

// Decode turns what a caller sent to the entity id into what the user function takes. contentType is the caller's, in any
// spelling. No data are an empty message. The key field of a message is filled in if it is empty; if it names
// another entity the command is refused. Errors have the code InvalidArgument or ResourceExhausted, and name a field or
// a position, but hold nothing of the data. The payload may share data's memory.
func (m *Method) Decode(id, contentType string, data []byte) (actors.Payload, error) {
	return m.decode(&id, contentType, data)
}

// Parse is Decode for what is not addressed: the key field stays as it is. Entity reads it.
func (m *Method) Parse(contentType string, data []byte) (actors.Payload, error) {
	return m.decode(nil, contentType, data)
}

func (m *Method) decode(id *string, contentType string, data []byte) (actors.Payload, error) {
	if len(data) > m.maxBytes {
		return actors.Payload{}, actors.Errorf(actors.ResourceExhausted, "the payload of %s has %d bytes; at most %d are allowed", m, len(data), m.maxBytes)
	}
	contentType = ContentType(contentType)
	if m.input == nil {
		return m.decodeJSON(contentType, data)
	}
	msg := dynamicpb.NewMessage(m.input)
	if contentType == actors.ContentJSON && len(data) > 0 {
		if err := m.ReadJSON(data, msg); err != nil {
			return actors.Payload{}, err
		}
	}
	if contentType == actors.ContentProtobuf {
		err := proto.UnmarshalOptions{Resolver: m.types, RecursionLimit: m.maxDepth}.Unmarshal(data, msg)
		if err != nil {
			return actors.Payload{}, actors.Errorf(actors.InvalidArgument, "the payload of %s is not a serialized %s nested at most %d deep; send one, or JSON with the content type application/json",
				m, m.input.FullName(), m.maxDepth)
		}
	}
	var missing protoreflect.FieldDescriptor
	if id != nil {
		var err error
		if missing, err = m.checkKey(*id, msg); err != nil {
			return actors.Payload{}, err
		}
	}
	if contentType == actors.ContentJSON {
		// Deterministic, because a repeated command is told from another one by its bytes.
		var err error
		if data, err = (proto.MarshalOptions{Deterministic: true}).Marshal(msg); err != nil {
			return actors.Payload{}, actors.Errorf(actors.InvalidArgument, "the payload of %s cannot be written as %s", m, m.input.FullName())
		}
	}
	if missing != nil {
		// The last value of a field counts. What the caller encoded stays as it is.
		data = protowire.AppendTag(slices.Clip(data), missing.Number(), protowire.BytesType)
		data = protowire.AppendString(data, *id)
	}
	if len(data) > m.maxBytes {
		return actors.Payload{}, actors.Errorf(actors.ResourceExhausted, "the payload of %s becomes %d bytes as %s; at most %d are allowed",
			m, len(data), m.input.FullName(), m.maxBytes)
	}
	return actors.Payload{TypeURL: m.Input, ContentType: actors.ContentProtobuf, Data: data}, nil
}

func (m *Method) decodeJSON(contentType string, data []byte) (actors.Payload, error) {
	if contentType != actors.ContentJSON {
		return actors.Payload{}, actors.Errorf(actors.InvalidArgument, "%s takes JSON; send it with the content type application/json", m)
	}
	if len(data) == 0 {
		data = []byte("{}")
	}
	if err := m.checkJSON(data); err != nil {
		return actors.Payload{}, err
	}
	return actors.Payload{TypeURL: m.Input, ContentType: actors.ContentJSON, Data: data}, nil
}

// ReadJSON reads a JSON document into a message that is the method's input, or a part of it. Errors are those of
// Decode.
func (m *Method) ReadJSON(data []byte, msg proto.Message) error {
	if err := m.checkJSON(data); err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{Resolver: m.types, RecursionLimit: m.maxDepth + 1}).Unmarshal(data, msg); err != nil {
		return actors.Errorf(actors.InvalidArgument, "the payload of %s is not a %s: %s", m, msg.ProtoReflect().Descriptor().FullName(), explain(err))
	}
	return nil
}

// checkKey compares the message's key with the id. It returns the key field if that is empty and can be filled in.
func (m *Method) checkKey(id string, msg protoreflect.Message) (protoreflect.FieldDescriptor, error) {
	if len(m.keys) == 0 {
		return nil, nil
	}
	names := make([]string, len(m.keys))
	values := make([]string, len(m.keys))
	for i, fd := range m.keys {
		names[i] = fd.JSONName()
		values[i] = *keyText(fd, msg.Get(fd))
	}
	key := strings.Join(values, "-")
	switch {
	case key == id:
		return nil, nil
	case len(m.keys) == 1 && m.keys[0].Kind() == protoreflect.StringKind && key == "":
		return m.keys[0], nil
	case len(m.keys) == 1:
		return nil, actors.Errorf(actors.InvalidArgument, "the field %s of the payload of %s names the entity %q, but the command is addressed to %q; make them the same",
			names[0], m, cut(key), cut(id))
	default:
		return nil, actors.Errorf(actors.InvalidArgument, "the fields %s of the payload of %s, joined by -, name the entity %q, but the command is addressed to %q; make them the same",
			strings.Join(names, ", "), m, cut(key), cut(id))
	}
}

// Entity is the id that the key fields of a payload of the method's input type name. It is for commands that are not
// addressed otherwise. Errors have the code InvalidArgument.
func (m *Method) Entity(p actors.Payload) (string, error) {
	if len(m.keys) == 0 {
		return "", actors.Errorf(actors.InvalidArgument, "%s is not addressed to an entity, and its input has no field that names one: address it, or mark a field with [(.cloudstate.entity_key) = true]", m)
	}
	msg := dynamicpb.NewMessage(m.input)
	if err := (proto.UnmarshalOptions{Resolver: m.types, RecursionLimit: m.maxDepth, DiscardUnknown: true}).Unmarshal(p.Data, msg); err != nil || !sameType(p.TypeURL, m.Input) {
		return "", actors.Errorf(actors.InvalidArgument, "the payload of %s is not a serialized %s", m, m.input.FullName())
	}
	values := make([]string, len(m.keys))
	for i, fd := range m.keys {
		values[i] = *keyText(fd, msg.Get(fd))
	}
	id := strings.Join(values, "-")
	if id == "" {
		return "", actors.Errorf(actors.InvalidArgument, "the field %s of the payload of %s names the entity and is empty", m.keys[0].JSONName(), m)
	}
	return id, actors.ValidateID(id)
}

// keyText is a key's value as text; nil if its kind cannot be a key.
func keyText(fd protoreflect.FieldDescriptor, v protoreflect.Value) *string {
	var s string
	switch fd.Kind() {
	case protoreflect.StringKind:
		s = v.String()
	case protoreflect.BoolKind:
		s = strconv.FormatBool(v.Bool())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		s = strconv.FormatInt(v.Int(), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		s = strconv.FormatUint(v.Uint(), 10)
	default:
		return nil
	}
	return &s
}

// Encode turns a reply into what a caller gets who sent contentType, in any spelling. It returns the content type that it
// came to: JSON stays JSON also for those who would rather have protobuf. No payload at all becomes no data.
func (m *Method) Encode(p actors.Payload, contentType string) ([]byte, string, error) {
	contentType = ContentType(contentType)
	switch {
	case p.IsZero():
		return nil, contentType, nil
	case p.ContentType == actors.ContentJSON:
		return p.Data, actors.ContentJSON, nil
	case contentType == actors.ContentProtobuf:
		return p.Data, actors.ContentProtobuf, nil
	}
	data, err := render(m.types, p)
	if err != nil {
		// The cause quotes the payload and is for the log.
		return nil, "", &actors.Error{
			Code:    actors.Internal,
			Message: fmt.Sprintf("the reply of %s is not a valid %s", m, strings.TrimPrefix(p.TypeURL, ProtobufPrefix)),
			Cause:   err,
		}
	}
	return data, actors.ContentJSON, nil
}
