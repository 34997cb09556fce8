package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component/config"
)

func runCommand(getenv func(string) string, log io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "run [flags] -- command [arguments]",
		Short: "Serve the component while a command runs that needs it, such as dapr run",
		Long: `Serve the component, run the command as soon as the socket is ready, and end with it and with its exit code.

A sidecar looks for components when it starts, so the component has to be there first. The command finds the socket
folder in DAPR_COMPONENTS_SOCKETS_FOLDER; unless a folder is given, it is a temporary one of this run alone.

Signals are passed on to the command. After SIGINT, SIGTERM or SIGHUP it has the grace period to end, and a second
Ctrl-C ends it at once. Processes that it leaves behind are ended, too. It cannot read from the terminal.`,
		Example: "  entities run -- dapr run -f samples/cart/dapr.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("there is no command to run; write it after --, for example: entities run -- dapr run -f dapr.yaml")
			}
			return nil
		},
		DisableFlagsInUseLine: true,
	}
	flags := settingFlags(c)
	c.Flags().SetInterspersed(false) // the flags after the command are the command's
	c.RunE = func(c *cobra.Command, args []string) error {
		return runBeside(c.Context(), flags(), getenv, log, args)
	}
	return c
}

// runBeside serves the component for as long as the command runs. If the component fails, the command is stopped.
func runBeside(
	ctx context.Context, flags map[string]string, getenv func(string) string, log io.Writer, args []string,
) (err error) {
	// Before anything else, so that nothing stays behind whenever a signal comes.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	path, err := exec.LookPath(args[0])
	if err != nil {
		return cannotRun(args[0], err)
	}
	folder, remove, err := socketFolder(flags, getenv)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, remove()) }()
	flags["socketFolder"] = folder
	built, err := assemble(flags, getenv, log)
	if err != nil {
		return err
	}

	serving, stopServing := context.WithCancel(ctx)
	running, stopCommand := context.WithCancel(ctx)
	var (
		component sync.WaitGroup
		failure   error // of the component; read when it has been waited for
	)
	component.Go(func() {
		defer stopCommand()
		failure = built.Run(serving)
	})
	stop := func() error {
		stopServing()
		component.Wait()
		return failure
	}

	select {
	case <-running.Done():
		return stop()
	case s := <-signals:
		return cmp.Or(stop(), error(&exitError{code: signalled(s)}))
	case <-built.Serving():
	}
	beside := &child{
		path: path, args: args,
		// daprd reads the first, and Dapr's sidecar injector sets the second.
		env:   append(os.Environ(), "DAPR_COMPONENTS_SOCKETS_FOLDER="+folder, "DAPR_COMPONENT_SOCKETS_FOLDER="+folder),
		grace: built.settings.GracePeriod,
		log:   built.log,
	}
	ended := beside.Run(running, signals)
	if err := stop(); err != nil {
		return err // rather than the exit code of a command that was stopped for it
	}
	return ended
}

// socketFolder returns the absolute path of the folder that was asked for, or of a new one that remove removes. It is
// absolute because the command may start the sidecar in another folder.
func socketFolder(flags map[string]string, getenv func(string) string) (folder string, remove func() error, err error) {
	folder, given := flags["socketFolder"]
	if !given {
		folder, given = config.Environment(getenv)["socketFolder"]
	}
	if given {
		if folder, err = filepath.Abs(folder); err != nil {
			return "", nil, fmt.Errorf("find the socket folder: %w", err)
		}
		return folder, func() error { return nil }, nil
	}
	if folder, err = os.MkdirTemp("", "entities-"); err != nil {
		return "", nil, fmt.Errorf("make a socket folder: %w", err)
	}
	return folder, func() error {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("remove the socket folder: %w", err)
		}
		return nil
	}, nil
}
