package crash

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/tests/harness"
)

var (
	seeds  = flag.Int("seeds", fromEnvironment("SEEDS", 3), "number of runs, each with a seed of its own")
	seed   = flag.Uint64("seed", 0, "the one seed to run; 0 means new ones")
	faults = flag.Int("faults", 14, "blows in each run")
	keep   = flag.String("keep", "", "folder to keep the plan, the history and the blows of each run in")
)

const (
	service  = "test.v1.Account"
	clients  = 12
	accounts = 24
	// Fewer answered commands than these would say nothing.
	leastDone = 400
)

func fromEnvironment(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

// TestCrash: two hosts on one Postgres, under load, while processes are killed and paused. Afterwards nothing
// acknowledged is missing, nothing was done twice, sequences are dense and every account is linearizable.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for half a minute for each seed; run without -short")
	}
	list := []uint64{*seed}
	if *seed == 0 {
		list = nil
		for range *seeds {
			list = append(list, rand.Uint64())
		}
	}
	for _, s := range list {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { run(t, s) })
	}
}

func run(t *testing.T, seed uint64) {
	t.Logf("seed %d: run it again with -run TestCrash -seed %d", seed, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	database := postgrestest.URL(t)
	cluster := harness.Test(t, harness.ClusterConfig{})
	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	victims := map[string]victim{}
	var names []string
	var sidecars []*harness.Client
	for _, name := range []string{"a", "b"} {
		host, err := cluster.StartHost(ctx, harness.HostOptions{
			Name: name, AppID: "crash", Placement: placement.Address, Journal: database,
			ActorTypes: []string{actorType},
			Handler:    harness.HandlerOptions{Package: "tests/fixture"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for part, v := range map[string]victim{"handler": host.Handler, "component": host.Component, "daprd": host.Daprd} {
			victims[part+" "+name] = v
		}
		names = append(names, "handler "+name, "component "+name, "daprd "+name)
		sidecars = append(sidecars, host.Daprd.Client)
	}
	planned := plan(random, names, *faults)

	var failed atomic.Int64
	h := newHistory()
	ids := make([]string, accounts)
	for i := range ids {
		ids[i] = fmt.Sprintf("account-%d", i)
	}
	load, stopLoad := context.WithCancel(ctx)
	var running sync.WaitGroup
	for i := range clients {
		c := &client{
			id: i, random: rand.New(rand.NewPCG(seed, uint64(i)+2)),
			sidecars: sidecars, accounts: ids, history: h, failed: &failed,
		}
		running.Go(func() { c.Run(load) })
	}
	blows, err := strike(ctx, planned, victims, &failed)
	healed := time.Now()
	if err == nil {
		sleep(ctx, 2*time.Second)
	}
	stopLoad()
	running.Wait()
	save(t, seed, planned, blows, h)
	if err != nil {
		t.Fatal(err)
	}

	// Liveness: after the last fault every account answers.
	last := &client{id: clients, random: random, sidecars: sidecars, history: h, failed: &failed}
	for _, id := range ids {
		o := operation{Client: clients, Account: id, Kind: get, Key: "last-" + id}
		last.settle(ctx, &o)
		h.add(o)
		if o.Verdict != done {
			t.Errorf("%s does not answer %s after the last fault: %s", id, time.Since(healed).Round(time.Second), o.Error)
		}
	}
	judge(t, ctx, database, h, ids, blows)
}

func judge(t *testing.T, ctx context.Context, database string, h *history, ids []string, blows []blow) {
	j, err := postgres.Open(ctx, postgres.Config{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	books, err := ledger(ctx, j, service, ids)
	if err != nil {
		t.Errorf("the journal: %v", err)
	}
	settled, err := reconcile(h.ops, books)
	if err != nil {
		t.Errorf("history and journal: %v", err)
	}
	if err := linearizable(settled, time.Minute); err != nil {
		t.Error(err)
	}

	counts, struck, felt := h.counts(), 0, 0
	for _, b := range blows {
		if b.Struck {
			struck++
		}
		if b.Failures > 0 {
			felt++
		}
	}
	t.Logf("%d done, %d refused, %d unknown; %d of %d blows struck, %d of them felt by clients",
		counts[done], counts[refused], counts[unknown], struck, len(blows), felt)
	// A run in which nothing much happened proves nothing.
	if counts[done] < leastDone {
		t.Errorf("only %d commands were answered, at least %d are needed for a verdict", counts[done], leastDone)
	}
	if struck*10 < len(blows)*8 {
		t.Errorf("only %d of %d blows found their victim running", struck, len(blows))
	}
	if felt*10 < len(blows)*5 {
		t.Errorf("only %d of %d blows were felt", felt, len(blows))
	}
}

// save keeps what is needed to look into a run afterwards.
func save(t *testing.T, seed uint64, planned []fault, blows []blow, h *history) {
	if *keep == "" {
		return
	}
	folder := filepath.Join(*keep, fmt.Sprint(seed))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]any{"plan": planned, "blows": blows, "history": h.ops} {
		data, err := json.MarshalIndent(content, "", " ")
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+".json"), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
