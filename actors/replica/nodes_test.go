package replica_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
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
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
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

// What one user function says, that of another node is told, as what it lacks; its own is not.
func TestOwnOpNotEchoed(t *testing.T) {
	t.Parallel()
	ormap := func(u crdt.Update) *crdt.Update { u.Kind = crdt.ORMap; return &u }
	for _, x := range []struct {
		name string
		// says is said here, one after the other; the other is told the whole first, then this.
		says []*crdt.Update
		told []string
		// here is what is told to who said it, since the clock decided otherwise.
		here []string
	}{
		{"gcounter", []*crdt.Update{{Kind: crdt.GCounter, Increment: 2}, {Kind: crdt.GCounter, Increment: 1 << 63}},
			[]string{"GCounter(+2)", "GCounter(+9223372036854775808)"}, nil},
		{"pncounter", []*crdt.Update{{Kind: crdt.PNCounter, Change: 5}, {Kind: crdt.PNCounter, Change: -8}}, []string{"PNCounter(+5)", "PNCounter(-8)"}, nil},
		{"gset", []*crdt.Update{set(crdt.Update{Kind: crdt.GSet}, false, "", "a"), set(crdt.Update{Kind: crdt.GSet}, false, "", "bc")},
			[]string{"GSet( +a)", "GSet( +b +c)"}, nil},
		{"orset, added and removed", []*crdt.Update{orset("", "12"), orset("2", "3")}, []string{"ORSet( +1 +2)", "ORSet( -2 +3)"}, nil},
		{"orset, cleared", []*crdt.Update{orset("", "12"), set(crdt.Update{Kind: crdt.ORSet}, true, "", "")}, []string{"ORSet( +1 +2)", "ORSet(clear;)"}, nil},
		{"flag", []*crdt.Update{{Kind: crdt.Flag}, {Kind: crdt.Flag, On: true}}, []string{"Flag(false)", "Flag(true)"}, nil},
		{"register", []*crdt.Update{register("a", crdt.ClockDefault, 0), register("b", crdt.ClockDefault, 0)},
			[]string{"LWWRegister(a, clock 0 0)", "LWWRegister(b, clock 0 0)"}, nil},
		{"register, the first wins", []*crdt.Update{register("a", crdt.ClockReverse, 0), register("b", crdt.ClockReverse, 0)},
			[]string{"LWWRegister(a, clock 0 0)"}, []string{"LWWRegister(a, clock 0 0)"}},
		{"register, a lower clock", []*crdt.Update{register("a", crdt.ClockCustom, 7), register("b", crdt.ClockCustom, 6)},
			[]string{"LWWRegister(a, clock 0 0)"}, []string{"LWWRegister(a, clock 0 0)"}},
		{"register, a clock that counts", []*crdt.Update{register("a", crdt.ClockAutoIncrement, 7), register("b", crdt.ClockAutoIncrement, 6)},
			[]string{"LWWRegister(a, clock 0 0)", "LWWRegister(b, clock 0 0)"}, nil},
		{"vote", []*crdt.Update{{Kind: crdt.Vote}, {Kind: crdt.Vote, Self: true}}, []string{"Vote(false, 0 of 2)", "Vote(false, 1 of 2)"},
			[]string{"Vote(false, 0 of 2)"}}, // from there on it can count itself
		{"ormap", []*crdt.Update{
			ormap(crdt.Update{Put: entry("k", &crdt.Update{Kind: crdt.GCounter, Increment: 5})}),
			ormap(crdt.Update{Changed: entry("k", &crdt.Update{Kind: crdt.GCounter, Increment: 2})}),
			ormap(crdt.Update{Removed: []crdt.Key{crdttest.Element("k")}, Put: entry("k", &crdt.Update{Kind: crdt.PNCounter, Change: 1})}),
			ormap(crdt.Update{Cleared: true}),
		}, []string{"ORMap( k=GCounter(+5))", "ORMap( k~GCounter(+2))", "ORMap( -k k=PNCounter(+1))", "ORMap(clear;)"}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			sites(t, 2, func(t *testing.T, s []*site) {
				s[0].do("e", 1, x.says[0])
				settle()
				watch := s[1].open(to("e", "Watch"), nil)
				s[1].stream(1).says(t, accept(1))
				for _, u := range x.says[1:] {
					s[0].do("e", 1, u)
					settle()
				}
				watch.gets(false, "accepted")
				s[1].stream(1).wasTold(t, x.told...)
				s[0].stream(1).wasTold(t, append([]string{"nothing"}, x.here...)...)
			})
		})
	}
}

