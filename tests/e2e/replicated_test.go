package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
	for k, v := range options.Metadata {
		metadata[k] = v
	}
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
