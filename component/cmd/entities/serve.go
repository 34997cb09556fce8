package main

import (
	"context"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func serveCommand(getenv func(string) string, log io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the component on a unix socket for the sidecar",
		Long: `Serve the component on a unix socket, where the sidecar finds it as state.entities, bindings.entities and
pubsub.entities.

Start it before the sidecar. What it does is configured by the sidecar's component YAML. If any of the flags that say
what to host (--host, --userFunction, --journal) is given, it begins to host at once, without a component YAML; what
the sidecar says later takes precedence.

SIGTERM or Ctrl-C stops it in order, within the grace period; a second one ends it at once.`,
		Args: cobra.NoArgs,
	}
	flags := settingFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		built, err := assemble(flags(), getenv, log)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // from then on signals do what they do by default
		return built.Run(ctx)
	}
	return c
}
