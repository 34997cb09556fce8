// Command quickstart shows entities at work: it brings up Dapr, the entities component with a SQLite journal, and the
// shopping cart of samples/cart, and goes shopping through Dapr's HTTP API. It exits with 0 only if every reply was as
// expected.
//
//	make run     shows it, prints what to go on with, and stays up until Ctrl-C
//	make demo    shows it and ends
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dapr-entities/entities/tests/harness"
)

const (
	// actorType is the simple name of the cart's service, shop.v1.ShoppingCart.
	actorType = "ShoppingCart"

	cartPackage = "samples/cart/cmd/cart"
)

func main() {
	stay := flag.Bool("stay", false, "stay up until Ctrl-C")
	verbose := flag.Bool("verbose", false, "show what all processes print")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, os.Stdout, *stay, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		stop()
		os.Exit(1)
	}
}

// run returns only after everything that it started has ended.
func run(ctx context.Context, out io.Writer, stay, verbose bool) (err error) {
	dapr, err := prepare(ctx, out)
	if err != nil {
		return err
	}

	folder, err := os.MkdirTemp("", "entities-")
	if err != nil {
		return fmt.Errorf("make a folder for the journal and the logs: %w", err)
	}

	config := harness.ClusterConfig{Folder: folder, Progress: out, Dapr: dapr}
	if verbose {
		config.Output = os.Stderr
	}

	cluster, err := harness.NewCluster(config)
	if err != nil {
		return err
	}

	defer func() {
		err = errors.Join(err, cluster.Close())
		logs, _ := filepath.Glob(filepath.Join(folder, "log", "*"))

		if err == nil || ctx.Err() != nil || len(logs) == 0 {
			err = errors.Join(err, os.RemoveAll(folder))
			return
		}

		err = fmt.Errorf("%w\n\nWhat the processes said is in %s.\n"+
			"Run it again with -verbose to see it as it comes: go run ./tests/quickstart -verbose",
			err, filepath.Join(folder, "log"))
	}()

	p := newPrinter(out)

	host, err := bringUp(ctx, cluster, p)
	if err != nil {
		return err
	}

	shop := shopping{ctx: ctx, print: p, dapr: host.Daprd.Client, cart: host.Handler.Process}
	if err := shop.tell(); err != nil {
		return err
	}

	if !stay {
		return nil
	}

	p.goOn(host)

	return watch(ctx, p, host)
}

// prepare builds everything that has to be built before anything is started, and says so.
func prepare(ctx context.Context, out io.Writer) (harness.Binaries, error) {
	dapr, err := harness.Dapr(ctx, out)
	if err != nil {
		return harness.Binaries{}, err
	}

	fmt.Fprintln(out, "Building the component and the cart (a minute or two the first time).")

	for _, program := range []string{harness.ComponentPackage, cartPackage} {
		if _, err := harness.Build(ctx, program); err != nil {
			return harness.Binaries{}, err
		}
	}

	return dapr, nil
}

// bringUp starts everything, in the order in which it is needed.
func bringUp(ctx context.Context, cluster *harness.Cluster, p *printer) (*harness.Host, error) {
	p.title("Bringing up Dapr, the entities component and the shopping cart")

	placement, err := cluster.StartPlacement(ctx)
	if err != nil {
		return nil, err
	}

	p.started("placement", placement.Address, "Dapr's actor placement")

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}

	host, err := cluster.StartHost(ctx, harness.HostOptions{
		Name:       "shop",
		AppID:      "shop",
		Placement:  placement.Address,
		ActorTypes: []string{actorType},
		Metadata:   map[string]string{"gatewayAddress": fmt.Sprintf("127.0.0.1:%d", ports[0])},
		Handler:    harness.HandlerOptions{Package: cartPackage, Name: "cart"},
		Component:  harness.ComponentOptions{Name: "entities"},
		Daprd:      harness.DaprdOptions{Name: "daprd"},
	})
	if err != nil {
		return nil, err
	}

	p.started("cart", host.Handler.Address, "your handlers: samples/cart")
	p.started("entities", host.Component.Options.Socket(), "the component, with its journal in SQLite")
	p.started("daprd", host.Daprd.Base, "the Dapr sidecar")
	p.started("gateway", host.Gateway, "the component's own door, for callers without Dapr")

	return host, nil
}

// watch returns nil when the person has had enough, and an error when a process ends before that.
func watch(ctx context.Context, p *printer, host *harness.Host) error {
	for {
		select {
		case <-ctx.Done():
			p.line("\nStopping.")
			return nil
		case <-host.Daprd.Exited():
			return fmt.Errorf("daprd ended: %w", host.Daprd.Wait(ctx))
		case <-host.Component.Exited():
			return fmt.Errorf("the entities component ended: %w", host.Component.Wait(ctx))
		case <-host.Handler.Exited():
			// Killing it is something that the printed commands invite to.
			if ctx.Err() != nil {
				continue
			}

			if err := host.Handler.Start(ctx); err != nil {
				return err
			}

			p.line(fmt.Sprintf("cart ended; started again as process %d", host.Handler.Pid()))
		}
	}
}
