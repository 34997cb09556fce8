package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // callers may compress
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

// message is one that passes without being decoded.
type message struct{ data []byte }

// codec passes messages as they are. The services of our own, health and reflection, have real ones.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *message:
		return mem.BufferSlice{mem.SliceBuffer(v.data)}, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	default:
		return nil, fmt.Errorf("marshal a %T: it is no message", v)
	}
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *message:
		v.data = data.Materialize()
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), v)
	default:
		return fmt.Errorf("unmarshal a %T: it is no message", v)
	}
}

// streamWorkers is about as many calls as are in progress at a time under load. Their stacks take 1 MiB.
const streamWorkers = 64

// newGRPC makes a server that takes calls by one of the two ways, each of which needs one of its own.
func (g *Gateway) newGRPC() *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.UnknownServiceHandler(g.native),
		grpc.MaxConcurrentStreams(uint32(g.config.MaxStreams)),
		grpc.MaxRecvMsgSize(g.config.MaxMessage),
		grpc.MaxSendMsgSize(g.config.MaxMessage),
		grpc.MaxHeaderListSize(uint32(g.config.MaxHeader)),
		grpc.ConnectionTimeout(g.config.HeaderTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: g.config.IdleTimeout, Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.SharedWriteBuffer(true),
		// Goroutines that stay: to begin one for each call, and to grow its stack, takes a twentieth of the component's
		// time for a command. Where all are busy there are others.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.WaitForHandlers(true),
	)
	g.health.register(s)
	registerReflection(s, g)
	return s
}

// native handles every gRPC call to the user function's services.
func (g *Gateway) native(_ any, stream grpc.ServerStream) (err error) {
	actors.GrowStack()
	path, _ := grpc.MethodFromServerStream(stream)
	m, err := g.routes.Load().native(path)
	if err != nil {
		return grpcError(err)
	}
	began := time.Now()
	defer func() { err = grpcError(err) }()
	defer g.finished("grpc", m, began, &err)
	ctx := stream.Context()
	headers, _ := metadata.FromIncomingContext(ctx)
	for _, contentType := range headers.Get("content-type") {
		if !isGRPC(contentType) {
			return actors.Errorf(actors.Unimplemented, "the content type %q is not known here; send protobuf as application/grpc", cut(contentType))
		}
	}
	c := actors.Command{}
	if c.Metadata, c.Key, err = received(headers, true); err != nil {
		return err
	}
	told := false
	err = g.carry(ctx, m, c,
		func() (actors.Input, error) {
			var msg message
			if err := stream.RecvMsg(&msg); err != nil {
				return actors.Input{}, err
			}
			return actors.Input{Payload: m.protobuf(msg.data)}, nil
		},
		func(o actors.Outcome) error {
			if o.Reply == nil {
				told = true
				return stream.SendHeader(replyMetadata(o, m.addressed()))
			}
			if !told {
				told = true
				if md := replyMetadata(o, m.addressed()); len(md) > 0 {
					if err := stream.SetHeader(md); err != nil {
						return fmt.Errorf("set the headers of the reply: %w", err)
					}
				}
			}
			data, err := m.wire(*o.Reply)
			if err != nil {
				return err
			}
			return stream.SendMsg(&message{data})
		})
	if f, ok := errors.AsType[*failure](err); ok {
		stream.SetTrailer(replyMetadata(f.outcome, m.addressed()))
	}
	return err
}

// protobuf is a caller's message as a payload.
func (m *method) protobuf(data []byte) actors.Payload {
	return actors.Payload{TypeURL: m.Input, ContentType: actors.ContentProtobuf, Data: data}
}

// wire is a reply as a gRPC caller gets it. Its type is not checked, as in Cloudstate, but JSON would be nonsense.
func (m *method) wire(p actors.Payload) ([]byte, error) {
	if p.ContentType == actors.ContentJSON {
		return nil, actors.Errorf(actors.Internal, "the user function answered JSON to %s, which promises %s", m.Method, m.Output)
	}
	return p.Data, nil
}

func replyMetadata(o actors.Outcome, addressed bool) metadata.MD {
	if len(o.Metadata) == 0 && !addressed && !o.Repeated {
		return nil
	}
	md := make(metadata.MD)
	replied(o, addressed, func(key, value string, _ bool) { md[key] = append(md[key], value) })
	return md
}

// receiveAll calls each for every message of a stream.
func receiveAll[T any](ctx context.Context, receive func(*T) error, each func(*T) error) error {
	for ctx.Err() == nil {
		req := new(T)
		switch err := receive(req); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(req); err != nil {
			return err
		}
	}
	return ctx.Err()
}
