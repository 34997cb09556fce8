package sdk_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	tck "github.com/dapr-entities/entities/sdk/internal/tckmodel/action"
	log "github.com/dapr-entities/entities/sdk/internal/tckmodel/eventlogeventing"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	actionpb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

const (
	echoOne sdk.Method[string, string]    = "test.v1.Echo/One"
	echoIn  sdk.StreamIn[string, string]  = "test.v1.Echo/In"
	echoOut sdk.StreamOut[string, string] = "test.v1.Echo/Out"
	chat    sdk.Duplex[string, string]    = "test.v1.Echo/Chat"
)

// echoes serves all shapes; each handler may be nil.
type echoes struct {
	one  func(ctx context.Context, t *action.Turn, in string) (string, error)
	in   func(ctx context.Context, t *action.Turn, in iter.Seq2[string, error]) (string, error)
	out  func(ctx context.Context, t *action.Turn, in string, send func(string) error) error
	chat func(ctx context.Context, t *action.Turn, in iter.Seq2[string, error], send func(string) error) error
}

func (e echoes) Definition() (s action.Service) {
	s.Service = "test.v1.Echo"
	if e.one != nil {
		s.Methods = append(s.Methods, action.Handle(echoOne, e.one))
	}
	if e.in != nil {
		s.Methods = append(s.Methods, action.HandleIn(echoIn, e.in))
	}
	if e.out != nil {
		s.Methods = append(s.Methods, action.HandleOut(echoOut, e.out))
	}
	if e.chat != nil {
		s.Methods = append(s.Methods, action.HandleDuplex(chat, e.chat))
	}
	return s
}

func (s *server) actions() actionpb.ActionProtocolClient {
	return actionpb.NewActionProtocolClient(s.conn)
}

