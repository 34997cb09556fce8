package harness

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts the process into a group of its own, so that a Ctrl-C on the terminal reaches only us and we decide
// the order in which things end, and has the kernel kill it when we die without saying goodbye.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the process's end and ends what is left of its group. Between the end and cmd.Wait nobody else can get
// the process id, so the signal cannot hit a stranger.
func (l *run) reap() error {
	for {
		err := unix.Waitid(unix.P_PID, l.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	_ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL)
	l.gone = true

	return l.cmd.Wait()
}
