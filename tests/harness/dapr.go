package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Binaries are the paths of Dapr's programs; a program that nobody asked for is empty.
type Binaries struct {
	Daprd     string
	Placement string
	Scheduler string
	CLI       string
}

// Tool is one of Dapr's programs, by the name of its binary.
type Tool string

// The tools that Dapr can provide.
const (
	ToolDaprd     Tool = "daprd"
	ToolPlacement Tool = "placement"
	ToolScheduler Tool = "scheduler"
	ToolCLI       Tool = "dapr"

	// ToolOlderDaprd and ToolOlderPlacement are of a Dapr from before the actor stream; see Older.
	ToolOlderDaprd     Tool = "daprd-1.16"
	ToolOlderPlacement Tool = "placement-1.16"
)

// The actor stream that entities are hosted on came with 1.18.2; the next major version may take it away.
var (
	oldestDaprd = [3]int{1, 18, 2}
	tooNewDaprd = [3]int{2, 0, 0}
)

// Dapr returns the wanted tools: from the folder that ENTITIES_DAPR_BIN names; else an installed one, if its daprd is
// of a supported version; else built once from the modules in tests/dapr and tests/daprcli into a cache folder, which
// takes some minutes and is told to progress. It wants daprd and placement unless told otherwise.
func Dapr(ctx context.Context, progress io.Writer, want ...Tool) (Binaries, error) {
	if len(want) == 0 {
		want = []Tool{ToolDaprd, ToolPlacement}
	}

	if folder := os.Getenv("ENTITIES_DAPR_BIN"); folder != "" {
		return given(folder, want)
	}

	var (
		found   Binaries
		missing []Tool
	)

	installed := installedTools(ctx)

	for _, tool := range want {
		if path := installed[tool]; path != "" {
			found.set(tool, path)
		} else {
			missing = append(missing, tool)
		}
	}

	if len(missing) == 0 {
		return found, nil
	}

	built, err := buildTools(ctx, progress, missing)
	if err != nil {
		return Binaries{}, err
	}

	for _, tool := range missing {
		found.set(tool, filepath.Join(built[tool], string(tool)))
	}

	return found, nil
}

// Older returns the daprd and the placement of Dapr 1.16, which is not supported but over the app channel. They are built
// once, whatever is installed.
func Older(ctx context.Context, progress io.Writer) (Binaries, error) {
	built, err := buildTools(ctx, progress, []Tool{ToolOlderDaprd, ToolOlderPlacement})
	if err != nil {
		return Binaries{}, err
	}

	return Binaries{
		Daprd:     filepath.Join(built[ToolOlderDaprd], string(ToolOlderDaprd)),
		Placement: filepath.Join(built[ToolOlderPlacement], string(ToolOlderPlacement)),
	}, nil
}

// given takes all tools from one folder and reports every missing one.
func given(folder string, want []Tool) (Binaries, error) {
	var (
		found Binaries
		errs  []error
	)

	for _, tool := range want {
		path := filepath.Join(folder, string(tool))
		if _, err := exec.LookPath(path); err != nil {
			errs = append(errs, fmt.Errorf("ENTITIES_DAPR_BIN=%s has no program %s; unset it to have one built", folder, tool))
		}

		found.set(tool, path)
	}

	return found, errors.Join(errs...)
}

func (b *Binaries) set(tool Tool, path string) {
	switch tool {
	case ToolDaprd:
		b.Daprd = path
	case ToolPlacement:
		b.Placement = path
	case ToolScheduler:
		b.Scheduler = path
	case ToolCLI:
		b.CLI = path
	}
}

// fill takes from other what b lacks.
func (b *Binaries) fill(other *Binaries) {
	for _, tool := range []Tool{ToolDaprd, ToolPlacement, ToolScheduler, ToolCLI} {
		if b.path(tool) == "" {
			b.set(tool, other.path(tool))
		}
	}
}

func (b *Binaries) path(tool Tool) string {
	switch tool {
	case ToolDaprd:
		return b.Daprd
	case ToolPlacement:
		return b.Placement
	case ToolScheduler:
		return b.Scheduler
	case ToolCLI:
		return b.CLI
	default:
		return ""
	}
}

// installedTools looks for a supported daprd on the path and where "dapr init" puts it. Placement and scheduler cannot
// tell their version, so they are taken only from beside that daprd.
func installedTools(ctx context.Context) map[Tool]string {
	tools := make(map[Tool]string)

	candidates := []string{string(ToolDaprd)}
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".dapr", "bin", string(ToolDaprd)))
	}

	for _, candidate := range candidates {
		path, err := exec.LookPath(candidate)
		if err != nil || !supported(ctx, path) {
			continue
		}

		for _, tool := range []Tool{ToolDaprd, ToolPlacement, ToolScheduler} {
			if beside, err := exec.LookPath(filepath.Join(filepath.Dir(path), string(tool))); err == nil {
				tools[tool] = beside
			}
		}

		break
	}

	if path, err := exec.LookPath(string(ToolCLI)); err == nil {
		tools[ToolCLI] = path
	}

	return tools
}

// supported asks the daprd for its version. A development build says "edge" and is not taken: it may be anything.
func supported(ctx context.Context, daprd string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()

	text, err := exec.CommandContext(ctx, daprd, "--version").Output()
	if err != nil {
		return false
	}

	version, ok := parseVersion(strings.TrimSpace(string(text)))

	return ok && slices.Compare(version[:], oldestDaprd[:]) >= 0 && slices.Compare(version[:], tooNewDaprd[:]) < 0
}

var versionPattern = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:[-+].*)?$`)

// parseVersion reads a semantic version. A pre-release counts as its release.
func parseVersion(text string) (version [3]int, ok bool) {
	match := versionPattern.FindStringSubmatch(text)
	if match == nil {
		return version, false
	}

	for i := range version {
		number, err := strconv.Atoi(match[i+1])
		if err != nil {
			return version, false
		}

		version[i] = number
	}

	return version, true
}