// discover makes the server believe that a proxy with those extensions calls.
func (s *server) discover(t *testing.T, extensions ...string) *cloudstate.EntitySpec {
	t.Helper()
	spec, err := cloudstate.NewEntityDiscoveryClient(s.conn).Discover(t.Context(), &cloudstate.ProxyInfo{Extensions: extensions})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func toEcho(name, input string) *actionpb.ActionCommand {
	return &actionpb.ActionCommand{ServiceName: "test.v1.Echo", Name: name, Payload: jsonAny("in", input)}
}

// first is that of a stream of inputs.
func first(name string) *actionpb.ActionCommand {
	return &actionpb.ActionCommand{ServiceName: "test.v1.Echo", Name: name}
}

func replyText(out *actionpb.ActionResponse) string {
	value := out.GetReply().GetPayload().GetValue()
	if len(value) == 0 {
		return out.GetFailure().GetDescription()
	}
	b, _ := protowire.ConsumeBytes(value[1:])
	return string(b)
}

func TestDiscoveryOfActions(t *testing.T) {
	t.Parallel()
	none := func(context.Context, *action.Turn, string) (string, error) { return "", nil }
	s := start(t, sdk.Config{}, action.Service{Service: "test.v1.Echo", Methods: []action.Method{
		action.Handle(echoOne, none, sdk.FromLog("carts"), sdk.Event("item-added"), sdk.InGroup("g"), sdk.ToTopic("out")),
		action.HandleIn(echoIn, func(context.Context, *action.Turn, iter.Seq2[string, error]) (string, error) { return "", nil }),
		action.HandleOut(echoOut, func(context.Context, *action.Turn, string, func(string) error) error { return nil },
			sdk.FromTopic("in"), sdk.Event("com.example.tick")),
		action.HandleDuplex(chat, func(context.Context, *action.Turn, iter.Seq2[string, error], func(string) error) error { return nil }),
	}})
	want := []*cloudstate.Entity{{
		EntityType:  "cloudstate.action.ActionProtocol",
		ServiceName: "test.v1.Echo",
		Methods: []*cloudstate.Method{
			{Name: "One", Input: "item-added", Output: "One.out", Eventing: &cloudstate.Eventing{
				In:  &cloudstate.EventSource{ConsumerGroup: "g", Source: &cloudstate.EventSource_EventLog{EventLog: "carts"}},
				Out: &cloudstate.EventDestination{Destination: &cloudstate.EventDestination_Topic{Topic: "out"}}}},
			{Name: "In", Input: "In.in", Output: "In.out", StreamedIn: true},
			{Name: "Out", Input: "com.example.tick", Output: "Out.out", StreamedOut: true, Eventing: &cloudstate.Eventing{
				In: &cloudstate.EventSource{Source: &cloudstate.EventSource_Topic{Topic: "in"}}}},
			{Name: "Chat", Input: "Chat.in", Output: "Chat.out", StreamedIn: true, StreamedOut: true},
		},
	}}
	if d := cmp.Diff(want, s.discover(t, "json").GetEntities(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

// TestEventingInDescriptors: Go options of a protobuf service come out as if they were in its .proto file.
func TestEventingInDescriptors(t *testing.T) {
	t.Parallel()
	call := func(context.Context, *action.Turn, *tck.OtherRequest) (*tck.Response, error) { return nil, nil }
	two := tck.Two
	two.Methods = []action.Method{action.Handle(tck.CallTwo, call, sdk.FromLog("others"), sdk.ToTopic("answers"))}
	spec := start(t, sdk.Config{}, two).discover(t, "json")
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(spec.GetProto(), set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("cloudstate.tck.model.action.ActionTwo.Call")
	if err != nil {
		t.Fatal(err)
	}
	want := &cloudstate.Eventing{
		In:  &cloudstate.EventSource{Source: &cloudstate.EventSource_EventLog{EventLog: "others"}},
		Out: &cloudstate.EventDestination{Destination: &cloudstate.EventDestination_Topic{Topic: "answers"}},
	}
	if d := cmp.Diff(want, proto.GetExtension(d.Options(), cloudstate.E_Eventing), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	linked := tck.File_action_action_proto.Services().ByName("ActionTwo").Methods().ByName("Call")
	if proto.HasExtension(linked.Options(), cloudstate.E_Eventing) || len(spec.GetEntities()[0].GetMethods()) > 0 {
		t.Error("the program's own descriptor was changed, or the service lists methods too")
	}
}

func TestRegisterActions(t *testing.T) {
	t.Parallel()
	unary := func(context.Context, *action.Turn, *tck.Request) (*tck.Response, error) { return nil, nil }
	wrong := tck.Model
	wrong.Methods = append(wrong.Methods[:2:2], action.Handle(sdk.Method[*tck.Request, *tck.Response](tck.ProcessStreamedOut), unary))
	both := log.Subscriber
	both.Methods = append([]action.Method{action.Handle(log.ProcessEventOne, func(context.Context, *action.Turn, *log.EventOne) (*log.Response, error) {
		return nil, nil
	}, sdk.FromLog("elsewhere"))}, both.Methods[1:]...)
	handle := func(m sdk.Method[string, string], options ...sdk.MethodOption) action.Method {
		return action.Handle(m, func(context.Context, *action.Turn, string) (string, error) { return "", nil }, options...)
	}
	conflict := action.Service{Service: "test.v1.Echo", Methods: []action.Method{
		handle("test.v1.Echo/A", sdk.FromLog("l"), sdk.Event("e")),
		handle("test.v1.Echo/B", sdk.FromLog("l"), sdk.Event("e"), sdk.InGroup("test.v1.Echo")),
		handle("test.v1.Echo/C", sdk.FromLog("l"), sdk.Event("e"), sdk.InGroup("other")),
		handle("test.v1.Echo/D", sdk.FromLog("l"), sdk.Event("f")),
	}}
	placed := entity(nil)
	placed.Commands[0] = eventsourced.Handle(add, func(context.Context, *eventsourced.Turn[tally], int) (string, error) { return "", nil },
		sdk.FromTopic("numbers"), sdk.Event("number"))
	err := sdk.NewServer(sdk.Config{}).Register(wrong, both, conflict, placed)
	want := `cloudstate.tck.model.action.ActionTckModel: method ProcessStreamedOut: the handler is unary, the protobuf method is streamed out
cloudstate.tck.model.action.ActionTckModel: the protobuf method ProcessStreamed has no handler
cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel: method ProcessEventOne: its .proto file has the option (cloudstate.eventing); leave out the Go options
test.v1.Echo: the methods A and B take the same events (e) from the same source; give one another group by InGroup
test.v1.Tally: command Add: it takes events, and no field of its JSON input says for which entity; take them by an action, or as a protobuf message with a key field`
	if err == nil {
		t.Fatal("no problems")
	}
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); d != "" {
		t.Error(d)
	}
}

func TestActionPanicsAndExits(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, echoes{one: func(_ context.Context, _ *action.Turn, in string) (string, error) {
		switch in {
		case "panic":
			panic("secret")
		case "exit":
			runtime.Goexit()
		}
		return in, nil
	}}.Definition())
	s.discover(t, "codes")
	out, err := s.actions().HandleUnary(t.Context(), toEcho("One", `"panic"`))
	if err != nil || codes.Code(out.GetFailure().GetCode()) != codes.Internal || strings.Contains(out.String(), "secret") {
		t.Errorf("panic: %v, %v", out, err)
	}
	if out, err := s.actions().HandleUnary(t.Context(), toEcho("One", `"exit"`)); status.Code(err) != codes.Internal {
		t.Errorf("exit: %v, %v", out, err)
	}
	if out, err := s.actions().HandleUnary(t.Context(), toEcho("One", `"on"`)); err != nil || replyText(out) != `"on"` {
		t.Errorf("afterwards: %v, %v", out, err)
	}
	s.stop()
	for _, want := range []string{"secret", "actions_test.go", "service=test.v1.Echo", "command=One"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, s.log)
		}
	}
}

// TestCallerCancels: ctx ends, and whoever waits for an input or for room is woken.
func TestCallerCancels(t *testing.T) {
	t.Parallel()
	type end struct{ ctx, stream error }
	ends := make(chan end, 1)
	entered := make(chan struct{}, 1)
	s := start(t, sdk.Config{}, echoes{
		one: func(ctx context.Context, _ *action.Turn, _ string) (string, error) {
			entered <- struct{}{}
			<-ctx.Done()
			ends <- end{ctx: ctx.Err(), stream: sdk.Errorf(sdk.CodeCanceled, "none")}
			return "", ctx.Err()
		},
		out: func(ctx context.Context, _ *action.Turn, in string, send func(string) error) error {
			entered <- struct{}{}
			for {
				if err := send(strings.Repeat("x", 1<<16)); err != nil {
					ends <- end{ctx.Err(), err}
					return err
				}
			}
		},
		chat: func(ctx context.Context, _ *action.Turn, in iter.Seq2[string, error], _ func(string) error) error {
			entered <- struct{}{}
			for _, err := range in {
				if err != nil {
					ends <- end{ctx.Err(), err}
				}
			}
			return nil
		},
	}.Definition())
	for name, open := range map[string]func(context.Context) (wait func() error){
		"unary": func(ctx context.Context) func() error {
			return func() error { _, err := s.actions().HandleUnary(ctx, toEcho("One", `""`)); return err }
		},
		"out": func(ctx context.Context) func() error {
			stream, err := s.actions().HandleStreamedOut(ctx, toEcho("Out", `""`))
			if err != nil {
				t.Fatal(err)
			}
			return func() error { return stream.RecvMsg(new(actionpb.ActionResponse)) }
		},
		"duplex": func(ctx context.Context) func() error {
			stream, err := s.actions().HandleStreamed(ctx)
			if err != nil {
				t.Fatal(err)
			}
			stream.Send(first("Chat"))
			return func() error { return stream.RecvMsg(new(actionpb.ActionResponse)) }
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		wait := open(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			for wait() == nil {
			}
		})
		<-entered
		cancel()
		wg.Wait()
		if got := <-ends; !errors.Is(got.ctx, context.Canceled) || sdk.CodeOf(got.stream) != sdk.CodeCanceled {
			t.Errorf("%s: the handler saw %v, %v", name, got.ctx, got.stream)
		}
	}
}

// TestHandlerEndsFirst: the caller has its answer though it has not sent everything.
func TestHandlerEndsFirst(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, echoes{
		in: func(_ context.Context, _ *action.Turn, in iter.Seq2[string, error]) (string, error) {
			for text, err := range in {
				return "enough after " + text, err
			}
			return "", nil
		},
		chat: func(_ context.Context, _ *action.Turn, in iter.Seq2[string, error], send func(string) error) error {
			return sdk.Errorf(sdk.CodeResourceExhausted, "too many guests")
		},
	}.Definition())
	s.discover(t, "codes")
	stream, err := s.actions().HandleStreamedIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(first("In"))
	var sent error
	for sent == nil {
		sent = stream.Send(&actionpb.ActionCommand{Payload: jsonAny("in", `"a"`)})
	}
	if out, err := stream.CloseAndRecv(); err != nil || replyText(out) != `"enough after a"` {
		t.Errorf("got %v, %v", out, err)
	}
	open, err := s.actions().HandleStreamed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	open.Send(first("Chat"))
	if out, err := open.Recv(); err != nil || sdk.Code(out.GetFailure().GetCode()) != sdk.CodeResourceExhausted {
		t.Errorf("got %v, %v", out, err)
	}
	if _, err := open.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the failure: %v", err)
	}
}

