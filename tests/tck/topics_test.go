package tck

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/tests/harness"
)

const (
	modelT   = "tck.topics."
	desk     = modelT + "Desk"
	listener = modelT + "Listener"
	keeper   = modelT + "Keeper"
)

const topicsProto = `syntax = "proto3"; package tck.topics;
import "cloudstate/entity_key.proto"; import "cloudstate/eventing.proto"; import "google/protobuf/any.proto";
message Note { string id = 1 [(.cloudstate.entity_key) = true]; string text = 2; }
message Page { string text = 1; }
service Desk {
  rpc Heard(Note) returns (Note) { option (.cloudstate.eventing) = { in: { topic: "in" }, out: { topic: "out" } }; }
  rpc Read(Page) returns (stream Note) { option (.cloudstate.eventing) = { in: { topic: "in" } }; }
  rpc Anything(google.protobuf.Any) returns (Note) { option (.cloudstate.eventing) = { in: { topic: "in" } }; }
  rpc Say(Note) returns (Note) { option (.cloudstate.eventing) = { out: { topic: "out" } }; }
}
service Listener { rpc Listen(google.protobuf.Any) returns (Note) { option (.cloudstate.eventing) = { in: { topic: "out" } }; } }
service Keeper { rpc Keep(Note) returns (Note) { option (.cloudstate.eventing) = { in: { topic: "kept" } }; } }`

func topicsSpec(t *testing.T) *cloudstate.EntitySpec {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: protocompile.CompositeResolver{
		protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"topics.proto": topicsProto})}),
		&protocompile.SourceResolver{ImportPaths: []string{filepath.Join("..", "..", "sdk", "protocol")}},
	}}
	files, err := compiler.Compile(t.Context(), "topics.proto")
	if err != nil {
		t.Fatal(err)
	}
	set, seen := new(descriptorpb.FileDescriptorSet), map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(files[0])
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return &cloudstate.EntitySpec{
		Proto:       data,
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, ServiceName: "topics"},
		Entities: []*cloudstate.Entity{
			{EntityType: actionType, ServiceName: desk}, {EntityType: actionType, ServiceName: listener},
			{EntityType: eventSourcedType, ServiceName: keeper, PersistenceId: "keeper"},
		},
	}
}

// publish gives messages to a topic, as any app would. It does not wait: this broker holds a publisher up while the message
// before is being handled.
func (p *theatre) publish(t *testing.T, topic, contentType string, bodies ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for _, body := range bodies {
			r, err := p.host.Daprd.Client.Do(ctx, "POST", "/v1.0/publish/pubsub/"+topic, map[string]string{"Content-Type": contentType}, []byte(body))
			if ctx.Err() == nil && (err != nil || !r.OK()) {
				t.Errorf("publish to %s: %v, %d %s", topic, err, r.Status, r.Body)
			}
		}
	})
	t.Cleanup(func() { cancel(); publishing.Wait() })
}

