package catalog

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func TestNew(t *testing.T) {
	t.Parallel()
	s := shop(t)
	s.Entities[0].PassivationStrategy = passivation(1500)
	s.ServiceInfo.Extensions = []string{"codes", "from the future"}
	c := mustNew(t, s, Options{})
	got, ok := c.Service("ShoppingCart")
	if !ok {
		t.Fatal("no service under its actor type")
	}
	if byName, _ := c.Service("shop.v1.ShoppingCart"); byName != got {
		t.Error("name and actor type lead to different services")
	}
	if _, ok := c.Service("Cart"); ok {
		t.Error("found a service that is none")
	}
	if got.Name != "shop.v1.ShoppingCart" || got.ActorType != "ShoppingCart" || got.Persistence != "carts" ||
		got.Kind != actors.EventSourced || got.Idle != 1500*time.Millisecond {
		t.Errorf("got %+v", got)
	}
	if !got.Extensions["codes"] || len(got.Extensions) != 1 {
		t.Errorf("extensions: %v", got.Extensions)
	}
	if want := []string{"Add", "Both", "Count", "Get"}; !slices.Equal(got.Methods(), want) {
		t.Errorf("methods: %v", got.Methods())
	}
	_, err := got.Method("Remove")
	if actors.CodeOf(err) != actors.Unimplemented || !strings.Contains(err.Error(), "Add, Both, Count, Get") {
		t.Errorf("unknown method: %v", err)
	}
	if m := mustMethod(t, c, "ShoppingCart", "Add"); m.Input != "type.googleapis.com/shop.v1.AddItem" || m.Output != "type.googleapis.com/google.protobuf.Empty" {
		t.Errorf("types: %s %s", m.Input, m.Output)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := shop(t)
	s.Entities[0].PersistenceId = ""
	s.Entities[0].PassivationStrategy = passivation(math.MaxInt64)
	c := mustNew(t, s, Options{ActorTypes: map[string]string{"shop.v1.ShoppingCart": "Cart2"}})
	got, ok := c.Service("Cart2")
	if !ok || got.Persistence != "shop.v1.ShoppingCart" || got.Idle <= 0 {
		t.Errorf("got %+v", got)
	}
}

func TestLegacyKey(t *testing.T) {
	t.Parallel()
	set := files(t, map[string]string{"l.proto": `syntax = "proto3"; package l; import "cloudstate/legacy_entity_key.proto";
message In { string id = 1 [(.cloudstate.legacy_entity_key) = true]; } service S { rpc Do(In) returns (In); }`})
	c := mustNew(t, spec(set, eventSourced("l.S", "l")), Options{})
	p, err := mustMethod(t, c, "S", "Do").Decode("x", "", nil)
	if err != nil || string(p.Data) != "\x0a\x01x" {
		t.Errorf("got %q, %v", p.Data, err)
	}
}

func passivation(ms int64) *cloudstate.EntityPassivationStrategy {
	return &cloudstate.EntityPassivationStrategy{Strategy: &cloudstate.EntityPassivationStrategy_Timeout{
		Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: ms},
	}}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	streams := files(t, map[string]string{"s.proto": `syntax = "proto3"; package s; import "cloudstate/entity_key.proto";
message K { string id = 1 [(.cloudstate.entity_key) = true]; } message N { string id = 1; }
message Bad { repeated string ids = 1 [(.cloudstate.entity_key) = true]; N n = 2 [(.cloudstate.entity_key) = true]; double d = 3 [(.cloudstate.entity_key) = true]; }
service Out { rpc A(K) returns (stream K); rpc B(K) returns (stream K); rpc C(K) returns (K); }
service In { rpc A(stream K) returns (K); }
service Keyless { rpc A(N) returns (N); rpc B(N) returns (N); rpc C(K) returns (N); }
service BadKey { rpc A(Bad) returns (N); }`})
	two := files(t, map[string]string{
		"a.proto": `syntax = "proto3"; package a; import "cloudstate/entity_key.proto"; message K { string id = 1 [(.cloudstate.entity_key) = true]; } service Same { rpc A(K) returns (K); }`,
		"b.proto": `syntax = "proto3"; package b; import "cloudstate/entity_key.proto"; message K { string id = 1 [(.cloudstate.entity_key) = true]; } service Same { rpc A(K) returns (K); }`,
	})
	as := func(kind actors.Kind, service string) *cloudstate.Entity {
		return &cloudstate.Entity{EntityType: EntityType(kind), ServiceName: service, PersistenceId: service}
	}
	circle := marshal(t, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		{Name: new("a.proto"), Dependency: []string{"b.proto"}},
		{Name: new("b.proto"), Dependency: []string{"c.proto"}},
		{Name: new("c.proto"), Dependency: []string{"b.proto"}},
	}})
	contradiction := marshal(t, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		{Name: new("a.proto")}, {Name: new("a.proto"), Package: new("p")},
	}})
	all := Options{Supported: []actors.Kind{actors.EventSourced, actors.Value, actors.Replicated, actors.Action}}
	described := shop(t)
	described.Entities[0].Methods = []*cloudstate.Method{{Name: "Add"}}
	negative := shop(t)
	negative.Entities[0].PassivationStrategy = passivation(-1)
	oldVersion := shop(t)
	oldVersion.ServiceInfo.ProtocolMinorVersion = 1
	noVersion := shop(t)
	noVersion.ServiceInfo = nil
	everything := spec([]byte("\xff"), eventSourced("x", ""), eventSourced("x", ""))
	everything.Entities[0].EntityType = "nonsense"
	everything.ServiceInfo.ProtocolMajorVersion = 9

	tests := []struct {
		name string
		spec *cloudstate.EntitySpec
		opt  Options
		want []string
	}{
		{"nil", nil, Options{}, []string{"version 0.0", "no entities"}},
		{"1 version", oldVersion, Options{}, []string{"version 0.1;", "0.2"}},
		{"1 version unset", noVersion, Options{}, []string{"version 0.0 (or announces no version)", "0.2"}},
		{"2 bytes", spec([]byte("\x0a\xff"), eventSourced("a.S", "")), Options{}, []string{"not a serialized google.protobuf.FileDescriptorSet"}},
		{"2 empty bytes", spec(nil, eventSourced("a.S", "")), Options{}, []string{"a.S is not in the descriptors"}},
		{"3 circle", spec(circle, eventSourced("a.S", "")), Options{}, []string{"circle: b.proto → c.proto → b.proto"}},
		{"4 missing", spec(files(t, map[string]string{"shop.proto": shopProto}, "google/protobuf/descriptor.proto"), eventSourced("shop.v1.ShoppingCart", "")), Options{},
			[]string{"google/protobuf/descriptor.proto is missing (cloudstate/entity_key.proto → google/protobuf/descriptor.proto)", "--include_imports"}},
		{"two files of one name", spec(contradiction, eventSourced("a.S", "")), Options{}, []string{"two different files with the name a.proto"}},
		{"5 no entities", spec(streams), Options{}, []string{"no entities"}},
		{"6 unknown service", spec(streams, eventSourced("s.Nowhere", "")), Options{}, []string{"s.Nowhere is not in the descriptors"}},
		{"6 a message", spec(streams, eventSourced("s.K", "")), Options{}, []string{"s.K is not in the descriptors"}},
		{"6 no name", spec(streams, eventSourced("", "")), Options{}, []string{`"" is not a full service name`}},
		{"7 unknown type", spec(streams, &cloudstate.Entity{EntityType: "x.Y", ServiceName: "s.In"}), Options{}, []string{"s.In", `"x.Y"`, "supported: cloudstate.eventsourced.EventSourced"}},
		{"7 replicated that is not wanted", spec(streams, as(actors.Replicated, "s.Keyless")), Options{Supported: []actors.Kind{actors.EventSourced, actors.Value, actors.Action}}, []string{
			`s.Keyless has the entity type "cloudstate.crdt.Crdt"`, "supported: cloudstate.eventsourced.EventSourced, cloudstate.valueentity.ValueEntity, cloudstate.action.ActionProtocol", "names no entity: A, B"}},
		{"8 streams", spec(streams, eventSourced("s.Out", "")), Options{}, []string{"event sourced service s.Out may not have streamed methods: A, B"}},
		{"9 keys", spec(streams, eventSourced("s.Keyless", "")), Options{}, []string{"s.Keyless", "names no entity: A, B;", "entity_key"}},
		{"10 value streams", spec(streams, as(actors.Value, "s.In")), all, []string{"value service s.In may not have streamed methods: A"}},
		{"10 value keys", spec(streams, as(actors.Value, "s.Keyless")), all, []string{"names no entity: A, B"}},
		{"11 replicated", spec(streams, as(actors.Replicated, "s.In")), all, []string{"replicated service s.In may not have client-streamed methods: A"}},
		{"11 replicated keys", spec(streams, as(actors.Replicated, "s.Keyless")), all, []string{"names no entity: A, B"}},
		{"bad keys", spec(streams, eventSourced("s.BadKey", "")), Options{}, []string{"entity key s.Bad.ids must be", "s.Bad.n must be", "s.Bad.d must be"}},
		{"twice", spec(two, eventSourced("a.Same", "1"), eventSourced("a.Same", "2")), Options{}, []string{"a.Same is announced twice"}},
		{"simple names", spec(two, eventSourced("a.Same", "1"), eventSourced("b.Same", "2")), Options{}, []string{"a.Same and b.Same", `"Same"`, `"actorType.b.Same"`}},
		{"persistence ids", spec(two, eventSourced("a.Same", "1"), eventSourced("b.Same", "1")), Options{ActorTypes: map[string]string{"b.Same": "B"}},
			[]string{"a.Same and b.Same have the same persistence id \"1\""}},
		{"actor type", shop(t), Options{ActorTypes: map[string]string{"shop.v1.ShoppingCart": "a/b"}}, []string{`"a/b"`, "actorType.shop.v1.ShoppingCart"}},
		{"reserved actor type", spec(two, eventSourced("a.Same", "")), Options{ActorTypes: map[string]string{"a.Same": JournalActorType}},
			[]string{`a.Same would be the actor type "EntitiesJournal"`, `"actorType.a.Same"`}},
		{"persistence id", spec(two, eventSourced("a.Same", "a\x00")), Options{}, []string{"persistence id of the service a.Same"}},
		{"persistence id of a topic", spec(two, eventSourced("a.Same", "topic/x")), Options{}, []string{`"topic/x" of the service a.Same`, "choose another"}},
		{"persistence id of the state store", spec(two, eventSourced("a.Same", "state/entities")), Options{}, []string{`"state/entities" of the service a.Same`, "choose another"}},
		{"passivation", negative, Options{}, []string{"negative: -1 ms"}},
		{"listed replicated", with(jsonSpecOf(actors.Replicated, &cloudstate.Method{Name: "A", StreamedIn: true, StreamedOut: true}), "json"), all,
			[]string{"may not have client-streamed methods: A; let each take one message"}},
		{"both", with(described, "json"), Options{}, []string{"lists methods and is described by shop.proto"}},
		{"json not announced", with(jsonSpec(&cloudstate.Method{Name: "A"}), "targets"), Options{}, []string{`did not announce the extension "json"`}},
		{"json names", jsonSpec(&cloudstate.Method{Name: "A"}, &cloudstate.Method{Name: "A"}, &cloudstate.Method{Name: "x/y"}, &cloudstate.Method{Name: "B", Input: "\n"}), Options{},
			[]string{"lists the method A twice", `"x/y" is not a name`, "types of todo.List.B"}},
		{"all at once", everything, Options{}, []string{"version 9.2", "not a serialized", `"nonsense"`, "x is announced twice"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := New(tt.spec, tt.opt)
			if err == nil || c != nil {
				t.Fatalf("accepted: %v", c)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			t.Log(err)
		})
	}
	// What no rule forbids.
	mustNew(t, spec(streams, as(actors.Action, "s.In")), all)
	mustNew(t, spec(streams, as(actors.Replicated, "s.Out")), all)
	mustNew(t, with(spec(streams, eventSourced("s.Keyless", "")), "targets"), Options{})
	mustNew(t, with(spec(streams, eventSourced("s.Keyless", "")), "json"), Options{})
	mustNew(t, with(jsonSpec(&cloudstate.Method{Name: "A"}), "json"), Options{})
	mustNew(t, with(jsonSpecOf(actors.Replicated, &cloudstate.Method{Name: "A", StreamedOut: true}), "json"), Options{})
}

