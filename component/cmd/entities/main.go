// Command entities is the component: it hosts event-sourced entities for Dapr applications.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component"
	"github.com/dapr-entities/entities/component/config"
)

// gcPercent lets the heap grow to five times what is live before it is collected. What is live is small, a few KiB for
// each resident entity, and a command's garbage is gone with its reply: at Go's default of 100 the collector would run
// many times a second under load and take a tenth of the component's time. GOGC and GOMEMLIMIT have their usual say.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var exit *exitError
	switch err := command(os.Getenv, os.Stderr).Execute(); {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.code)
	default:
		fmt.Fprintln(os.Stderr, "entities:", err)
		os.Exit(1)
	}
}

// command is the whole command line. Log lines go to log.
func command(getenv func(string) string, log io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "entities",
		Short:         "Event-sourced entities for Dapr applications",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(getenv, log), runCommand(getenv, log))
	return root
}

func serveCommand(getenv func(string) string, log io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the component on a unix socket for the sidecar",
		Long: `Serve the component on a unix socket, where the sidecar finds it as state.entities and bindings.entities.

Start it before the sidecar. What it does is configured by the sidecar's component YAML. If any of the flags that say
what to host (--host, --userFunction, --journal) is given, it begins to host at once, without a component YAML; what
the sidecar says later takes precedence.`,
		Args: cobra.NoArgs,
	}
	flags := config.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		values := flags()
		built, _, err := assemble(values, getenv, log)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return built.Run(ctx)
	}
	return c
}

// standalone reports whether the flags alone say what to host.
func standalone(flags map[string]string) bool {
	for _, name := range []string{"host", "userFunction", "journal"} {
		if _, set := flags[name]; set {
			return true
		}
	}
	return false
}

func assemble(flags map[string]string, getenv func(string) string, log io.Writer) (*component.Component, config.Config, error) {
	base := []map[string]string{config.Environment(getenv), flags}
	settings, err := config.Resolve(config.Process, base...)
	if err != nil {
		return nil, settings, err
	}
	built, err := component.New(component.Config{
		Base:       base,
		Standalone: standalone(flags),
		Version:    version(),
		Log:        logger(settings, log),
	})
	return built, settings, err
}

func logger(settings config.Config, to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: settings.LogLevel}
	if settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// runCommand is in run.go's spirit: the component first, then the command that needs it.
func runCommand(getenv func(string) string, log io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "run -- command [arguments]",
		Short: "Serve the component while a command runs that needs it, such as dapr run",
		Long: `Serve the component, run the command as soon as the socket is ready, pass signals on to it, and end with it.

A sidecar looks for components when it starts, so the component has to be there first. The command finds the socket
folder in DAPR_COMPONENTS_SOCKETS_FOLDER; unless a folder is given, it is a temporary one of this run alone.`,
		Example: "  entities run -- dapr run -f samples/cart/dapr.yaml",
		Args:    cobra.MinimumNArgs(1),
	}
	flags := config.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		return runBeside(c.Context(), flags(), getenv, log, args)
	}
	return c
}

func runBeside(ctx context.Context, flags map[string]string, getenv func(string) string, log io.Writer, args []string) (err error) {
	_, given := flags["socketFolder"]
	if _, inherited := config.Environment(getenv)["socketFolder"]; !given && !inherited {
		folder, err := os.MkdirTemp("", "entities-")
		if err != nil {
			return fmt.Errorf("make a socket folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
		flags["socketFolder"] = folder
	}
	built, settings, err := assemble(flags, getenv, log)
	if err != nil {
		return err
	}
	folder := settings.SocketFolder
	beside := &child{
		args:  args,
		env:   append(os.Environ(), "DAPR_COMPONENTS_SOCKETS_FOLDER="+folder, "DAPR_COMPONENT_SOCKETS_FOLDER="+folder),
		grace: settings.GracePeriod,
		log:   logger(settings, log),
	}

	serving, stopServing := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- built.Run(serving) }() // waited for below, on every way
	select {
	case err := <-failed:
		stopServing()
		return err
	case <-built.Serving():
	}
	// The command ends when the component fails; the component ends when the command has.
	running, stopCommand := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { // ends with the component, whose end is waited for
		served <- <-failed
		stopCommand()
	}()
	err = beside.Run(running)
	stopServing()
	return errors.Join(err, <-served)
}
