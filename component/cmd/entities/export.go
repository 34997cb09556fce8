package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component"
	"github.com/dapr-entities/entities/component/operations"
)

func exportCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "export <file>",
		Short: "Write all that is worth keeping of a journal into a file",
		Long: `Write all that is worth keeping of a journal into a file, or to standard output (-): JSON, one object a line, each with
a checksum. The format is documented in docs/export-format.md.

If the file is there already and incomplete, because an export was interrupted, the export goes on where it ended. What
is in it is checked first. To standard output it cannot go on.

Events are exported as they were at one moment, also while components write; see docs/operations.md for what a
journal that is in use means for effects. Leases and members are left out.`,
		Example: "  entities journal export --journal sqlite:entities.db backup.jsonl\n  entities journal export --component - | gzip > backup.jsonl.gz",
		Args:    exactly("<file>"),
	}
	quiet := c.Flags().BoolP("quiet", "q", false, "show no progress")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		x := operations.Exporting{From: j}
		p := newProgress(c.ErrOrStderr())
		if !*quiet {
			x.Progress = p.show
		}
		s, err := exportTo(ctx, c, x, args[0])
		p.done()
		if err != nil {
			return err
		}
		to := c.OutOrStdout()
		if args[0] == "-" {
			to = c.ErrOrStderr()
		}
		return showSummary(to, o.output, s, "exported")
	})
	return c
}

func exportTo(ctx context.Context, c *cobra.Command, x operations.Exporting, name string) (s operations.Summary, err error) {
	if name == "-" {
		return x.Export(ctx, c.OutOrStdout(), nil)
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // what is in it is for its owner
	if err != nil {
		return s, fmt.Errorf("export the journal: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return s, fmt.Errorf("export the journal: %w", err)
	}
	var rest *operations.Rest
	if info.Mode().IsRegular() && info.Size() > 0 {
		if rest, err = operations.Resume(file); err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		if rest.Complete {
			fmt.Fprintf(c.ErrOrStderr(), "%s is complete already. Give another name, or remove it, to export the journal as it is now.\n", name)
			return rest.Summary, nil
		}
		if rest.Bytes == 0 && info.Size() > 0 && !begun(file) {
			return s, fmt.Errorf("export the journal: %s is there already, and is no export; give another name", name)
		}
		if err := file.Truncate(rest.Bytes); err != nil {
			return s, fmt.Errorf("export the journal: %w", err)
		}
		if _, err := file.Seek(rest.Bytes, io.SeekStart); err != nil {
			return s, fmt.Errorf("export the journal: %w", err)
		}
		if rest.Bytes == 0 {
			rest = nil
		}
	}
	s, err = x.Export(ctx, file, rest)
	if !info.Mode().IsRegular() {
		return s, err
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return s, fmt.Errorf("%w; the same command goes on with %s", err, name)
	}
	return s, nil
}

// begun reports whether a file could be the beginning of an export's first line.
func begun(file io.ReadSeeker) bool {
	const begin = `{"kind":"journal"`
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return false
	}
	b := make([]byte, len(begin))
	n, _ := io.ReadFull(file, b) // fewer are fine
	return strings.HasPrefix(begin, string(b[:n]))
}

func importCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "import <file>",
		Short: "Bring an export into a journal",
		Long: `Bring an export into an empty journal, from a file or from standard input (-).

Each line is checked before anything of it is written, and events are read back afterwards. An import that was
interrupted goes on when it is repeated with the same export: what is there already is compared and not written again.
When it is complete, repeating it does nothing.

The components of the journal should be started when the import is complete. Events get new positions; the cursors of
consumers stand at the same place among them. Effects that were still to be carried out are carried out from here, so
the components of the exported journal must not run any more, or they are carried out twice.`,
		Example: "  ENTITIES_JOURNAL=postgres://… entities journal import backup.jsonl\n  entities journal import --dry-run backup.jsonl\n  gunzip < backup.jsonl.gz | entities journal import --journal sqlite:entities.db -",
		Args:    exactly("<file>"),
	}
	quiet := c.Flags().BoolP("quiet", "q", false, "show no progress")
	merge := c.Flags().Bool("merge", false, "import into a journal that is not empty; entities that both have must be the same")
	dry := c.Flags().Bool("dry-run", false, "only check the export; needs no journal")
	o.opens(c, component.Opening{Create: true})
	run := o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		return importFrom(ctx, c, args[0], o.output, *quiet, operations.Importing{To: j, Merge: *merge})
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		if *dry {
			return o.bare(func(ctx context.Context) error {
				return importFrom(ctx, c, args[0], o.output, *quiet, operations.Importing{})
			})(c)
		}
		return run(c, args)
	}
	return c
}

