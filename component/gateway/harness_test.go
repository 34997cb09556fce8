package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// library are the files that authors import.
var library = map[string]string{
	"cloudstate/entity_key.proto": `syntax = "proto3"; package cloudstate; import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { bool entity_key = 1080; }`,
	"google/api/http.proto": `syntax = "proto3"; package google.api;
message HttpRule { string selector = 1; oneof pattern { string get = 2; string put = 3; string post = 4; string delete = 5; string patch = 6; CustomHttpPattern custom = 8; }
string body = 7; string response_body = 12; repeated HttpRule additional_bindings = 11; }
message CustomHttpPattern { string kind = 1; string path = 2; }`,
	"google/api/annotations.proto": `syntax = "proto3"; package google.api; import "google/api/http.proto"; import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }`,
	"google/api/httpbody.proto": `syntax = "proto3"; package google.api; import "google/protobuf/any.proto";
message HttpBody { string content_type = 1; bytes data = 2; repeated google.protobuf.Any extensions = 3; }`,
}

const shopProto = `syntax = "proto3"; package shop.v1;
import "cloudstate/entity_key.proto"; import "google/api/annotations.proto"; import "google/api/httpbody.proto";
import "google/protobuf/empty.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
message AddItem { string cart_id = 1 [(.cloudstate.entity_key) = true]; string product = 2; int32 quantity = 3; }
message GetCart { string cart_id = 1 [(.cloudstate.entity_key) = true]; }
message Cart { repeated Item items = 1; Item first = 2; int64 total = 3; map<string, int64> tags = 4; bytes raw = 5; }
message Item { string product = 1; int32 quantity = 2; }
enum Size { SMALL = 0; LARGE = 1; }
message All { string s = 1; int64 i = 2; uint32 u = 3; double d = 4; bool b = 5; bytes y = 6; Size size = 7; repeated int32 list = 8;
  All inner = 9; google.protobuf.Timestamp at = 10; google.protobuf.Int64Value wrapped = 11; map<string, string> tags = 12; float f = 13; Item item = 14;
  google.api.HttpBody file = 15; google.protobuf.StringValue text = 16; }
message Text { string text = 1; }
service ShoppingCart {
  rpc Add(AddItem) returns (google.protobuf.Empty) { option (google.api.http) = { post: "/cart/{cart_id}/items/add" body: "*" }; }
  rpc Get(GetCart) returns (Cart) { option (google.api.http) = { get: "/carts/{cart_id}"
    additional_bindings { get: "/carts/{cart_id}/items" response_body: "items" }
    additional_bindings { get: "/carts/{cart_id}/first" response_body: "first" }
    additional_bindings { get: "/carts/{cart_id}/total" response_body: "total" }
    additional_bindings { get: "/carts/{cart_id}/tags" response_body: "tags" }
    additional_bindings { get: "/carts/{cart_id}/raw" response_body: "raw" }
    additional_bindings { custom { kind: "*" path: "/any/{cart_id}:look" } } }; }
  rpc Plain(AddItem) returns (Text);
}
service Echo {
  rpc Say(Text) returns (Text);
  rpc All(.shop.v1.All) returns (.shop.v1.All) { option (google.api.http) = { get: "/all" additional_bindings { put: "/all/{s}/{size}" body: "item" } additional_bindings { get: "/nested/{inner.s}" } additional_bindings { post: "/file/{s}" body: "file" } }; }
  rpc In(stream Text) returns (Text);
  rpc Out(Text) returns (stream Text);
  rpc Both(stream Text) returns (stream Text);
  rpc Upload(google.api.HttpBody) returns (google.api.HttpBody) { option (google.api.http) = { post: "/upload" body: "*" }; }
  rpc Download(Text) returns (stream google.api.HttpBody) { option (google.api.http) = { get: "/download" }; }
}`

// compileProto makes sources a serialized set with all imports.
func compileProto(sources map[string]string) []byte {
	all := maps.Clone(library)
	maps.Copy(all, sources)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(all)}),
	}
	compiled, err := compiler.Compile(context.Background(), slices.Sorted(maps.Keys(sources))...)
	if err != nil {
		panic(err)
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
		p := protodesc.ToFileDescriptorProto(f)
		if r, ok := f.(linker.Result); ok {
			p = r.FileDescriptorProto()
		}
		set.File = append(set.File, p)
	}
	for _, f := range compiled {
		add(f)
	}
	b, err := proto.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