// While a user function is busy it is told nothing; then it is told everything at once, and in the cheapest way.
func TestSecondStreamSeesFirstStreamsOp(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, start string
		says        []*crdt.Update
		told        []string
	}{
		{"OneCrdtDeltaPerFlush", "12", []*crdt.Update{orset("", "3"), orset("1", ""), orset("", "4")}, []string{"ORSet( -1 +3 +4)"}},
		{"AddThenRemoveBetweenFlushesSendsNothing", "12", []*crdt.Update{orset("", "3"), orset("3", "")}, nil},
		{"SlowStreamGetsClearedPlusFull", "123", []*crdt.Update{orset("1", ""), orset("2", "")}, []string{"ORSet(clear; +3)"}},
		{"ReplacedIsClearedPlusFull", "12", []*crdt.Update{orset("12", "3")}, []string{"ORSet(clear; +3)"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			sites(t, 2, func(t *testing.T, s []*site) {
				s[0].do("e", 1, orset("", x.start))
				settle()
				busy := s[1].command(to("e", "Slow"))
				in := s[1].stream(1)
				first := in.updates()
				for _, u := range x.says {
					s[0].do("e", 1, u)
					settle()
				}
				in.wasTold(t, first...)
				in.says(t, reply(1, "done"))
				busy.gets(true, "done")
				in.wasTold(t, append(first, x.told...)...)
			})
		})
	}
}

// What a user function removes while it is busy is what it was told, and what it added itself.
func TestAddThenRemoveWhileBusyRemoves(t *testing.T) {
	t.Parallel()
	sites(t, 2, func(t *testing.T, s []*site) {
		s[0].do("e", 1, orset("", "a"))
		settle()
		one, two := s[1].command(to("e", "A")), s[1].command(to("e", "B"))
		in := s[1].stream(1)
		s[0].do("e", 1, orset("", "b"))
		s[0].do("e", 1, orset("a", ""))
		s[0].do("e", 1, orset("", "a")) // again, unseen by the other
		settle()
		say := func(number int64, u *crdt.Update) {
			in.says(t, replica.Answer{Kind: replica.Replied, Number: number, Write: &replica.Write{Update: u}})
		}
		say(1, orset("", "x"))
		say(2, orset("abx", "")) // it was told of a, and added x; it cannot know of b
		one.gets(true, "nothing")
		two.gets(true, "nothing")
		settle()
		in.wasTold(t, "ORSet( +a)", "ORSet( +a +b)")
		s[0].stream(1).wasTold(t, "nothing")
	})
}

// Who votes is told when the members change, whatever he does.
func TestVoteMembershipChangePushed(t *testing.T) {
	t.Parallel()
	sites(t, 3, func(t *testing.T, s []*site) {
		s[0].do("e", 1, &crdt.Update{Kind: crdt.Vote, Self: true})
		settle()
		n := s[0].network
		n.mu.Lock()
		n.absent = 1
		n.view++
		close(n.changed)
		n.changed = make(chan struct{})
		n.mu.Unlock()
		settle()
		s[0].stream(1).wasTold(t, "nothing", "Vote(true, 1 of 3)", "Vote(true, 1 of 2)")
	})
}

