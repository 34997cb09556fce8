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

	socket := host(t).Component.Options.Socket()

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

// What the output binding creates, the input binding is told of. The suite's close waits for the stream of events to end,
// and says nothing to the component: where a sidecar cancels the stream first, the suite counts on the component to end it.
// It does when it stops.
func TestInputBinding(t *testing.T) {
	t.Parallel()

	h := host(t)

	config, err := suite.NewTestConfig("entities", []string{"operations", "create", "read"}, map[string]any{
		"output":             map[string]any{"service": "test.v1.Account", "id": "conformance", "command": "Deposit"},
		"outputData":         `{"amount":1}`,
		"readBindingTimeout": "30s",
		"readBindingWait":    "10ms", // it misses nothing, whenever it begins
	})
	if err != nil {
		t.Fatal(err)
	}

	in := ending{InputBinding: client.NewGRPCInputBinding(log, h.Component.Options.Socket()), end: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()

		if err := h.Component.Stop(ctx); err != nil {
			t.Error(err)
		}
	}}
	out := client.NewGRPCOutputBinding(log, h.Component.Options.Socket())
	suite.ConformanceTests(t, map[string]string{"services": "test.v1.*", "appId": "conformance"}, in, out, config)
}

// ending stops the component before it is closed.
type ending struct {
	bindings.InputBinding

	end func()
}

func (e ending) Close() error {
	e.end()

	return e.InputBinding.Close()
}

// host starts a component with a user function and the sidecar that hosts its entities.
func host(t *testing.T) *harness.Host {
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

	return h
}
