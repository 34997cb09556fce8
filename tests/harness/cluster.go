package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// ClusterConfig says what the processes of a Cluster have in common. The zero value is good.
type ClusterConfig struct {
	// Folder for logs, sockets and resources. Defaults to a new temporary one, which Close removes.
	Folder string
	// Output takes what all processes print, each line with the process's name in front. Defaults to nowhere: every
	// process has a log file of its own anyway.
	Output io.Writer
	// Progress takes lines about work that takes long, such as building daprd. Defaults to standard error.
	Progress io.Writer
	// Dapr names the binaries to use. Defaults to what Dapr finds or builds when the first one is needed.
	Dapr Binaries
}

// Cluster owns processes on this machine. It ends all of them, the youngest first. Its methods are safe for concurrent
// use.
type Cluster struct {
	config    ClusterConfig
	temporary bool
	lines     sync.Mutex // held while a line goes to config.Output
	tools     sync.Mutex // guards config.Dapr, and is held while tools are built

	mu        sync.Mutex
	processes []*Process
	names     map[string]int
	folders   []string // outside of our own, to be removed
	closed    bool
}

// NewCluster makes the folder. It starts nothing.
func NewCluster(config ClusterConfig) (*Cluster, error) {
	if config.Progress == nil {
		config.Progress = os.Stderr
	}

	c := &Cluster{config: config, names: make(map[string]int)}

	if c.config.Folder == "" {
		// Paths of unix sockets are limited to about 100 bytes: keep it short.
		folder, err := os.MkdirTemp("", "entities-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the cluster: %w", err)
		}

		c.config.Folder, c.temporary = folder, true
	}

	if err := os.MkdirAll(filepath.Join(c.config.Folder, "log"), 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for logs: %w", err)
	}

	return c, nil
}

// TB is what Test needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Cleanup(cleanup func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Test returns a cluster that lives as long as the test. If the test fails, the ends of all logs are logged.
func Test(tb TB, config ClusterConfig) *Cluster {
	tb.Helper()

	cluster, err := NewCluster(config)
	if err != nil {
		tb.Fatalf("%v", err)
	}

	if os.Getenv("ENTITIES_KEEP") != "" {
		cluster.temporary = false
		tb.Logf("logs, sockets and resources stay in %s", cluster.Folder())
	}

	tb.Cleanup(func() {
		err := cluster.stop()

		if tb.Failed() {
			for _, process := range cluster.all() {
				text, _ := process.Log(80)
				tb.Logf("--- end of the log of %s\n%s", process.Name(), text)
			}
		}

		if err := errors.Join(err, cluster.Close()); err != nil {
			tb.Errorf("close the cluster: %v", err)
		}
	})

	return cluster
}

// Folder is where the cluster keeps logs, sockets and resources.
func (c *Cluster) Folder() string { return c.config.Folder }

// SubFolder returns a folder inside Folder, made if it is not there. Parts may be several levels.
func (c *Cluster) SubFolder(parts ...string) (string, error) {
	folder := filepath.Join(append([]string{c.config.Folder}, parts...)...)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}

	return folder, nil
}

// Start starts a process and waits until it is ready. It belongs to the cluster even when that fails, so that its log
// is shown. A name that is taken gets a number.
func (c *Cluster) Start(ctx context.Context, command Command) (*Process, error) {
	process, err := c.add(command)
	if err != nil {
		return nil, err
	}

	return process, process.Start(ctx)
}

func (c *Cluster) add(command Command) (*Process, error) {
	command = command.withDefaults()

	c.mu.Lock()
	defer c.mu.Unlock()

	if c.closed {
		return nil, fmt.Errorf("start %s: the cluster is closed", command.Name)
	}

	c.names[command.Name]++
	if n := c.names[command.Name]; n > 1 {
		command.Name = fmt.Sprintf("%s-%d", command.Name, n)
	}

	file := strings.ReplaceAll(command.Name, string(filepath.Separator), "_") + ".log"
	process := &Process{command: command, log: filepath.Join(c.config.Folder, "log", file)}

	if c.config.Output != nil {
		process.output = &prefixed{mu: &c.lines, to: c.config.Output, prefix: command.Name + " | "}
	}

	c.processes = append(c.processes, process)

	return process, nil
}

func (c *Cluster) all() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()

	return slices.Clone(c.processes)
}

// stop ends all processes, the youngest first: handlers before the component they serve, everything before placement.
// One that does not heed SIGTERM is killed, and its error returned.
func (c *Cluster) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var errs []error

	for _, process := range slices.Backward(c.all()) {
		errs = append(errs, process.Stop(ctx))
		process.runs.Wait()
	}

	return errors.Join(errs...)
}

// Close ends all processes and removes the folder if the cluster made it. It returns an error if one of them had to be
// killed because it did not heed SIGTERM. Closing again does nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()

	if closed {
		return nil
	}

	err := c.stop()

	for _, folder := range c.folders {
		err = errors.Join(err, os.RemoveAll(folder))
	}

	if c.temporary {
		err = errors.Join(err, os.RemoveAll(c.config.Folder))
	}

	return err
}

// removes has Close remove a folder that is not inside ours.
func (c *Cluster) removes(folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.folders = append(c.folders, folder)
}
