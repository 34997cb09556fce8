package harness_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// Real placement, scheduler and daprd on free ports: they come up, know each other, and go down when told.
func TestDaprStartsAndStops(t *testing.T) {
	t.Parallel()

	cluster := harness.Test(t, harness.ClusterConfig{Dapr: binaries(t)})

	placement, err := cluster.StartPlacement(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	scheduler, err := cluster.StartScheduler(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// Two of them, to see that they do not take each other's ports.
	for _, id := range []string{"one", "two"} {
		daprd, err := cluster.StartDaprd(t.Context(), harness.DaprdOptions{
			AppID:     id,
			Placement: placement.Address,
			Scheduler: scheduler.Address,
		})
		if err != nil {
			t.Fatal(err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()

		if err := harness.Poll(ctx, 20*time.Millisecond, harness.HTTPReady(daprd.Base+"/v1.0/healthz")); err != nil {
			t.Errorf("health of %s: %v", id, err)
		}

		metadata, err := daprd.Metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		if metadata.ID != id {
			t.Errorf("daprd says its app id is %q, want %q", metadata.ID, id)
		}

		if err := daprd.Stop(t.Context()); err != nil {
			t.Error(err)
		}

		if _, err := daprd.Metadata(t.Context()); err == nil {
			t.Error("daprd answers after Stop")
		}

		if err := daprd.Start(t.Context()); err != nil {
			t.Errorf("start again: %v", err)
		}
	}
}

func TestGivenFolderWithoutProgramsIsReported(t *testing.T) {
	t.Setenv("ENTITIES_DAPR_BIN", t.TempDir())

	_, err := harness.Dapr(t.Context(), os.Stderr, harness.ToolDaprd, harness.ToolScheduler)
	if err == nil || !strings.Contains(err.Error(), "daprd") || !strings.Contains(err.Error(), "scheduler") {
		t.Errorf("got %v, want an error that names both programs", err)
	}
}

// The linker is told the versions by hand, and installed ones are compared with them.
func TestVersions(t *testing.T) {
	t.Parallel()

	for folder, line := range map[string]string{
		"dapr":    "github.com/dapr/dapr v" + harness.DaprVersion,
		"dapr116": "github.com/dapr/dapr v" + harness.OlderDaprVersion,
		"daprcli": "github.com/dapr/cli v" + harness.CLIVersion,
	} {
		module, err := os.ReadFile(filepath.Join("..", folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}

		if !strings.Contains(string(module), line) {
			t.Errorf("tests/%s/go.mod does not require %s", folder, line)
		}
	}
}

// binaries takes Dapr's programs where they are at hand, and does not build them inside a unit test unless nothing may
// be skipped.
func binaries(t *testing.T) harness.Binaries {
	t.Helper()

	if testing.Short() && os.Getenv("CI") == "" {
		t.Skip("needs daprd, which may have to be built")
	}

	found, err := harness.Dapr(t.Context(), os.Stderr, harness.ToolDaprd, harness.ToolPlacement, harness.ToolScheduler)
	if err != nil {
		t.Fatal(err)
	}

	return found
}
