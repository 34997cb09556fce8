package statestores

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/component/daprapi"
	"github.com/dapr-entities/entities/tests/harness"
)

func TestMain(m *testing.M) {
	// A program of the model takes a second or so, most of it in the store; the store in memory of the journal's own
	// package runs many more.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// stored is a journal that remembers where it is.
type stored struct {
	*daprstate.Journal
	prefix string
}

var prefixes atomic.Int64

// opener opens journals in a state store, each new one under a prefix of its own.
func opener(client *daprapi.Client, store string) func(t testing.TB, prefix string) journal.Journal {
	return func(t testing.TB, prefix string) journal.Journal {
		t.Helper()
		if prefix == "" {
			prefix = fmt.Sprint("test-", prefixes.Add(1))
		}
		j, err := daprstate.New(daprstate.Config{Store: client.StateStore(store), Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		return stored{j, prefix}
	}
}

// sidecar starts daprd with the state stores whose YAML is given by name, and connects to it.
func sidecar(t testing.TB, cluster *harness.Cluster, stores map[string]string) (*harness.Daprd, *daprapi.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	folder, err := cluster.SubFolder("resources")
	if err != nil {
		t.Fatal(err)
	}
	for name, yaml := range stores {
		if err := os.WriteFile(filepath.Join(folder, name+".yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daprd, err := cluster.StartDaprd(ctx, harness.DaprdOptions{AppID: "stores", Resources: []string{folder}, LogLevel: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := daprapi.Dial(daprapi.Config{Endpoint: daprd.GRPCAddress()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return daprd, client
}

func component(name, kind, version string, metadata ...string) string {
	text := fmt.Sprintf("apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec:\n  type: %s\n  version: %s\n", name, kind, version)
	if len(metadata) > 0 {
		text += "  metadata:\n"
	}
	for i := 0; i < len(metadata); i += 2 {
		text += fmt.Sprintf("  - {name: %s, value: %q}\n", metadata[i], metadata[i+1])
	}
	return text
}

func TestStores(t *testing.T) {
	cluster := harness.Test(t, harness.ClusterConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stores := map[string]string{
		"memory": component("memory", "state.in-memory", "v1"),
		"sqlite": component("sqlite", "state.sqlite", "v1", "connectionString", filepath.Join(cluster.Folder(), "state.db")),
	}
	redis, err := cluster.StartRedis(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stores["redis"] = string(redis.Component("redis", "state.redis", ""))
	postgres, err := cluster.StartPostgres(ctx, harness.PostgresOptions{Settings: []string{"fsync=off"}})
	switch {
	case errors.Is(err, harness.ErrNoPostgres) && os.Getenv("CI") == "":
		t.Log(err)
	case err != nil:
		t.Fatal(err)
	default:
		stores["postgres"] = component("postgres", "state.postgresql", "v2", "connectionString", postgres.URL("postgres"))
	}
	_, client := sidecar(t, cluster, stores)
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			open := opener(client, name)
			journaltest.Run(t, journaltest.Backend{
				Open: func(t testing.TB) journal.Journal { return open(t, "") },
				Reopen: func(t testing.TB, closed journal.Journal) journal.Journal {
					return open(t, closed.(stored).prefix)
				},
				Weaker: journaltest.Weaker{PositionsInTailOnly: true, EffectIDsPerSource: true, DamageElsewhere: true},
			})
		})
	}
}

// BenchmarkRedis says what an append costs through a sidecar.
func BenchmarkRedis(b *testing.B) {
	cluster := harness.Test(b, harness.ClusterConfig{})
	redis, err := cluster.StartRedis(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	_, client := sidecar(b, cluster, map[string]string{"redis": string(redis.Component("redis", "state.redis", ""))})
	open := opener(client, "redis")
	journaltest.Bench(b, func(t testing.TB) journal.Journal { return open(t, "") })
}
