package peers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// connect makes the ways between members for a process whose member self tells; run makes them run.
type connect func(t *testing.T, j journal.Deltas, self func() (slot.Member, bool)) (bus replica.Bus, peers replica.Peers, address string)

func overJournalAndDirect(t *testing.T, j journal.Deltas, self func() (slot.Member, bool)) (replica.Bus, replica.Peers, string) {
	d, err := NewDirect(DirectConfig{Listen: "127.0.0.1:0", Key: []byte("a key of sixteen bytes"), Self: self, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return journalBus(t, j, "cart", nil), d, d.Address()
}

func overJournalAlone(t *testing.T, j journal.Deltas, self func() (slot.Member, bool)) (replica.Bus, replica.Peers, string) {
	l, err := NewLink(LinkConfig{Bus: journalBus(t, j, "cart", nil), Self: self})
	if err != nil {
		t.Fatal(err)
	}
	return l.Bus(), l.Peers(), ""
}

// overTopic needs a Redis and a sidecar for each process.
func overTopic(t *testing.T) connect {
	with := map[string]string{"redisHost": redis(t), "consumerID": "{uuid}"}
	return func(t *testing.T, _ journal.Deltas, self func() (slot.Member, bool)) (replica.Bus, replica.Peers, string) {
		l, err := NewLink(LinkConfig{Bus: topicBus(t, sidecar(t, "pubsub.redis", with)), Self: self})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDirect(DirectConfig{Listen: "127.0.0.1:0", Key: []byte("a key of sixteen bytes"), Self: self, Otherwise: l.Peers(), Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return l.Bus(), d, d.Address()
	}
}

// replicating is a node with all it stands on.
type replicating struct {
	*replica.Node
	group *slot.Group
}

func replicate(t *testing.T, url string, by connect) *replicating {
	t.Helper()
	j := shared(t, url)
	r := &replicating{}
	bus, ways, address := by(t, j, func() (slot.Member, bool) {
		s, _ := r.group.State()
		if s.Lease == nil {
			return slot.Member{}, false
		}
		return s.Lease.Member(), true
	})
	var err error
	if r.group, err = slot.New(slot.Config{Cells: j, Group: "cart", Address: address, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	r.Node, err = replica.NewNode(replica.NodeConfig{Cells: j, Membership: replica.MembersOf(r.group), Bus: bus, Peers: ways})
	if err != nil {
		t.Fatal(err)
	}
	var works sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	leave, left := context.WithCancel(context.Background())
	works.Go(func() {
		if err := r.group.Run(leave); err != nil {
			t.Error(err)
		}
	})
	works.Go(func() {
		defer left()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		works.Wait()
	})
	if _, err := r.group.Acquire(within(t)); err != nil {
		t.Fatal(err)
	}
	return r
}

func count(r replica.Replica) uint64 {
	if u := r.Value(); u != nil {
		return u.Increment
	}
	return 0
}

// TestCluster has three nodes count together, over everything that is real.
func TestCluster(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		by   func(t *testing.T) connect
	}{
		{"journal and direct", func(*testing.T) connect { return overJournalAndDirect }},
		{"journal alone", func(*testing.T) connect { return overJournalAlone }},
		{"topic and direct", overTopic},
	} {
		t.Run(test.name, func(t *testing.T) {
			url := postgrestest.URL(t)
			by := test.by(t)
			var nodes []*replicating
			for range 3 {
				nodes = append(nodes, replicate(t, url, by))
			}
			until(t, "all to know all", func() bool {
				for _, n := range nodes {
					if len(n.group.View().Members) != len(nodes) {
						return false
					}
				}
				return true
			})
			const entities, rounds = 4, 30
			var replicas [entities][]replica.Replica
			for e := range entities {
				for _, n := range nodes {
					r, err := n.Open(within(t), actors.Ref{Service: "counter", ID: fmt.Sprint(e)}, func() {})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(r.Close)
					r.Begin()
					replicas[e] = append(replicas[e], r)
				}
			}
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			for e := range entities {
				wg.Go(func() {
					for n := range rounds {
						from := replicas[e][n%len(nodes)]
						began := time.Now()
						if err := from.Update(&crdt.Update{Kind: crdt.GCounter, Increment: 1}, replica.Local, func(error) {}); err != nil {
							t.Error(err)
							return
						}
						for _, r := range replicas[e] {
							until(t, "the others", func() bool { return count(r) >= uint64(n+1) })
						}
						mu.Lock()
						took = append(took, time.Since(began))
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			t.Logf("a local write, until all have it: median %s, p99 %s, longest %s", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
			for _, level := range []replica.Level{replica.Majority, replica.All} {
				var longest time.Duration
				for range 10 {
					began := time.Now()
					done := make(chan error, 1)
					if err := replicas[0][0].Update(&crdt.Update{Kind: crdt.GCounter, Increment: 1}, level, func(err error) { done <- err }); err != nil {
						t.Fatal(err)
					}
					if err := <-done; err != nil {
						t.Fatalf("%s: %v", level, err)
					}
					longest = max(longest, time.Since(began))
				}
				t.Logf("a write at level %s takes at most %s", level, longest)
			}
			for _, r := range replicas[0] {
				until(t, "what was confirmed", func() bool { return count(r) == rounds+20 })
			}
		})
	}
}
