package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts the command into a group of its own, and has the kernel tell it to end when we are killed. Not by
// SIGKILL: `dapr run` would leave its sidecar and its app.
func attributes() *syscall.SysProcAttr {
	// Orphans of the command become our children, so that we notice their end; in a container nobody else may wait for
	// them. Without it we give them time that they no longer need.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
