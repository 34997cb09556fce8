package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/tests/harness"
)

const (
	roomService = "test.v1.Room"
	roomType    = "Room"
)

// seen is what a room shows.
type seen struct {
	Names  []string `json:"names"`
	Knocks int64    `json:"knocks"`
}

// roomed starts a host of rooms, and a caller of its gateway.
func (s *system) roomed(t *testing.T, options harness.HostOptions) (*system, *harness.Client) {
	t.Helper()
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	metadata := map[string]string{"gatewayAddress": address, "slotTimeout": "3s"}
	maps.Copy(metadata, options.Metadata)
	options.Metadata = metadata
	options.Handler = harness.HandlerOptions{Package: fixture, Args: []string{"-rooms"}}
	options.ActorTypes = []string{roomType}
	host := s.host(t, options)
	return &system{Host: host, dapr: host.Daprd.Client, cluster: s.cluster, placement: s.placement}, harness.NewClient("http://" + address)
}

// room gives a command to a room by a gateway.
func room(ctx context.Context, gateway *harness.Client, id, command, body string) (seen, error) {
	r, err := gateway.Do(ctx, "POST", "/entities/"+roomService+"/"+id+"/"+command, map[string]string{"Content-Type": "application/json"}, []byte(body))
	if err != nil {
		return seen{}, err
	}
	var s seen
	if !r.OK() {
		return seen{}, fmt.Errorf("%s: status %d, %s", command, r.Status, r.Body)
	}
	return s, json.Unmarshal(r.Body, &s)
}

