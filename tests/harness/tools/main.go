// Command tools makes Dapr's programs ready, building them if need be, and prints where they are. Make calls it so that
// tests find them built; people may call it to use the same daprd by hand.
//
//	go run ./tests/harness/tools                   daprd and placement
//	go run ./tests/harness/tools daprd dapr ...    those that are named
//	go run ./tests/harness/tools older             daprd and placement of a Dapr from before the actor stream
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/dapr-entities/entities/tests/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	known := []harness.Tool{harness.ToolDaprd, harness.ToolPlacement, harness.ToolScheduler, harness.ToolCLI}

	if slices.Equal(names, []string{"older"}) {
		return show(harness.Older(ctx, os.Stderr))
	}

	var want []harness.Tool

	for _, name := range names {
		if !slices.Contains(known, harness.Tool(name)) {
			return fmt.Errorf("unknown tool %q; known are %v", name, known)
		}

		want = append(want, harness.Tool(name))
	}

	return show(harness.Dapr(ctx, os.Stderr, want...))
}

func show(binaries harness.Binaries, err error) error {
	if err != nil {
		return err
	}

	for _, path := range []string{binaries.Daprd, binaries.Placement, binaries.Scheduler, binaries.CLI} {
		if path != "" {
			fmt.Println(path)
		}
	}

	return nil
}
