package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const modulePath = "github.com/dapr-entities/entities"

// builds remembers what this process has built.
var builds struct {
	sync.Mutex
	paths map[string]string
}

// Build compiles a command of this repository, named by its folder such as "component/cmd/entities", and returns the
// path of the binary. It builds once per process; the binary lies in .cache/bin of the repository, where the next
// process finds it and go build has nothing left to do unless a source has changed. Flags go to go build, for example
// -race, and are part of what is built. Safe for concurrent use, also between processes.
func Build(ctx context.Context, folder string, flags ...string) (string, error) {
	builds.Lock()
	defer builds.Unlock()

	key := strings.Join(append([]string{folder}, flags...), " ")
	if path := builds.paths[key]; path != "" {
		return path, nil
	}

	root, err := moduleRoot()
	if err != nil {
		return "", err
	}

	bin := filepath.Join(root, ".cache", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for binaries: %w", err)
	}

	unlock, err := lock(ctx, io.Discard, filepath.Join(bin, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	path := filepath.Join(bin, strings.NewReplacer("/", "-", " ", "", "=", "-").Replace(key))
	where, target := root, "./"+folder

	// A folder with a go.mod is a module of its own, and is built from inside.
	if _, err := os.Stat(filepath.Join(root, folder, "go.mod")); err == nil {
		where, target = filepath.Join(root, folder), "."
	}

	arguments := slices.Concat([]string{"build", "-buildvcs=false"}, flags, []string{"-o", path, target})

	var output strings.Builder

	if err := runGo(ctx, where, nil, arguments, func(line string) { output.WriteString(line + "\n") }); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", folder, err, output.String())
	}

	if builds.paths == nil {
		builds.paths = make(map[string]string)
	}

	builds.paths[key] = path

	return path, nil
}

// runGo runs the go command and hands over what it says on standard error, line by line. When ctx ends, so does the
// command, with the compilers that it has started.
func runGo(ctx context.Context, folder string, env, arguments []string, each func(line string)) error {
	cmd := exec.Command("go", arguments...)
	cmd.Dir = folder
	// A workspace file around us must not change what is built.
	cmd.Env = slices.Concat(os.Environ(), []string{"GOWORK=off"}, env)
	cmd.SysProcAttr = attributes()

	pipe, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("run go: %w", err)
	}

	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go, which has to be on the path: %w", err)
	}

	// The process is not waited for before the function has ended or been called off, so the id is ours.
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })

	scanner := bufio.NewScanner(pipe)
	scanner.Buffer(nil, 1<<20)

	for scanner.Scan() {
		each(scanner.Text())
	}

	if stop(); ctx.Err() != nil {
		_ = cmd.Wait() // its error is the signal's doing

		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}

	return errors.Join(cmd.Wait(), scanner.Err())
}

// moduleRoot is the folder of our go.mod, looked for from the working folder upwards.
func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}

	for {
		data, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+modulePath+"\n") {
			return folder, nil
		}

		parent := filepath.Dir(folder)
		if parent == folder {
			return "", fmt.Errorf("find the repository of %s: run this inside it", modulePath)
		}

		folder = parent
	}
}

// tryLock takes the lock on the file or says that somebody has it.
func tryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// Source is the path of a file of this repository, named from its root.
func Source(name string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}

	return filepath.Join(root, name), nil
}
