package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/operations"
)

// The exit codes of the operations on a journal, beside 1 for everything else that goes wrong.
const (
	exitNotFound    = 3
	exitDamaged     = 4
	exitConflict    = 5
	exitInterrupted = 130
)

const journalLong = `Look into a journal, take it out and bring it in, and erase an entity.

Each command works on a journal that nobody else has open, or on any PostgreSQL one, by its URL:

  --journal sqlite:entities.db        or ENTITIES_JOURNAL, as the setting of that name has it;
                                      better for passwords, which a flag shows to everybody on the machine

or asks a running component, which is the only way to a SQLite or memory journal that is in use:

  --component                         the one at 127.0.0.1:9095, the default adminAddress
  --component=127.0.0.1:9100          or ENTITIES_COMPONENT

Tables are for people. -o json is for programs: one JSON object a line, whose fields do not change their names.

Exit codes:

    0  done
    1  it did not work; the message says what was being done, to what, and what to do next
    3  there is no such entity, version or journal
    4  something is damaged: an event of the journal, or a line of an export
    5  the journal holds something else than what is to be brought in
  130  interrupted by Ctrl-C or SIGTERM; what can be resumed is, by the same command`

// journalCommand is for operators of journals.
func journalCommand(getenv func(string) string) *cobra.Command {
	c := &cobra.Command{
		Use:   "journal",
		Short: "Look into a journal, export, import, move and erase",
		Long:  journalLong,
		Args:  cobra.NoArgs,
	}
	o := &operating{getenv: getenv}
	o.flags(c)
	wrapUsages(c)
	c.AddCommand(servicesCommand(o), listCommand(o), historyCommand(o), stateCommand(o), tailCommand(o),
		exportCommand(o), importCommand(o), moveCommand(o), eraseCommand(o))
	return c
}

// operating is what the operations have in common.
type operating struct {
	getenv                              func(string) string
	journal, component, output, protoes string
	// openings say how commands open the journal.
	openings map[*cobra.Command]component.Opening
}

// opens says how a command opens the journal, unless it only looks into it.
func (o *operating) opens(c *cobra.Command, how component.Opening) {
	if o.openings == nil {
		o.openings = map[*cobra.Command]component.Opening{}
	}
	o.openings[c] = how
}

// defaultComponent is the default of the setting adminAddress.
const defaultComponent = "127.0.0.1:9095"

func (o *operating) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&o.journal, "journal", "", "the journal, as the setting of that name has it (or ENTITIES_JOURNAL)")
	f.StringVar(&o.component, "component", "", "ask the running component with this adminAddress (or ENTITIES_COMPONENT)")
	f.Lookup("component").NoOptDefVal = defaultComponent
	f.StringVarP(&o.output, "output", "o", "table", "table, or json: one object a line")
	f.StringVar(&o.protoes, "descriptors", "", "file with the descriptors of protobuf messages (protoc --include_imports --descriptor_set_out), to show them; a component knows its own")
}

// do runs an operation on the journal that the flags name, until it is done or interrupted.
func (o *operating) do(operation func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		return o.bare(func(ctx context.Context) error {
			j, finish, err := o.open(ctx, o.openings[c])
			if err != nil {
				return err
			}
			return errors.Join(operation(ctx, c, args, j), finish())
		})(c)
	}
}

// bare runs an operation without a journal.
func (o *operating) bare(operation func(ctx context.Context) error) func(*cobra.Command) error {
	return func(c *cobra.Command) error {
		if o.output != "table" && o.output != "json" {
			return fmt.Errorf("the output %q is unknown; use table or json", o.output)
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // from then on signals do what they do by default
		return coded(ctx, operation(ctx))
	}
}

// open the journal that the flags, or else the environment, name.
func (o *operating) open(ctx context.Context, how component.Opening) (operations.Journal, func() error, error) {
	if o.journal != "" && o.component != "" {
		return nil, nil, errors.New("both --journal and --component are given; give the one that is meant")
	}
	url, address := o.journal, o.component
	if url == "" && address == "" {
		url, address = o.getenv("ENTITIES_JOURNAL"), o.getenv("ENTITIES_COMPONENT")
	}
	switch {
	case url != "" && address != "":
		return nil, nil, errors.New("both ENTITIES_JOURNAL and ENTITIES_COMPONENT are set; say which is meant by --journal or --component")
	case url == "" && address == "":
		return nil, nil, errors.New("no journal is given; give --journal or ENTITIES_JOURNAL, or --component for the one of a running component")
	case url != "":
		return o.openURL(ctx, url, how)
	}
	c, err := operations.Dial(address)
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

func (o *operating) openURL(ctx context.Context, url string, how component.Opening) (operations.Journal, func() error, error) {
	settings, err := config.Resolve(config.Process, config.Environment(o.getenv), map[string]string{"journal": url})
	if err != nil {
		return nil, nil, err
	}
	if how.Known, err = o.descriptors(); err != nil {
		return nil, nil, err
	}
	j, finish, err := component.OpenJournal(ctx, settings, how)
	if err != nil {
		return nil, nil, err
	}
	return j, finish, nil
}

func (o *operating) descriptors() (func() *catalog.Catalog, error) {
	if o.protoes == "" {
		return nil, nil
	}
	set, err := os.ReadFile(o.protoes)
	if err != nil {
		return nil, fmt.Errorf("read the descriptors: %w", err)
	}
	return operations.OpenDescriptors(set)
}

// exactly takes these arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		wanted := "no arguments"
		if len(names) > 0 {
			wanted = strings.Join(names, " ")
		}
		return fmt.Errorf("%s takes %s, and %d arguments are given (%s --help has examples)", c.CommandPath(), wanted, len(args), c.CommandPath())
	}
}

// coded gives an error its exit code.
func coded(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, fmt.Errorf("interrupted: %w", err)}
	case errors.Is(err, operations.ErrDamaged):
		return &exitError{exitDamaged, err}
	case errors.Is(err, operations.ErrOther):
		return &exitError{exitConflict, err}
	case operations.NotFound(err):
		return &exitError{exitNotFound, err}
	}
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// timeText is how people see times.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}
