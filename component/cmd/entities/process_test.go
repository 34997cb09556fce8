package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
)

// TestMain lets the test binary be the program itself, so that the tests look at a real process from outside.
func TestMain(m *testing.M) {
	if os.Getenv("ENTITIES_TEST_PROGRAM") != "" {
		main()
	}
	postgrestest.Main(m)
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	folder string // working folder, home of temporary folders
	ended  chan struct{}

	mu     sync.Mutex
	output strings.Builder // both outputs
	grown  chan struct{}   // closed when there is more
}

// entities starts the program in a new folder. What is still running at the end of the test is killed.
func entities(t *testing.T, args ...string) *process {
	t.Helper()
	return entitiesWith(t, nil, args...)
}

func entitiesWith(t *testing.T, prepare func(*exec.Cmd), args ...string) *process {
	t.Helper()
	folder := shortDir(t)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = folder
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DAPR_") || strings.HasPrefix(v, "ENTITIES_")
	}), "ENTITIES_TEST_PROGRAM=1", "TMPDIR="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prepare != nil {
		prepare(cmd)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	p := &process{t: t, cmd: cmd, folder: folder, ended: make(chan struct{}), grown: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var reading sync.WaitGroup
	reading.Go(func() { p.read(r) })
	go func() { // the cleanup waits for it
		cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		r.SetReadDeadline(time.Now().Add(time.Second)) // somebody left behind may hold the other end
		reading.Wait()
		r.Close()
		if t.Failed() {
			t.Logf("output of %v:\n%s", args, p.text())
		}
	})
	return p
}

// shortDir is a new folder. Sockets want short paths, and t.TempDir's have the test's name in them.
func shortDir(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "e") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

func (p *process) read(r io.Reader) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// says waits until the output has the text.
func (p *process) says(text string) {
	p.t.Helper()
	late := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		has, grown := strings.Contains(p.output.String(), text), p.grown
		p.mu.Unlock()
		if has {
			return
		}
		select {
		case <-grown:
		case <-late:
			p.t.Fatalf("it does not say %q", text)
		}
	}
}

// line waits for a line that begins with the prefix and returns the rest of it.
func (p *process) line(prefix string) string {
	p.t.Helper()
	p.says("\n" + prefix)
	_, rest, _ := strings.Cut(p.text(), "\n"+prefix)
	rest, _, _ = strings.Cut(rest, "\n") // lines are kept whole
	return rest
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exits waits for the end and compares the exit code.
func (p *process) exits(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.t.Fatal("it does not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d", got, code)
	}
}

// clean checks that no temporary folder is left.
func (p *process) clean() {
	p.t.Helper()
	if left, _ := filepath.Glob(filepath.Join(p.folder, "entities-*")); len(left) > 0 {
		p.t.Errorf("left behind: %v", left)
	}
}

// gone waits until no process has the id.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

// zombie reports whether the process has ended and only nobody waited for it, which is the business of whatever is the
// first process of this machine.
func zombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, ok := strings.Cut(string(stat), ") ")
	return err == nil && ok && strings.HasPrefix(rest, "Z")
}