func importFrom(ctx context.Context, c *cobra.Command, name, output string, quiet bool, x operations.Importing) error {
	from := c.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			x.Size = info.Size()
		}
		from = file
	}
	p := newProgress(c.ErrOrStderr())
	if !quiet {
		x.Progress = p.show
	}
	s, err := x.Import(ctx, from)
	p.done()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case x.To == nil:
		return showSummary(c.OutOrStdout(), output, s, "checked")
	case s.Already:
		return showSummary(c.OutOrStdout(), output, s, "had been imported already:")
	}
	return showSummary(c.OutOrStdout(), output, s, "imported")
}

func moveCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "move",
		Short: "Take a journal from one back end to another",
		Long: `Take all that is worth keeping from one journal into another, empty one. It is an export that goes into an import.

  1. stop all components of the journal,
  2. run this command; if it is interrupted, run it again,
  3. give the components the new journal, and start them.

A journal that a component has open is refused, and while it is moved nobody else can write to it. A state store cannot
be locked: there, the move is refused while a component shows that it is alive, and what was written meanwhile is found
at the end, and said. The old journal is left as it is: start no component on it any more, or effects are carried out
twice.

Passwords are better given by ENTITIES_JOURNAL and ENTITIES_JOURNAL_TO than by flags, which everybody on the machine can
see.`,
		Example: "  ENTITIES_JOURNAL_TO=postgres://… entities journal move --journal sqlite:entities.db",
		Args:    exactly(),
	}
	quiet := c.Flags().BoolP("quiet", "q", false, "show no progress")
	to := c.Flags().String("to", "", "the journal to move to (or ENTITIES_JOURNAL_TO)")
	o.opens(c, component.Opening{Alone: true})
	merge := c.Flags().Bool("merge", false, "move into a journal that is not empty; entities that both have must be the same")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, _ []string, j operations.Journal) (err error) {
		if _, live := j.(*operations.Client); live {
			return errors.New("move the journal: a component that has it open goes on writing to it; stop it, and give the journal itself by --journal")
		}
		url := *to
		if url == "" {
			url = o.getenv("ENTITIES_JOURNAL_TO")
		}
		if url == "" {
			return errors.New("move the journal: where to is not said; give --to, or set ENTITIES_JOURNAL_TO")
		}
		target, finish, err := o.openURL(ctx, url, component.Opening{Create: true})
		if err != nil {
			return fmt.Errorf("the journal to move to: %w", err)
		}
		defer func() { err = errors.Join(err, finish()) }()
		x := operations.Moving{From: j, To: target, Merge: *merge}
		p := newProgress(c.ErrOrStderr())
		if !*quiet {
			x.Progress = p.show
		}
		s, err := x.Move(ctx)
		p.done()
		if err != nil {
			return err
		}
		return showSummary(c.OutOrStdout(), o.output, s, "moved")
	})
	return c
}

// showSummary says what was done.
func showSummary(to io.Writer, output string, s operations.Summary, done string) error {
	if output == "json" {
		return newTable(to, output).row(s)
	}
	fmt.Fprintf(to, "%s %d events of %d entities, %d records, %d snapshots, %d effects, %d cells\n", done,
		s.Counts["event"], s.Counts["stream"], s.Counts["record"], s.Counts["snapshot"], s.Counts["effect"], s.Counts["cell"])
	var left []string
	for _, name := range sortedKeys(s.LeftOut) {
		left = append(left, fmt.Sprintf("%d of %s/", s.LeftOut[name], name))
	}
	if len(left) > 0 {
		fmt.Fprintf(to, "left out, because of no use in another journal: cells: %s\n", strings.Join(left, ", "))
	}
	for _, key := range s.Unplaced {
		fmt.Fprintf(to, "%s could not be placed after an interruption: its consumer begins anew\n", printable(key))
	}
	_, err := fmt.Fprintf(to, "export %s, SHA-256 %s\n", s.Export, s.SHA256)
	return err
}
