// Command entities is the component: it hosts event-sourced entities for Dapr applications.
//
//	main.go      the command line and the exit code
//	serve.go     entities serve: the component until a signal
//	run.go       entities run: the component while a command runs
//	child.go     that command: signals, exit code, what it leaves behind
//	assemble.go  flags and environment made into a component
//	rotate.go    entities replication rotate: after a backup was restored
//	journal.go   entities journal: operations on a journal, by its URL or through a component
//	show.go      … services, list, history, state, tail
//	export.go    … export, import, move
//	erase.go     … erase
//	table.go     what they write: columns for people, JSON for programs
//	progress.go  … and while they take long
//	help.go      readable help, errors of flags
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// gcPercent lets the heap grow to five times what is live before it is collected. What is live is small, a few KiB for
// each resident entity, and a command's garbage is gone with its reply: at Go's default of 100 the collector would run
// many times a second under load and take a tenth of the component's time. GOGC and GOMEMLIMIT have their usual say.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(exitCode(command(os.Getenv, os.Stderr).Execute(), os.Stderr))
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
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(serveCommand(getenv, log), runCommand(getenv, log), journalCommand(getenv), replicationCommand(getenv), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "entities version", version())
			return err
		},
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// exitError is an end with an exit code of its own.
type exitError struct {
	code int
	// reason is shown. It is nil if whoever chose the code has said why.
	reason error
}

func (e *exitError) Error() string {
	if e.reason != nil {
		return e.reason.Error()
	}
	return fmt.Sprintf("exit code %d", e.code)
}

func (e *exitError) Unwrap() error { return e.reason }

// exitCode shows why the program ends, unless that is known, and returns its exit code.
func exitCode(err error, to io.Writer) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: 1, reason: err}
	}
	if exit.reason != nil {
		fmt.Fprintln(to, "entities:", exit.reason)
	}
	return exit.code
}
