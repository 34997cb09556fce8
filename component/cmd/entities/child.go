package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is the command that runs beside the component.
type child struct {
	path string
	args []string // with its name in front
	env  []string
	// grace is how long the command may take to end once it was told to.
	grace time.Duration
	log   *slog.Logger
}

// leftoverGrace is how long processes that the command has left behind may take to end.
const leftoverGrace = 5 * time.Second

// Run starts the command and returns when it, and what it has started, has ended. Signals are passed on, so that it can
// end in its own way while the component goes on serving. An end of ctx is SIGTERM. The error is an *exitError unless
// the command ended with 0.
//
// The command gets a process group of its own: `dapr run -f` makes itself one anyway, and a Ctrl-C would reach other
// commands twice, from the terminal and from here. So it is in the terminal's background, where reading from the
// terminal would stop it without a word; it reads from nothing instead.
func (c *child) Run(ctx context.Context, signals <-chan os.Signal) error {
	// Where the kernel ends the command with its parent, the parent is the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := &exec.Cmd{Path: c.path, Args: c.args, Env: c.env, Stdout: os.Stdout, Stderr: os.Stderr}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&fs.ModeCharDevice == 0 {
		cmd.Stdin = os.Stdin
	}
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return cannotRun(c.args[0], err)
	}
	group := group(cmd.Process.Pid)
	defer c.sweep(group)

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // the loop ends with it
	var (
		stop = ctx.Done()
		late <-chan time.Time
		told bool
	)
	end := func(s syscall.Signal) {
		if told && s == syscall.SIGINT {
			c.log.Warn("killing the command", "command", c.args[0])
			group.signal(syscall.SIGKILL)
			return
		}
		if !told {
			told, late = true, time.After(c.grace)
		}
		c.pass(cmd, s)
	}
	for {
		select {
		case err := <-ended:
			return exitOf(err)
		case <-stop:
			stop = nil
			end(syscall.SIGTERM)
		case s := <-signals:
			if s == syscall.SIGQUIT {
				c.pass(cmd, syscall.SIGQUIT) // asks for a dump, and for an end only by default
			} else {
				end(s.(syscall.Signal))
			}
		case <-late:
			c.log.Warn("killing the command, which did not end in time", "command", c.args[0], "grace", c.grace)
			group.signal(syscall.SIGKILL)
		}
	}
}

func (c *child) pass(cmd *exec.Cmd, s syscall.Signal) {
	c.log.Info("passing a signal on", "signal", s.String(), "command", c.args[0])
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.log.Warn("pass a signal on", "signal", s.String(), "command", c.args[0], "error", err)
	}
}

// sweep ends what the command has left behind in its group. `dapr run -f` kills what it has started, and if that is
// `go run`, the program itself stays.
func (c *child) sweep(g group) {
	if !g.alive() {
		return
	}
	c.log.Info("ending what the command left behind", "command", c.args[0])
	g.signal(syscall.SIGTERM)
	for end := time.Now().Add(leftoverGrace); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !g.alive() {
			return
		}
	}
	c.log.Warn("killing what the command left behind, which did not end in time", "command", c.args[0], "grace", leftoverGrace)
	g.signal(syscall.SIGKILL)
}

// group is the id of a process group.
type group int

// signal does nothing if the group is gone.
func (g group) signal(s syscall.Signal) { _ = syscall.Kill(-int(g), s) }

// alive reports whether processes are left. Those that have ended and are ours to wait for do not count. The group's
// leader must have been waited for.
func (g group) alive() bool {
	for {
		if pid, err := syscall.Wait4(-int(g), nil, syscall.WNOHANG, nil); err != nil || pid == 0 {
			break
		}
	}
	return syscall.Kill(-int(g), 0) == nil
}

// cannotRun has the exit codes that shells use.
func cannotRun(name string, err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
		err = errors.New("there is no such command; is it installed, and on the PATH?")
	}
	return &exitError{code, fmt.Errorf("run %s: %w", name, err)}
}

// exitOf makes the command's exit code ours.
func exitOf(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitError{code: signalled(status.Signal())}
	}
	return &exitError{code: exit.ExitCode()}
}

// signalled is the exit code that shells give to a process that a signal has ended.
func signalled(s os.Signal) int {
	number, _ := s.(syscall.Signal)
	return 128 + int(number)
}
