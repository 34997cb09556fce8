package conformance

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapr/kit/logger"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// log is where Dapr's clients say what they have to say.
var log = logger.NewLogger("conformance")

// onEach runs a test with a component process for each journal that a component can have. It gets the path of the
// component's socket and the journal.
func onEach(t *testing.T, test func(t *testing.T, socket, journal string)) {
	t.Helper()

	journals := []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"memory", func(*testing.T) string { return "memory:" }},
		{"sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "entities.db") }},
		{"postgres", func(t *testing.T) string { return postgrestest.URL(t) }},
	}
	for _, j := range journals {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()

			url := j.url(t)
			test(t, start(t), url)
		})
	}
}

// start starts a component process, which no sidecar belongs to, and returns the path of its socket.
func start(t *testing.T) string {
	t.Helper()

	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	c, err := harness.Test(t, harness.ClusterConfig{}).StartComponent(ctx, harness.ComponentOptions{DaprGRPCPort: ports[0]})
	if err != nil {
		t.Fatal(err)
	}

	return c.Options.Socket()
}
