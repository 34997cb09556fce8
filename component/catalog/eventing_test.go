package catalog

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

const feedProto = `syntax = "proto3"; package feed;
import "cloudstate/entity_key.proto"; import "cloudstate/eventing.proto"; import "google/protobuf/any.proto";
message One { string id = 1 [(.cloudstate.entity_key) = true]; } message Two { string text = 1; }
service Reader {
  rpc A(One) returns (Two) { option (.cloudstate.eventing) = { in: { event_log: "carts" } }; }
  rpc B(Two) returns (stream Two) { option (.cloudstate.eventing) = { in: { event_log: "carts" }, out: { topic: "out" } }; }
  rpc C(google.protobuf.Any) returns (Two) { option (.cloudstate.eventing) = { in: { event_log: "carts" } }; }
  rpc D(One) returns (Two) { option (.cloudstate.eventing) = { in: { topic: "news", consumer_group: "mine" } }; }
  rpc E(One) returns (Two) { option (.cloudstate.eventing) = { out: { topic: "out" } }; }
  rpc F(One) returns (Two);
}
service Entity { rpc A(One) returns (Two) { option (.cloudstate.eventing) = { in: { topic: "news" }, out: { topic: "out" } }; } }
service Wrong {
  rpc NoSource(Two) returns (Two) { option (.cloudstate.eventing) = { in: {} }; }
  rpc NoTopic(Two) returns (Two) { option (.cloudstate.eventing) = { out: {} }; }
  rpc Circle(Two) returns (Two) { option (.cloudstate.eventing) = { in: { topic: "t" }, out: { topic: "t" } }; }
  rpc Twice(Two) returns (Two) { option (.cloudstate.eventing) = { in: { topic: "t" } }; }
  rpc Control(Two) returns (Two) { option (.cloudstate.eventing) = { in: { topic: "a\x01" consumer_group: "g\x01" }, out: { topic: "b\x01" } }; }
}
service Keyless { rpc A(Two) returns (Two) { option (.cloudstate.eventing) = { in: { event_log: "l" } }; } }
service Other1 { rpc A(Two) returns (Two) { option (.cloudstate.eventing) = { in: { event_log: "l", consumer_group: "g" } }; } }
service Other2 { rpc A(One) returns (Two) { option (.cloudstate.eventing) = { in: { event_log: "l", consumer_group: "g" } }; } }`

func feedSet(t testing.TB) []byte { return files(t, map[string]string{"feed.proto": feedProto}) }

func action(service string) *cloudstate.Entity {
	return &cloudstate.Entity{EntityType: EntityType(actors.Action), ServiceName: service}
}

func TestEventing(t *testing.T) {
	t.Parallel()
	c := mustNew(t, spec(feedSet(t), action("feed.Reader"), eventSourced("feed.Entity", "")), Options{})
	var got []string
	for _, consumer := range c.Consumers() {
		var names []string
		for _, m := range consumer.Methods {
			names = append(names, m.Name)
		}
		got = append(got, consumer.Service.Name+": "+consumer.String()+": "+strings.Join(names, " "))
	}
	want := []string{
		`feed.Entity: the topic "news" in the group "feed.Entity": A`,
		`feed.Reader: the event log "carts" in the group "feed.Reader": A B C`,
		`feed.Reader: the topic "news" in the group "mine": D`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consumers (-want +got):\n%s", diff)
	}
	if e := mustMethod(t, c, "feed.Reader", "E"); e.In != nil || e.Out != "out" {
		t.Errorf("only out: %+v", e)
	}
	if f := mustMethod(t, c, "feed.Reader", "F"); f.In != nil || f.Out != "" {
		t.Errorf("no eventing: %+v", f)
	}
	// An action is addressed by nothing, whatever fields its input has.
	if p, err := mustMethod(t, c, "feed.Reader", "A").Decode("", "", []byte(`{"id":"x"}`)); err != nil || string(p.Data) != "\x0a\x01x" {
		t.Errorf("got %q, %v", p.Data, err)
	}
}

func TestEventingOfListedMethods(t *testing.T) {
	t.Parallel()
	e := action("todo.Reader")
	in := func(group string) *cloudstate.Eventing {
		return &cloudstate.Eventing{In: &cloudstate.EventSource{ConsumerGroup: group, Source: &cloudstate.EventSource_EventLog{EventLog: "todos"}}}
	}
	e.Methods = []*cloudstate.Method{
		{Name: "Added", Input: "todo.Added", Eventing: in("")},
		{Name: "Whatever", Input: "google.protobuf.Any", Eventing: in("")},
		{Name: "Added2", Input: "todo.Added", Eventing: in("second")},
	}
	c := mustNew(t, with(spec(nil, e), "json"), Options{})
	choose(t, c.Consumers()[1], map[string]string{
		"json.cloudstate.io/todo.Added":   "Added",
		"json.cloudstate.io/todo.Removed": "Whatever",
		"type.googleapis.com/todo.Added":  "Whatever",
	})
	choose(t, c.Consumers()[0], map[string]string{"json.cloudstate.io/todo.Added": "Added2", "json.cloudstate.io/todo.Removed": ""})

	list := jsonSpec(&cloudstate.Method{Name: "A", Input: "x", Eventing: in("")})
	if _, err := New(list, Options{}); err == nil || !strings.Contains(err.Error(), "the eventing of todo.List.A has an in, but the input names no entity") {
		t.Errorf("got %v", err)
	}
}