// TestBackPressure: neither side runs ahead of the other by more than what gRPC keeps for one stream.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	const size, most = 1 << 16, 64
	var sent, received atomic.Int64
	read := make(chan struct{})
	s := start(t, sdk.Config{}, echoes{
		out: func(_ context.Context, _ *action.Turn, _ string, send func(string) error) error {
			for {
				if err := send(strings.Repeat("x", size)); err != nil {
					return err
				}
				sent.Add(1)
			}
		},
		in: func(_ context.Context, _ *action.Turn, in iter.Seq2[string, error]) (string, error) {
			for range in {
				received.Add(1)
				<-read
			}
			return "done", nil
		},
	}.Definition())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, err := s.actions().HandleStreamedOut(ctx, toEcho("Out", `""`))
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.actions().HandleStreamedIn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in.Send(first("In"))
	var pushed atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		input := &actionpb.ActionCommand{Payload: jsonAny("in", `"`+strings.Repeat("x", size)+`"`)}
		for in.Send(input) == nil && pushed.Add(1) < 2*most {
		}
		in.CloseSend()
	})
	// Both stand still once the windows are full.
	var before int64 = -1
	for now := int64(0); now != before || sent.Load() == 0 || received.Load() == 0; now = sent.Load() + pushed.Load() {
		before = now
		time.Sleep(50 * time.Millisecond)
	}
	if n := sent.Load(); n > most {
		t.Errorf("the handler has sent %d messages to a caller that took none", n)
	}
	if n := pushed.Load(); n > most || received.Load() != 1 {
		t.Errorf("the caller has sent %d messages to a handler that took %d", n, received.Load())
	}
	close(read)
	wg.Wait()
	if out, err := in.CloseAndRecv(); err != nil || replyText(out) != `"done"` || received.Load() != 2*most {
		t.Errorf("%d inputs, %v, %v", received.Load(), out, err)
	}
	before = sent.Load()
	for range 4 * most {
		if _, err := out.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if sent.Load() <= before {
		t.Error("the handler does not go on once the caller takes more")
	}
}

