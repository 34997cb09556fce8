package tck

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

const typePrefix = "type.googleapis.com/"

// messages makes messages of the types that a user function has described.
type messages struct {
	files *protoregistry.Files
	types *dynamicpb.Types
}

func newMessages(t testing.TB, spec *cloudstate.EntitySpec) *messages {
	t.Helper()
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(spec.GetProto(), set); err != nil {
		t.Fatalf("the descriptors are not a FileDescriptorSet: %v", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatalf("the descriptors cannot be used: %v", err)
	}
	return &messages{files, dynamicpb.NewTypes(files)}
}

// message is one in the JSON form of protobuf.
func (m *messages) message(t testing.TB, name, json string) proto.Message {
	t.Helper()
	mt, err := m.types.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatalf("the user function does not describe %s: %v", name, err)
	}
	msg := mt.New().Interface()
	if err := (protojson.UnmarshalOptions{Resolver: m.types}).Unmarshal([]byte(json), msg); err != nil {
		t.Fatalf("%s from %s: %v", name, json, err)
	}
	return msg
}

func (m *messages) any(t testing.TB, name, json string) *anypb.Any {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.message(t, name, json))
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: typePrefix + name, Value: data}
}

// service reports whether a service is described.
func (m *messages) service(name string) bool {
	d, err := m.files.FindDescriptorByName(protoreflect.FullName(name))
	_, ok := d.(protoreflect.ServiceDescriptor)
	return err == nil && ok
}

// step is one word and its value: reply one, emit A, effect b, sync c, forward d, fail no, update A, delete.
type step string

func (s step) split() (word, value string) {
	word, value, _ = strings.Cut(string(s), " ")
	return word, value
}

// json is the step as the model's requests have it.
func (s step) json() string {
	word, value := s.split()
	text := `"` + strings.ReplaceAll(value, `"`, `\"`) + `"`
	switch word {
	case "reply", "fail":
		return `{"` + word + `":{"message":` + text + `}}`
	case "emit", "update":
		return `{"` + word + `":{"value":` + text + `}}`
	case "forward", "effect":
		return `{"` + word + `":{"id":` + text + `}}`
	case "sync":
		return `{"effect":{"id":` + text + `,"synchronous":true}}`
	case "delete":
		return `{"delete":{}}`
	default:
		panic("no step: " + string(s))
	}
}

func list[S ~string](steps []S) string {
	texts := make([]string, len(steps))
	for i, s := range steps {
		texts[i] = step(s).json()
	}
	return "[" + strings.Join(texts, ",") + "]"
}
