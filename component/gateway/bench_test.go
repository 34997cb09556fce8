package gateway

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-entities/entities/actors"
)

// BenchmarkEcho compares a unary call through the gateway, of which the user function echoes, with the same call to a
// plain grpc-go server, and with the other protocols.
func BenchmarkEcho(b *testing.B) {
	r := start(b, nil)

	r.config.Commands = quietUser{}
	plain := grpc.NewServer(grpc.ForceServerCodecV2(codec{}))
	plain.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.v1.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := new(message)
			return m, decode(m)
		}}},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- plain.Serve(l) }()
	defer func() {
		plain.Stop()
		<-served
	}()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	data := text("hello, this is some text of a usual length")
	for name, c := range map[string]*grpc.ClientConn{"plain": conn, "gateway": r.conn} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := invoke(c, "/shop.v1.Echo/Say", data); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	// In turns, so that both have the same neighbours on this machine.
	b.Run("ratio", func(b *testing.B) {
		var took [2]time.Duration
		for b.Loop() {
			for i, c := range []*grpc.ClientConn{conn, r.conn} {
				began := time.Now()
				var callers sync.WaitGroup
				for range 32 {
					callers.Go(func() {
						for range 16 {
							if _, err := invoke(c, "/shop.v1.Echo/Say", data); err != nil {
								b.Error(err)
							}
						}
					})
				}
				callers.Wait()
				took[i] += time.Since(began)
			}
		}
		b.ReportMetric(float64(took[0])/float64(took[1]), "gateway/plain")
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got := r.call(b, "POST", "/shop.v1.Echo/Say", `{"text":"hello, this is some text of a usual length"}`); got.status != 200 {
				b.Fatal(got)
			}
		}
	})
}

// quietUser echoes, and notes nothing.
type quietUser struct{}

func (quietUser) Handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	return actors.Outcome{Reply: &c.Payload}, nil
}

func (quietUser) Stream(context.Context, actors.Command, func() (actors.Input, error), func(actors.Outcome) error) error {
	return nil
}
