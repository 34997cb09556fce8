package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// child is the command that `entities run` runs beside the component.
type child struct {
	args []string
	env  []string
	// grace is how long the command may take to end after it was told to because the component failed.
	grace time.Duration
	log   *slog.Logger
}

// exitError carries the exit code of the command, which becomes ours.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("the command ended with exit code %d", e.code) }

// Run starts the command and returns when it has ended. Signals that arrive here are passed on to it, so that it can
// end in its own way while the component goes on serving; an end of ctx sends it SIGTERM and, after the grace
// period, SIGKILL.
//
// The command gets a process group of its own: a Ctrl-C at the terminal would otherwise reach it twice, once from the
// terminal and once from here, and `dapr run` takes the second one as "now, at once".
func (c *child) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", c.args[0], err)
	}

	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the command, for which the loop below waits
	stop := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case err := <-done:
			return exitOf(err)
		case s := <-signals:
			c.log.Info("passing signal on", "signal", s.String(), "command", c.args[0])
			c.signal(cmd, s)
		case <-stop:
			stop = nil
			c.signal(cmd, syscall.SIGTERM)
			kill = time.After(c.grace)
		case <-kill:
			c.log.Warn("the command did not end in time and is killed", "command", c.args[0], "grace", c.grace)
			c.signal(cmd, syscall.SIGKILL)
		}
	}
}

func (c *child) signal(cmd *exec.Cmd, s os.Signal) {
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.log.Warn("pass signal on", "signal", s.String(), "error", err)
	}
}

func exitOf(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		if code := exit.ExitCode(); code >= 0 {
			return &exitError{code}
		}
		// Ended by a signal: the shells' way of saying so.
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return &exitError{128 + int(ws.Signal())}
		}
	}
	return err
}
