// Command quickstart shows entities at work: it brings up Dapr, the entities component and one of the samples, and uses it
// as an application would. It exits with 0 only if every reply was as expected.
//
//	make run                     shows it, prints what to go on with, and stays up until Ctrl-C
//	make demo                    shows it and ends
//	make run SAMPLE=presence     shows another sample
//
//	main.go, print.go                       what the samples have in common
//	cart.go, shopping.go                    cart: one node, with a journal in SQLite
//	nodes.go, watcher.go, columns.go,
//	presence.go, partition.go               presence: three nodes that share a PostgreSQL, one of which is cut off
//	statestore.go                           statestore: an app in Python that knows nothing but Dapr's state API
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dapr-entities/entities/tests/harness"
)

// sample is one that can be shown.
type sample struct {
	// handler is the package of its command, empty if there is nothing to build.
	handler string
	// show brings it up, tells its story up to the first surprise, and stays if it is asked to.
	show func(ctx context.Context, cluster *harness.Cluster, p *printer, stay bool) error
}

var samples = map[string]sample{
	"cart":       {handler: cartPackage, show: showCart},
	"presence":   {handler: presencePackage, show: showPresence},
	"statestore": {show: showStateStore},
}

// options are the flags.
type options struct {
	sample        string
	stay, verbose bool
}

func main() {
	var o options

	flag.StringVar(&o.sample, "sample", "cart", "what to show: "+names())
	flag.BoolVar(&o.stay, "stay", false, "stay up until Ctrl-C")
	flag.BoolVar(&o.verbose, "verbose", false, "show what all processes print")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		stop()
		os.Exit(1)
	}
}

func names() string { return strings.Join(slices.Sorted(maps.Keys(samples)), ", ") }

// run returns only after everything that it started has ended.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	chosen, known := samples[o.sample]
	if !known {
		return fmt.Errorf("there is no sample %q to show; choose one of %s", o.sample, names())
	}

	dapr, err := prepare(ctx, out, o.sample, chosen.handler)
	if err != nil {
		return err
	}

	folder, err := os.MkdirTemp("", "entities-")
	if err != nil {
		return fmt.Errorf("make a folder for the journal and the logs: %w", err)
	}

	config := harness.ClusterConfig{Folder: folder, Progress: out, Dapr: dapr}
	if o.verbose {
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
			"Run it again with -verbose to see it as it comes: go run ./tests/quickstart -sample %s -verbose",
			err, filepath.Join(folder, "log"), o.sample)
	}()

	return chosen.show(ctx, cluster, newPrinter(out), o.stay)
}

// prepare builds everything that has to be built before anything is started, and says so.
func prepare(ctx context.Context, out io.Writer, name, handler string) (harness.Binaries, error) {
	dapr, err := harness.Dapr(ctx, out)
	if err != nil {
		return harness.Binaries{}, err
	}

	programs, what := []string{harness.ComponentPackage}, "the component"
	if handler != "" {
		programs, what = append(programs, handler), what+" and the sample "+name
	}

	fmt.Fprintf(out, "Building %s (a minute or two the first time).\n", what)

	for _, program := range programs {
		if _, err := harness.Build(ctx, program); err != nil {
			return harness.Binaries{}, err
		}
	}

	return dapr, nil
}

// supervise returns nil when the person has had enough, and an error when a process ends before that. Handlers may: they
// are started again.
func supervise(ctx context.Context, p *printer, host *harness.Host) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-host.Daprd.Exited():
			return fmt.Errorf("%s ended: %w", host.Daprd.Name(), host.Daprd.Wait(ctx))
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

			p.line(fmt.Sprintf("%s ended; started again as process %d", host.Handler.Name(), host.Handler.Pid()))
		}
	}
}
