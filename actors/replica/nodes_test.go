package replica_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

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

// Whatever two user functions say, and whenever, each is told what a plain value can take, and both come to the same.
func TestDeltaAppliesCleanlyToPlainValue(t *testing.T) {
	t.Parallel()
	for _, kind := range crdttest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			sites(t, 2, func(t *testing.T, s []*site) {
				run := 0
				rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // rapid asks a testing.T for its deadline, which a bubble forbids
					run++
					talk(t, s, kind, fmt.Sprint("e", run))
				})
			})
		})
	}
}

// talk has the user functions of an entity say what is drawn, while others do.
func talk(t *rapid.T, s []*site, kind crdt.Kind, id string) {
	// One command is kept open at each, so that there is a session with a number to answer.
	watches := []*caller{s[0].open(to(id, "Watch"), nil), s[1].open(to(id, "Watch"), nil)}
	time.Sleep(time.Second)
	streams := []*stream{s[0].latest(id), s[1].latest(id)}
	for _, in := range streams {
		in.says(s[0].T, accept(1))
	}
	// The host holds commands back from a user function that is to be told something first, so which ones are without an
	// answer is asked of the stream.
	last := []int64{1, 1} // command of each that was answered, or taken up into open
	open := make([][]int64, len(s))
	given := func(k int) []int64 {
		synctest.Wait()
		for now := streams[k].number(); last[k] < now; {
			last[k]++
			open[k] = append(open[k], last[k])
		}
		return open[k]
	}
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		k := rapid.IntRange(0, len(s)-1).Draw(t, "site")
		switch in := streams[k]; rapid.SampledFrom([]string{"command", "answer", "answer", "wait"}).Draw(t, "step") {
		case "command":
			s[k].command(to(id, "Do"))
		case "answer":
			if len(given(k)) == 0 {
				continue
			}
			n := rapid.IntRange(0, len(open[k])-1).Draw(t, "which")
			in.mu.Lock()
			u := crdttest.DrawUpdate(t, kind, in.value)
			in.mu.Unlock()
			in.says(s[k].T, replica.Answer{Kind: replica.Replied, Number: open[k][n], Write: &replica.Write{Update: u}})
			open[k] = slices.Delete(open[k], n, n+1)
		case "wait":
			time.Sleep(time.Duration(rapid.IntRange(1, 50).Draw(t, "ms")) * time.Millisecond)
		}
	}
	for k, in := range streams {
		for len(given(k)) > 0 {
			in.says(s[k].T, replica.Answer{Kind: replica.Replied, Number: open[k][0]})
			open[k] = open[k][1:]
			time.Sleep(time.Second) // then comes one that was held back
		}
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()
	var values []string
	for _, in := range streams {
		for _, text := range in.updates() {
			if strings.HasPrefix(text, "which cannot be") {
				t.Errorf("a user function was told %q", in.updates())
			}
		}
		in.mu.Lock()
		values = append(values, in.value.String())
		in.mu.Unlock()
	}
	if kind != crdt.Vote && !strings.Contains(values[0], "self ") && values[0] != values[1] {
		t.Errorf("one user function has %s, the other %s", values[0], values[1])
	}
	for _, w := range watches {
		w.cancel()
	}
	synctest.Wait()
	for _, in := range streams {
		in.says(s[0].T, replica.Answer{Kind: replica.CancelledToo, Number: 1})
	}
}