func TestStopLetsCallsFinish(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	s := start(t, sdk.Config{}, echoes{
		one: func(context.Context, *action.Turn, string) (string, error) {
			entered <- struct{}{}
			<-leave
			return "done", nil
		},
		out: func(_ context.Context, t *action.Turn, _ string, send func(string) error) error {
			entered <- struct{}{}
			<-t.Stopping()
			return send("goodbye")
		},
	}.Definition())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if out, err := s.actions().HandleUnary(t.Context(), toEcho("One", `""`)); err != nil || replyText(out) != `"done"` {
			t.Errorf("unary: %v, %v", out, err)
		}
	})
	stream, err := s.actions().HandleStreamedOut(t.Context(), toEcho("Out", `""`))
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	<-entered
	wg.Go(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	if out, err := stream.Recv(); err != nil || replyText(out) != `"goodbye"` {
		t.Errorf("stream: %v, %v", out, err)
	}
	close(leave)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestOneReceivesWhileAnotherSends: the two directions of a duplex stream do not wait for each other.
func TestOneReceivesWhileAnotherSends(t *testing.T) {
	t.Parallel()
	s := start(t, sdk.Config{}, echoes{chat: func(_ context.Context, t *action.Turn, in iter.Seq2[string, error], send func(string) error) error {
		var (
			wg      sync.WaitGroup
			failure error
		)
		wg.Go(func() {
			for range 100 {
				t.SetMetadata("k", "v")
				if failure = send("tick"); failure != nil {
					return
				}
			}
		})
		defer wg.Wait()
		for _, err := range in {
			if err != nil {
				return err
			}
			t.Metadata()
		}
		wg.Wait()
		return failure
	}}.Definition())
	stream, err := s.actions().HandleStreamed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(first("Chat"))
	for range 100 {
		stream.Send(&actionpb.ActionCommand{Payload: jsonAny("in", `"x"`), Metadata: new(cloudstate.Metadata)})
	}
	stream.CloseSend()
	n := 0
	for {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if replyText(out) == `"tick"` {
			n++
		}
	}
	if n != 100 {
		t.Errorf("%d replies", n)
	}
}
