package actorhost

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

// Whatever comes in is answered exactly once, by something that can be sent.
func FuzzInvoke(f *testing.F) {
	f.Add("Cart", "c%2F1", "Echo", []byte(`{"a":1}`), "entities-outcome", "1")
	f.Add("Cart", "c", "Nope", []byte(`{`), "entities-timeout", "x")
	f.Add("Nope", "\xff", "\xff", []byte(nil), "content-type", "application/protobuf")
	f.Add("Cart", "%", "Echo", []byte(`"x"`), "Idempotency-Key", "\xff")
	c := cart(f, "Cart")
	f.Fuzz(func(t *testing.T, actorType, id, method string, data []byte, key, value string) {
		var callbacks sync.WaitGroup
		config := Config{Catalog: (&services{now: c}).get, Entities: &entities{}, MaxReply: minReply}.withDefaults()
		host := &Stream{config: config, log: slog.New(slog.DiscardHandler)}
		n := newSession(host, []string{"Cart"}, &callbacks)
		n.ctx, n.cancel = context.WithCancelCause(t.Context())
		defer n.cancel(nil)
		n.invoke(&runtime.SubscribeActorEventsResponseInvokeRequestAlpha1{
			Id: "1", ActorType: actorType, ActorId: id, Method: method, Data: data, Metadata: map[string]string{key: value},
		})
		callbacks.Wait()
		if len(n.answers.waiting) != 1 {
			t.Fatalf("%d answers", len(n.answers.waiting))
		}
		answer, err := proto.Marshal(n.answers.waiting[0].response)
		if err != nil || len(answer) > minReply {
			t.Fatalf("%d bytes, %v", len(answer), err)
		}
		if failed := n.answers.waiting[0].response.GetRequestFailed(); failed != nil {
			if _, _, ok := actors.ParseFailureText(failed.GetMessage()); !ok || failed.GetCode() == 5 {
				t.Errorf("got %v", failed)
			}
		}
	})
}
