package conformance

import (
	"testing"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	suite "github.com/dapr/components-contrib/tests/conformance/pubsub"
	client "github.com/dapr/dapr/pkg/components/pubsub"
	stateclient "github.com/dapr/dapr/pkg/components/state"
)

// The suite's bulk subscriptions are for components that the sidecar gives whole bulks; it makes bulks for pluggable ones
// itself, and their protocol has no word for them.
var pubsubOperations = []string{"bulkpublish"}

func TestPubSub(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, socket, journal string) {
		host := stateclient.NewGRPCStateStore(log, socket)
		defer host.Close()

		err := host.Init(t.Context(), state.Metadata{Base: metadata.Base{Name: "entities", Properties: map[string]string{"journal": journal}}})
		if err != nil {
			t.Fatal(err)
		}

		config, err := suite.NewTestConfig("entities", pubsubOperations, map[string]any{
			"waitDurationToPublish": "100ms", // subscriptions of ours miss nothing, whenever they begin
		})
		if err != nil {
			t.Fatal(err)
		}

		suite.ConformanceTests(t, map[string]string{"consumerID": "conformance"}, client.NewGRPCPubSub(log, socket), config)
	})
}
