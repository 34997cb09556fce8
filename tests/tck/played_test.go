package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/tests/harness"
)

// played is a user function that the test plays, line by line, so that it can break the protocol as no library would. It
// announces the model's services and takes the place of the model behind the interceptor.
type played struct {
	*interceptor
	spec *cloudstate.EntitySpec

	// improvise, if it is there, answers every message of an entity's stream.
	improvise atomic.Pointer[func(x *exchange, m proto.Message)]

	mu      sync.Mutex // guards server
	server  *grpc.Server
	serving sync.WaitGroup
}

// line is what a played user function says in one call: a message as bytes, or the end.
type line struct {
	data []byte
	end  bool
	err  error
}

// perform starts a played user function with some extensions of the protocol. It serves until the test ends.
func perform(t *testing.T, spec *cloudstate.EntitySpec, extensions ...string) *played {
	t.Helper()
	spec = proto.CloneOf(spec)
	spec.ServiceInfo.Extensions = extensions
	var entities []*cloudstate.Entity
	for _, e := range spec.GetEntities() {
		// Those that consume events would be called without anybody asking.
		if !strings.HasPrefix(e.GetServiceName(), modelEV) {
			entities = append(entities, e)
		}
	}
	spec.Entities = entities
	f := &played{interceptor: &interceptor{address: "127.0.0.1:0", bell: make(chan struct{})}, spec: spec}
	f.serve(t)
	t.Cleanup(f.stop)
	return f
}

// serve listens, at the same address each time.
func (f *played) serve(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.address = l.Addr().String()
	f.server = grpc.NewServer(grpc.UnknownServiceHandler(f.handle), grpc.ForceServerCodec(raw{}), grpc.WaitForHandlers(true))
	server := f.server
	f.serving.Go(func() { _ = server.Serve(l) })
}

// stop cuts all connections.
func (f *played) stop() {
	f.mu.Lock()
	server := f.server
	f.mu.Unlock()
	server.Stop()
	f.serving.Wait()
}

// handle notes what comes, and says what the test has it say.
func (f *played) handle(_ any, from grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(from)
	shape, known := shapes[path]
	if !known {
		return status.Errorf(codes.Unimplemented, "%s is not played", path)
	}
	x := &exchange{path: path, at: f.interceptor, says: make(chan line, 4096)}
	entity := path == eventPath || path == valuePath || path == replicatedPath
	f.serving.Go(func() { // ends with the call
		for {
			var data []byte
			err := from.RecvMsg(&data)
			m := shape.in()
			if err == nil {
				err = proto.Unmarshal(data, m)
			}
			if err != nil {
				f.note(func() { x.inEnd, x.cancelled = true, !errors.Is(err, io.EOF) })
				if entity {
					x.says <- line{end: true}
				}
				return
			}
			f.note(func() { x.in = append(x.in, m) })
			switch path {
			case discoverPath:
				x.say(f.spec)
			case reportPath:
				x.say(new(emptypb.Empty))
			}
			if answer := f.improvise.Load(); answer != nil && entity {
				(*answer)(x, m)
			}
		}
	})
	f.note(func() { f.calls = append(f.calls, x) })
	err := x.perform(from)
	f.note(func() { x.outEnd, x.ended = true, err })
	return err
}

func (x *exchange) perform(from grpc.ServerStream) error {
	for {
		select {
		case l := <-x.says:
			if l.end {
				return l.err
			}
			if err := from.SendMsg(&l.data); err != nil {
				return err
			}
			if x.path == discoverPath || x.path == reportPath {
				return nil
			}
		case <-from.Context().Done():
			return from.Context().Err()
		}
	}
}

// say gives a message to the component.
func (x *exchange) say(m proto.Message) {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	x.says <- line{data: data}
}

// utter gives bytes, which need not be a message.
func (x *exchange) utter(data string) { x.says <- line{data: []byte(data)} }

// end ends the user function's side; nil is OK.
func (x *exchange) end(err error) { x.says <- line{end: true, err: err} }

