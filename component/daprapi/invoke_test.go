package daprapi

import (
	"context"
	"strings"
	"testing"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

var ref = actors.Ref{Service: "shop.v1.Cart", ID: "a/b"}

func cartType(service string) string {
	if service == "shop.v1.Cart" {
		return "Cart"
	}
	return ""
}

func command() actors.Command {
	return actors.Command{Ref: ref, Method: "AddItem", Payload: actors.Payload{
		TypeURL: "json.cloudstate.io/item", ContentType: actors.ContentJSON, Data: []byte(`{"payload":"secret"}`),
	}}
}

func TestInvoke(t *testing.T) {
	t.Parallel()
	want := actors.Outcome{
		Reply:    &actors.Payload{TypeURL: "type.googleapis.com/x.Y", ContentType: actors.ContentProtobuf, Data: []byte{1, 2}},
		Failure:  nil,
		Sequence: 9,
		Forward:  &actors.Forward{Ref: actors.Ref{Service: "s", ID: "i"}, Method: "m"},
	}
	s := &sidecar{invoke: func(context.Context, *runtime.InvokeActorRequest) ([]byte, error) {
		return actors.MarshalOutcome(want), nil
	}}
	c := command()
	c.Key = "k"
	c.Deadline = time.Now().Add(5 * time.Second)
	c.Metadata = actors.Metadata{{Key: "Traceparent", Text: "tp"}, {Key: "x", Text: "1\xff"}, {Key: "X", Text: "2"},
		{Key: "raw", Bytes: []byte{0, 255}}, {Key: "Idempotency-Key", Text: "other"}, {Key: "entities-outcome", Text: "0"}, {Text: "no key"}}
	got, err := s.start(t, Config{Token: "t0ken"}).Invoker(cartType).Handle(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r := s.last
	if r.GetActorType() != "Cart" || r.GetActorId() != "a%2Fb" || r.GetMethod() != "AddItem" || string(r.GetData()) != `{"payload":"secret"}` {
		t.Errorf("got %v", r)
	}
	timeout := r.GetMetadata()["entities-timeout"]
	if len(timeout) != 4 || timeout < "4000" {
		t.Errorf("the timeout is %s ms", timeout)
	}
	delete(r.Metadata, "entities-timeout")
	if diff := cmp.Diff(map[string]string{
		"entities-outcome": "1", "content-type": "application/json", "idempotency-key": "k", "traceparent": "tp",
		"x": "1\uFFFD,2", "raw-bin": "AP8=",
	}, r.GetMetadata()); diff != "" {
		t.Error(diff)
	}
	if len(s.token) != 1 || s.token[0] != "t0ken" {
		t.Errorf("the token is %v", s.token)
	}
}

func TestInvokeErrors(t *testing.T) {
	t.Parallel()
	tail := func(code actors.Code) string {
		return "error invoke actor method: error from actor service: " + actors.FailureText(actors.Errorf(code, "the text"), ref, 3)
	}
	for _, c := range []struct {
		name string
		err  error
		code actors.Code
		text string
	}{
		{"aborted by the host", status.Error(codes.Internal, tail(actors.Aborted)), actors.Aborted, "the text"},
		{"unavailable by the host", status.Error(codes.Internal, "rpc error: "+tail(actors.Unavailable)), actors.Unavailable, "the text"},
		{"sidecar gone", status.Error(codes.Unavailable, "connection refused"), actors.Unavailable, "cannot be reached"},
		{"no host", status.Error(codes.FailedPrecondition, "did not find address for actor 'Cart/a'"), actors.Unavailable, "check that a host"},
		{"moved", status.Error(codes.Internal, "error invoke actor method: remote actor moved"), actors.Unavailable, "repeat"},
		{"stream lost", status.Error(codes.Internal, "error invoke actor method: actor host disconnected before responding"), actors.Unavailable, "repeat"},
		{"no placement", status.Error(codes.Unavailable, "placement service is not configured"), actors.Unavailable, "connected to placement"},
		{"deadline", status.Error(codes.DeadlineExceeded, "x"), actors.DeadlineExceeded, "not known"},
		{"deadline inside", status.Error(codes.Internal, "error invoke actor method: context deadline exceeded"), actors.DeadlineExceeded, "not known"},
		{"too large", status.Error(codes.ResourceExhausted, "grpc: received message larger than max"), actors.ResourceExhausted, "--max-body-size"},
		{"bad name", status.Error(codes.InvalidArgument, "invalid actorType"), actors.InvalidArgument, "invalid actorType"},
		{"token", status.Error(codes.Unauthenticated, "x"), actors.Unavailable, "DAPR_API_TOKEN"},
		{"anything else", status.Error(codes.Internal, strings.Repeat("é", 5000)), actors.Internal, "é…"},
		{"an old host", nil, actors.Internal, "did not answer with an outcome"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sidecar{invoke: func(context.Context, *runtime.InvokeActorRequest) ([]byte, error) {
				return []byte(`{"payload":"secret"}`), c.err
			}}
			_, err := s.start(t, Config{}).Invoker(cartType).Handle(t.Context(), command())
			if actors.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "secret") ||
				strings.Contains(err.Error(), "[entities") || len(err.Error()) > 1000 {
				t.Errorf("got %v %v, want %v %s", actors.CodeOf(err), err, c.code, c.text)
			}
		})
	}
}

