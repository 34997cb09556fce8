package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// The protocol's methods.
const (
	discoverPath    = "/cloudstate.EntityDiscovery/discover"
	reportPath      = "/cloudstate.EntityDiscovery/reportError"
	eventPath       = "/cloudstate.eventsourced.EventSourced/handle"
	valuePath       = "/cloudstate.valueentity.ValueEntity/handle"
	unaryPath       = "/cloudstate.action.ActionProtocol/handleUnary"
	streamedInPath  = "/cloudstate.action.ActionProtocol/handleStreamedIn"
	streamedOutPath = "/cloudstate.action.ActionProtocol/handleStreamedOut"
	streamedPath    = "/cloudstate.action.ActionProtocol/handleStreamed"
	replicatedPath  = "/cloudstate.crdt.Crdt/handle"
)

var shapes = map[string]struct{ in, out func() proto.Message }{
	discoverPath: {func() proto.Message { return new(cloudstate.ProxyInfo) }, func() proto.Message { return new(cloudstate.EntitySpec) }},
	reportPath:   {func() proto.Message { return new(cloudstate.UserFunctionError) }, func() proto.Message { return new(emptypb.Empty) }},
	eventPath: {func() proto.Message { return new(eventsourced.EventSourcedStreamIn) },
		func() proto.Message { return new(eventsourced.EventSourcedStreamOut) }},
	valuePath: {func() proto.Message { return new(valueentity.ValueEntityStreamIn) },
		func() proto.Message { return new(valueentity.ValueEntityStreamOut) }},
	unaryPath:       {newActionCommand, newActionResponse},
	streamedInPath:  {newActionCommand, newActionResponse},
	streamedOutPath: {newActionCommand, newActionResponse},
	streamedPath:    {newActionCommand, newActionResponse},
	replicatedPath: {func() proto.Message { return new(crdt.CrdtStreamIn) },
		func() proto.Message { return new(crdt.CrdtStreamOut) }},
}

func newActionCommand() proto.Message  { return new(action.ActionCommand) }
func newActionResponse() proto.Message { return new(action.ActionResponse) }

// interceptor stands between a component and a user function and notes every message. It leaves out which extensions the
// component knows, so that what passes is the plain protocol.
type interceptor struct {
	address string
	to      *grpc.ClientConn

	mu    sync.Mutex
	calls []*exchange   // not yet taken
	bell  chan struct{} // closed and replaced when something happens
}

// exchange is one call of the protocol.
type exchange struct {
	path string
	at   *interceptor
	// Guarded by at.mu: the messages not yet taken, and whether the sides have ended.
	in, out         []proto.Message
	inEnd, outEnd   bool
	cancelled       bool
	ended           error
	inTaken, outNum int

	// says is what the test plays, if it is the user function.
	says chan line
}

// intercept serves until the test ends.
func intercept(t *testing.T, target string) *interceptor {
	t.Helper()
	to, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &interceptor{address: l.Addr().String(), to: to, bell: make(chan struct{})}
	server := grpc.NewServer(grpc.UnknownServiceHandler(i.handle), grpc.ForceServerCodec(raw{}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
		to.Close()
	})
	return i
}

// raw passes messages as bytes.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// handle relays one call.
func (i *interceptor) handle(_ any, from grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(from)
	x := &exchange{path: path, at: i}
	shape, known := shapes[path]
	if known {
		i.note(func() { i.calls = append(i.calls, x) })
	}
	ctx, cancel := context.WithCancel(from.Context())
	defer cancel()
	to, err := i.to.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	var relaying sync.WaitGroup
	relaying.Go(func() {
		for {
			var data []byte
			if err := from.RecvMsg(&data); err != nil {
				i.note(func() { x.inEnd, x.cancelled = true, !errors.Is(err, io.EOF) })
				if errors.Is(err, io.EOF) {
					_ = to.CloseSend()
				} else {
					cancel()
				}
				return
			}
			if known {
				m := shape.in()
				if err := proto.Unmarshal(data, m); err != nil {
					cancel()
					return
				}
				i.note(func() { x.in = append(x.in, m) })
				if info, ok := m.(*cloudstate.ProxyInfo); ok {
					plain := proto.CloneOf(info)
					plain.Extensions = nil
					data, _ = proto.Marshal(plain)
				}
			}
			if to.SendMsg(&data) != nil {
				return
			}
		}
	})
	err = i.answers(x, from, to, known, shape.out)
	i.note(func() { x.outEnd, x.ended = true, err })
	cancel()
	return err
}

