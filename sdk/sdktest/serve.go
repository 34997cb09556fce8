package sdktest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/dapr-entities/entities/sdk"
)

// Serve serves the definitions by a real server in memory and returns a connection to it, for tests that speak the
// inverted protocol. Both end with the test.
func Serve(t testing.TB, definitions ...sdk.Definition) *grpc.ClientConn {
	t.Helper()
	server := sdk.NewServer(sdk.Config{Name: t.Name(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := server.Register(definitions...); err != nil {
		t.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var (
		serving sync.WaitGroup
		served  error
	)
	serving.Go(func() { served = server.Serve(ctx, lis) })
	conn, err := grpc.NewClient("passthrough:///sdktest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
	)
	t.Cleanup(func() {
		if conn != nil {
			conn.Close()
		}
		stop()
		serving.Wait()
		if served != nil {
			t.Errorf("serve: %v", served)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