func TestInvokeRefuses(t *testing.T) {
	t.Parallel()
	s := &sidecar{invoke: func(context.Context, *runtime.InvokeActorRequest) ([]byte, error) {
		return actors.MarshalOutcome(actors.Outcome{}), nil
	}}
	const limit = 1000
	i := s.start(t, Config{MaxRequest: limit}).Invoker(cartType)

	c := command()
	c.ID = ""
	if _, err := i.Handle(t.Context(), c); actors.CodeOf(err) != actors.InvalidArgument {
		t.Errorf("an empty id: got %v", err)
	}
	c = command()
	c.Service = "shop.v1.Order"
	if _, err := i.Handle(t.Context(), c); actors.CodeOf(err) != actors.Unimplemented {
		t.Errorf("no actor type: got %v", err)
	}

	// The request is largest with a deadline a minute away, whose text has five digits.
	c = command()
	c.Deadline = time.Now().Add(50 * time.Second)
	if _, err := i.Handle(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.Payload.Data = make([]byte, len(c.Payload.Data)+limit-proto.Size(s.last)-1) // the length takes a byte more
	if _, err := i.Handle(t.Context(), c); err != nil || proto.Size(s.last) != limit {
		t.Errorf("the largest request: got %v, %d bytes", err, proto.Size(s.last))
	}
	c.Payload.Data = append(c.Payload.Data, 0)
	if _, err := i.Handle(t.Context(), c); actors.CodeOf(err) != actors.ResourceExhausted {
		t.Errorf("one byte more: got %v", err)
	}
}

func TestInvokeTimeouts(t *testing.T) {
	t.Parallel()
	s := &sidecar{invoke: func(ctx context.Context, _ *runtime.InvokeActorRequest) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	i := s.start(t, Config{Timeout: 50 * time.Millisecond}).Invoker(cartType)
	if _, err := i.Handle(t.Context(), command()); actors.CodeOf(err) != actors.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	c := command()
	c.Deadline = time.Now().Add(-time.Second)
	if _, err := i.Handle(t.Context(), c); actors.CodeOf(err) != actors.DeadlineExceeded {
		t.Errorf("a deadline in the past: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Handle(ctx, command()); actors.CodeOf(err) != actors.Canceled {
		t.Errorf("a caller that is gone: got %v", err)
	}
}
func TestReplyLimit(t *testing.T) {
	t.Parallel()
	s := &sidecar{invoke: func(context.Context, *runtime.InvokeActorRequest) ([]byte, error) { return make([]byte, 2000), nil }}
	_, err := s.start(t, Config{MaxReply: 1000}).Invoker(cartType).Handle(t.Context(), command())
	if actors.CodeOf(err) != actors.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}
