package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what is written to keys is typed, and program is what a program sees of it.
func terminal(t *testing.T) (keys, program *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine gives no terminals: %v", err)
	}
	t.Cleanup(func() { keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return keys, program
}

// A Ctrl-C at the terminal reaches the command once: a second one would mean "at once" to many.
func TestRunOnATerminal(t *testing.T) {
	t.Parallel()
	keys, program := terminal(t)
	p := entitiesWith(t, func(cmd *exec.Cmd) {
		cmd.Stdin = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, "run", "--adminAddress", "off", "--", "sh", "-c",
		`read line && echo "read $line"; n=0; trap 'n=$((n+1)); echo "interrupt $n"' INT; trap 'exit 9' TERM`+wait)
	p.says("\npid ") // so reading from the terminal has ended, and has not stopped the command
	if _, err := keys.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	p.says("\ninterrupt 1\n")
	time.Sleep(200 * time.Millisecond)
	if strings.Contains(p.text(), "interrupt 2") {
		t.Error("the command was interrupted twice")
	}
	p.signal(syscall.SIGTERM)
	p.exits(9)
	p.clean()
}

// A terminal that is closed takes the command along.
func TestRunOnAClosedTerminal(t *testing.T) {
	t.Parallel()
	keys, program := terminal(t)
	p := entitiesWith(t, func(cmd *exec.Cmd) {
		cmd.Stdin = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, "run", "--adminAddress", "off", "--", "sh", "-c", `trap 'exit 9' HUP`+wait)
	p.says("\npid ")
	program.Close()
	keys.Close()
	p.exits(9)
	p.clean()
}