func TestEqual(t *testing.T) {
	t.Parallel()
	base := mustNew(t, shop(t), Options{})
	change := func(f func(*cloudstate.EntitySpec)) *Catalog {
		s := shop(t)
		f(s)
		return mustNew(t, s, Options{})
	}
	same := change(func(s *cloudstate.EntitySpec) {
		s.ServiceInfo.ServiceVersion = "2"
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(s.Proto, &set); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(set.File)
		set.File = append(set.File, set.File[0])
		set.File[1].SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{}}}
		s.Proto = marshal(t, &set)
	})
	if !base.Equal(same) || !base.Equal(base) {
		t.Error("the order of files, comments and versions count")
	}
	for name, f := range map[string]func(*cloudstate.EntitySpec){
		"persistence": func(s *cloudstate.EntitySpec) { s.Entities[0].PersistenceId = "x" },
		"idle":        func(s *cloudstate.EntitySpec) { s.Entities[0].PassivationStrategy = passivation(5) },
		"extensions":  func(s *cloudstate.EntitySpec) { s.ServiceInfo.Extensions = []string{"codes"} },
		"descriptor": func(s *cloudstate.EntitySpec) {
			s.Proto = files(t, map[string]string{"shop.proto": strings.Replace(shopProto, "quantity = 2", "amount = 2", 1)})
		},
	} {
		if base.Equal(change(f)) {
			t.Errorf("%s does not count", name)
		}
	}
	a, b := mustNew(t, jsonSpec(&cloudstate.Method{Name: "A"}), Options{}), mustNew(t, jsonSpec(&cloudstate.Method{Name: "B"}), Options{})
	if a.Equal(b) || a.Equal(nil) {
		t.Error("methods do not count")
	}
}

