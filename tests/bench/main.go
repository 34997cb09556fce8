// Command bench measures entities against plain Dapr actors, against what daprd's actor stream can do at all, and
// against Postgres alone. It starts everything itself, prints one table, and ends everything.
//
// The rounds are interleaved: every round measures every row once, every second round backwards, so that whatever
// changes on the machine meanwhile meets all rows. A figure is the median of the rounds; a ratio is the median of the
// rounds' ratios. All systems are up the whole time and idle while another one is measured, which spares a thousand
// activations per row and round; each has a daprd and a placement namespace of its own, and the processor time that the
// idle ones took is in the second table.
//
// The callers form a closed loop: each waits for its answer before it calls again. That finds the saturation; the
// latencies are those at saturation, not those of a lightly loaded system.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rounds   int
	duration time.Duration
	warmup   time.Duration
	callers  int
	entities int
	rows     *regexp.Regexp
	profile  string
	journal  string
	gate     bool
	data     string
	logs     string
	seed     uint64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	o, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(2) // flag has said what is wrong
	}

	missed, err := run(ctx, o, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}

	if o.gate && missed > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d gates missed\n", missed)
		os.Exit(1)
	}
}

func parse(arguments []string) (options, error) {
	var (
		o     = options{rows: new(regexp.Regexp)}
		flags = flag.NewFlagSet("bench", flag.ContinueOnError)
	)

	flags.IntVar(&o.rounds, "rounds", 5, "how often every row is measured")
	flags.DurationVar(&o.duration, "duration", 6*time.Second, "of one measurement")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "before each measurement")
	flags.IntVar(&o.callers, "callers", 32, "concurrent callers")
	flags.IntVar(&o.entities, "entities", 1000, "entities that the callers choose from")
	flags.TextVar(o.rows, "rows", regexp.MustCompile(""), "measure the rows whose name matches the `pattern`")
	flags.StringVar(&o.profile, "profile", "", "`folder` for CPU profiles, taken in a round of its own at the end")
	flags.BoolVar(&o.gate, "gate", false, "exit with status 1 when a gate is missed")
	flags.StringVar(&o.data, "data", os.TempDir(), "`folder` on a real disk for Postgres")
	flags.StringVar(&o.journal, "journal", "", "of our rows; defaults to the Postgres of all rows")
	flags.StringVar(&o.logs, "logs", "", "`folder` to keep logs and resources in; by default they are removed")
	flags.Uint64Var(&o.seed, "seed", 1, "of the choice of entities")

	if err := flags.Parse(arguments); err != nil {
		return options{}, err //nolint:wrapcheck // said to the user by flag
	}

	if flags.NArg() > 0 || o.rounds < 1 || o.duration <= 0 || o.warmup < 0 || o.callers < 1 || o.entities < 1 {
		err := fmt.Errorf("no arguments; rounds, duration, callers and entities must be positive")
		fmt.Fprintln(flags.Output(), err)
		flags.Usage()

		return options{}, err
	}

	return o, nil
}
