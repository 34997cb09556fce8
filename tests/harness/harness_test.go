package harness_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFreePorts(t *testing.T) {
	t.Parallel()

	seen := make(map[int]bool)

	for range 20 {
		ports, err := harness.FreePorts(10)
		if err != nil {
			t.Fatal(err)
		}

		for _, port := range ports {
			if seen[port] {
				t.Fatalf("port %d was given twice", port)
			}

			seen[port] = true
		}
	}
}

func TestProcessStartsAgainAndKeepsItsLog(t *testing.T) {
	t.Parallel()

	cluster := harness.Test(t, harness.ClusterConfig{})
	process := start(t, cluster, "echo life; exec sleep 60")

	awaitLog(t, process, "life")

	if err := process.Start(t.Context()); !errors.Is(err, harness.ErrRunning) {
		t.Fatalf("second Start while running: got %v, want ErrRunning", err)
	}

	process.Kill()

	if process.Running() {
		t.Fatal("process runs after Kill")
	}

	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	awaitLog(t, process, "life\nlife")

	if err := process.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func awaitLog(t *testing.T, process *harness.Process, want string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()

	err := harness.Poll(ctx, 10*time.Millisecond, func(context.Context) error {
		if text, err := process.Log(0); err != nil || text != want {
			return fmt.Errorf("log is %q, want %q (%w)", text, want, err)
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestProcessThatEndsBeforeItIsReady(t *testing.T) {
	t.Parallel()

	cluster := harness.Test(t, harness.ClusterConfig{})

	began := time.Now()

	_, err := cluster.Start(t.Context(), harness.Command{
		Path:  "/bin/sh",
		Args:  []string{"-c", "echo no such thing; exit 3"},
		Ready: harness.FileReady(filepath.Join(cluster.Folder(), "never")),
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("got %v, want the exit status and the log", err)
	}

	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited %s for a process that had ended", took)
	}
}

// A process that ignores SIGTERM is killed, and its Stop says so.
func TestProcessThatDoesNotHeed(t *testing.T) {
	t.Parallel()

	cluster := harness.Test(t, harness.ClusterConfig{})
	ready := filepath.Join(cluster.Folder(), "ready")

	process, err := cluster.Start(t.Context(), harness.Command{
		Path:  "/bin/sh",
		Args:  []string{"-c", "trap '' TERM; touch " + ready + "; while :; do sleep 1; done"},
		Ready: harness.FileReady(ready),
		Grace: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}

	if err := process.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v, want an error that says it was killed", err)
	}

	if process.Running() {
		t.Error("process still runs")
	}
}

// Whatever way the parent ends, its children go with it.
func TestChildrenDoNotStayBehind(t *testing.T) {
	t.Parallel()

	ends := map[string]func(t *testing.T, process *harness.Process){
		"kill": func(_ *testing.T, process *harness.Process) { process.Kill() },
		"stop": func(t *testing.T, process *harness.Process) {
			t.Helper()

			if err := process.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"by itself": func(t *testing.T, process *harness.Process) {
			t.Helper()

			if err := process.Signal(syscall.SIGUSR1); err != nil { // ends a shell that does not trap it
				t.Error(err)
			}

			<-process.Exited()
		},
	}

	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			cluster := harness.Test(t, harness.ClusterConfig{})
			file := filepath.Join(cluster.Folder(), "child")

			process, err := cluster.Start(t.Context(), harness.Command{
				Path:  "/bin/sh",
				Args:  []string{"-c", "sleep 60 & echo $! >" + file + ".new; mv " + file + ".new " + file + "; wait"},
				Ready: harness.FileReady(file),
			})
			if err != nil {
				t.Fatal(err)
			}

			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}

			child, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}

			end(t, process)

			// The orphan is reaped by another process, which may take a moment.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()

			err = harness.Poll(ctx, 10*time.Millisecond, func(context.Context) error {
				if state(child) == "" || state(child) == "Z" {
					return nil
				}

				return errors.New("the child runs")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// state of a process as ps says it, empty if there is none.
func state(pid int) string {
	text, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	if len(text) == 0 {
		return ""
	}

	return string(text[:1])
}

func TestClusterNumbersNamesAndEndsEverything(t *testing.T) {
	t.Parallel()

	cluster, err := harness.NewCluster(harness.ClusterConfig{})
	if err != nil {
		t.Fatal(err)
	}

	first, second := start(t, cluster, "exec sleep 60"), start(t, cluster, "exec sleep 60")
	if first.Name() != "sh" || second.Name() != "sh-2" {
		t.Errorf("names are %q and %q, want sh and sh-2", first.Name(), second.Name())
	}

	if err := cluster.Close(); err != nil {
		t.Error(err)
	}

	if first.Running() || second.Running() {
		t.Error("a process outlived its cluster")
	}

	if _, err := os.Stat(cluster.Folder()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder is still there: %v", err)
	}

	if _, err := cluster.Start(t.Context(), harness.Command{Path: "/bin/true"}); err == nil {
		t.Error("a closed cluster started a process")
	}
}

func start(t *testing.T, cluster *harness.Cluster, script string) *harness.Process {
	t.Helper()

	process, err := cluster.Start(t.Context(), harness.Command{Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}

	return process
}
