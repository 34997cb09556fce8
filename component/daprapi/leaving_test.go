package daprapi

import (
	"context"
	"strings"
	"sync"
	"testing"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc/connectivity"

	"github.com/dapr-entities/entities/actors"
)

// A sidecar that stops waits for the calls in progress: those that end soon are answered, and the others end without one.
func TestInvokeWhileTheSidecarStops(t *testing.T) {
	t.Parallel()
	for name, forever := range map[string]bool{"answered": false, "given up": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, stopping := make(chan struct{}), make(chan struct{})
			s := &sidecar{invoke: func(ctx context.Context, _ *runtime.InvokeActorRequest) ([]byte, error) {
				close(begun)
				<-stopping
				if forever {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return actors.MarshalOutcome(actors.Outcome{Sequence: 1}), nil
			}}
			client, server := serve(t, s, Config{})
			var group sync.WaitGroup
			defer group.Wait()
			group.Go(func() {
				<-begun
				group.Go(func() {
					client.conn.WaitForStateChange(t.Context(), connectivity.Ready)
					close(stopping)
				})
				server.GracefulStop()
			})
			o, err := client.Invoker(cartType).Handle(t.Context(), command())
			if !forever && (err != nil || o.Sequence != 1) {
				t.Errorf("got %+v, %v", o, err)
			}
			if forever && (actors.CodeOf(err) != actors.Unavailable || !strings.Contains(err.Error(), errLeaving.Error())) {
				t.Errorf("got %+v, %v", o, err)
			}
		})
	}
}
