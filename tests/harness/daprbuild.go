package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// source is a nested module that Dapr tools are built from.
type source struct {
	folder string   // in our module
	flags  []string // of go build
	tools  map[Tool]string
	note   string // what to tell a person who has to wait for it
}

// The versions of what is built. They are told to the linker by hand: Dapr's own build does the same, and a daprd that says "edge" makes some
// clients warn. TestVersions compares them with the go.mod files.
const (
	DaprVersion      = "1.18.2"
	OlderDaprVersion = "1.16.5"
	CLIVersion       = "1.16.5"
)

// Stripping the binaries halves them, and the time to write them.
var sources = []source{
	{
		folder: "tests/dapr",
		flags: []string{
			"-tags", "stablecomponents",
			"-ldflags", "-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=" + DaprVersion +
				" -X github.com/dapr/kit/logger.DaprVersion=" + DaprVersion,
		},
		tools: map[Tool]string{
			ToolDaprd:     "github.com/dapr/dapr/cmd/daprd",
			ToolPlacement: "github.com/dapr/dapr/cmd/placement",
			ToolScheduler: "github.com/dapr/dapr/cmd/scheduler",
		},
		note: "about 5 minutes on two cores, once",
	},
	{
		folder: "tests/dapr116",
		flags: []string{
			"-tags", "stablecomponents",
			"-ldflags", "-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=" + OlderDaprVersion +
				" -X github.com/dapr/kit/logger.DaprVersion=" + OlderDaprVersion,
		},
		tools: map[Tool]string{
			ToolOlderDaprd:     "github.com/dapr/dapr/cmd/daprd",
			ToolOlderPlacement: "github.com/dapr/dapr/cmd/placement",
		},
		note: "about 5 minutes on two cores, once",
	},
	{
		folder: "tests/daprcli",
		flags:  []string{"-ldflags", "-s -w -X main.version=" + CLIVersion},
		tools:  map[Tool]string{ToolCLI: "github.com/dapr/cli"},
		note:   "about 3 minutes on two cores, once",
	},
}

// buildTools returns the folder of every wanted tool, having built what was not in the cache.
func buildTools(ctx context.Context, progress io.Writer, want []Tool) (map[Tool]string, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}

	folders := make(map[Tool]string)

	for _, source := range sources {
		var mine []Tool

		for _, tool := range want {
			if source.tools[tool] != "" && !slices.Contains(mine, tool) {
				mine = append(mine, tool)
			}
		}

		if len(mine) == 0 {
			continue
		}

		folder, err := source.build(ctx, progress, root, mine)
		if err != nil {
			return nil, fmt.Errorf("build %s from %s: %w", list(mine), source.folder, err)
		}

		for _, tool := range mine {
			folders[tool] = folder
		}
	}

	return folders, nil
}

