package building

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// The binding carries commands to replicated entities, and says that they have no events to be read.
func TestReplicated(t *testing.T) {
	t.Parallel()
	c, err := catalog.New(&cloudstate.EntitySpec{
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"}},
		Entities:    []*cloudstate.Entity{{EntityType: "cloudstate.crdt.Crdt", ServiceName: "todo.Votes", Methods: []*cloudstate.Method{{Name: "Get"}}}},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := bound(t, memory.Open(), c, func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		return actors.Outcome{Reply: &actors.Payload{ContentType: actors.ContentJSON, Data: []byte(`"` + c.Ref.String() + `"`)}}, nil
	})
	metadata := map[string]string{"service": "Votes", "id": "x", "command": "Get"}
	if resp, err := r.invoke("invoke", "{}", metadata); err != nil || string(resp.Data) != `"todo.Votes/x"` {
		t.Error(resp, err)
	}
	metadata["idempotencyKey"] = "k"
	for _, operation := range []string{"get", "history", "list", "outcome"} {
		_, err := r.invoke(operation, "", map[string]string{"service": "Votes", "id": "x", "idempotencyKey": "k"})
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "operation invoke") {
			t.Errorf("%s: %v", operation, err)
		}
	}
}
