// Command echohost hosts one actor type over Dapr's actor stream and answers every invocation with its own data. It
// does as little as a host can: what it reaches is the ceiling for everything that is hosted that way.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	address := flag.String("dapr", "127.0.0.1:50001", "address of daprd's gRPC API")
	actorType := flag.String("type", "Echo", "actor type to host")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, *address, *actorType); err != nil {
		slog.Error("echohost ended", "error", err)
		os.Exit(1)
	}
}

// run hosts until the context ends or the stream does.
func run(ctx context.Context, address, actorType string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dial daprd: %w", err)
	}
	defer conn.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	stream, err := runtimev1.NewDaprClient(conn).SubscribeActorEventsAlpha1(ctx, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("open the actor stream: %w", err)
	}

	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()

	// A daprd that is told to stop says so on the connection and then waits for the stream: let go of it.
	watching.Go(func() {
		if conn.WaitForStateChange(ctx, connectivity.Ready) {
			cancel()
		}
	})

	err = serve(stream, actorType)
	if ctx.Err() != nil {
		return nil
	}

	return err
}

func serve(stream runtimev1.Dapr_SubscribeActorEventsAlpha1Client, actorType string) error {
	if err := stream.Send(&runtimev1.SubscribeActorEventsRequestAlpha1{
		RequestType: &runtimev1.SubscribeActorEventsRequestAlpha1_InitialRequest{
			InitialRequest: &runtimev1.SubscribeActorEventsRequestInitialAlpha1{Entities: []string{actorType}},
		},
	}); err != nil {
		return fmt.Errorf("register %s: %w", actorType, err)
	}

	for {
		request, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}

		if response := answer(request); response != nil {
			if err := stream.Send(response); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		}
	}
}

// answer is nil for what wants no answer.
func answer(request *runtimev1.SubscribeActorEventsResponseAlpha1) *runtimev1.SubscribeActorEventsRequestAlpha1 {
	switch r := request.GetResponseType().(type) {
	case *runtimev1.SubscribeActorEventsResponseAlpha1_InvokeRequest:
		return &runtimev1.SubscribeActorEventsRequestAlpha1{
			RequestType: &runtimev1.SubscribeActorEventsRequestAlpha1_InvokeResponse{
				InvokeResponse: &runtimev1.SubscribeActorEventsRequestInvokeResponseAlpha1{
					Id: r.InvokeRequest.GetId(), Data: r.InvokeRequest.GetData(),
				},
			},
		}
	case *runtimev1.SubscribeActorEventsResponseAlpha1_DeactivateRequest:
		return &runtimev1.SubscribeActorEventsRequestAlpha1{
			RequestType: &runtimev1.SubscribeActorEventsRequestAlpha1_DeactivateResponse{
				DeactivateResponse: &runtimev1.SubscribeActorEventsRequestDeactivateResponseAlpha1{
					Id: r.DeactivateRequest.GetId(),
				},
			},
		}
	case *runtimev1.SubscribeActorEventsResponseAlpha1_ReminderRequest:
		return refuse(r.ReminderRequest.GetId())
	case *runtimev1.SubscribeActorEventsResponseAlpha1_TimerRequest:
		return refuse(r.TimerRequest.GetId())
	default:
		return nil
	}
}

func refuse(id string) *runtimev1.SubscribeActorEventsRequestAlpha1 {
	return &runtimev1.SubscribeActorEventsRequestAlpha1{
		RequestType: &runtimev1.SubscribeActorEventsRequestAlpha1_RequestFailed{
			RequestFailed: &runtimev1.SubscribeActorEventsRequestFailedAlpha1{
				Id: id, Code: uint32(codes.Unimplemented), Message: "the echo answers invocations only",
			},
		},
	}
}
