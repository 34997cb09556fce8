package tck

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/tests/harness"
)

// goSupport is the conformance program of Cloudstate's own Go library, which is built as it was published; the module in
// tests/gosupport says in which version.
const goSupport = "github.com/cloudstateio/go-support/tck/cmd/tck_eventsourced"

// deviations are the cases that are not to pass with it, by their ids, with the reason.
type deviations map[string]string

// TestGoSupport runs both halves against a program that knows nothing of this project. What deviates is as expected, no
// less: a case that begins to pass has to leave the table.
func TestGoSupport(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "tck")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", binary, goSupport)
	build.Dir = filepath.Join("..", "gosupport")
	build.Env = append(os.Environ(), "GOWORK=off")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", goSupport, err, said)
	}
	for _, half := range []struct {
		test, variable string
		cases          int
		failing        deviations
	}{
		{"TestService", "TCK_SERVICE", 74, deviations{}},
		{"TestProxy", "TCK_MODEL", 24, deviations{}},
	} {
		t.Run(half.test, func(t *testing.T) {
			cluster := harness.Test(t, harness.ClusterConfig{})
			model, err := cluster.StartHandler(ctx, harness.HandlerOptions{Binary: binary, Name: "gosupport"})
			if err != nil {
				t.Fatal(err)
			}
			// In a process of its own, since a test that fails would fail this one.
			self := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+half.test+"$", "-test.v", "-test.timeout=4m")
			self.Env = append(os.Environ(), half.variable+"="+model.Address)
			said, _ := self.CombinedOutput()
			failed, ran := outcomes(said)
			want := slices.Sorted(maps.Keys(half.failing))
			if diff := cmp.Diff(want, failed); diff != "" || ran != half.cases {
				t.Errorf("%d cases, want %d; those that deviate (-want +got):\n%s\n%s", ran, half.cases, diff, said)
			}
			for _, id := range want {
				t.Logf("%s deviates, as is known: %s", id, half.failing[id])
			}
		})
	}
}

var outcome = regexp.MustCompile(`(?m)^\s+--- (PASS|FAIL|SKIP): \S+/([A-Z]+-[MP]\d\d)_`)

// outcomes are the ids of the cases that failed or were skipped, sorted, and how many cases there were.
func outcomes(said []byte) (failed []string, ran int) {
	for _, line := range outcome.FindAllSubmatch(said, -1) {
		ran++
		if string(line[1]) != "PASS" {
			failed = append(failed, string(line[2]))
		}
	}
	slices.Sort(failed)
	return failed, ran
}
