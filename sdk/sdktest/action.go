package sdktest

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// Response of an action.
type Response[Out any] struct {
	// Reply is the zero Out unless it Replied.
	Reply   Out
	Replied bool
	// Err is nil, or an *sdk.Error as a caller would get it.
	Err error
	// Forward is where the call was handed on to; nil if it was not.
	Forward *Call
	// Effects in the order in which they were asked for.
	Effects []Effect
	// Metadata of the reply.
	Metadata sdk.Metadata
}

// InvokeOption changes one call of an action: WithKey, WithMetadata, Deliver and Take make them.
type InvokeOption func(*invocation)

// WithKey gives the call an idempotency key.
func WithKey(key string) InvokeOption { return func(i *invocation) { i.first.IdempotencyKey = key } }

// WithMetadata sends metadata along with the call.
func WithMetadata(m sdk.Metadata) InvokeOption {
	return func(i *invocation) {
		var c def.Call
		if err := sdk.WithMetadata(m).Forward(&c); err != nil {
			i.t.Fatalf("%s: %v", i.first.GetName(), err)
		}
		i.first.Metadata = join(i.first.Metadata, c.Metadata)
	}
}

// Deliver makes the call the delivery of an event. Its ID defaults to "1", its Type to that of the input.
func Deliver(e action.Event) InvokeOption { return func(i *invocation) { i.event = &e } }

// Take ends the call after n responses, as if the caller had gone: ctx ends, and the handler's next reply or input is an
// error.
func Take(n int) InvokeOption { return func(i *invocation) { i.most = n } }

// Invoke calls a method of an action. It ends the test if the definition has problems.
func Invoke[In, Out any](t testing.TB, definition sdk.Definition, method sdk.Method[In, Out], in In, options ...InvokeOption) Response[Out] {
	t.Helper()
	return one(t, method, call(t, definition, method, session.Shape{}, []In{in}, options))
}

// InvokeIn calls a method with streamed inputs.
func InvokeIn[In, Out any](t testing.TB, definition sdk.Definition, method sdk.StreamIn[In, Out], in []In, options ...InvokeOption) Response[Out] {
	t.Helper()
	m := sdk.Method[In, Out](method)
	return one(t, m, call(t, definition, m, session.Shape{StreamedIn: true}, in, options))
}

// InvokeOut calls a method with streamed replies, and returns when its handler has.
func InvokeOut[In, Out any](t testing.TB, definition sdk.Definition, method sdk.StreamOut[In, Out], in In, options ...InvokeOption) []Response[Out] {
	t.Helper()
	return call(t, definition, sdk.Method[In, Out](method), session.Shape{StreamedOut: true}, []In{in}, options)
}

// InvokeDuplex calls a method with streamed inputs and replies, and returns when its handler has.
func InvokeDuplex[In, Out any](t testing.TB, definition sdk.Definition, method sdk.Duplex[In, Out], in []In, options ...InvokeOption) []Response[Out] {
	t.Helper()
	return call(t, definition, sdk.Method[In, Out](method), session.Shape{StreamedIn: true, StreamedOut: true}, in, options)
}

// Any is an event, or another payload, as a method gets it that takes *anypb.Any. The name is that of the event, and
// counts for JSON only.
func Any[T any](t testing.TB, name string, v T) *anypb.Any {
	t.Helper()
	c, err := codec.For[T](name)
	var payload *anypb.Any
	if err == nil {
		payload, err = c.Pack(v)
	}
	if err != nil {
		t.Fatalf("encode %T: %v", v, err)
	}
	return payload
}

// invocation is one call.
type invocation struct {
	t     testing.TB
	first *pb.ActionCommand
	event *action.Event
	most  int
}

func one[In, Out any](t testing.TB, method sdk.Method[In, Out], responses []Response[Out]) Response[Out] {
	t.Helper()
	if len(responses) != 1 {
		t.Fatalf("%s answered %d times, want once", method, len(responses))
	}
	return responses[0]
}

