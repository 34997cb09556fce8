package crash

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/tests/harness"
)

var (
	seeds  = flag.Int("seeds", fromEnvironment("SEEDS", 3), "number of runs, each with a seed of its own")
	seed   = flag.Uint64("seed", 0, "the one seed to run; 0 means new ones")
	faults = flag.Int("faults", 12, fmt.Sprintf("blows in each run, %d at least", leastFaults))
	keep   = flag.String("keep", "", "folder to keep plan, history, blows and logs of each run in; those of failed runs are kept anyway")
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

// TestCrash: two hosts on one Postgres, under load, while processes, the Postgres too, are killed and paused. Afterwards
// nothing acknowledged is missing, nothing was done twice, sequences are dense and every account is linearizable.
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

// server is the Postgres as a victim. Its own methods are for one goroutine: only the nemesis calls them.
type server struct {
	*postgrestest.Server
	down bool
}

func (s *server) Pid() int {
	if s.down {
		return 0
	}
	return 1 // it is one process or many; that it runs is what matters
}

// Kill ends it as a crash does.
func (s *server) Kill() {
	s.Server.Kill()
	s.down = true
}

func (s *server) Start(ctx context.Context) error {
	err := s.Restart(ctx)
	s.down = err != nil
	return err
}

func (s *server) Signal(syscall.Signal) error { return errors.ErrUnsupported }

func startServer(ctx context.Context, t *testing.T) *server {
	s, err := postgrestest.Start(ctx, postgrestest.Options{})
	if errors.Is(err, postgrestest.ErrNoPrograms) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &server{Server: s}
}

func run(t *testing.T, seed uint64) {
	t.Logf("seed %d: run it again with -run TestCrash -seed %d", seed, seed)
	began := time.Now()
	random := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	db := startServer(ctx, t)
	cluster := harness.Test(t, harness.ClusterConfig{})
	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	victims := map[string]victim{database: db}
	hosts := []string{"a", "b"}
	var sidecars []*harness.Client
	admins := map[string]string{}
	for _, name := range hosts {
		host, err := cluster.StartHost(ctx, harness.HostOptions{
			Name: name, AppID: "crash", Placement: placement.Address, Journal: db.URL(),
			ActorTypes: []string{actorType},
			Handler:    harness.HandlerOptions{Package: "tests/fixture"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range []victim{host.Handler, host.Component, host.Daprd} {
			victims[parts[k]+" "+name] = v
		}
		sidecars = append(sidecars, host.Daprd.Client)
		admins[name] = host.Component.Admin
	}
	started := time.Since(began)

	var failed atomic.Int64
	h := newHistory()
	planned := plan(random, hosts, *faults)
	var blows []blow
	t.Cleanup(func() {
		save(t, seed, filepath.Join(cluster.Folder(), "log"), map[string]any{"plan": planned, "blows": blows, "history": h.ops})
	})
	ids := make([]string, accounts)
	for i := range ids {
		ids[i] = fmt.Sprintf("account-%d", i)
	}
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var running sync.WaitGroup
	for i := range clients {
		c := &client{
			id: i, random: rand.New(rand.NewPCG(seed, uint64(i)+2)),
			sidecars: sidecars, accounts: ids, history: h, failed: &failed,
		}
		running.Go(func() { c.Run(load) })
	}
	n := &nemesis{victims: victims, history: h, failed: &failed, conflicts: func(ctx context.Context, host string) (int, error) {
		return conflicts(ctx, admins[host])
	}}
	blows, err = n.strike(ctx, planned)
	// Whether placement gives a zombie up in time, and a client then asks for what it held, is up to them. The run goes on
	// until it has happened, for as long as that is likely.
	for range 2 {
		if err != nil || evidence(blows, h.soFar(), hosts)["zombie component"].Behind > 0 {
			break
		}
		again := planned[0]
		again.For = 16 * time.Second
		var more []blow
		more, err = n.strike(ctx, []fault{again})
		blows = append(blows, more...)
	}
	healed := time.Now()
	if err == nil {
		sleep(ctx, 2*time.Second)
	}
	stopLoad()
	running.Wait()
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
	judge(ctx, t, db.URL(), h, ids, blows, hosts)
	t.Logf("%s, %s of it to start", time.Since(began).Round(time.Second), started.Round(time.Second))
}

var counted = regexp.MustCompile(`(?m)^entities_conflicts_total\{[^}]*\} (\d+)`)

// conflicts that a component has counted.
func conflicts(ctx context.Context, admin string) (sum int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	for _, m := range counted.FindAllSubmatch(text, -1) {
		n, e := strconv.Atoi(string(m[1]))
		sum, err = sum+n, errors.Join(err, e)
	}
	return sum, err
}

func judge(ctx context.Context, t *testing.T, url string, h *history, ids []string, blows []blow, hosts []string) {
	j, err := postgres.Open(ctx, postgres.Config{URL: url})
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
	counts := h.counts()
	t.Logf("%d done, %d refused, %d unknown", counts[done], counts[refused], counts[unknown])
	if counts[done] < leastDone {
		t.Errorf("only %d commands were answered, at least %d are needed for a verdict", counts[done], leastDone)
	}
	found := evidence(blows, h.ops, hosts)
	for kind, p := range found {
		t.Logf("%s: %+v", kind, p)
	}
	if err := enough(found); err != nil {
		t.Errorf("the run proves nothing: %v", err)
	}
}

// save keeps what is needed to look into a run afterwards, if it failed or that was asked for.
func save(t *testing.T, seed uint64, logs string, content map[string]any) {
	folder := filepath.Join(*keep, fmt.Sprint(seed))
	if *keep == "" {
		if !t.Failed() {
			return
		}
		made, err := os.MkdirTemp("", "crash") //nolint:usetesting // it outlives the test
		if err != nil {
			t.Error(err)
			return
		}
		folder = filepath.Join(made, fmt.Sprint(seed))
	}
	err := os.MkdirAll(folder, 0o755)
	for name, c := range content {
		data, e := json.MarshalIndent(c, "", " ")
		err = errors.Join(err, e, os.WriteFile(filepath.Join(folder, name+".json"), data, 0o644))
	}
	if err := errors.Join(err, os.CopyFS(filepath.Join(folder, "log"), os.DirFS(logs))); err != nil {
		t.Errorf("keep the run: %v", err)
	}
	t.Logf("plan, history, blows and logs of seed %d are in %s", seed, folder)
}
