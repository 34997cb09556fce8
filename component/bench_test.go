//go:build unix

package component

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

type (
	amount  struct{ Amount int64 }
	balance struct{ Balance int64 }
)

const deposit sdk.Method[amount, balance] = "bench.v1.Account/Deposit"

var account = eventsourced.Entity[balance]{
	Service: "bench.v1.Account",
	Commands: []eventsourced.Command[balance]{
		eventsourced.Handle(deposit, func(_ context.Context, t *eventsourced.Turn[balance], in amount) (balance, error) {
			t.Emit(in)
			return *t.State(), nil
		}),
	},
	Events: []eventsourced.Event[balance]{
		eventsourced.On("deposited", func(s *balance, e amount) { s.Balance += e.Amount }),
	},
}

// feeder is a sidecar that keeps a number of commands in flight over the actor stream.
type feeder struct {
	runtime.UnimplementedDaprServer
	begin    chan load
	callers  int
	entities int
}

// load asks for a number of commands. done gets nil, or what went wrong.
type load struct {
	commands int
	done     chan error
}

func (f *feeder) GetMetadata(context.Context, *runtime.GetMetadataRequest) (*runtime.GetMetadataResponse, error) {
	return &runtime.GetMetadataResponse{}, nil
}

func (f *feeder) SubscribeActorEventsAlpha1(stream runtime.Dapr_SubscribeActorEventsAlpha1Server) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	err = stream.Send(&runtime.SubscribeActorEventsResponseAlpha1{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InitialResponse{
		InitialResponse: &runtime.SubscribeActorEventsResponseInitialAlpha1{},
	}})
	if err != nil || len(first.GetInitialRequest().GetEntities()) == 0 {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case b := <-f.begin:
			b.done <- f.feed(stream, b.commands)
		}
	}
}

func (f *feeder) feed(stream runtime.Dapr_SubscribeActorEventsAlpha1Server, commands int) error {
	sent := 0
	for answered := 0; answered < commands; {
		for ; sent < commands && sent-answered < f.callers; sent++ {
			if err := stream.Send(f.command(sent)); err != nil {
				return err
			}
		}
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		if r := in.GetRequestFailed(); r != nil {
			return fmt.Errorf("a command failed: %s", r.GetMessage())
		}
		answered++
	}
	return nil
}

// command n, with metadata as daprd hands it on.
func (f *feeder) command(n int) *runtime.SubscribeActorEventsResponseAlpha1 {
	return &runtime.SubscribeActorEventsResponseAlpha1{ResponseType: &runtime.SubscribeActorEventsResponseAlpha1_InvokeRequest{
		InvokeRequest: &runtime.SubscribeActorEventsResponseInvokeRequestAlpha1{
			Id: strconv.Itoa(n), ActorType: "Account", ActorId: strconv.Itoa(n % f.entities), Method: "Deposit",
			Data: []byte(`{"Amount":1}`),
			Metadata: map[string]string{
				"content-type": "application/json", "Dapr-Api-Call": "InvokeActor", "dapr-caller-app-id": "shop",
				"dapr-caller-namespace": "default", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			},
		},
	}}
}

// BenchmarkCommand is a command's whole way through our processes: from the actor stream through the component and the
// SDK's server, each over a loopback connection, into the journal in memory and back. The sidecar's side of the stream
// is part of the figures. cpu-µs/op is the time on all processors.
func BenchmarkCommand(b *testing.B) {
	for _, x := range []struct {
		name              string
		callers, entities int
	}{
		{"one caller", 1, 1000},
		{"32 callers", 32, 1000},
		{"hot", 32, 1},
	} {
		b.Run(x.name, func(b *testing.B) {
			f := &feeder{begin: make(chan load), callers: x.callers, entities: x.entities}
			hosted(b, f)
			run := func(commands int) {
				done := make(chan error, 1)
				f.begin <- load{commands, done}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			run(2 * x.entities) // all are in memory
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			run(b.N)
			b.ReportMetric(float64(processorTime(b)-before)/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// hosted runs a sidecar, the SDK's server and a host between them until the benchmark ends.
func hosted(b *testing.B, sidecar *feeder) {
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	part := func(name string, run func() error) {
		parts.Go(func() {
			if err := run(); err != nil {
				b.Errorf("%s: %v", name, err)
			}
		})
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	log := slog.New(slog.DiscardHandler)

	dapr, daprAt := grpc.NewServer(), listen()
	runtime.RegisterDaprServer(dapr, sidecar)
	part("sidecar", func() error { return dapr.Serve(daprAt) })

	server, at := sdk.NewServer(sdk.Config{Logger: log}), listen()
	if err := server.Register(account); err != nil {
		b.Fatal(err)
	}
	part("user function", func() error { return server.Serve(ctx, at) })

	c, err := New(Config{Log: log, Base: []map[string]string{{
		"journal": "memory:", "userFunction": at.Addr().String(), "daprGrpcEndpoint": daprAt.Addr().String(), "adminAddress": "off",
	}}})
	if err != nil {
		b.Fatal(err)
	}
	h, err := open(ctx, c, c.settings, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	part("host", func() error { return h.Run(running) })
	b.Cleanup(func() {
		stop()
		dapr.Stop()
		cancel()
		parts.Wait()
	})
}

// processorTime of this process, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
