package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/tests/harness"
)

const (
	senderService = "test.v1.Sender"
	inboxService  = "test.v1.Inbox"
	senders       = 12
	targets       = 5
	// striking is how long processes are killed.
	striking = 15 * time.Second
	// Fewer than these would say nothing.
	leastSent, leastKills, leastFailures = 150, 6, 5
)

// TestDeliveries: two hosts on one Postgres, whose processes are killed while turns emit events and ask for effects.
// Afterwards every effect of a turn was carried out once, those of one entity in their order, and the consumer of the
// events has had every one of them, for the first time in the order of its entity.
func TestDeliveries(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for a quarter of a minute for each seed; run without -short")
	}
	n := fromEnvironment("SEEDS", 1)
	if *seed != 0 {
		n = 1
	}
	for range n {
		s := *seed
		if s == 0 {
			s = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { deliver(t, s) })
	}
}

func deliver(t *testing.T, seed uint64) {
	t.Logf("seed %d: run it again with -run TestDeliveries -seed %d", seed, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	db := startServer(ctx, t)
	cluster := harness.Test(t, harness.ClusterConfig{})
	t.Cleanup(func() { save(t, seed, filepath.Join(cluster.Folder(), "log"), nil) })
	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	victims := map[string]victim{}
	var sidecars []*harness.Client
	for _, name := range []string{"a", "b"} {
		host, err := cluster.StartHost(ctx, harness.HostOptions{
			Name: name, AppID: "crash", Placement: placement.Address, Journal: db.URL(),
			Metadata:   map[string]string{"leaseTimeout": "1s", "maxTries": "1000"},
			ActorTypes: []string{"Sender", "Inbox"},
			Handler:    harness.HandlerOptions{Package: "tests/fixture", Args: []string{"-logs"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range []victim{host.Handler, host.Component, host.Daprd} {
			victims[parts[k]+" "+name] = v
		}
		sidecars = append(sidecars, host.Daprd.Client)
	}

	var acknowledged [senders]atomic.Int64
	var failed atomic.Int64
	load, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	for i := range senders {
		mine := rand.New(rand.NewPCG(seed, uint64(i)+2))
		running.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				body := fmt.Appendf(nil, `{"to":"t%d","n":1}`, mine.IntN(targets))
				for ctx.Err() == nil {
					one, cancel := context.WithTimeout(ctx, 4*time.Second)
					r, err := sidecars[mine.IntN(2)].Actor(one, "Sender", fmt.Sprintf("s%d", i), "Send",
						map[string]string{"Idempotency-Key": strconv.Itoa(n), "Content-Type": "application/json"}, body)
					cancel()
					if err == nil && r.OK() {
						acknowledged[i].Add(1)
						break
					}
					failed.Add(1)
					sleep(ctx, 50*time.Millisecond)
				}
			}
		})
	}

	kills := map[string]int{}
	nem := &nemesis{victims: victims, history: newHistory(), failed: &failed}
	for end := time.Now().Add(striking); time.Now().Before(end); {
		sleep(ctx, time.Duration(200+random.IntN(900))*time.Millisecond)
		part := parts[random.IntN(len(parts))]
		b := &blow{fault: fault{Sort: kill, Victim: part + " " + string("ab"[random.IntN(2)]), For: time.Duration(random.IntN(500)) * time.Millisecond}}
		if err := nem.kill(ctx, b); err != nil {
			t.Fatal(err)
		}
		if b.Struck {
			kills[part]++
		}
	}
	stop()
	running.Wait()

	j, err := postgres.Open(ctx, postgres.Config{URL: db.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	began := time.Now()
	settle, cancelSettle := context.WithTimeout(ctx, time.Minute)
	defer cancelSettle()
	var sum int
	err = harness.Poll(settle, 300*time.Millisecond, func(ctx context.Context) error {
		sum, err = arrived(ctx, j)
		return err
	})
	if err != nil {
		t.Errorf("a minute after the last kill: %v", err)
	}
	var done int64
	for i := range acknowledged {
		done += acknowledged[i].Load()
	}
	t.Logf("%d commands acknowledged, %d in the journal, %d attempts failed, kills: %v; all had arrived %s after the load",
		done, sum, failed.Load(), kills, time.Since(began).Round(100*time.Millisecond))
	if int64(sum) < done {
		t.Errorf("%d commands were acknowledged and %d are in the journal", done, sum)
	}
	if struck := kills["handler"] + kills["component"] + kills["daprd"]; done < leastSent || struck < leastKills || failed.Load() < leastFailures {
		t.Errorf("the run proves nothing: %d commands, %d kills, %d failures; want %d, %d, %d at least",
			done, struck, failed.Load(), leastSent, leastKills, leastFailures)
	}
}

// arrived holds what the senders have decided against what the inboxes have got, and returns how many turns there were.
func arrived(ctx context.Context, j journal.Reader) (turns int, err error) {
	var problems []error
	want := map[string][]int64{} // sender and target → sequences, in order
	for i := range senders {
		id := fmt.Sprintf("s%d", i)
		var all []int64
		keys := map[string]bool{}
		err := each(ctx, j, senderService, id, func(e journal.Event) error {
			if keys[e.Command] {
				problems = append(problems, fmt.Errorf("%s: %s was applied twice", id, e.Command))
			}
			keys[e.Command] = true
			var in struct{ To string }
			if err := json.Unmarshal(e.Payload.Data, &in); err != nil {
				return err
			}
			want[id+" "+in.To] = append(want[id+" "+in.To], e.Sequence)
			all = append(all, e.Sequence)
			return nil
		})
		if err != nil {
			return 0, err
		}
		turns += len(all)
		want[id+" log-"+id] = all
	}
	got := map[string][]int64{}
	inboxes := make([]string, 0, targets+senders)
	for i := range targets {
		inboxes = append(inboxes, fmt.Sprintf("t%d", i))
	}
	for i := range senders {
		inboxes = append(inboxes, fmt.Sprintf("log-s%d", i))
	}
	for _, id := range inboxes {
		seen := map[string]bool{}
		err := each(ctx, j, inboxService, id, func(e journal.Event) error {
			var in struct {
				From     string
				Sequence int64
				Text     string
			}
			if err := json.Unmarshal(e.Payload.Data, &in); err != nil {
				return err
			}
			if strings.HasPrefix(id, "log-") {
				if seen[in.Text] {
					return nil // at least once
				}
				seen[in.Text] = true
				n, err := strconv.ParseInt(in.Text[strings.LastIndexByte(in.Text, '/')+1:], 10, 64)
				if err != nil {
					return err
				}
				in.Sequence = n
			}
			got[in.From+" "+id] = append(got[in.From+" "+id], in.Sequence)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return turns, errors.Join(append(problems, differences(want, got)...)...)
}

// differences says of every sender and inbox where what arrived departs from what was sent.
func differences(want, got map[string][]int64) (problems []error) {
	for way, sequences := range want {
		for i, n := range sequences {
			if i >= len(got[way]) {
				problems = append(problems, fmt.Errorf("%s: %d of %d arrived", way, i, len(sequences)))
				break
			}
			if got[way][i] != n {
				problems = append(problems, fmt.Errorf("%s: %d arrived where %d was next", way, got[way][i], n))
				break
			}
		}
	}
	for way, sequences := range got {
		if len(sequences) > len(want[way]) {
			problems = append(problems, fmt.Errorf("%s: %d arrived and %d were sent", way, len(sequences), len(want[way])))
		}
	}
	return problems
}

func each(ctx context.Context, j journal.Reader, service, id string, do func(journal.Event) error) error {
	for e, err := range j.Read(ctx, actors.Ref{Service: service, ID: id}, 0, 0) {
		if err == nil {
			err = do(e)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", id, err)
		}
	}
	return nil
}

// What is missing, twice, or out of order is found.
func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	want := map[string][]int64{"s t": {1, 2, 4}}
	for name, tt := range map[string]struct {
		got  map[string][]int64
		want string
	}{
		"same":         {map[string][]int64{"s t": {1, 2, 4}}, ""},
		"missing":      {map[string][]int64{"s t": {1, 2}}, "2 of 3 arrived"},
		"nothing":      {nil, "0 of 3 arrived"},
		"twice":        {map[string][]int64{"s t": {1, 2, 2, 4}}, "2 arrived where 4 was next"},
		"last twice":   {map[string][]int64{"s t": {1, 2, 4, 4}}, "4 arrived and 3 were sent"},
		"out of order": {map[string][]int64{"s t": {2, 1, 4}}, "2 arrived where 1 was next"},
		"from nobody":  {map[string][]int64{"s t": {1, 2, 4}, "x t": {1}}, "1 arrived and 0 were sent"},
	} {
		err := errors.Join(differences(want, tt.got)...)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