func FuzzNew(f *testing.F) {
	f.Add(marshal(f, shop(f)))
	small := files(f, map[string]string{"s.proto": `syntax = "proto3"; package s; message M { M m = 1; string id = 2; } service S { rpc A(M) returns (M); }`})
	f.Add(marshal(f, with(spec(small, eventSourced("s.S", "")), "targets")))
	f.Add(marshal(f, jsonSpec(&cloudstate.Method{Name: "A", Input: "Add"})))
	f.Add(marshal(f, spec(feedSet(f), action("feed.Reader"), eventSourced("feed.Entity", ""))))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s cloudstate.EntitySpec
		if proto.Unmarshal(data, &s) != nil {
			// The descriptors alone are worth more of the fuzzer's time than a spec that does not parse.
			s = cloudstate.EntitySpec{Proto: data, Entities: []*cloudstate.Entity{eventSourced("shop.v1.ShoppingCart", "")}}
		}
		c, err := New(&s, Options{})
		if (c == nil) == (err == nil) {
			t.Fatal("neither or both of catalog and error")
		}
		if c == nil {
			return
		}
		if again, err := New(&s, Options{}); err != nil || !again.Equal(c) {
			t.Fatalf("a spec does not equal itself: %v", err)
		}
		for _, consumer := range c.Consumers() {
			for _, m := range consumer.Methods {
				if got, err := consumer.Method(actors.Payload{TypeURL: m.Input}); err != nil || got.Input != m.Input {
					t.Fatalf("%s: its type goes to %v, %v", m, got, err)
				}
			}
		}
		for _, s := range c.Services() {
			for _, name := range s.Methods() {
				m, err := s.Method(name)
				if err != nil {
					t.Fatal(err)
				}
				if p, err := m.Decode("id", "", nil); err == nil {
					if _, err := c.JSON(p); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}
