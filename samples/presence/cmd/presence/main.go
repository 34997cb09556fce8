// Command presence serves presences of people to the entities component.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/dapr-entities/entities/samples/presence"
	"github.com/dapr-entities/entities/sdk"
)

func main() {
	address := flag.String("address", sdk.Address(), "where to listen; by default $HOST:$PORT")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address); err != nil {
		fmt.Fprintln(os.Stderr, "presence:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string) error {
	server := sdk.NewServer(sdk.Config{Name: "presence", Version: sdk.Version})
	if err := server.Register(presence.Rooms); err != nil {
		return err
	}
	return server.ListenAndServe(ctx, address)
}