// answers relays what the user function says, to its end.
func (i *interceptor) answers(x *exchange, from grpc.ServerStream, to grpc.ClientStream, known bool, shape func() proto.Message) error {
	for {
		var data []byte
		if err := to.RecvMsg(&data); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if known {
			m := shape()
			if err := proto.Unmarshal(data, m); err != nil {
				return status.Error(codes.Internal, err.Error())
			}
			i.note(func() { x.out = append(x.out, m) })
		}
		if err := from.SendMsg(&data); err != nil {
			return err
		}
	}
}

func (i *interceptor) note(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
	close(i.bell)
	i.bell = make(chan struct{})
}

// await polls until ok, under the mutex.
func (i *interceptor) await(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		i.mu.Lock()
		done, bell := ok(), i.bell
		i.mu.Unlock()
		if done {
			return
		}
		select {
		case <-bell:
		case <-late.C:
			t.Fatalf("%s did not happen within %v", what, d)
		}
	}
}

// next is the next call of a method.
func (i *interceptor) next(t *testing.T, path string) *exchange {
	t.Helper()
	var x *exchange
	i.await(t, patience, "a call of "+path, func() bool {
		for k, c := range i.calls {
			if c.path == path {
				x = c
				i.calls = append(i.calls[:k:k], i.calls[k+1:]...)
				return true
			}
		}
		return false
	})
	return x
}

// waiting reports whether there is a call of a method that was not taken.
func (i *interceptor) waiting(path string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.calls, func(x *exchange) bool { return x.path == path })
}

// quiet holds if nothing happened that no case has looked at.
func (i *interceptor) quiet(t *testing.T, looked ...*exchange) {
	t.Helper()
	time.Sleep(10 * time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.calls {
		if c.path != discoverPath { // what is served is asked again and again
			t.Errorf("there was a call of %s that should not be: %v", c.path, c.in)
		}
	}
	i.calls = nil
	for _, x := range looked {
		for _, m := range append(x.in, x.out...) {
			t.Errorf("%s carried a message that should not be: %v", x.path, m)
		}
	}
}

// given is the next message of the component.
func (x *exchange) given(t *testing.T, want proto.Message) {
	t.Helper()
	x.inTaken++
	equal(t, fmt.Sprintf("message %d to the user function by %s", x.inTaken, x.path), want, x.take(t, &x.in, "to"))
}

// answered is the next message of the user function.
func (x *exchange) answered(t *testing.T, want proto.Message) {
	t.Helper()
	x.outNum++
	equal(t, fmt.Sprintf("message %d of the user function by %s", x.outNum, x.path), want, x.take(t, &x.out, "of"))
}

func (x *exchange) take(t *testing.T, from *[]proto.Message, direction string) proto.Message {
	t.Helper()
	var m proto.Message
	x.at.await(t, patience, "a further message "+direction+" the user function by "+x.path, func() bool {
		if len(*from) == 0 {
			return false
		}
		m, *from = (*from)[0], (*from)[1:]
		return true
	})
	return m
}

// closes holds if both sides end, without an error of the user function.
func (x *exchange) closes(t *testing.T, within time.Duration) {
	t.Helper()
	x.at.await(t, within, "the end of "+x.path, func() bool { return x.inEnd && x.outEnd })
}

// interrupted holds if the component cancels its side.
func (x *exchange) interrupted(t *testing.T) {
	t.Helper()
	x.at.await(t, patience, "the cancellation of "+x.path, func() bool { return x.inEnd && x.outEnd })
}
