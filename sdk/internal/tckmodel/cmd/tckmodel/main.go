// Command tckmodel serves the models of Cloudstate's conformance tests at $HOST:$PORT, by default 127.0.0.1:8080.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/action"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/crdt"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/eventlogeventing"
	"github.com/dapr-entities/entities/sdk/internal/tckmodel/valueentity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("the models have stopped", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	server := sdk.NewServer(sdk.Config{Name: "tckmodel"})
	definitions := []sdk.Definition{
		tckmodel.Model, tckmodel.Two, tckmodel.Configured,
		valueentity.Model, valueentity.Two, valueentity.Configured,
		crdt.Model, crdt.Two, crdt.Configured,
	}
	definitions = append(definitions, action.Definitions()...)
	definitions = append(definitions, eventlogeventing.Definitions()...)
	if err := server.Register(definitions...); err != nil {
		return err
	}
	return server.ListenAndServe(ctx, "")
}
