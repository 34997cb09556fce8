package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Command says what a Process runs.
type Command struct {
	// Name of the process in logs and errors, unique in its cluster. Defaults to the base name of Path.
	Name string
	Path string
	Args []string
	// Env is added to our own environment; a later entry wins.
	Env []string
	// Folder is the working folder. Defaults to ours.
	Folder string
	// Ready is asked until it answers nil. Defaults to being ready at once.
	Ready Probe
	// Within bounds the wait for Ready. Defaults to 30 s.
	Within time.Duration
	// End is what Stop sends. Defaults to SIGTERM.
	End syscall.Signal
	// Grace is how long Stop waits between End and SIGKILL. Defaults to 10 s.
	Grace time.Duration
	// Credential is the user to run as, nil for ours. Only root may name another.
	Credential *syscall.Credential
}

// Process is one operating system process. It can be started again after it ended, on the same ports and with the
// same arguments. Its methods are safe for concurrent use.
type Process struct {
	command Command
	log     string    // path of the file that takes stdout and stderr of all runs
	output  io.Writer // takes them too, if not nil

	mu      sync.Mutex
	current *run
	runs    sync.WaitGroup // one goroutine per run waits for its end
}

// run is one life of a process.
type run struct {
	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed when the process has been waited for; err is set before
	err  error

	mu   sync.Mutex
	gone bool // the process id is no longer ours to signal
}

// ErrRunning is returned by Start while the process runs.
var ErrRunning = errors.New("process is running already")

// Start runs the command and waits until it is ready. When it does not get ready, or ends before, it is killed and the
// error shows the end of its log. The process outlives ctx, which bounds only the wait.
func (p *Process) Start(ctx context.Context) error {
	life, err := p.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.command.Name, err)
	}

	if err := p.await(ctx, life); err != nil {
		life.kill()

		return fmt.Errorf("start %s: %w%s", p.command.Name, err, p.excerpt())
	}

	return nil
}

func (p *Process) launch() (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.current != nil && p.current.alive() {
		return nil, ErrRunning
	}

	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(p.command.Path, p.command.Args...)
	cmd.Env = append(os.Environ(), p.command.Env...)
	cmd.Dir = p.command.Folder
	cmd.SysProcAttr = attributes()
	cmd.SysProcAttr.Credential = p.command.Credential
	// A grandchild may inherit the pipe below and outlive the process; it must not keep us from noticing the end.
	cmd.WaitDelay = time.Second

	var sink io.Writer = file
	if p.output != nil {
		sink = io.MultiWriter(file, p.output)
	}

	cmd.Stdout, cmd.Stderr = sink, sink

	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, file.Close())
	}

	life := &run{cmd: cmd, file: file, done: make(chan struct{})}
	p.current = life
	p.runs.Go(life.wait)

	return life, nil
}

func (l *run) wait() {
	defer close(l.done)

	l.err = l.reap()
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
}

func (l *run) alive() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// await returns when the process is ready, has ended, or took too long.
func (p *Process) await(ctx context.Context, life *run) error {
	if p.command.Ready == nil {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, p.command.Within)
	defer cancel()

	var ended error

	err := Poll(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		if !life.alive() {
			ended = fmt.Errorf("ended before it was ready: %w", life.ended())
			return nil
		}

		return p.command.Ready(ctx)
	})

	return errors.Join(ended, err)
}

// ended says how the process ended, as an error even if all was well.
func (l *run) ended() error {
	if l.err != nil {
		return l.err
	}

	return errors.New("exit status 0")
}

// Name is what logs and errors call the process.
func (p *Process) Name() string { return p.command.Name }

// LogFile is the path of the file with the output of all runs.
func (p *Process) LogFile() string { return p.log }

// Pid is the id of the running process, 0 if there is none.
func (p *Process) Pid() int {
	if life := p.life(); life != nil && life.alive() {
		return life.cmd.Process.Pid
	}

	return 0
}

// Running tells whether the process has been started and has not ended.
func (p *Process) Running() bool { return p.Pid() != 0 }

// Exited is closed when the current run has ended. It is nil before the first Start.
func (p *Process) Exited() <-chan struct{} {
	if life := p.life(); life != nil {
		return life.done
	}

	return nil
}

// Signal sends the signal to the process alone, not to its children. Nothing happens if it is not running.
func (p *Process) Signal(signal syscall.Signal) error {
	life := p.life()
	if life == nil {
		return nil
	}

	if err := life.signal(1, signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, p.command.Name, err)
	}

	return nil
}

// signal goes to the process with sign 1, to its whole group, which has the same id, with sign -1.
func (l *run) signal(sign int, signal syscall.Signal) error {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.gone {
		return nil
	}

	return syscall.Kill(sign*l.cmd.Process.Pid, signal)
}

// Kill ends the process and what it started with SIGKILL, and waits for the end.
func (p *Process) Kill() {
	if life := p.life(); life != nil {
		life.kill()
	}
}

func (l *run) kill() {
	_ = l.signal(-1, syscall.SIGKILL) // the only failure is that it is gone
	<-l.done
}

// Stop ends the process with End, which is SIGTERM for most, after Grace with SIGKILL, and waits for the end. Children that
// are left when it has ended are killed. It returns an error if SIGKILL was needed or ctx ended before; a process that ends
// with an exit status, whatever it is, has stopped.
func (p *Process) Stop(ctx context.Context) error {
	life := p.life()
	if life == nil {
		return nil
	}

	defer life.kill()

	if err := p.Signal(p.command.End); err != nil {
		return err
	}

	timer := time.NewTimer(p.command.Grace)
	defer timer.Stop()

	select {
	case <-life.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("stop %s: killed, for it was still running %s after %s", p.command.Name, p.command.Grace, p.command.End)
	case <-ctx.Done():
		return fmt.Errorf("stop %s: killed: %w", p.command.Name, context.Cause(ctx))
	}
}

// Wait returns how the current run ended, as exec.Cmd.Wait does, or ctx's error if it has not.
func (p *Process) Wait(ctx context.Context) error {
	life := p.life()
	if life == nil {
		return nil
	}

	select {
	case <-life.done:
		return life.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.command.Name, context.Cause(ctx))
	}
}

func (p *Process) life() *run {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.current
}

// excerpt is the end of the log, for an error message.
func (p *Process) excerpt() string {
	tail, err := p.Log(20)
	if err != nil || tail == "" {
		return ""
	}

	return fmt.Sprintf("\n--- end of %s\n%s", p.log, tail)
}

// Log returns the last lines of the log, all of them if lines is 0.
func (p *Process) Log(lines int) (string, error) {
	data, err := os.ReadFile(p.log)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}

	if err != nil {
		return "", err
	}

	return lastLines(string(data), lines), nil
}

// withDefaults fills what Command leaves open.
func (c Command) withDefaults() Command {
	if c.Name == "" {
		c.Name = filepath.Base(c.Path)
	}

	if c.Within == 0 {
		c.Within = 30 * time.Second
	}

	if c.End == 0 {
		c.End = syscall.SIGTERM
	}

	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}

	return c
}
