package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
)

func TestServe(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.command(actors.Command{Ref: actors.Ref{Service: "shop.Other", ID: "c"}}).fails(actors.Unimplemented, "there are shop.Counter")
		b.command(to("", "A")).fails(actors.InvalidArgument)
		idle := b.command(to("idle", "A"))
		b.stream(1).says(t, reply(1, "ok"))
		idle.gets(true, "ok")
		watcher, waiting := b.open(to("c", "W"), nil), b.command(to("c", "A"))
		s := b.stream(2)
		s.says(t, accept(1))
		b.serve() // the same again
		s.hears(t, "init", "W=1*", "A=2")
		before := b.author
		b.author = &author{}
		b.serve()
		watcher.fails(actors.Unavailable, "its service was replaced")
		before.streams[0].hears(t, "init", "A=1", "close")
		next := b.command(to("c", "B"))
		s.hears(t, "init", "W=1*", "A=2", "cancel 1")
		s.says(t, node.Answer{Kind: node.CancelledToo, Number: 1})
		s.says(t, reply(2, "old"))
		waiting.gets(true, "old")
		s.hears(t, "init", "W=1*", "A=2", "cancel 1", "close")
		b.stream(1).says(t, reply(1, "new"))
		next.gets(true, "new")
		b.Serve(nil)
		b.command(to("c", "A")).fails(actors.Unimplemented, "was not discovered")
		b.stream(1).hears(t, "init", "B=1", "close")
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		watcher, waiting := b.open(to("c", "W"), nil), b.command(to("c", "A"))
		s := b.stream(1)
		s.says(t, accept(1))
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(b.Context()) }()
		synctest.Wait()
		watcher.fails(actors.Unavailable, "shutting down")
		b.command(to("c", "B")).fails(actors.Unavailable, "shutting down")
		s.hears(t, "init", "W=1*", "A=2", "cancel 1")
		// The user function takes leave of the caller.
		a := with(node.Answer{Kind: node.CancelledToo, Number: 1}, -1, replica.Local)
		a.Outcome = effect(actors.Outcome{}, "Left")
		s.says(t, a)
		b.leaves("W Left")
		s.says(t, reply(2, "last"))
		waiting.gets(true, "last")
		if err := <-drained; err != nil || b.copies.value("c") != -1 {
			t.Error(err, b.copies.value("c"))
		}
		s.hears(t, "init", "W=1*", "A=2", "cancel 1", "close")
	})
	host(t, nil, func(b *bench) {
		waiting := b.command(to("c", "A"))
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 commands are left") {
			t.Error(err)
		}
		b.stop()
		waiting.fails(actors.Unavailable, "given up")
		if err := b.Host.Run(b.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

func TestPassivation(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.command(to("c", "A"))
		s := b.stream(1)
		time.Sleep(40 * time.Second)
		s.says(t, with(reply(1, "ok"), 3, replica.Local))
		w.gets(true, "ok")
		time.Sleep(20 * time.Second)
		b.copies.change("c", 1) // that others use it does not keep it here
		s.hears(t, "init", "A=1", "update +1")
		time.Sleep(11 * time.Second)
		s.hears(t, "init", "A=1", "update +1", "close")
		stays := b.open(to("c", "W"), nil)
		s = b.stream(2)
		s.says(t, accept(1))
		time.Sleep(time.Hour)
		s.hears(t, "init +4", "W=1*")
		stays.gets(false, "accepted")
		s.says(t, message(1, "over", true))
		time.Sleep(31 * time.Second)
		s.hears(t, "init +4", "W=1*", "close")
		if got := b.Stats(); got != (node.Stats{}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestEviction(t *testing.T) {
	t.Parallel()
	var reasons []string
	host(t, func(c *node.Config) {
		c.MaxResident = 2
		c.Observer.Passivated = func(_ string, r node.Reason) { reasons = append(reasons, string(r)) }
	}, func(b *bench) {
		b.author.answer = func(s *stream, number int64, _ *actors.Command) { s.says(t, reply(number, "ok")) }
		for _, id := range []string{"a", "b", "a", "c"} {
			b.command(to(id, "A")).gets(true, "ok")
		}
		b.stream(2).hears(t, "init", "A=1", "close")
		b.stream(1).hears(t, "init", "A=1", "A=2")
		b.stream(3).hears(t, "init", "A=1")
		if len(reasons) != 1 || reasons[0] != "evicted" {
			t.Error(reasons)
		}
	})
	host(t, func(c *node.Config) { c.MaxResident = -1 }, func(b *bench) {
		b.author.answer = func(s *stream, number int64, _ *actors.Command) { s.says(t, reply(number, "ok")) }
		b.command(to("a", "A")).gets(true, "ok")
		b.stream(1).hears(t, "init", "A=1", "close")
	})
}
