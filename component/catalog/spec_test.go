package catalog

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

const keyProto = `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { bool entity_key = 1080; }`

const legacyKeyProto = `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { bool legacy_entity_key = 50002; }`

const eventingProto = `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { Eventing eventing = 1081; }
message Eventing { EventSource in = 1; EventDestination out = 2; }
message EventSource { string consumer_group = 1; oneof source { string topic = 2; string event_log = 3; } }
message EventDestination { oneof destination { string topic = 1; } }`

const shopProto = `syntax = "proto3"; package shop.v1;
import "cloudstate/entity_key.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/any.proto";
import "google/protobuf/timestamp.proto";
message AddItem { string cart_id = 1 [(.cloudstate.entity_key) = true]; string product = 2; int32 quantity = 3; google.protobuf.Timestamp at = 4; google.protobuf.Any extra = 5; repeated AddItem nested = 6; bytes raw = 7; Size size = 8; map<string, int64> tags = 9; }
enum Size { S = 0; L = 1; }
message GetCart { string cart_id = 1 [(.cloudstate.entity_key) = true]; }
message Cart { repeated Item items = 1; }
message Item { string product = 1; int32 quantity = 2; }
message Pair { string region = 2 [(.cloudstate.entity_key) = true]; int64 number = 1 [(.cloudstate.entity_key) = true]; }
message Numbered { int64 number = 1 [(.cloudstate.entity_key) = true]; }
message ItemAdded { Item item = 1; }
service ShoppingCart {
  rpc Add(AddItem) returns (google.protobuf.Empty);
  rpc Get(GetCart) returns (Cart);
  rpc Both(Pair) returns (Cart);
  rpc Count(Numbered) returns (Cart);
}`

// files compiles sources to a serialized set with all imports, without those files that drop names.
func files(t testing.TB, sources map[string]string, drop ...string) []byte {
	t.Helper()
	all := map[string]string{"cloudstate/entity_key.proto": keyProto, "cloudstate/legacy_entity_key.proto": legacyKeyProto, "cloudstate/eventing.proto": eventingProto}
	maps.Copy(all, sources)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(all)}),
	}
	compiled, err := compiler.Compile(context.Background(), slices.Sorted(maps.Keys(sources))...)
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	seen := make(map[string]bool)
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		if slices.Contains(drop, f.Path()) {
			return
		}
		p := protodesc.ToFileDescriptorProto(f)
		if r, ok := f.(linker.Result); ok {
			p = r.FileDescriptorProto()
		}
		set.File = append(set.File, p)
	}
	for _, f := range compiled {
		add(f)
	}
	return marshal(t, set)
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func eventSourced(service, persistence string) *cloudstate.Entity {
	return &cloudstate.Entity{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: service, PersistenceId: persistence}
}

func spec(set []byte, entities ...*cloudstate.Entity) *cloudstate.EntitySpec {
	return &cloudstate.EntitySpec{
		Proto:       set,
		Entities:    entities,
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMajorVersion: 0, ProtocolMinorVersion: 2},
	}
}

func with(s *cloudstate.EntitySpec, extensions ...string) *cloudstate.EntitySpec {
	s.ServiceInfo.Extensions = extensions
	return s
}

func shop(t testing.TB) *cloudstate.EntitySpec {
	return spec(files(t, map[string]string{"shop.proto": shopProto}), eventSourced("shop.v1.ShoppingCart", "carts"))
}

func jsonSpec(methods ...*cloudstate.Method) *cloudstate.EntitySpec {
	e := eventSourced("todo.List", "todos")
	e.Methods = methods
	return with(spec(nil, e), "json", "targets")
}

func jsonSpecOf(k actors.Kind, methods ...*cloudstate.Method) *cloudstate.EntitySpec {
	s := jsonSpec(methods...)
	s.Entities[0].EntityType = EntityType(k)
	return s
}

func mustNew(t testing.TB, s *cloudstate.EntitySpec, o Options) *Catalog {
	t.Helper()
	c, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustMethod(t testing.TB, c *Catalog, service, name string) *Method {
	t.Helper()
	s, ok := c.Service(service)
	if !ok {
		t.Fatalf("no service %s", service)
	}
	m, err := s.Method(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