// answer gives the one answer of a call that is not a stream of answers.
func (x *exchange) answer(m proto.Message) {
	x.say(m)
	x.end(nil)
}

// theatre is a component with a played user function behind it.
type theatre struct {
	*proxy
	user *played
}

// startTheatre starts a system of one host.
func startTheatre(t *testing.T, extensions ...string) *theatre {
	t.Helper()
	p := newTheatre(t, extensions...)
	p.start(t, startSystem(t), harness.HostOptions{Journal: "memory:"})
	return p
}

// newTheatre has a user function, which nobody looks at yet.
func newTheatre(t *testing.T, extensions ...string) *theatre {
	t.Helper()
	return stage(t, connect(t, startModel(t)).spec, extensions...)
}

// stage is newTheatre with services of its own.
func stage(t *testing.T, spec *cloudstate.EntitySpec, extensions ...string) *theatre {
	t.Helper()
	f := perform(t, spec, extensions...)
	return &theatre{&proxy{service: &service{spec: spec, messages: newMessages(t, spec)}, interceptor: f.interceptor}, f}
}

// called is a call by gRPC that is under way.
type called struct {
	method string
	done   chan struct{}
	reply  []byte
	header metadata.MD
	err    error
}

// begin calls and does not wait. Entries are metadata, in pairs.
func (p *theatre) begin(t *testing.T, method string, request *anypb.Any, entries ...string) *called {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	c := &called{method: method, done: make(chan struct{})}
	var calling sync.WaitGroup
	calling.Go(func() {
		defer close(c.done)
		in := request.GetValue()
		c.err = p.gateway.Invoke(metadata.AppendToOutgoingContext(ctx, entries...), method, &in, &c.reply, grpc.ForceCodec(raw{}), grpc.Header(&c.header))
	})
	t.Cleanup(func() { cancel(); calling.Wait() })
	return c
}

// replied holds if the call is answered with a text.
func (p *theatre) replied(t *testing.T, c *called, model, text string) {
	t.Helper()
	<-c.done
	if c.err != nil {
		t.Fatalf("%s: %v", c.method, c.err)
	}
	equal(t, "the reply to "+c.method, p.message(t, model+"Response", fmt.Sprintf(`{"message":%q}`, text)), p.decode(t, model+"Response", c.reply))
}

// failed holds if the call failed so. A text that ends in … is a beginning.
func (c *called) failed(t *testing.T, code codes.Code, text string) {
	t.Helper()
	<-c.done
	said := status.Convert(c.err)
	begin, cut := strings.CutSuffix(text, "…")
	if said.Code() != code || said.Message() != text && !(cut && strings.HasPrefix(said.Message(), begin)) {
		t.Errorf("%s: %v with the reply %q, want %v %s", c.method, c.err, c.reply, code, text)
	}
}

// posted is a call by HTTP that is under way.
type posted struct {
	path   string
	done   chan struct{}
	status int
	body   string
	header http.Header
	err    error
}

// post calls and does not wait. Entries are headers, in pairs.
func (p *theatre) post(t *testing.T, path, body string, entries ...string) *posted {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	c := &posted{path: path, done: make(chan struct{})}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for pair := range slices.Chunk(entries, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	var calling sync.WaitGroup
	calling.Go(func() {
		defer close(c.done)
		var said *http.Response
		if said, c.err = http.DefaultClient.Do(r); c.err != nil {
			return
		}
		defer said.Body.Close()
		var data []byte
		data, c.err = io.ReadAll(said.Body)
		c.status, c.body, c.header = said.StatusCode, string(data), said.Header
	})
	t.Cleanup(func() { cancel(); calling.Wait() })
	return c
}

// replied holds if the call got the status and the body, to the byte.
func (c *posted) replied(t *testing.T, status int, body string) {
	t.Helper()
	<-c.done
	if c.err != nil || c.status != status || c.body != body {
		t.Errorf("POST %s: %d %s, %v; want %d %s", c.path, c.status, c.body, c.err, status, body)
	}
}
