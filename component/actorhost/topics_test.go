package actorhost

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/dapr-entities/entities/component/daprapi"
)

// A sidecar that stops while a message is in hand exits only when its subscriber has ended the subscription.
func TestDaprStopsDuringAMessage(t *testing.T) {
	t.Parallel()
	const pubsub = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: pubsub}\nspec: {type: pubsub.in-memory, version: v1, metadata: []}\n"
	for name, handle := range map[string]func(context.Context) error{
		"handled":     func(context.Context) error { return nil },
		"refused":     func(context.Context) error { return errors.New("no") },
		"interrupted": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, "pubsub.yaml"), []byte(pubsub), 0o600); err != nil {
				t.Fatal(err)
			}
			s := daprd(t, "", "--resources-path", folder)
			client := s.client()
			watched, err := client.Connect()
			if err != nil {
				t.Fatal(err)
			}
			defer watched.Close()
			watched.Connect()
			await(t, 30*time.Second, "connected", func() bool { return watched.GetState() == connectivity.Ready })
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			defer group.Wait()
			defer cancel()
			subscribed, begun := make(chan struct{}), make(chan struct{})
			subscribe, begin := sync.OnceFunc(func() { close(subscribed) }), sync.OnceFunc(func() { close(begun) })
			group.Go(func() {
				err := client.Subscribe(ctx, "pubsub", "news", func(ctx context.Context, _ daprapi.Message) error {
					begin()
					watched.WaitForStateChange(t.Context(), connectivity.Ready) // until the sidecar stops
					return handle(ctx)
				}, func(error) { subscribe() })
				if err != nil {
					t.Error(err)
				}
			})
			<-subscribed
			if err := client.Send(t.Context(), "pubsub", "news", []byte("x")); err != nil {
				t.Fatal(err)
			}
			<-begun
			t.Logf("daprd exited within %v", s.exits(syscall.SIGTERM))
		})
	}
}
