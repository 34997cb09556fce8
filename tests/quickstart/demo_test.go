package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// The program as make run SAMPLE=presence starts it: the story to its end, what it invites to, and nothing left behind.
func TestPresence(t *testing.T) {
	t.Parallel()
	told(t, "presence",
		"│ node 3 (cut off)", " ≠\n", "503 Service Unavailable", "All nodes showed the same", "Every view was as expected.", "Stopping.")
}

// The same of make run SAMPLE=statestore.
func TestStateStore(t *testing.T) {
	t.Parallel()

	if _, err := exec.LookPath("python3"); err != nil && os.Getenv("CI") == "" {
		t.Skip("python3 is not installed")
	}

	told(t, "statestore",
		"409 Conflict", "20 × POST /pages/tea/likes", `"likes": 20`, "What the app was told of", "kill -9", "Nothing is lost", "The app was told of it", "Every reply was as expected.", "Stopping.")
}

// told shows a sample, does what it invites to, and looks for the words in what it says.
func told(t *testing.T, sample string, words ...string) {
	t.Helper()

	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // Dapr may have to be built first
	defer cancel()

	binary, err := harness.Build(ctx, "tests/quickstart")
	if err != nil {
		t.Fatal(err)
	}

	cmd := exec.CommandContext(ctx, binary, "-sample", sample, "-stay")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute

	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	var failure strings.Builder

	cmd.Stderr = &failure

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	var (
		text strings.Builder
		ran  bool
	)

	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")

		if strings.HasPrefix(lines.Text(), "Ctrl-C ends everything") {
			ran = invited(ctx, t, text.String())

			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}

	err = cmd.Wait()

	if strings.Contains(failure.String(), harness.ErrNoPostgres.Error()) && os.Getenv("CI") == "" {
		t.Skip(failure.String())
	}

	if err != nil || !ran {
		t.Fatalf("it ended with %v\n%s\n%s", err, text.String(), failure.String())
	}

	for _, want := range words {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, text.String())
		}
	}

	for _, address := range regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(text.String(), -1) {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			t.Errorf("somebody is left who listens on %s", address)
		}
	}
}

// invited runs the commands with curl that are shown, and reports whether one was.
func invited(ctx context.Context, t *testing.T, text string) bool {
	t.Helper()

	if _, err := exec.LookPath("curl"); err != nil {
		t.Error("what is shown uses curl, which is not installed")
		return true
	}

	_, shown, _ := strings.Cut(text, "Go on yourself")
	ran := false

	for _, command := range regexp.MustCompile(`(?m)^  \$ (curl .*)$`).FindAllStringSubmatch(shown, -1) {
		streamed := strings.Contains(command[1], "-N ")
		line := "exec curl -sS --fail-with-body " + strings.TrimPrefix(command[1], "curl ")

		if streamed {
			line = "exec curl -sS --fail-with-body --max-time 2 " + strings.TrimPrefix(command[1], "curl ")
		}

		output, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput()

		var exit *exec.ExitError
		if streamed && errors.As(err, &exit) && exit.ExitCode() == 28 { // its time was over
			err = nil
		}

		if err != nil || streamed && !strings.Contains(string(output), `"Gil"`) {
			t.Errorf("%s\n%v\n%s", command[1], err, output)
		}

		ran = true
	}

	return ran
}
