//go:build unix && !linux

package harness

import "syscall"

// attributes puts the process into a group of its own, so that a Ctrl-C on the terminal reaches only us and we decide
// the order in which things end. If we are killed ourselves, our processes stay: only Linux offers a remedy.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// reap waits for the process's end and ends what is left of its group.
func (l *run) reap() error {
	err := l.cmd.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()

	_ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL)
	l.gone = true

	return err
}