// insistRoom repeats a command until it is carried out.
func insistRoom(t *testing.T, gateway *harness.Client, id, command, body string) (s seen) {
	t.Helper()
	err := harness.Poll(within(t, 30*time.Second), 100*time.Millisecond, func(ctx context.Context) (err error) {
		s, err = room(ctx, gateway, id, command, body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shows waits until all gateways show the same of a room.
func shows(t *testing.T, id string, want seen, gateways ...*harness.Client) {
	t.Helper()
	slices.Sort(want.Names)
	for i, g := range gateways {
		err := harness.Poll(within(t, 30*time.Second), 50*time.Millisecond, func(ctx context.Context) error {
			got, err := room(ctx, g, id, "Look", "{}")
			if err == nil && (got.Knocks != want.Knocks || !slices.Equal(got.Names, want.Names)) {
				err = fmt.Errorf("room %s at node %d shows %+v, want %+v", id, i, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// One node: commands by every way in, a stream, what a crash leaves, deletion and a new beginning.
func TestReplicated(t *testing.T) {
	t.Parallel()
	s, gateway := prepare(t).roomed(t, harness.HostOptions{})
	insistRoom(t, gateway, "r", "Knock", `{"n":2}`)
	insistRoom(t, gateway, "r", "Enter", `{"name":"ada"}`)
	insistRoom(t, gateway, "r", "Enter", `{"name":"bob","level":2}`)
	insistRoom(t, gateway, "r", "Leave", `{"name":"ada","level":1}`)
	shows(t, "r", seen{Names: []string{"bob"}, Knocks: 2}, gateway)

	if a := s.actor(t, roomType, "r", "Knock", `{"n":40}`); a.status != 200 || !strings.Contains(a.body, `"knocks":42`) {
		t.Errorf("by the actor API: %d %s", a.status, a.body)
	}

	watching, stop := context.WithCancel(t.Context())
	defer stop()
	req, err := http.NewRequestWithContext(watching, "POST", gateway.Base+"/entities/"+roomService+"/r/Watch", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the watcher got %q (%v), want %s", lines.Text(), lines.Err(), want)
		}
	}
	next(`{"names":["bob"],"knocks":42}`)
	insistRoom(t, gateway, "r", "Enter", `{"name":"cid","level":1}`)
	next(`{"names":["bob","cid"],"knocks":42}`)

	// What was confirmed is in the journal.
	s.crash(t)
	shows(t, "r", seen{Names: []string{"bob", "cid"}, Knocks: 42}, gateway)

	insistRoom(t, gateway, "r", "Close", `{}`)
	shows(t, "r", seen{}, gateway)
	insistRoom(t, gateway, "r", "Knock", `{"n":1}`)
	shows(t, "r", seen{Knocks: 1}, gateway)
}

// nodes are hosts of the same rooms.
type nodes struct {
	hosts    []*system
	gateways []*harness.Client
	// links lead each of them to the database that they share, and to the broker if there is one.
	links [][]*harness.Link
}

// cut takes a node off the network of the others for a while.
func (n *nodes) cut(node int, while time.Duration) {
	for _, l := range n.links[node] {
		l.Cut()
	}
	time.Sleep(while)
	for _, l := range n.links[node] {
		l.Heal()
	}
}

// link leads to a server until the test ends.
func link(t *testing.T, target string) *harness.Link {
	t.Helper()
	l, err := harness.NewLink(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// nodes starts hosts that share a database, and a broker if there is one, each with links that can be cut.
func (s *system) nodes(t *testing.T, n int, metadata map[string]string, broker *harness.Redis) *nodes {
	t.Helper()
	database, err := url.Parse(postgrestest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	all := &nodes{}
	for i := range n {
		links := []*harness.Link{link(t, database.Host)}
		through := *database
		through.Host = links[0].Address
		var resources []string
		if broker != nil {
			links = append(links, link(t, broker.Address))
			reached := *broker
			reached.Address = links[1].Address
			// Each sidecar has a consumer group of its own, so that all of them get every message.
			yaml := reached.Component("replication", "pubsub.redis", "  - {name: consumerID, value: \"{uuid}\"}\n")
			resources = []string{t.TempDir()}
			if err := os.WriteFile(filepath.Join(resources[0], "replication.yaml"), yaml, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		host, gateway := s.roomed(t, harness.HostOptions{
			Name: string(rune('a' + i)), AppID: "rooms", Journal: through.String(), Metadata: metadata,
			Daprd: harness.DaprdOptions{Resources: resources},
		})
		all.hosts, all.gateways, all.links = append(all.hosts, host), append(all.gateways, gateway), append(all.links, links)
	}
	return all
}

// party is what callers did to a room, and what they were told.
type party struct {
	mu sync.Mutex
	// sent are all the names, confirmed those whose entering was confirmed.
	sent, confirmed map[string]bool
	// knocks that were confirmed, and those of which nobody knows.
	knocks, unknown int64
	failures        map[string]int
}

// enters repeats commands to a room by one node until ctx ends. Each name is sent once.
func (p *party) enters(ctx context.Context, gateway *harness.Client, id, caller string) {
	for n := 0; ctx.Err() == nil; n++ {
		name, level := fmt.Sprintf("%s-%d", caller, n), 1+n%2
		p.mu.Lock()
		p.sent[name] = true
		p.mu.Unlock()
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		_, entered := room(one, gateway, id, "Enter", fmt.Sprintf(`{"name":%q,"level":%d}`, name, level))
		_, knocked := room(one, gateway, id, "Knock", fmt.Sprintf(`{"n":1,"level":%d}`, level))
		cancel()
		p.mu.Lock()
		if entered == nil {
			p.confirmed[name] = true
		}
		if knocked == nil {
			p.knocks++
		} else {
			p.unknown++
		}
		for _, err := range []error{entered, knocked} {
			if err != nil {
				text := err.Error()
				p.failures[text[:min(len(text), 120)]]++
			}
		}
		p.mu.Unlock()
		if entered != nil || knocked != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// check waits until all nodes show the same, and compares that with what callers were told.
func (p *party) check(t *testing.T, id string, gateways []*harness.Client) {
	t.Helper()
	var last seen
	err := harness.Poll(within(t, time.Minute), 200*time.Millisecond, func(ctx context.Context) error {
		for i, g := range gateways {
			got, err := room(ctx, g, id, "Look", "{}")
			if err != nil {
				return err
			}
			if i > 0 && (got.Knocks != last.Knocks || !slices.Equal(got.Names, last.Names)) {
				return fmt.Errorf("node %d shows %d knocks and %d names, the one before it %d and %d", i, got.Knocks, len(got.Names), last.Knocks, len(last.Names))
			}
			last = got
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the nodes did not come to the same: %v", err)
	}
	there := map[string]bool{}
	for _, name := range last.Names {
		switch {
		case there[name]:
			t.Errorf("%s is there twice", name)
		case !p.sent[name]:
			t.Errorf("%s is there and was never sent", name)
		}
		there[name] = true
	}
	lost := 0
	for name := range p.confirmed {
		if !there[name] {
			lost++
			t.Errorf("%s was confirmed and is not there", name)
		}
	}
	if last.Knocks < p.knocks || last.Knocks > p.knocks+p.unknown {
		t.Errorf("%d knocks, want %d that were confirmed and at most %d more", last.Knocks, p.knocks, p.unknown)
	}
	if len(p.confirmed) < 100 {
		t.Errorf("only %d commands were confirmed: this shows nothing", len(p.confirmed))
	}
	t.Logf("%d of %d names confirmed, %d lost; %d knocks confirmed, %d unknown, %d there; failures: %v",
		len(p.confirmed), len(p.sent), lost, p.knocks, p.unknown, last.Knocks, p.failures)
}

// Three nodes write to the same entity while nodes, their handlers, the broker and the network go and come back. What was
// confirmed is there in the end, everywhere, once.
func TestReplicatedNodes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	for _, transport := range []string{"journal", "redis", "journal with doors"} {
		t.Run(transport, func(t *testing.T) {
			s := prepare(t)
			metadata := map[string]string{}
			var broker *harness.Redis
			switch transport {
			case "redis":
				var err error
				if broker, err = s.cluster.StartRedis(within(t, time.Minute)); err != nil {
					t.Fatal(err)
				}
				metadata["replication"] = "pubsub:replication"
			case "journal with doors":
				metadata = certified(t)
				metadata["peerAddress"] = "127.0.0.1:0"
			}
			all := s.nodes(t, 3, metadata, broker)
			for i, g := range all.gateways {
				insistRoom(t, g, "quiet", "Knock", fmt.Sprintf(`{"n":%d,"level":2}`, i+1))
			}
			shows(t, "quiet", seen{Knocks: 6}, all.gateways...)

			p := &party{sent: map[string]bool{}, confirmed: map[string]bool{}, failures: map[string]int{}}
			ctx, stop := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for i, g := range all.gateways {
				for k := range 2 {
					callers.Go(func() { p.enters(ctx, g, "busy", fmt.Sprintf("%c%d", 'a'+i, k)) })
				}
			}
			for _, blow := range []func(){
				func() { all.hosts[1].crash(t) },
				func() { all.cut(2, time.Second) }, // shorter than its lease: it goes on writing alone
				func() {
					if broker == nil {
						return
					}
					broker.Kill()
					time.Sleep(time.Second)
					if err := broker.Start(within(t, time.Minute)); err != nil {
						t.Error(err)
					}
				},
				func() { all.hosts[2].Handler.Kill(); supervise(t, all.hosts[2].Handler) },
				func() { all.cut(0, 5*time.Second) }, // longer: the others take it for gone
				func() { all.hosts[0].crash(t) },
			} {
				time.Sleep(1500 * time.Millisecond)
				blow()
			}
			time.Sleep(2 * time.Second)
			stop()
			callers.Wait()
			p.check(t, "busy", all.gateways)
			shows(t, "quiet", seen{Knocks: 6}, all.gateways...)
		})
	}
}
