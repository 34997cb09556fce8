package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()

	const line = `42 (a (strange) name) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 100 0 0`

	got, err := parseStat([]byte(line))
	want := stat{parent: 7, own: 330 * time.Millisecond, waited: 770 * time.Millisecond}

	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}

	for _, bad := range []string{"", "42 (name", "42 (name) S 7", strings.Replace(line, "33", "x", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v; want an error", bad, got)
		}
	}
}

func TestParseMachine(t *testing.T) {
	t.Parallel()

	got, err := parseMachine([]byte("cpu  1 2 3 1000 1000 4 5 6 9 9\ncpu0 7 7 7 7\n"))
	if err != nil || got != 21*tick {
		t.Errorf("got %v, %v; want %v", got, err, 21*tick)
	}

	if _, err := parseMachine([]byte("intr 1 2 3")); err == nil {
		t.Error("a line without processors was taken")
	}
}

func TestTreeTimeHasTheChildren(t *testing.T) {
	t.Parallel()

	// The shell waits for its first child, which burns time, and has a second one that lives.
	cmd := exec.Command("sh", "-c",
		`i=0; (while [ $i -lt 300000 ]; do i=$((i+1)); done); sleep 60 & echo done; wait`)

	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group: the shell and its child
		_ = cmd.Wait()
	})

	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}

	tree, err := treeTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	own, err := processTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	if tree <= own {
		t.Errorf("the tree took %s, the shell alone %s; want more", tree, own)
	}

	if _, err := processTime(os.Getpid()); err != nil {
		t.Error(err)
	}
}