func newCatalog(t testing.TB, set []byte, entities ...*cloudstate.Entity) *catalog.Catalog {
	t.Helper()
	c, err := catalog.New(&cloudstate.EntitySpec{
		Proto: set, Entities: entities,
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"}},
	}, catalog.Options{Supported: []actors.Kind{actors.EventSourced, actors.Value, actors.Action, actors.Replicated}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func entity(kind actors.Kind, service string, methods ...*cloudstate.Method) *cloudstate.Entity {
	return &cloudstate.Entity{EntityType: catalog.EntityType(kind), ServiceName: service, PersistenceId: service, Methods: methods}
}

var shopSet = sync.OnceValue(func() []byte { return compileProto(map[string]string{"shop.proto": shopProto}) })

func shop(t testing.TB) *catalog.Catalog {
	return newCatalog(t, shopSet(),
		entity(actors.EventSourced, "shop.v1.ShoppingCart"), entity(actors.Action, "shop.v1.Echo"),
		entity(actors.Value, "todo.List", &cloudstate.Method{Name: "Put", Input: "Put", Output: "List"}),
		entity(actors.Action, "todo.Do", &cloudstate.Method{Name: "It"}, &cloudstate.Method{Name: "Many", StreamedIn: true, StreamedOut: true}))
}

// user stands for the user function and all that is before it.
type user struct {
	handle func(context.Context, actors.Command) (actors.Outcome, error)
	stream func(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error

	mu       sync.Mutex
	commands []actors.Command
	inputs   []actors.Input
}

func (u *user) note(c actors.Command) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.commands = append(u.commands, c)
}

func (u *user) last(t testing.TB) actors.Command {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.commands) == 0 {
		t.Fatal("no command came")
	}
	return u.commands[len(u.commands)-1]
}

func (u *user) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	u.note(c)
	if u.handle != nil {
		return u.handle(ctx, c)
	}
	return actors.Outcome{Reply: &c.Payload, Sequence: 7}, nil
}

// Stream answers each input, or each command, by itself, and a text that begins with "no" by failing.
func (u *user) Stream(ctx context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	u.note(c)
	if u.stream != nil {
		return u.stream(ctx, c, in, out)
	}
	if in == nil {
		return out(actors.Outcome{Reply: &c.Payload})
	}
	for {
		i, err := in()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		u.mu.Lock()
		u.inputs = append(u.inputs, i)
		u.mu.Unlock()
		if err := out(actors.Outcome{Reply: &i.Payload}); err != nil {
			return err
		}
	}
}

// rig is a gateway that runs, and a connection to it.
type rig struct {
	*Gateway
	user *user
	url  string
	conn *grpc.ClientConn
	http *http.Client
	stop func() error
	log  *strings.Builder
}

func start(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{user: new(user), log: new(strings.Builder)}
	c := Config{
		Address: "127.0.0.1:0", Commands: r.user, DrainTimeout: 2 * time.Second,
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	var err error
	if r.Gateway, err = New(c); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(shop(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	select {
	case <-r.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	r.url = "http://" + r.Address().String()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	transport := &http.Transport{}
	r.http = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	r.conn, err = grpc.NewClient(r.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.conn.Close()
		transport.CloseIdleConnections()
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// answered is an HTTP answer that has been read.
type answered struct {
	status int
	header http.Header
	body   string
}

func (r *rig) call(t testing.TB, verb, path, body string, headers ...string) answered {
	t.Helper()
	req, err := http.NewRequest(verb, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(t, r.http, req)
}

func do(t testing.TB, client *http.Client, req *http.Request) answered {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return answered{resp.StatusCode, resp.Header, string(b)}
}

// text is a shop.v1.Text, serialized.
func text(s string) []byte {
	b := []byte{}
	if s != "" {
		b = append(append(b, 0x0a, byte(len(s))), s...)
	}
	return b
}

// message makes a payload of JSON.
func (r *rig) message(t testing.TB, name, text string) *actors.Payload {
	t.Helper()
	types := r.routes.Load().catalog.Types()
	mt, err := types.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	msg := mt.New().Interface()
	if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal([]byte(text), msg); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	return &actors.Payload{TypeURL: protobufPrefix + name, ContentType: actors.ContentProtobuf, Data: b}
}

// json renders a payload that came.
func (r *rig) json(t testing.TB, p actors.Payload) string {
	t.Helper()
	name := strings.TrimPrefix(p.TypeURL, protobufPrefix)
	d, err := r.routes.Load().catalog.Files().FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	msg := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := proto.Unmarshal(p.Data, msg); err != nil {
		t.Fatal(err)
	}
	b, err := protojson.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), ", ", ",")
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