// choose checks which method takes a type: "" for none.
func choose(t *testing.T, c Consumer, want map[string]string) {
	t.Helper()
	for url, name := range want {
		m, err := c.Method(actors.Payload{TypeURL: url})
		switch {
		case name == "" && (actors.CodeOf(err) != actors.Unimplemented || !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), c.Service.Name)):
			t.Errorf("%s: got %v, %v", url, m, err)
		case name != "" && (err != nil || m.Name != name):
			t.Errorf("%s: got %v, %v, want %s", url, m, err, name)
		}
	}
}

func TestConsumerMethod(t *testing.T) {
	t.Parallel()
	c := mustNew(t, spec(feedSet(t), action("feed.Reader")), Options{})
	at := func(topic string) Consumer {
		return c.Consumers()[slices.IndexFunc(c.Consumers(), func(o Consumer) bool { return o.Topic == topic })]
	}
	choose(t, at(""), map[string]string{
		"type.googleapis.com/feed.One":            "A",
		"elsewhere.org/feed.Two":                  "B",
		"type.googleapis.com/feed.Three":          "C",
		"type.googleapis.com/google.protobuf.Any": "C",
		"json.cloudstate.io/feed.One":             "C",
		"p.cloudstate.io/string":                  "C",
		"feed.One":                                "C",
		"":                                        "C",
	})
	choose(t, at("news"), map[string]string{
		"type.googleapis.com/feed.One": "D",
		"type.googleapis.com/feed.Two": "",
		"json.cloudstate.io/feed.One":  "",
		"p.cloudstate.io/feed.One":     "",
	})
	if id, err := mustMethod(t, mustNew(t, spec(feedSet(t), eventSourced("feed.Entity", "")), Options{}), "Entity", "A").
		Entity(actors.Payload{TypeURL: "elsewhere.org/feed.One", Data: []byte("\x0a\x01x")}); err != nil || id != "x" {
		t.Errorf("got %q, %v", id, err)
	}
}

func TestEventingProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		spec *cloudstate.EntitySpec
		want []string
	}{
		{"wrong", spec(feedSet(t), action("feed.Wrong")), []string{
			"the eventing of feed.Wrong.NoSource has an in without a source",
			"the eventing of feed.Wrong.NoTopic has an out without a topic",
			`feed.Wrong.Circle takes from the topic "t" and publishes to it`,
			`the methods Circle and Twice of feed.Wrong take the same type from the topic "t" in the group "feed.Wrong"`,
			"feed.Wrong.Control has a consumer group that is longer", "feed.Wrong.Control has a topic that is longer"}},
		{"keyless", with(spec(feedSet(t), eventSourced("feed.Keyless", "")), "targets"), []string{"the eventing of feed.Keyless.A has an in, but the input names no entity"}},
		{"groups", spec(feedSet(t), action("feed.Other1"), action("feed.Other2")), []string{
			`feed.Other1 and feed.Other2 both consume the event log "l" in the group "g"`}},
	} {
		_, err := New(tt.spec, Options{})
		if err == nil {
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q:\n%v", tt.name, want, err)
			}
		}
	}
}

func TestEventingCounts(t *testing.T) {
	t.Parallel()
	serving := func(e *cloudstate.Eventing) *Catalog {
		a := action("todo.Reader")
		a.Methods = []*cloudstate.Method{{Name: "A", Eventing: e}}
		return mustNew(t, with(spec(nil, a), "json"), Options{})
	}
	topic := func(name string) *cloudstate.EventSource {
		return &cloudstate.EventSource{Source: &cloudstate.EventSource_Topic{Topic: name}}
	}
	out := &cloudstate.EventDestination{Destination: &cloudstate.EventDestination_Topic{Topic: "b"}}
	all := []*Catalog{serving(nil), serving(&cloudstate.Eventing{In: topic("a")}), serving(&cloudstate.Eventing{In: topic("b")}), serving(&cloudstate.Eventing{Out: out})}
	for i, a := range all {
		for j, b := range all {
			if a.Equal(b) != (i == j) {
				t.Errorf("%d equals %d: %t", i, j, a.Equal(b))
			}
		}
	}
	if !all[0].Equal(serving(&cloudstate.Eventing{})) {
		t.Error("an empty option is none")
	}
}

// Actions have no state that they could share.
func TestPersistenceIDsOfActions(t *testing.T) {
	t.Parallel()
	a, b := action("feed.Reader"), action("feed.Other1")
	a.PersistenceId, b.PersistenceId = "same", "same"
	mustNew(t, spec(feedSet(t), a, b), Options{})
}
