package actorhost

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Replicated entities are actors that nobody owns.
func TestReplicated(t *testing.T) {
	t.Parallel()
	json := []*cloudstate.Method{{Name: "Echo"}, {Name: "Watch", StreamedOut: true}}
	c, err := catalog.New(&cloudstate.EntitySpec{
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"}},
		Entities: []*cloudstate.Entity{
			{EntityType: "cloudstate.crdt.Crdt", ServiceName: "shop.v1.Room", Methods: json},
			{EntityType: "cloudstate.action.ActionProtocol", ServiceName: "shop.v1.Act", Methods: json},
		},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	placed := &entities{}
	config := Config{Catalog: (&services{now: c}).get, Entities: placed, MaxReply: minReply}.withDefaults()
	if got := config.actorTypes(); len(got) > 0 {
		t.Errorf("without a handler there are %q", got)
	}
	var got actors.Command
	config.Replicated = actors.HandlerFunc(func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		got = c
		return echo(ctx, c)
	})
	if got := config.actorTypes(); !slices.Equal(got, []string{"Room"}) {
		t.Errorf("there are %q", got)
	}
	var callbacks sync.WaitGroup
	n := newSession(&Stream{config: config, log: slog.New(slog.DiscardHandler)}, []string{"Room"}, &callbacks)
	n.ctx, n.cancel = context.WithCancelCause(t.Context())
	defer n.cancel(nil)
	for _, actorType := range []string{"Room", "Act"} {
		n.invoke(&runtime.SubscribeActorEventsResponseInvokeRequestAlpha1{Id: actorType, ActorType: actorType, ActorId: "r%2F1", Method: "Echo", Data: []byte(`{"a":1}`)})
		callbacks.Wait()
	}
	n.deactivate(&runtime.SubscribeActorEventsResponseDeactivateRequestAlpha1{Id: "d", ActorType: "Room", ActorId: "r%2F1"})
	if got.Ref != (actors.Ref{Service: "shop.v1.Room", ID: "r/1"}) || len(n.answers.waiting) != 3 {
		t.Errorf("%+v, %d answers", got, len(n.answers.waiting))
	}
	if r := n.answers.waiting[0].response.GetInvokeResponse(); string(r.GetData()) != `{"a":1}` {
		t.Error(r)
	}
	if r := n.answers.waiting[1].response.GetRequestFailed(); r == nil {
		t.Error("an action is an actor")
	}
	if _, disowned := placed.losses(); len(disowned) > 0 || len(placed.commands) > 0 {
		t.Error("the placed entities heard of it")
	}
}
