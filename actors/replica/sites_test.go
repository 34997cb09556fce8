package replica_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// site is one node with its host and its user function.
type site struct {
	*bench
	node    *node.Node
	self    slot.Member
	network *network
	deliver func([]byte)
	answer  func(context.Context, []byte) ([]byte, error)
	cut     bool
}

// network joins sites, and says who the members are.
type network struct {
	mu      sync.Mutex
	sites   []*site
	view    uint64
	absent  int // so many of the last ones are no members
	changed chan struct{}
}

func (s *site) Standing() node.Standing {
	n := s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	at := node.Standing{Cluster: 1, Self: s.self, Valid: func() bool { return true }, View: n.view}
	for _, o := range n.sites[:len(n.sites)-n.absent] {
		at.Members = append(at.Members, o.self)
	}
	return at
}

func (s *site) Changed() <-chan struct{} {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.network.changed
}

func (s *site) Refresh(context.Context) error              { return nil }
func (s *site) Confirm(context.Context, slot.Member) error { return nil }

// bus and peers of a site.
type (
	bus   struct{ *site }
	peers struct{ *site }
)

func (b bus) Publish(_ context.Context, batch []byte) error {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	for _, o := range b.network.sites {
		if o != b.site && !o.cut && !b.cut && o.deliver != nil {
			o.deliver(batch)
		}
	}
	return nil
}

func (b bus) Run(ctx context.Context, deliver func([]byte)) error {
	b.network.mu.Lock()
	b.deliver = deliver
	b.network.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (p peers) Ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error) {
	p.network.mu.Lock()
	o := p.network.sites[to.Slot]
	answer, cut := o.answer, o.cut || p.cut
	p.network.mu.Unlock()
	if cut || answer == nil {
		return nil, errBroken
	}
	return answer(ctx, request)
}

func (p peers) Run(ctx context.Context, answer func(context.Context, []byte) ([]byte, error)) error {
	p.network.mu.Lock()
	p.answer = answer
	p.network.mu.Unlock()
	<-ctx.Done()
	return nil
}

// sites runs so many nodes on one journal, inside a synctest bubble.
func sites(t *testing.T, count int, test func(t *testing.T, s []*site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		cells := memory.Open()
		defer cells.Close()
		n := &network{view: 1, changed: make(chan struct{})}
		for k := range count {
			n.sites = append(n.sites, &site{self: slot.Member{Slot: crdt.Slot(k), Epoch: 1}, network: n})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var nodes, hosts sync.WaitGroup
		run := func(group *sync.WaitGroup, ctx context.Context, run func(context.Context) error) {
			group.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		below, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		for _, s := range n.sites {
			config := node.Config{Cells: cells, Membership: s, Partitions: 1}
			if count > 1 {
				config.Bus, config.Peers = bus{s}, peers{s}
			}
			node, err := node.New(config)
			if err != nil {
				t.Fatal(err)
			}
			h, err := replica.New(replica.Config{Replicas: node, Log: log, Idle: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.node, s.bench = node, &bench{Host: h, T: t, author: &author{}}
			s.serve()
			run(&nodes, below, node.Run)
			run(&hosts, ctx, h.Run)
		}
		defer func() {
			cancel()
			hosts.Wait()
			stop()
			nodes.Wait()
		}()
		test(t, n.sites)
	})
}

// do has the user function of an entity say something, in one command.
func (s *site) do(id string, n int, u *crdt.Update) {
	s.Helper()
	w := s.command(to(id, "Do"))
	time.Sleep(time.Second) // others may be asked for what they know
	in := s.stream(n)
	in.says(s.T, replica.Answer{Kind: replica.Replied, Number: in.number(), Write: &replica.Write{Update: u}})
	w.gets(true, "nothing")
}

// number of the last command.
func (s *stream) number() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.commands)
}

// settle waits until everybody knows everything.
func settle() { time.Sleep(time.Minute / 4); synctest.Wait() }

// told are the values and updates that a stream was told.
func (s *stream) updates() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func (s *stream) wasTold(t *testing.T, want ...string) {
	t.Helper()
	if got := s.updates(); !slices.Equal(got, want) {
		t.Errorf("the user function was told %q, want %q", got, want)
	}
}

func set(u crdt.Update, cleared bool, removed, added string) *crdt.Update {
	u.Cleared = cleared
	for _, c := range removed {
		u.Removed = append(u.Removed, crdttest.Element(string(c)))
	}
	for _, c := range added {
		u.Added = append(u.Added, crdttest.Element(string(c)))
	}
	return &u
}

func orset(removed, added string) *crdt.Update {
	return set(crdt.Update{Kind: crdt.ORSet}, false, removed, added)
}

func register(value string, clock crdt.Clock, custom int64) *crdt.Update {
	return &crdt.Update{Kind: crdt.LWWRegister, Value: crdttest.Element(value), Clock: clock, Custom: custom}
}

func entry(key string, u *crdt.Update) []crdt.Entry {
	return []crdt.Entry{{Key: crdttest.Element(key), Update: u}}
}

// wants the value that the stream was told and said altogether.
func (s *stream) wants(t *testing.T, kind crdt.Kind, want string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.value.String(); got != want {
		t.Errorf("the user function believes that it %s, want %s (%s)", got, want, kind)
	}
}

// latest session of an entity.
func (s *site) latest(id string) *stream {
	synctest.Wait()
	s.author.mu.Lock()
	defer s.author.mu.Unlock()
	for _, in := range slices.Backward(s.author.streams) {
		if in.Ref.ID == id {
			return in
		}
	}
	s.Fatalf("%s has no session", id)
	return nil
}
