package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	suite "github.com/dapr/components-contrib/tests/conformance/bindings"
	client "github.com/dapr/dapr/pkg/components/bindings"

	"github.com/dapr-entities/entities/tests/harness"
)

// The suite takes what get returns for what create was given, as with a store of blobs. An entity is created by a
// command and got with its events, so the two are asked for one at a time. The suite's delete has no counterpart: an
// entity is deleted by a command of its own, if it has one. Operations that the suite does not know it only looks for.
func TestOutputBinding(t *testing.T) {
	t.Parallel()

	socket := host(t)

	for _, operations := range [][]string{
		{"operations", "create", "list", "invoke", "history", "outcome"},
		{"operations", "get", "list"},
	} {
		t.Run(operations[1], func(t *testing.T) {
			config, err := suite.NewTestConfig("entities", operations, map[string]any{
				"output":     map[string]any{"service": "test.v1.Account", "id": "conformance", "command": "Deposit"},
				"outputData": `{"amount":1}`,
			})
			if err != nil {
				t.Fatal(err)
			}

			suite.ConformanceTests(t, nil, nil, client.NewGRPCOutputBinding(log, socket), config)
		})
	}
}

// TestInputBinding reads the event that the command creates. It is not parallel to the other one, for the suite keeps its
// configuration in variables.
func TestInputBinding(t *testing.T) {
	socket := host(t)

	config, err := suite.NewTestConfig("entities", []string{"operations", "read", "create"}, map[string]any{
		"output":          map[string]any{"service": "test.v1.Account", "id": "conformance", "command": "Deposit"},
		"outputData":      `{"amount":1}`,
		"readBindingWait": "100ms", // nothing is missed, whenever the reading begins
	})
	if err != nil {
		t.Fatal(err)
	}

	suite.ConformanceTests(t, map[string]string{"services": "test.v1.Account"},
		&ending{InputBinding: client.NewGRPCInputBinding(log, socket)}, client.NewGRPCOutputBinding(log, socket), config)
}

// ending ends the reading before it closes the binding, as the sidecar does. Dapr's client waits on Close for the stream
// to end, and it is the context of Read alone that ends it; the suite ends that context only later.
type ending struct {
	bindings.InputBinding

	end context.CancelFunc
}

func (b *ending) Read(ctx context.Context, handler bindings.Handler) error {
	ctx, b.end = context.WithCancel(ctx)

	return b.InputBinding.Read(ctx, handler)
}

func (b *ending) Close() error {
	b.end()

	return b.InputBinding.Close()
}

// host starts a component with a user function and the sidecar that hosts its entities, and returns the path of the
// component's socket.
func host(t *testing.T) string {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	cluster := harness.Test(t, harness.ClusterConfig{})

	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}

	h, err := cluster.StartHost(ctx, harness.HostOptions{
		Placement: placement.Address, ActorTypes: []string{"Account"},
		Handler: harness.HandlerOptions{Package: "tests/fixture"},
	})
	if err != nil {
		t.Fatal(err)
	}

	return h.Component.Options.Socket()
}
