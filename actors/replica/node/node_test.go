package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// hub connects Nodes of this process.
type hub struct {
	mu    sync.Mutex
	buses map[*port]func([]byte)
	peers map[string]func(context.Context, []byte) ([]byte, error)
}

func newHub() *hub {
	return &hub{buses: map[*port]func([]byte){}, peers: map[string]func(context.Context, []byte) ([]byte, error){}}
}

// port is one Node's Bus and Peers.
type port struct {
	hub     *hub
	address string
}

type portPeers port

func (p *port) Publish(_ context.Context, batch []byte) error {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	for _, deliver := range p.hub.buses {
		deliver(slices.Clone(batch))
	}
	return nil
}

func (p *port) Run(ctx context.Context, deliver func([]byte)) error {
	p.hub.mu.Lock()
	p.hub.buses[p] = deliver
	p.hub.mu.Unlock()
	<-ctx.Done()
	p.hub.mu.Lock()
	delete(p.hub.buses, p)
	p.hub.mu.Unlock()
	return ctx.Err()
}

func (p *portPeers) Ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	p.hub.mu.Lock()
	answer := p.hub.peers[to.Address]
	p.hub.mu.Unlock()
	if answer == nil {
		return nil, fmt.Errorf("nobody is at %s", to.Address)
	}
	return answer(ctx, slices.Clone(request))
}

func (p *portPeers) Run(ctx context.Context, answer func(context.Context, []byte) ([]byte, error)) error {
	p.hub.mu.Lock()
	p.hub.peers[p.address] = answer
	p.hub.mu.Unlock()
	<-ctx.Done()
	p.hub.mu.Lock()
	delete(p.hub.peers, p.address)
	p.hub.mu.Unlock()
	return ctx.Err()
}

// member is a Node that runs, and its group.
type member struct {
	*node.Node
	stop func() error
}

// start runs a Node until the test ends or stop is called. A nil hub makes it the only one.
func start(t *testing.T, cells journal.Cells, h *hub, address string, change func(*node.Config)) *member {
	t.Helper()
	group, err := slot.New(slot.Config{Cells: cells, Group: "test", Address: address, TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	// Many tests run at once, and what is asked of a write here is not its speed.
	config := node.Config{Cells: cells, Membership: node.MembersOf(group), Partitions: 4, Timeout: 30 * time.Second}
	if h != nil {
		p := &port{h, address}
		config.Bus, config.Peers = p, (*portPeers)(p)
	}
	if change != nil {
		change(&config)
	}
	node, err := node.New(config)
	if err != nil {
		t.Fatal(err)
	}
	var works sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	leave, left := context.WithCancel(context.Background())
	var failed error
	works.Go(func() { _ = group.Run(leave) })
	works.Go(func() {
		defer left()
		failed = node.Run(ctx)
	})
	var once sync.Once
	m := &member{Node: node, stop: func() error {
		once.Do(func() {
			cancel()
			works.Wait()
		})
		return failed
	}}
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Errorf("the node at %s ended: %v", address, err)
		}
	})
	wait, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	if _, err := group.Acquire(wait); err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t *testing.T, m *member, id string, changed func()) replica.Replica {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if changed == nil {
		changed = func() {}
	}
	r, err := m.Open(ctx, actors.Ref{Service: "test", ID: id}, changed)
	if err != nil {
		t.Fatal(err)
	}
	r.Begin()
	return r
}