func call[In, Out any](
	t testing.TB,
	definition sdk.Definition,
	method sdk.Method[In, Out],
	shape session.Shape,
	in []In,
	options []InvokeOption,
) (responses []Response[Out]) {
	t.Helper()
	service, err := definition.Definition()
	if err != nil {
		t.Fatalf("%s: %v", service.Service, err)
	}
	if service.Act == nil || service.Service != method.Service() {
		t.Fatalf("%s is no method of an action %s", method, service.Service)
	}
	at := slices.IndexFunc(service.Methods, func(m def.Method) bool { return m.Name == method.Name() })
	if at < 0 {
		t.Fatalf("%s is not among the methods of the action %s", method, service.Service)
	}
	described := service.Methods[at]
	if described.StreamedIn != shape.StreamedIn || described.StreamedOut != shape.StreamedOut {
		t.Fatalf("%s is %s", method, def.Shape(described.StreamedIn, described.StreamedOut))
	}
	i := &invocation{t: t, first: &pb.ActionCommand{ServiceName: method.Service(), Name: method.Name()}}
	for _, o := range options {
		o(i)
	}
	var messages []*pb.ActionCommand
	for _, v := range in {
		payload := Any(t, described.Input, v)
		if event, ok := any(v).(*anypb.Any); ok && i.event != nil {
			payload = event
		}
		messages = append(messages, &pb.ActionCommand{Payload: payload, Metadata: delivery(i.event, payload)})
	}
	if shape.StreamedIn {
		messages = append([]*pb.ActionCommand{i.first}, messages...)
	} else {
		i.first.Payload, i.first.Metadata = messages[0].Payload, join(i.first.Metadata, messages[0].Metadata)
		messages[0] = i.first
	}

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	receive := func() (*pb.ActionCommand, error) {
		switch {
		case ctx.Err() != nil:
			return nil, status.FromContextError(ctx.Err()).Err()
		case len(messages) == 0:
			return nil, io.EOF
		}
		next := new(pb.ActionCommand)
		wire(t, messages[0], next)
		messages = messages[1:]
		return next, nil
	}
	send := func(out *pb.ActionResponse) error {
		if ctx.Err() != nil {
			return status.Error(codes.Canceled, "the caller has gone")
		}
		got := new(pb.ActionResponse)
		wire(t, out, got)
		responses = append(responses, response(t, method, got))
		if len(responses) == i.most {
			cancel()
		}
		return nil
	}
	live := session.NewAction(map[string]*def.Entity{service.Service: service}, session.PeerOf(session.Extensions()),
		slog.New(slog.NewTextHandler(t.Output(), nil)), nil, shape)
	if err := live.Run(ctx, receive, send); err != nil && ctx.Err() == nil {
		t.Fatalf("%s: %v", method, err)
	}
	return responses
}

func response[In, Out any](t testing.TB, method sdk.Method[In, Out], in *pb.ActionResponse) Response[Out] {
	t.Helper()
	r := Response[Out]{Effects: effectsOf(t, in.GetSideEffects())}
	switch v := in.GetResponse().(type) {
	case *pb.ActionResponse_Failure:
		code := cmp.Or(sdk.Code(v.Failure.GetCode()), sdk.CodeUnknown)
		r.Err = &sdk.Error{Code: code, Message: v.Failure.GetDescription()}
	case *pb.ActionResponse_Forward:
		f := v.Forward
		to := callOf(t, f.GetServiceName(), f.GetCommandName(), f.GetEntityId(), f.GetPayload(), f.GetMetadata())
		r.Forward = &to
	case *pb.ActionResponse_Reply:
		outputs, err := codec.For[Out](method.Name() + ".out")
		if err == nil {
			r.Reply, err = outputs.Unpack(v.Reply.GetPayload())
		}
		if err != nil {
			t.Fatalf("%s: decode the reply: %v", method, err)
		}
		r.Replied, r.Metadata = true, turn.Metadata(v.Reply.GetMetadata())
	}
	return r
}

// delivery is what comes beside an event; nil for none.
func delivery(e *action.Event, payload *anypb.Any) *cloudstate.Metadata {
	if e == nil {
		return nil
	}
	m := new(cloudstate.Metadata)
	add := func(key, text string) {
		if text != "" {
			m.Entries = append(m.Entries, &cloudstate.MetadataEntry{Key: key, Value: &cloudstate.MetadataEntry_StringValue{StringValue: text}})
		}
	}
	add("ce-id", cmp.Or(e.ID, "1"))
	add("ce-source", e.Source)
	add("ce-specversion", "1.0")
	add("ce-type", cmp.Or(e.Type, payload.GetTypeUrl()))
	add("Content-Type", cmp.Or(e.ContentType, "application/vnd.cloudstate.protobuf.any"))
	add("ce-dataschema", e.Schema)
	add("ce-subject", e.Subject)
	if !e.Time.IsZero() {
		add("ce-time", e.Time.Format(time.RFC3339Nano))
	}
	return m
}

func join(a, b *cloudstate.Metadata) *cloudstate.Metadata {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return &cloudstate.Metadata{Entries: append(a.Entries, b.Entries...)}
}

// wire passes a message through its wire form.
func wire(t testing.TB, from, to proto.Message) {
	t.Helper()
	b, err := proto.Marshal(from)
	if err == nil {
		err = proto.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
}
