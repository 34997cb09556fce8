package tck

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapr-entities/entities/tests/harness"
)

// goSupport is the conformance program of Cloudstate's own Go library, which is built as it was published; the module in
// tests/gosupport says in which version.
const goSupport = "github.com/cloudstateio/go-support/tck/cmd/tck_eventsourced"

// TestGoSupport runs both halves against a program that knows nothing of this project. No case deviates: what the library
// is known to get wrong (JSON events that it cannot replay, panics that end the process) no case calls for.
func TestGoSupport(t *testing.T) {
	address := startGoSupport(t)
	t.Run("service", connect(t, address).testService)
	t.Run("proxy", startProxy(t, address).testProxy)
}

func startGoSupport(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "tck")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", binary, goSupport)
	build.Dir = filepath.Join("..", "gosupport")
	build.Env = append(os.Environ(), "GOWORK=off")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", goSupport, err, said)
	}
	model, err := harness.Test(t, harness.ClusterConfig{}).StartHandler(ctx, harness.HandlerOptions{Binary: binary, Name: "gosupport"})
	if err != nil {
		t.Fatal(err)
	}
	return model.Address
}