// write waits until an update is as safe as level says.
func write(t *testing.T, r replica.Replica, u *crdt.Update, level replica.Level) {
	t.Helper()
	done := make(chan error, 1)
	eventually(t, func() bool { // a node that has just got its slot may not know yet
		err := r.Update(u, level, func(err error) { done <- err })
		if err != nil && !errors.Is(err, replica.ErrReadOnly) {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("that has not come true")
		}
	}
}

func counter(by uint64) *crdt.Update { return &crdt.Update{Kind: crdt.GCounter, Increment: by} }

func count(r replica.Replica) uint64 {
	if u := r.Value(); u != nil {
		return u.Increment
	}
	return 0
}

func TestSingleNodeKeepsWhatItWrote(t *testing.T) {
	t.Parallel()
	cells := memory.Open()
	for _, level := range []replica.Level{replica.Local, replica.Majority, replica.All} {
		first := start(t, cells, nil, "", nil)
		r := open(t, first, "e/"+level.String(), nil)
		for range 10 {
			write(t, r, counter(1), level)
		}
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		second := start(t, cells, nil, "", nil)
		if got := count(open(t, second, "e/"+level.String(), nil)); got != 10 {
			t.Errorf("%v: the counter is %d after a restart, want 10", level, got)
		}
		if err := second.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// A single node that was killed is in the view for a while, and must not be waited for.
func TestSingleNodeDoesNotWaitForItsPast(t *testing.T) {
	t.Parallel()
	cells := memory.Open()
	group, err := slot.New(slot.Config{Cells: cells, Group: "test", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var works sync.WaitGroup
	works.Go(func() { _ = group.Run(ctx) })
	defer works.Wait()
	defer cancel()
	if _, err := group.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := open(t, start(t, cells, nil, "", nil), "e", nil)
	for _, level := range []replica.Level{replica.Local, replica.Majority, replica.All} {
		write(t, r, counter(1), level)
	}
}

func TestNodesShareWrites(t *testing.T) {
	t.Parallel()
	cells, h := memory.Open(), newHub()
	var nodes []*member
	var replicas []replica.Replica
	told := make(chan struct{}, 1000)
	for i := range 3 {
		m := start(t, cells, h, fmt.Sprint(i), nil)
		nodes = append(nodes, m)
		replicas = append(replicas, open(t, m, "shared", func() { told <- struct{}{} }))
	}
	const writes = 200
	var works sync.WaitGroup
	for i, r := range replicas {
		works.Go(func() {
			for j := range writes {
				write(t, r, counter(1), replica.Level((i+j)%3))
			}
		})
	}
	works.Wait()
	for _, r := range replicas {
		eventually(t, func() bool { return count(r) == 3*writes })
	}
	if len(told) == 0 {
		t.Error("nobody was told of a change")
	}
	// A write that all confirmed is seen by all at once.
	for i := range 20 {
		write(t, replicas[i%3], counter(1), replica.All)
		for j, r := range replicas {
			if got := count(r); got != uint64(3*writes+i+1) {
				t.Fatalf("write %d, which all confirmed: node %d has %d", i, j, got)
			}
		}
	}
	// Who leaves takes nothing along.
	write(t, replicas[0], counter(1), replica.Local)
	if err := nodes[0].stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return count(replicas[1]) == 3*writes+21 })
	late := start(t, cells, h, "late", nil)
	if got := count(open(t, late, "shared", nil)); got != 3*writes+21 {
		t.Errorf("who came late has %d", got)
	}
}

func TestBigEntityTravelsAndRests(t *testing.T) {
	t.Parallel()
	cells, h := memory.Open(), newHub()
	small := func(c *node.Config) { c.EntryBytes, c.BatchBytes, c.ChunkBytes = 4<<10, 2<<10, 16<<10 }
	a, b := start(t, cells, h, "a", small), start(t, cells, h, "b", small)
	ra, rb := open(t, a, "big", nil), open(t, b, "big", nil)
	u := &crdt.Update{Kind: crdt.ORSet}
	for i := range 20_000 {
		u.Added = append(u.Added, crdt.MakeKey("t", fmt.Appendf(nil, "element number %d", i)))
	}
	write(t, ra, u, replica.All)
	if got := len(rb.Value().Added); got != len(u.Added) {
		t.Fatalf("the other node has %d elements", got)
	}
	write(t, rb, &crdt.Update{Kind: crdt.ORSet, Removed: u.Added[:5]}, replica.Local) // not seen: removes nothing
	if v, _ := rb.Flush(); len(v.Added) != len(u.Added) {
		t.Fatalf("the other user function is told %d elements", len(v.Added))
	}
	write(t, rb, &crdt.Update{Kind: crdt.ORSet, Removed: u.Added[:5]}, replica.All)
	if got := len(ra.Value().Added); got != len(u.Added)-5 {
		t.Fatalf("%d elements are left", got)
	}
	if a.stop() != nil || b.stop() != nil {
		t.Fatal("stopping")
	}
	c := start(t, cells, h, "c", small)
	if got := len(open(t, c, "big", nil).Value().Added); got != len(u.Added)-5 {
		t.Fatalf("%d elements are left after a restart of all", got)
	}
}

func TestDeletedAndCreatedAgain(t *testing.T) {
	t.Parallel()
	cells, h := memory.Open(), newHub()
	a, b := start(t, cells, h, "a", nil), start(t, cells, h, "b", nil)
	ra, rb := open(t, a, "d", nil), open(t, b, "d", nil)
	write(t, ra, counter(5), replica.All)
	done := make(chan error, 1)
	if err := rb.Delete(replica.All, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Flush(); !errors.Is(err, replica.ErrDeleted) {
		t.Error("the other user function is not told of the deletion")
	}
	if err := ra.Update(counter(1), replica.Local, nil); !errors.Is(err, replica.ErrDeleted) {
		t.Errorf("writing to a deleted entity: %v", err)
	}
	ra.Close()
	rb.Close()
	ra = open(t, a, "d", nil)
	write(t, ra, counter(2), replica.All)
	rb = open(t, b, "d", nil)
	if x, y := count(ra), count(rb); x != 2 || y != 2 {
		t.Errorf("created again it is %d and %d, want 2", x, y)
	}
}

func TestNodeRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	if _, err := node.New(node.Config{Partitions: -1, Loads: -2}); err == nil {
		t.Error("a configuration without cells and with negative numbers is taken")
	}
	m := start(t, memory.Open(), nil, "", func(c *node.Config) { c.Partitions, c.Residents = 1, 2 })
	for _, ref := range []actors.Ref{{Service: "s"}, {ID: "i"}, {Service: "s", ID: string(make([]byte, 2000))}, {Service: "s", ID: "\xff"}} {
		if _, err := m.Open(t.Context(), ref, func() {}); actors.CodeOf(err) != actors.InvalidArgument {
			t.Errorf("opening %q: %v", ref.ID, err)
		}
	}
	r := open(t, m, "1", nil)
	open(t, m, "2", nil)
	if _, err := m.Open(t.Context(), actors.Ref{Service: "test", ID: "1"}, func() {}); err == nil {
		t.Error("a replica is open twice")
	}
	if _, err := m.Open(t.Context(), actors.Ref{Service: "test", ID: "3"}, func() {}); actors.CodeOf(err) != actors.ResourceExhausted {
		t.Errorf("opening one too many: %v", err)
	}
	r.Close()
	r.Close()
	open(t, m, "3", nil)
	if err := r.Update(counter(1), replica.Local, nil); err == nil {
		t.Error("a closed replica takes writes")
	}
}
