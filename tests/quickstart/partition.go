package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapr-entities/entities/samples/presence"
	"github.com/dapr-entities/entities/tests/harness"
)

// What the nodes show, in the short form of pictures.
const (
	together = "Ada+1 Bob+0 Cleo+1 Dan-1 Eve-1"
	mainland = "Ada+0 Bob+0 Cleo+1 Dan-1 Eve-1 Fay+0"
	island   = "Ada+3 Bob+2 Cleo+1 Dan+3 Eve-3"
	reunited = "Ada+2 Bob+2 Cleo+1 Dan+3 Eve-3 Fay+0"
)

// before brings people together who are at different nodes.
func (g *gathering) before() error {
	one, two, three := g.nodes[0], g.nodes[1], g.nodes[2]

	g.print.title("People come to the room “tea” at different nodes")
	g.print.note("Each holds the stream of Join open at the gateway of a node, and is told of every change.")

	if err := errors.Join(
		g.join(one, "Ada", "phone"), g.join(two, "Bob", "laptop"), g.join(three, "Cleo", "phone"),
		g.join(two, "Dan", "phone"), g.join(one, "Eve", "laptop"),
	); err != nil {
		return err
	}

	if err := g.meet("Dan", "Eve"); err != nil {
		return err
	}

	g.leave("Dan")
	g.leave("Eve")

	if err := g.do(two, "Bob says something", "Post", presence.Person{Name: "Bob"}); err != nil {
		return err
	}

	return g.shows(together, together, together)
}

// meet waits until everybody has been told that these are here.
func (g *gathering) meet(names ...string) error {
	return g.nodes[0].await(g.ctx, 10*time.Second, func(context.Context) error {
		for _, w := range g.hosts {
			view, err := w.view()
			if err != nil {
				return err
			}

			for _, name := range names {
				if !faceOf(name, view, 0).online {
					return fmt.Errorf("%s has not been told that %s is here", w.visit.Name, name)
				}
			}
		}

		return nil
	})
}

// during cuts a node off, and has both sides go on.
func (g *gathering) during() error {
	one, three := g.nodes[0], g.nodes[2]

	g.print.title("Node 3 is cut off from the database, and so from the others")
	g.print.note("Nobody waits for anybody: both sides take commands, and each shows what it knows.")
	three.cutOff()

	if err := errors.Join(
		g.do(three, "Cleo says something", "Post", presence.Person{Name: "Cleo"}),
		g.do(three, "Cleo says more", "Post", presence.Person{Name: "Cleo"}),
		g.join(three, "Dan", "phone"),
		g.do(one, "Ada reads all", "Read", presence.Person{Name: "Ada"}),
		g.join(one, "Fay", "phone"),
	); err != nil {
		return err
	}

	return g.shows(mainland, mainland, island)
}

// cutForLong waits until the node can no longer be sure to be a member.
func (g *gathering) cutForLong() error {
	three := g.nodes[2]

	g.print.title("It stays cut off")
	g.print.note(fmt.Sprintf("The others count a node as gone after %s (slotTimeout). Before half of it is over, node 3 stops writing.", slotTimeout))

	if err := three.await(g.ctx, slotTimeout, func(ctx context.Context) error {
		err := three.ready(ctx)
		if err != nil && strings.Contains(err.Error(), "cannot write") {
			return nil
		}

		return fmt.Errorf("%s still writes, or something else is wrong: %w", three.name, errors.Join(err, errors.New("it has no slot that is valid")))
	}); err != nil {
		return err
	}

	cleo := presence.Person{Name: "Cleo"}
	g.print.note("A write is refused, and the handler, which had made it, is told that it did not happen. Streams and reading go on.")

	for _, step := range []struct {
		what, command string
		want          func(harness.Response) error
	}{
		{"Cleo says something", "Post", fails("cannot write", "try again")},
		{"Cleo looks", "Look", func(r harness.Response) error { _, err := viewIn(r); return err }},
	} {
		g.says(three, step.what, step.command, cleo)

		response, err := three.command(g.ctx, step.command, encode(cleo))
		if err != nil {
			return fmt.Errorf("%s at %s: %w", step.what, three.name, err)
		}

		g.print.response(response)

		if err := step.want(response); err != nil {
			return fmt.Errorf("%s at %s: unexpected reply: %w", step.what, three.name, err)
		}
	}

	return three.await(g.ctx, 20*time.Second, func(ctx context.Context) error {
		one, err := g.picture(ctx, 2)
		if err == nil && one.String() != island {
			err = fmt.Errorf("after a write that was taken back %s shows %q, want %q", three.name, one, island)
		}

		return err
	})
}

// after lets the node back, and shows that nothing of either side is lost.
func (g *gathering) after() error {
	g.print.title("Node 3 is back")
	g.print.note("It tells what it has, and hears what it has missed. Ada has read one thing and not the two that she could not know of.")
	three := g.nodes[2]
	three.heal()

	began := time.Now()

	if err := three.await(g.ctx, 30*time.Second, three.ready); err != nil {
		return fmt.Errorf("%s does not come back: %w", three.name, err)
	}

	if err := g.shows(reunited, reunited, reunited); err != nil {
		return err
	}

	g.print.line(fmt.Sprintf("\nAll nodes showed the same %s after node 3 was back.", time.Since(began).Round(100*time.Millisecond)))

	return nil
}

// goOnTogether says what to try next.
func (p *printer) goOnTogether(all []*node) {
	p.title("Go on yourself, from another terminal")

	room := func(i int, command string) string { return all[i].host.Gateway + roomPath + command }

	p.note("Come to the room at node 1, and be told of all that happens; Ctrl-C leaves it")
	p.shell(fmt.Sprintf(`curl -N -H 'Accept: text/event-stream' -d '{"name":"Gil","device":"phone"}' %s`, room(0, "Join")))
	p.note("Say something at node 2, and read what there is at node 3")
	p.shell(fmt.Sprintf(`curl -d '{"name":"Bob"}' %s`, room(1, "Post")))
	p.shell(fmt.Sprintf(`curl -d '{"name":"Cleo"}' %s`, room(2, "Read")))
	p.note("Look at the room at each node")

	for i := range all {
		p.shell(fmt.Sprintf(`curl -d '{"name":"Ada"}' %s`, room(i, "Look")))
	}

	p.note("Cut node 3 off; the same lets it back")
	p.shell(fmt.Sprintf("kill -USR1 %d", os.Getpid()))
	p.note("Kill the handlers of node 2; they are started again")
	p.shell(fmt.Sprintf("kill -9 %d", all[1].host.Handler.Pid()))
	p.note("Metrics of replication at node 1, and the logs of all processes")
	p.shell("curl " + all[0].host.Component.Admin + "/metrics")
	p.shell("tail -f " + filepath.Join(filepath.Dir(all[0].host.Component.LogFile()), "*.log"))
	p.line("\n" + p.paint(bold, "Ctrl-C ends everything."))
}