// event is a CloudEvent in JSON.
func event(id, eventType, contentType string, data any) string {
	e := map[string]any{"specversion": "1.0", "id": id, "source": "tck", "type": eventType, "subject": "the subject", "time": "2026-01-02T03:04:05Z", "datacontenttype": contentType}
	if b, ok := data.([]byte); ok {
		e["data_base64"] = b
	} else {
		e["data"] = data
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestTopics has messages come and go by a broker, which the original never tested.
func TestTopics(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const pubsub = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.in-memory, version: v1, metadata: []}\n"
	if err := os.WriteFile(filepath.Join(folder, "pubsub.yaml"), []byte(pubsub), 0o600); err != nil {
		t.Fatal(err)
	}
	p := stage(t, topicsSpec(t))
	p.start(t, startSystem(t), harness.HostOptions{
		Journal: "memory:", ActorTypes: []string{"Keeper"}, Daprd: harness.DaprdOptions{Resources: []string{folder}}, Metadata: map[string]string{"maxTries": "5"},
	})
	p.subscribed(t)
	note := func(id, text string) *anypb.Any {
		return p.any(t, modelT+"Note", fmt.Sprintf(`{"id":%q,"text":%q}`, id, text))
	}
	reply := func(a *anypb.Any, md ...*cloudstate.MetadataEntry) *action.ActionResponse {
		r := &cloudstate.Reply{Payload: a}
		if len(md) > 0 {
			r.Metadata = &cloudstate.Metadata{Entries: md}
		}
		return &action.ActionResponse{Response: &action.ActionResponse_Reply{Reply: r}}
	}
	// arrived is the next message that an action is given, with its metadata.
	arrived := func(t *testing.T, path, service, method string, want *anypb.Any) (*exchange, map[string]string) {
		t.Helper()
		x := p.next(t, path)
		c := x.take(t, &x.in, "to").(*action.ActionCommand)
		if c.GetServiceName() != service || c.GetName() != method {
			t.Fatalf("%s.%s was called, want %s.%s", c.GetServiceName(), c.GetName(), service, method)
		}
		equal(t, "the message", want, c.GetPayload())
		entries := map[string]string{}
		for _, e := range c.GetMetadata().GetEntries() {
			entries[e.GetKey()] = e.GetStringValue()
		}
		return x, entries
	}
	ours := func(t *testing.T, got map[string]string, id, eventType, contentType string) {
		t.Helper()
		for key, want := range map[string]string{
			"ce-id": id, "ce-source": "tck", "ce-specversion": "1.0", "ce-type": eventType, "Content-Type": contentType,
			"ce-subject": "the subject", "ce-time": "2026-01-02T03:04:05Z",
		} {
			if got[key] != want {
				t.Errorf("the metadata %s is %q, want %q", key, got[key], want)
			}
		}
	}
	const cloudEvent = "application/cloudevents+json"

	t.Run("X-P31 by type, and the reply to the next topic", func(t *testing.T) {
		p.publish(t, "in", cloudEvent, event("1", modelT+"Note", "application/protobuf", note("n", "hello").GetValue()))
		x, md := arrived(t, unaryPath, desk, "Heard", note("n", "hello"))
		ours(t, md, "1", modelT+"Note", "application/protobuf")
		x.answer(reply(note("n", "heard"), textEntry("ce-subject", "another subject"), textEntry("ce-type", "tck.of.its.own")))
		y, md := arrived(t, unaryPath, listener, "Listen", &anypb.Any{TypeUrl: typePrefix + "tck.of.its.own", Value: note("n", "heard").GetValue()})
		y.answer(reply(note("", "")))
		if md["ce-id"] == "" || md["ce-id"] == "1" || md["ce-source"] != desk || md["ce-subject"] != "another subject" || md["Content-Type"] != "application/protobuf" {
			t.Errorf("the reply came with the metadata %v", md)
		}
		p.quiet(t, x, y)
	})
	t.Run("X-P32 by content type", func(t *testing.T) {
		jsonAny := stringAny(`{"a":1}`)
		jsonAny.TypeUrl = "json.cloudstate.io/tck.thing"
		bytesAny := &anypb.Any{TypeUrl: "p.cloudstate.io/bytes", Value: []byte("\x0a\x02\x00\xff")}
		for i, c := range []struct {
			eventType, contentType string
			data                   any
			path, method           string
			want                   *anypb.Any
		}{
			{modelT + "Page", "application/x-protobuf", p.any(t, modelT+"Page", `{"text":"p"}`).GetValue(), streamedOutPath, "Read", p.any(t, modelT+"Page", `{"text":"p"}`)},
			{"tck.thing", "application/json", map[string]int{"a": 1}, unaryPath, "Anything", jsonAny},
			{"tck.text", "text/plain", "words", unaryPath, "Anything", stringAny("words")},
			{"tck.bytes", "application/octet-stream", []byte("\x00\xff"), unaryPath, "Anything", bytesAny},
			{"tck.Unknown", "application/protobuf", []byte("\x0a\x01x"), unaryPath, "Anything", &anypb.Any{TypeUrl: typePrefix + "tck.Unknown", Value: []byte("\x0a\x01x")}},
		} {
			t.Run(c.contentType, func(t *testing.T) {
				id := fmt.Sprintf("32-%d", i)
				p.publish(t, "in", cloudEvent, event(id, c.eventType, c.contentType, c.data))
				x, md := arrived(t, c.path, desk, c.method, c.want)
				ours(t, md, id, c.eventType, c.contentType)
				x.answer(reply(note("", "")))
				p.quiet(t, x)
			})
		}
		// An app that knows of no CloudEvents has Dapr make one.
		p.publish(t, "in", "text/plain", "words")
		x, md := arrived(t, unaryPath, desk, "Anything", stringAny("words"))
		if md["ce-id"] == "" || md["ce-source"] != "entities" || md["ce-type"] != "com.dapr.event.sent" {
			t.Errorf("got the metadata %v", md)
		}
		x.answer(reply(note("", "")))
		p.quiet(t, x)
	})
	t.Run("X-P33 what fails comes again", func(t *testing.T) {
		p.publish(t, "in", cloudEvent, event("33", modelT+"Page", "application/protobuf", []byte(nil)))
		page := p.any(t, modelT+"Page", `{}`)
		x, _ := arrived(t, streamedOutPath, desk, "Read", page)
		x.answer(&action.ActionResponse{Response: &action.ActionResponse_Failure{Failure: &cloudstate.Failure{Description: "no"}}})
		y, md := arrived(t, streamedOutPath, desk, "Read", page)
		ours(t, md, "33", modelT+"Page", "application/protobuf")
		y.say(reply(note("", "one"))) // and then it breaks off
		y.utter("\xff")
		y.end(nil)
		z, md := arrived(t, streamedOutPath, desk, "Read", page)
		ours(t, md, "33", modelT+"Page", "application/protobuf")
		z.say(reply(note("", "one")))
		z.answer(reply(note("", "two")))
		time.Sleep(300 * time.Millisecond) // it would come again soon
		p.quiet(t, x, y, z)
	})
	t.Run("X-P34 to an entity, once", func(t *testing.T) {
		keep := event("34", modelT+"Note", "application/protobuf", note("k", "keep").GetValue())
		p.publish(t, "kept", cloudEvent, keep, keep, // brokers deliver twice now and then
			event("35", modelT+"Note", "application/protobuf", note("k", "more").GetValue()))
		kept := func(x *exchange, n int64, text string) {
			t.Helper()
			x.given(t, eventCommand(&cloudstate.Command{EntityId: "k", Id: n, Name: "Keep", Payload: note("k", text)}))
			x.say(&eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: &eventsourced.EventSourcedReply{
				CommandId: n, Events: []*anypb.Any{note("k", text)},
				ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{Payload: note("k", "kept")}}},
			}}})
		}
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(keeper, "k"))
		kept(x, 1, "keep")
		// What comes again is handled again, but that it was stored before shows when it is to be stored.
		kept(x, 2, "keep")
		x.closes(t, patience)
		y := p.next(t, eventPath)
		y.given(t, p.eventInit(keeper, "k"))
		y.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
			Sequence: 1, Payload: note("k", "keep"),
		}}})
		kept(y, 1, "more")
		time.Sleep(300 * time.Millisecond)
		p.quiet(t, x, y)
	})
	t.Run("X-P35 the reply of a call", func(t *testing.T) {
		c := p.begin(t, "/"+desk+"/Say", note("s", "say"))
		x := p.next(t, unaryPath)
		x.givenAction(t, &action.ActionCommand{ServiceName: desk, Name: "Say", Payload: note("s", "say")})
		x.answer(reply(note("s", "said")))
		y, md := arrived(t, unaryPath, listener, "Listen", note("s", "said"))
		y.answer(reply(note("", "")))
		if md["ce-source"] != desk || md["ce-type"] != modelT+"Note" || md["ce-subject"] != "" {
			t.Errorf("the reply came with the metadata %v", md)
		}
		<-c.done
		if c.err != nil || string(c.reply) != string(note("s", "said").GetValue()) {
			t.Errorf("the caller got %q, %v", c.reply, c.err)
		}
		p.quiet(t, x, y)
	})
}

// subscribed waits until the component says that it is ready, with its subscriptions.
func (p *theatre) subscribed(t *testing.T) {
	t.Helper()
	admin := harness.NewClient(p.host.Component.Admin)
	defer admin.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := admin.Do(t.Context(), "GET", "/readyz", nil, nil)
		log, logErr := p.host.Component.Log(0)
		if err == nil && r.OK() && logErr == nil && strings.Count(log, "msg=subscribed") == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the component is not ready: %v, %d %s", err, r.Status, r.Body)
		}
	}
}
