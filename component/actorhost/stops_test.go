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

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc/connectivity"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/daprapi"
)

func TestDaprStopsDuringATurn(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{}, "Cart")
	begun, finish := make(chan struct{}), make(chan struct{})
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		close(begun)
		<-finish
		return echo(ctx, c)
	}
	h.awaitReady(10 * time.Second)
	var group sync.WaitGroup
	defer group.Wait()
	defer close(finish)
	group.Go(func() {
		if r := s.invoke("Cart", "c1", "Echo", `{}`); r.status == 200 {
			t.Errorf("an answer without a turn: %s", r.body)
		}
	})
	<-begun
	if took := s.exits(syscall.SIGTERM); took > time.Second {
		t.Errorf("daprd took %v to exit with a turn running", took)
	} else {
		t.Logf("daprd exited within %v", took)
	}
}

// When an actor stream has ended, daprd keeps calls until there is another one, and does not exit before they have ended.
func TestDaprStopsDuringACall(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	client := s.client()
	conn, err := client.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	stream, err := runtime.NewDaprClient(conn).SubscribeActorEventsAlpha1(ctx)
	if err != nil {
		t.Fatal(err)
	}
	initial := &runtime.SubscribeActorEventsRequestInitialAlpha1{Entities: []string{"Cart"}}
	err = stream.Send(&response{RequestType: &runtime.SubscribeActorEventsRequestAlpha1_InitialRequest{InitialRequest: initial}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	registered := func(want bool) {
		await(t, 30*time.Second, "registration", func() bool {
			m, err := client.Metadata(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return m.Actors.Registered == want
		})
	}
	registered(true)
	end()
	registered(false)
	var group sync.WaitGroup
	defer group.Wait()
	begun := make(chan struct{})
	group.Go(func() {
		close(begun)
		if _, err := client.Invoker(simpleName).Handle(t.Context(), command("c1", `{}`)); actors.CodeOf(err) != actors.Unavailable {
			t.Errorf("got %v", err)
		}
	})
	<-begun
	for range 10 { // so that most likely the sidecar has the call
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("daprd exited within %v", s.exits(syscall.SIGTERM))
}

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
			// What comes right after the sidecar has said that the subscription stands may be lost.
			await(t, 30*time.Second, "in hand", func() bool {
				if err := client.Send(t.Context(), "pubsub", "news", []byte("x")); err != nil {
					t.Fatal(err)
				}
				select {
				case <-begun:
					return true
				case <-time.After(100 * time.Millisecond):
					return false
				}
			})
			t.Logf("daprd exited within %v", s.exits(syscall.SIGTERM))
		})
	}
}
