package eventing

import (
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// A stream of a replicated entity may never end: the first answer counts.
func TestStreamOfAReplicatedEntity(t *testing.T) {
	t.Parallel()
	c := consumer(t, nil, &cloudstate.Method{Name: "Watch", Input: "added", Eventing: fromLog(), StreamedOut: true})
	service := *c.Service
	service.Kind = actors.Replicated
	c.Service = &service
	h := &commands{}
	// The event's subject names the entity.
	stored := journal.Event{
		Ref: actors.Ref{Service: "carts", ID: "c/1"}, Sequence: 7, Name: "added",
		Payload: actors.Payload{TypeURL: catalog.JSONPrefix + "added", ContentType: actors.ContentJSON, Data: []byte(`{}`)},
	}
	if err := (Consumption{Consumer: c, Commands: h}).Log(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	if len(h.got) != 1 || h.got[0].ID != "c/1" || len(h.inputs) > 0 || h.streams > 0 {
		t.Errorf("got %+v, in %d streams", h.got, h.streams)
	}
}
