// Command nullserver stands in daprd's place and answers InvokeActor with the request's data, which shows what the load
// generator itself can do. It is the plain gRPC server beside our gateway, too, and echoes texts.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"

	pb "github.com/dapr-entities/entities/tests/bench/benchpb"
)

func main() {
	address := flag.String("address", "127.0.0.1:50001", "where to listen")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, *address); err != nil {
		slog.Error("nullserver ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	server := grpc.NewServer()
	runtimev1.RegisterDaprServer(server, null{})
	server.RegisterService(&echo, nil)

	defer context.AfterFunc(ctx, server.Stop)()

	if err := server.Serve(listener); err != nil {
		return fmt.Errorf("serve: %w", err)
	}

	return nil
}

// echo is bench.v1.Echo as a generated server would have it.
var echo = grpc.ServiceDesc{
	ServiceName: "bench.v1.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			text := new(pb.Text)

			return text, decode(text)
		},
	}},
}

type null struct {
	runtimev1.UnimplementedDaprServer
}

// InvokeActor answers at once.
func (null) InvokeActor(
	_ context.Context, request *runtimev1.InvokeActorRequest,
) (*runtimev1.InvokeActorResponse, error) {
	return &runtimev1.InvokeActorResponse{Data: request.GetData()}, nil
}