// build returns the cache folder that has the tools. Processes that want the same folder take turns.
func (s source) build(ctx context.Context, progress io.Writer, root string, want []Tool) (string, error) {
	folder, err := s.cacheFolder(root)
	if err != nil {
		return "", err
	}

	if s.missing(folder, want) == nil {
		return folder, nil
	}

	unlock, err := lock(ctx, progress, filepath.Join(folder, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	// Somebody else may have built some of them while we waited.
	missing := s.missing(folder, want)
	if missing == nil {
		return folder, nil
	}

	_, _ = fmt.Fprintf(progress, "Building Dapr's %s into %s (%s).\n", list(missing), folder, s.note)

	// go build writes into a folder that counts for nothing until it is done: an interrupted build leaves no half
	// binary under a good name.
	unfinished, err := os.MkdirTemp(folder, "unfinished-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)

	arguments := slices.Concat([]string{"build", "-mod=readonly", "-v"}, s.flags, []string{"-o", unfinished + "/"})
	for _, tool := range missing {
		arguments = append(arguments, s.tools[tool])
	}

	compiler := compilation{folder: filepath.Join(root, s.folder), what: list(missing), progress: progress}
	if err := compiler.run(ctx, arguments); err != nil {
		return "", err
	}

	for _, tool := range missing {
		// go build names the binary after the last element of the package's path.
		name := s.tools[tool][strings.LastIndex(s.tools[tool], "/")+1:]
		if err := os.Rename(filepath.Join(unfinished, name), filepath.Join(folder, string(tool))); err != nil {
			return "", err
		}
	}

	return folder, nil
}

func (s source) missing(folder string, want []Tool) []Tool {
	var missing []Tool

	for _, tool := range want {
		if _, err := os.Stat(filepath.Join(folder, string(tool))); err != nil {
			missing = append(missing, tool)
		}
	}

	return missing
}

// cacheFolder is named after everything that decides what comes out of a build, so a change of it makes a new folder.
func (s source) cacheFolder(root string) (string, error) {
	hash := sha256.New()

	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, s.folder, name))
		if err != nil {
			return "", err
		}

		hash.Write(data)
	}

	fmt.Fprintln(hash, runtime.GOOS, runtime.GOARCH, "CGO_ENABLED=0", s.flags)

	cache := os.Getenv("ENTITIES_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache folder (ENTITIES_CACHE can name one): %w", err)
		}

		cache = filepath.Join(user, "dapr-entities")
	}

	folder := filepath.Join(cache, hex.EncodeToString(hash.Sum(nil))[:12])
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make a cache folder (ENTITIES_CACHE can name another): %w", err)
	}

	return folder, nil
}

// compilation is one go build that takes so long that one wants to see it move.
type compilation struct {
	folder   string
	what     string
	progress io.Writer

	mu                sync.Mutex
	fetched, compiled int
	last              strings.Builder // what else the compiler said, for the error
}

func (c *compilation) run(ctx context.Context, arguments []string) error {
	var (
		started   = time.Now()
		done      = make(chan struct{})
		reporting sync.WaitGroup
	)

	reporting.Go(func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()

		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.report(time.Since(started))
			}
		}
	})

	// Dapr's own releases are built without C, and a machine with Go alone has no compiler for it.
	err := runGo(ctx, c.folder, []string{"CGO_ENABLED=0"}, arguments, c.count)

	close(done)
	reporting.Wait()

	if err != nil {
		return fmt.Errorf("%w\n%s", err, lastLines(c.last.String(), 30))
	}

	_, _ = fmt.Fprintf(c.progress, "  built %s in %s\n", c.what, time.Since(started).Round(time.Second))

	return nil
}

// count sorts the lines of go build -v: "go: downloading path version", or the path of a package being compiled.
func (c *compilation) count(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	switch {
	case strings.HasPrefix(line, "go: downloading "):
		c.fetched++
	case line != "" && !strings.ContainsAny(line, " \t"):
		c.compiled++
	default:
		c.last.WriteString(line + "\n")
	}
}

func (c *compilation) report(elapsed time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()

	text := fmt.Sprintf("  %s: %s", c.what, elapsed.Round(time.Second))
	if c.fetched > 0 {
		text += fmt.Sprintf(", %d modules fetched", c.fetched)
	}

	_, _ = fmt.Fprintf(c.progress, "%s, %d packages compiled\n", text, c.compiled)
}

// lock takes the file as a lock between processes and returns how to give it back.
func lock(ctx context.Context, progress io.Writer, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}

	told := false

	err = Poll(ctx, 200*time.Millisecond, func(context.Context) error {
		err := tryLock(file)
		if err != nil && !told {
			told = true

			_, _ = fmt.Fprintf(progress, "Waiting for another process that builds into %s.\n", filepath.Dir(path))
		}

		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}

	return func() { _ = file.Close() }, nil // closing gives the lock back
}

func list(tools []Tool) string {
	names := make([]string, len(tools))
	for i, tool := range tools {
		names[i] = string(tool)
	}

	return strings.Join(names, ", ")
}
