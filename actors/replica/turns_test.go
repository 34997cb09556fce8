package replica_test

import (
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
)

// The first cases of Cloudstate's CrdtEntitySpec: what others change while a command is open is told after it, at once,
// or not at all if it comes to nothing.
func TestNoDeltaWhileCommandOutstanding(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name    string
		level   replica.Level
		changes []int64
		then    []string
	}{
		{name: "changes that cancel out", changes: []int64{3, -3}},
		{name: "changes that add up", changes: []int64{3, 6}, then: []string{"update +9"}},
		{name: "at the level all", level: replica.All, changes: []int64{3, 6}, then: []string{"update +9"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			host(t, nil, func(b *bench) {
				b.copies.change("c", 5)
				w := b.command(to("c", "Add"))
				s := b.stream(1)
				for _, by := range x.changes {
					b.copies.change("c", by)
				}
				s.hears(t, "init +5", "Add=1")
				w.gets(false)
				s.says(t, with(reply(1, "done"), 2, x.level))
				w.gets(true, "done")
				s.hears(t, append([]string{"init +5", "Add=1"}, x.then...)...)
			})
		})
	}
}

func TestDeltaOfWhatHadNoState(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.command(to("c", "Get"))
		s := b.stream(1)
		s.says(t, reply(1, "none"))
		w.gets(true, "none")
		b.copies.change("c", 3)
		s.hears(t, "init", "Get=1", "update +3")
	})
}

func TestNoDeltaUntilTheLastCommandIsAnswered(t *testing.T) {
	t.Parallel()
	for _, level := range []replica.Level{replica.Local, replica.All} {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			host(t, nil, func(b *bench) {
				b.copies.change("c", 5)
				first, second := b.command(to("c", "A")), b.command(to("c", "B"))
				s := b.stream(1)
				b.copies.change("c", 3)
				s.says(t, with(reply(1, "a"), 2, level))
				b.copies.change("c", 6)
				first.gets(true, "a")
				s.hears(t, "init +5", "A=1", "B=2")
				s.says(t, reply(2, "b"))
				second.gets(true, "b")
				s.hears(t, "init +5", "A=1", "B=2", "update +9")
			})
		})
	}
}

func TestStreamedCommand(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.open(to("c", "Watch"), nil)
		s := b.stream(1)
		s.says(t, accept(1))
		w.gets(false, "accepted")
		s.says(t, message(1, "m", false))
		w.gets(false, "accepted", "m")
		s.says(t, message(1, "", true))
		w.gets(true, "accepted", "m", "")
		s.hears(t, "init", "Watch=1*")
	})
}

func TestNoDeltaUntilTheCancellationIsAnswered(t *testing.T) {
	t.Parallel()
	for _, by := range []int64{0, 3} {
		host(t, nil, func(b *bench) {
			b.copies.change("c", 5)
			w := b.open(to("c", "Watch"), nil)
			s := b.stream(1)
			s.says(t, accept(1))
			w.cancel()
			s.hears(t, "init +5", "Watch=1*", "cancel 1")
			b.copies.change("c", 2)
			b.copies.change("c", 6)
			s.hears(t, "init +5", "Watch=1*", "cancel 1")
			a := replica.Answer{Kind: replica.CancelledToo, Number: 1}
			if by != 0 {
				a = with(a, by, replica.Local)
			}
			s.says(t, a)
			s.hears(t, "init +5", "Watch=1*", "cancel 1", "update +8")
			if got := b.copies.value("c"); got != 13+by {
				t.Errorf("the counter is %d", got)
			}
		})
	}
}

// An entity that is never quiet hears of what others do all the same, and one slow command holds nobody up for long.
func TestNewsOfABusyEntity(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.command(to("c", "A"))
		s := b.stream(1)
		b.copies.change("c", 3)
		time.Sleep(50 * time.Millisecond)
		b.command(to("c", "B"))
		s.hears(t, "init", "A=1", "B=2")
		time.Sleep(50 * time.Millisecond)
		b.command(to("c", "C"))
		s.says(t, reply(1, "a"))
		s.hears(t, "init", "A=1", "B=2")
		b.copies.change("c", 1)
		s.says(t, reply(2, "b"))
		s.hears(t, "init", "A=1", "B=2", "update +4", "C=3")
		b.copies.change("c", 1)
		time.Sleep(150 * time.Millisecond)
		slow := b.command(to("c", "D"))
		s.hears(t, "init", "A=1", "B=2", "update +4", "C=3")
		time.Sleep(50 * time.Millisecond)
		s.hears(t, "init", "A=1", "B=2", "update +4", "C=3", "D=4")
		s.says(t, reply(4, "d"))
		slow.gets(true, "d")
		s.hears(t, "init", "A=1", "B=2", "update +4", "C=3", "D=4")
		s.says(t, reply(3, "c"))
		s.hears(t, "init", "A=1", "B=2", "update +4", "C=3", "D=4", "update +1")
	})
	host(t, func(c *replica.Config) { c.Stale = -1 }, func(b *bench) {
		b.command(to("c", "A"))
		b.copies.change("c", 3)
		time.Sleep(time.Second)
		b.command(to("c", "B"))
		b.stream(1).hears(t, "init", "A=1", "B=2")
	})
}
