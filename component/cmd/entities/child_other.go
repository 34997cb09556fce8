//go:build unix && !linux

package main

import "syscall"

// attributes puts the command into a group of its own. If we are killed, the command stays: only Linux offers a remedy.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