// What the replicas refuse is the user function's mistake, and costs it the session.
func TestIncompatibleUpdates(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name       string
		first, bad *crdt.Update
		code       actors.Code
	}{
		{"another kind", &crdt.Update{Kind: crdt.GCounter, Increment: 1}, &crdt.Update{Kind: crdt.PNCounter, Change: 1}, actors.Unknown},
		{"an overflow", &crdt.Update{Kind: crdt.GCounter, Increment: 1<<64 - 1}, &crdt.Update{Kind: crdt.GCounter, Increment: 1}, actors.OutOfRange},
		{"a large element", orset("", "a"), &crdt.Update{Kind: crdt.ORSet, Added: []crdt.Key{crdt.MakeKey("x/y", make([]byte, 64<<10))}}, actors.ResourceExhausted},
		{"no clock", register("a", crdt.ClockCustom, 1<<63-1), register("b", crdt.ClockAutoIncrement, 0), actors.OutOfRange},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			sites(t, 1, func(t *testing.T, s []*site) {
				s[0].do("e", 1, x.first)
				w := s[0].command(to("e", "Bad"))
				err := s[0].stream(1).Answer(replica.Answer{Kind: replica.Replied, Number: 2, Write: &replica.Write{Update: x.bad}})
				if actors.CodeOf(err) != x.code {
					t.Errorf("got %v (%s)", err, actors.CodeOf(err))
				}
				w.fails(x.code, "Bad to shop.Counter/e", "nothing came of it")
				next := s[0].command(to("e", "Get"))
				if got := s[0].stream(2).updates(); len(got) != 1 || got[0] == "nothing" {
					t.Errorf("what was there is gone: %q", got)
				}
				s[0].stream(2).says(t, reply(1, "ok"))
				next.gets(true, "ok")
			})
		})
	}
}

// A deleted entity begins anew; whoever else has it open is told that it is gone.
func TestDeleteBetweenNodes(t *testing.T) {
	t.Parallel()
	sites(t, 2, func(t *testing.T, s []*site) {
		s[0].do("e", 1, orset("", "a"))
		settle()
		watch := s[1].open(to("e", "Watch"), nil)
		s[1].stream(1).says(t, accept(1))
		w := s[0].command(to("e", "Delete"))
		a := deleting(reply(2, "bye"))
		a.Write.Level = replica.All
		s[0].stream(1).says(t, a)
		settle()
		w.gets(true, "bye")
		watch.fails(actors.Aborted, "was deleted")
		s[1].stream(1).hears(t, "init ORSet( +a)", "Watch=1*", "delete", "close")
		s[1].do("e", 2, orset("", "b"))
		settle()
		get := s[0].command(to("e", "Get"))
		s[0].stream(2).says(t, reply(1, "ok"))
		get.gets(true, "ok")
		s[0].stream(2).wasTold(t, "ORSet( +b)")
	})
}

// A level that the others do not confirm in time costs the reply, not the write, and not the session.
func TestTimeoutKeepsWriteAndStream(t *testing.T) {
	t.Parallel()
	sites(t, 3, func(t *testing.T, s []*site) {
		for _, o := range s {
			o.do("e", 1, &crdt.Update{Kind: crdt.GCounter, Increment: 1})
		}
		settle()
		cut := func(is bool) {
			s[0].network.mu.Lock()
			s[2].cut = is
			s[0].network.mu.Unlock()
		}
		cut(true)
		say := func(level replica.Level) *caller {
			w := s[0].command(to("e", "Add"))
			in := s[0].stream(1)
			in.says(t, replica.Answer{Kind: replica.Replied, Number: in.number(), Outcome: says("added"), Write: &replica.Write{Update: &crdt.Update{Kind: crdt.GCounter, Increment: 10}, Level: level}})
			settle()
			return w
		}
		say(replica.Majority).gets(true, "added")
		say(replica.All).gets(true, "F:what Add does to shop.Counter/e was applied on this node, not confirmed at the level all; look at the entity before you repeat it")
		cut(false)
		settle()
		say(replica.All).gets(true, "added")
		s[2].stream(1).wants(t, crdt.GCounter, "counts 33")
	})
}
