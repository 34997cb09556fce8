package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/samples/presence"
	"github.com/dapr-entities/entities/tests/harness"
)

// people are all who appear, in the order in which they are shown.
var people = []string{"Ada", "Bob", "Cleo", "Dan", "Eve", "Fay"}

// gathering is the story of a room on three nodes, and is checked while it is told.
type gathering struct {
	ctx   context.Context //nolint:containedctx // one story, one context
	print *printer
	nodes []*node
	// here are who is in the room, by name. The first one at a node is whom its column is taken from.
	here  map[string]*watcher
	hosts [3]*watcher
}

// showPresence has people come and go at three nodes, one of which is cut off from the others for a while.
func showPresence(ctx context.Context, cluster *harness.Cluster, p *printer, stay bool) (err error) {
	p.title("Bringing up PostgreSQL, Dapr, and three nodes")

	nodes, err := startNodes(ctx, cluster, p, 3)
	if err != nil {
		return err
	}

	g := &gathering{ctx: ctx, print: p, nodes: nodes.all, here: map[string]*watcher{}}

	defer func() {
		g.disperse()
		err = errors.Join(err, nodes.close())
	}()

	for _, act := range []func() error{g.before, g.during, g.cutForLong, g.after} {
		if err := act(); err != nil {
			return err
		}
	}

	p.line("Every view was as expected.")

	if !stay {
		return nil
	}

	p.goOnTogether(nodes.all)

	return g.stay()
}

// do gives a command to the room at one node.
func (g *gathering) do(n *node, what, command string, input any) error {
	g.says(n, what, command, input)

	response, err := n.command(g.ctx, command, encode(input))
	if err != nil {
		return fmt.Errorf("%s at %s: %w", what, n.name, err)
	}

	if !response.OK() {
		return fmt.Errorf("%s at %s: status is %d, want success: %s", what, n.name, response.Status, response.Body)
	}

	return nil
}

func (g *gathering) says(n *node, what, command string, input any) {
	g.print.line(fmt.Sprintf("  %s  %-22s %s", g.print.paint(bold, n.name), what,
		g.print.paint(blue, "POST "+roomPath+command+" "+string(encode(input)))))
}

// join has somebody come, and stay until they leave.
func (g *gathering) join(n *node, name, device string) error {
	visit := presence.Visit{Name: name, Device: device}
	g.says(n, name+" comes", "Join", visit)

	w, err := watch(g.ctx, n, visit)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", name, n.name, err)
	}

	g.here[name] = w

	for i := range g.hosts {
		if g.nodes[i] == n && g.hosts[i] == nil {
			g.hosts[i] = w
		}
	}

	return n.await(g.ctx, 10*time.Second, func(context.Context) error {
		_, err := w.view()
		return err
	})
}

// leave has somebody go, which their node notices by itself.
func (g *gathering) leave(name string) {
	w := g.here[name]
	g.print.line(fmt.Sprintf("  %s  %-22s %s", g.print.paint(bold, w.node.name), name+" goes",
		g.print.paint(dim, "the call of Join is given up")))
	w.close()
	delete(g.here, name)
}

func (g *gathering) disperse() {
	for _, w := range g.here {
		w.close()
	}
}

// picture is what a node shows now: what it has told who is there, and for the others what it answers.
func (g *gathering) picture(ctx context.Context, i int) (picture, error) {
	n, host := g.nodes[i], g.hosts[i]

	told, err := host.view()
	if err != nil {
		return picture{}, err
	}

	title := n.name
	if n.cut {
		title += " (cut off)"
	}

	one := picture{title: title, faces: map[string]face{}}

	for _, name := range people {
		view := told
		if name != host.visit.Name {
			if view, err = n.look(ctx, name); err != nil {
				return picture{}, fmt.Errorf("look at the room at %s: %w", n.name, err)
			}
		}

		one.faces[name] = faceOf(name, told, view.Unread)
	}

	return one, nil
}

func faceOf(name string, told presence.View, unread int64) face {
	f := face{unread: unread}

	for _, online := range told.Online {
		f.online = f.online || online == name
	}

	seen, away := told.Seen[name]
	f.seen, f.known = seen, f.online || away || unread != 0

	return f
}

// shows waits until the nodes show what is wanted of them, and draws it. Nodes of which the same is wanted have to show the
// same to the last bit.
func (g *gathering) shows(want ...string) error {
	var pictures []picture

	err := g.nodes[0].await(g.ctx, 20*time.Second, func(ctx context.Context) error {
		pictures = pictures[:0]

		var errs []error

		for i := range g.nodes {
			one, err := g.picture(ctx, i)
			if err != nil {
				return err
			}

			pictures = append(pictures, one)

			if one.String() != want[i] {
				errs = append(errs, fmt.Errorf("%s shows %q, want %q", g.nodes[i].name, one, want[i]))
			}
		}

		return errors.Join(append(errs, differences(pictures, want))...)
	})

	g.print.pictures(pictures)

	return err
}

// differences are those between pictures of which the same is wanted.
func differences(pictures []picture, want []string) error {
	for i, one := range pictures {
		for k := range i {
			if want[i] != want[k] {
				continue
			}

			for _, name := range people {
				if one.faces[name] != pictures[k].faces[name] {
					return fmt.Errorf("%s and %s show %s differently", pictures[k].title, one.title, name)
				}
			}
		}
	}

	return nil
}

// stay keeps everything running until Ctrl-C. SIGUSR1 cuts the last node off, and lets it back.
func (g *gathering) stay() error {
	toggle := make(chan os.Signal, 1)
	signal.Notify(toggle, syscall.SIGUSR1)

	defer signal.Stop(toggle)

	all, ctx := errgroup.WithContext(g.ctx)

	for _, n := range g.nodes {
		all.Go(func() error { return supervise(ctx, g.print, n.host) })
	}

	all.Go(func() error {
		last := g.nodes[len(g.nodes)-1]

		for {
			select {
			case <-ctx.Done():
				return nil
			case <-toggle:
			}

			if last.cut {
				last.heal()
				g.print.line(last.name + " reaches the others again.")
			} else {
				last.cutOff()
				g.print.line(last.name + " is cut off.")
			}
		}
	})

	if err := all.Wait(); err != nil {
		return err
	}

	g.print.line("\nStopping.")

	return nil
}
