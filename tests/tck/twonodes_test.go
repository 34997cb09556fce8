package tck

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/tests/harness"
)

// node is one of two.
type node struct {
	*theatre
	ledger *ledger
}

// last is the last stream of an entity that nobody has looked into, and how many there are.
func (n *node) last(t *testing.T, id string) (x *exchange, streams int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.calls {
		if c.path != eventPath || len(c.in) == 0 {
			continue
		}
		if c.in[0].(*eventsourced.EventSourcedStreamIn).GetInit().GetEntityId() == id {
			x, streams = c, streams+1
		}
	}
	return x, streams
}

// TestTwoNodes puts two components with user functions of their own on one journal. An entity lives on one of them, and
// callers of both reach it; when its node goes away it lives on the other one, where it begins with all that is stored.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	database := postgrestest.URL(t)
	s := startSystem(t)
	var nodes []*node
	for _, name := range []string{"left", "right"} {
		p := newTheatre(t)
		nodes = append(nodes, &node{p, p.keep(t, name)})
		p.start(t, s, harness.HostOptions{Name: name, AppID: "two", Journal: database})
	}
	const process = "/" + eventSourcedFirst + "/Process"
	request := func(id string, n int) *anypb.Any {
		return nodes[0].processRequest(t, modelES, id, step(fmt.Sprintf("emit %d", n)))
	}
	// write has a caller of a node write until it is done. Dapr may be placing the entity anew.
	write := func(t *testing.T, by *node, id string, n int) string {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			c := by.begin(t, process, request(id, n), "idempotency-key", fmt.Sprint(n))
			<-c.done
			if c.err == nil {
				m := by.decode(t, modelES+"Response", c.reply).ProtoReflect()
				return m.Get(m.Descriptor().Fields().ByName("message")).String()
			}
			if code := status.Code(c.err); code != codes.Unavailable && code != codes.Aborted && code != codes.DeadlineExceeded || time.Now().After(end) {
				t.Fatalf("write %d to %s: %v", n, id, c.err)
			}
		}
	}
	const entities = 12
	home := map[string]*node{}
	for i := range entities {
		id := fresh()
		said := write(t, nodes[i%2], id, 1)
		for _, n := range nodes {
			if said == n.ledger.said(id, 1) {
				home[id] = n
			}
		}
		if home[id] == nil {
			t.Fatalf("%s was answered %q", id, said)
		}
	}
	lives := map[*node]int{}
	for _, n := range home {
		lives[n]++
	}
	if len(lives) < 2 {
		t.Fatal("all entities live on one node")
	}
	homes := map[string]*exchange{}
	t.Run("X-P29 an entity lives on one node, and callers of both reach it", func(t *testing.T) {
		for id, n := range home {
			for i, by := range []*node{nodes[0], nodes[1], nodes[0]} {
				if got, want := write(t, by, id, i+2), n.ledger.said(id, int64(i+2)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			x, streams := n.last(t, id)
			if streams != 1 {
				t.Fatalf("%s had %d streams where it lives, want 1", id, streams)
			}
			homes[id] = x
			x.given(t, n.eventInit(eventSourcedFirst, id))
			for i := range 4 {
				c := n.command(t, modelES, id, int64(i+1), nil)
				c.Payload = request(id, i+1)
				x.given(t, eventCommand(c))
			}
			for _, other := range nodes {
				if _, streams := other.last(t, id); other != n && streams > 0 {
					t.Errorf("%s had a stream where it does not live", id)
				}
			}
		}
	})
	t.Run("X-P30 an entity moves", func(t *testing.T) {
		gone, left := nodes[0], nodes[1]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := gone.host.Daprd.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		for id, n := range home {
			if n != gone {
				continue
			}
			if got, want := write(t, left, id, 5), left.ledger.said(id, 5); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if homes[id] == nil {
				t.Fatalf("where %s lived is not known", id)
			}
			homes[id].closes(t, 20*time.Second)
			y, streams := left.last(t, id)
			if streams != 1 {
				t.Fatalf("%s had %d streams where it lives now, want 1", id, streams)
			}
			y.given(t, left.eventInit(eventSourcedFirst, id))
			for i := range 4 {
				y.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
					Sequence: int64(i + 1), Payload: request(id, i+1),
				}}})
			}
			c := left.command(t, modelES, id, 1, nil)
			c.Payload = request(id, 5)
			y.given(t, eventCommand(c))
		}
		gone.ledger.clean(t)
		left.ledger.clean(t)
	})
}
