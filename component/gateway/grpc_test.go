package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// invoke makes a unary call with raw bytes.
func invoke(conn *grpc.ClientConn, path string, data []byte, options ...grpc.CallOption) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var reply message
	err := conn.Invoke(ctx, path, &message{data}, &reply, append(options, grpc.ForceCodecV2(codec{}))...)
	return reply.data, err
}

// open makes a streamed call with raw bytes.
func open(ctx context.Context, t testing.TB, conn *grpc.ClientConn, path string, options ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path, append(options, grpc.ForceCodecV2(codec{}))...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUnary(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.user.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		return actors.Outcome{Reply: &c.Payload, Sequence: 5, Metadata: actors.Metadata{{Key: "x", Text: "y"}, {Key: "b-bin", Bytes: []byte{0, 1}}}}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", "k", "z", "1", "a", "2", "raw-bin", "\x00\xff")
	var header metadata.MD
	var reply message
	if err := r.conn.Invoke(ctx, "/shop.v1.ShoppingCart/Plain", &message{text("cart-1")}, &reply, grpc.ForceCodecV2(codec{}), grpc.Header(&header), grpc.UseCompressor(gzip.Name)); err != nil {
		t.Fatal(err)
	}
	if string(reply.data) != string(text("cart-1")) {
		t.Errorf("reply %q", reply.data)
	}
	for k, v := range map[string]string{"x": "y", "b-bin": "\x00\x01", "entities-sequence": "5"} {
		if got := header.Get(k); len(got) != 1 || got[0] != v {
			t.Errorf("header %s: %q", k, got)
		}
	}
	c := r.user.last(t)
	if c.Ref != (actors.Ref{Service: "shop.v1.ShoppingCart", ID: "cart-1"}) || c.Method != "Plain" || c.Key != "k" || time.Until(c.Deadline) > 10*time.Second || c.Deadline.IsZero() {
		t.Errorf("command %+v", c)
	}
	var own actors.Metadata
	for _, e := range c.Metadata {
		if e.Key != "user-agent" && e.Key != "content-type" {
			own = append(own, e)
		}
	}
	if diff := cmp.Diff(actors.Metadata{{Key: "a", Text: "2"}, {Key: "raw-bin", Bytes: []byte{0, 0xff}}, {Key: "z", Text: "1"}}, own); diff != "" {
		t.Error(diff)
	}
}

func TestGRPCErrors(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MaxMessage = 1 << 10 })
	for _, c := range []struct {
		path    string
		data    []byte
		outcome actors.Outcome
		err     error
		code    codes.Code
		text    string // exact, or a part after …
	}{
		{"/shop.v1.Echo/Say", nil, actors.Outcome{Failure: actors.Errorf(actors.Unknown, "expected failure")}, nil, codes.Unknown, "expected failure"},
		{"/shop.v1.Echo/Say", nil, actors.Outcome{Failure: actors.Errorf(actors.NotFound, "né")}, nil, codes.NotFound, "né"},
		{"/shop.v1.Echo/Say", nil, actors.Outcome{}, actors.Errorf(actors.Aborted, "conflict"), codes.Aborted, "conflict"},
		{"/shop.v1.Echo/Say", nil, actors.Outcome{}, errors.New("secret"), codes.Internal, "…inside the gateway"},
		{"/shop.v1.Echo/Say", nil, actors.Outcome{}, nil, codes.Internal, "…answered nothing"},
		{"/shop.v1.Echo/Say", nil, actors.Outcome{Reply: &actors.Payload{ContentType: actors.ContentJSON, Data: []byte("{}")}}, nil, codes.Internal, "…JSON"},
		{"/shop.v1.ShoppingCart/Plain", nil, actors.Outcome{}, nil, codes.InvalidArgument, "…cartId"},
		{"/shop.v1.ShoppingCart/Plain", []byte{0xff}, actors.Outcome{}, nil, codes.InvalidArgument, "…not a serialized shop.v1.AddItem"},
		{"/shop.v1.Echo/Nope", nil, actors.Outcome{}, nil, codes.Unimplemented, "…Say"},
		{"/Echo/Say", nil, actors.Outcome{}, nil, codes.Unimplemented, "…Echo"},
		{"/no.Service/Say", nil, actors.Outcome{}, nil, codes.Unimplemented, "…no.Service"},
		{"/todo.List/Put", nil, actors.Outcome{}, nil, codes.Unimplemented, "…JSON"},
		{"/shop.v1.Echo/Say", make([]byte, 1<<10+1), actors.Outcome{}, nil, codes.ResourceExhausted, "…larger than max"},
	} {
		r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) { return c.outcome, c.err }
		_, err := invoke(r.conn, c.path, c.data)
		want, part := strings.CutPrefix(c.text, "…")
		if s := status.Convert(err); s.Code() != c.code || !part && s.Message() != want || !strings.Contains(s.Message(), want) {
			t.Errorf("%s: got %v", c.path, err)
		}
	}
	r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) { panic("boom") }
	if _, err := invoke(r.conn, "/shop.v1.Echo/Say", nil); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
		t.Errorf("a panic: %v", err)
	}
	r.user.handle = nil
	if _, err := invoke(r.conn, "/shop.v1.Echo/Say", nil); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if _, err := invoke(r.conn, "/shop.v1.Echo/Say", nil, grpc.CallContentSubtype("json")); err == nil {
		t.Error("a subtype other than proto was taken")
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s := open(ctx, t, r.conn, "/shop.v1.Echo/Both")
	for _, w := range []string{"a", "b", ""} {
		if err := s.SendMsg(&message{text(w)}); err != nil {
			t.Fatal(err)
		}
		var m message
		if err := s.RecvMsg(&m); err != nil || string(m.data) != string(text(w)) {
			t.Fatalf("%q: got %q, %v", w, m.data, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(message)); !errors.Is(err, io.EOF) {
		t.Fatalf("the end: %v", err)
	}
	if c := r.user.last(t); !c.Payload.IsZero() || c.Service != "shop.v1.Echo" || c.Method != "Both" {
		t.Errorf("command %+v", c)
	}

	// Errors before the first reply are proper statuses, and a stream may stay empty.
	for _, c := range []struct {
		err  error
		code codes.Code
	}{{nil, codes.OK}, {actors.Errorf(actors.Unavailable, "down"), codes.Unavailable}} {
		r.user.stream = func(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
			return c.err
		}
		s = open(ctx, t, r.conn, "/shop.v1.Echo/Out")
		s.SendMsg(&message{})
		s.CloseSend()
		if err := s.RecvMsg(new(message)); c.code == codes.OK && !errors.Is(err, io.EOF) || c.code != codes.OK && status.Code(err) != c.code {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
	// A stream that promises one reply keeps to it.
	for n, code := range map[int]codes.Code{0: codes.Internal, 1: codes.OK, 2: codes.Internal} {
		r.user.stream = func(_ context.Context, c actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
			for range n {
				if err := out(actors.Outcome{Reply: &actors.Payload{}}); err != nil {
					return err
				}
			}
			return nil
		}
		s, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/shop.v1.Echo/In", grpc.ForceCodecV2(codec{}))
		if err != nil {
			t.Fatal(err)
		}
		s.CloseSend()
		if err := s.RecvMsg(new(message)); status.Code(err) != code {
			t.Errorf("%d replies: got %v, want %v", n, err, code)
		}
	}
}

// A failure within a stream ends it, and whoever has not finished to send is told so.
func TestStreamFailure(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	cancelled := make(chan struct{})
	r.user.stream = func(ctx context.Context, _ actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
		if _, err := in(); err != nil {
			return err
		}
		err := out(actors.Outcome{Failure: actors.Errorf(actors.Unknown, "expected failure")})
		go func() {
			<-ctx.Done()
			close(cancelled)
		}()
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s := open(ctx, t, r.conn, "/shop.v1.Echo/Both")
	s.SendMsg(&message{})
	if err := s.RecvMsg(new(message)); status.Code(err) != codes.Unknown || status.Convert(err).Message() != "expected failure" {
		t.Errorf("got %v", err)
	}
	if err := s.SendMsg(&message{}); !errors.Is(err, io.EOF) {
		t.Errorf("the input is still open: %v", err)
	}
	<-cancelled
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := healthpb.NewHealthClient(r.conn)
	for service, want := range map[string]codes.Code{"": codes.OK, "shop.v1.Echo": codes.OK, "Echo": codes.NotFound} {
		if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service}); status.Code(err) != want {
			t.Errorf("%q: %v", service, err)
		}
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "todo.Do"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if resp, err := watch.Recv(); err != nil || resp.GetStatus() != want {
			t.Fatalf("got %v %v, want %v", resp, err, want)
		}
	}
	next(healthpb.HealthCheckResponse_SERVING)
	if err := r.Update(newCatalog(t, shopSet(), entity(actors.Action, "shop.v1.Echo"))); err != nil {
		t.Fatal(err)
	}
	next(healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
	if err := r.Update(shop(t)); err != nil {
		t.Fatal(err)
	}
	next(healthpb.HealthCheckResponse_SERVING)
	go r.stop()
	next(healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the end: %v", err)
	}
}

// gRPC on a connection that began without it goes to the other gRPC server, and the answer is the same.
func TestGRPCOnAConnectionOfHTTP(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	client := overH2(t)
	req, _ := http.NewRequest("POST", r.url+"/shop.v1.Echo/Say", strings.NewReader(`{"text":"a"}`))
	req.Header.Set("Content-Type", "application/json")
	if got := do(t, client, req); got.status != 200 || got.body != `{"text":"a"}` {
		t.Fatal(got)
	}
	req, _ = http.NewRequest("POST", r.url+"/shop.v1.Echo/Say", strings.NewReader("\x00\x00\x00\x00\x03"+string(text("a"))))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "\x00\x00\x00\x00\x03"+string(text("a")) || resp.Trailer.Get("grpc-status") != "0" {
		t.Errorf("got %q %v %v", b, resp.Trailer, err)
	}
}

// overH2 is a client that speaks HTTP/2 without asking, and counts its connections.
func overH2(t testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dials := 0
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if dials != 1 {
			t.Errorf("%d connections were made, want 1", dials)
		}
	})
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}
