package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component/operations"
)

func servicesCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "services",
		Short: "List the services that a journal has entities of",
		Long: `List the services that a journal has entities of.

A service is named by its persistence id, which is its full name unless its author gave another. state/entities are the
keys of state.entities. The kind is shown where it is known: by a running component, or of state keys.`,
		Example: "  entities journal services --journal sqlite:entities.db\n  entities journal services --component -o json",
		Args:    exactly(),
	}
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, _ []string, j operations.Journal) error {
		about, err := j.About(ctx)
		if err != nil {
			return err
		}
		list, err := j.Services(ctx)
		if err != nil {
			return err
		}
		t := newTable(c.OutOrStdout(), o.output, "SERVICE", "KIND")
		for _, s := range list {
			kind := about.Kinds[s]
			object := struct {
				Service string `json:"service"`
				Kind    string `json:"kind,omitempty"`
			}{s, kind}
			if kind == "" {
				kind = "-"
			}
			if err := t.row(object, s, kind); err != nil {
				return err
			}
		}
		if len(list) == 0 && o.output == "table" {
			fmt.Fprintln(c.ErrOrStderr(), "The journal has no entities.")
		}
		return t.flush()
	})
	return c
}

func listCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:     "list <service>",
		Short:   "List the entities of a service",
		Example: "  entities journal list shop.v1.ShoppingCart --component\n  entities journal list state/entities --after 'shop||cart-1' --limit 10 -o json",
		Args:    exactly("<service>"),
	}
	after := c.Flags().String("after", "", "only ids after this one, in the order of their bytes")
	limit := c.Flags().Int("limit", 0, "at most so many; 0 for all")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		t := newTable(c.OutOrStdout(), o.output, "ID", "SEQUENCE", "UPDATED")
		for e, err := range operations.List(ctx, j, args[0], *after, *limit) {
			if err == nil {
				err = t.row(e, e.ID, strconv.FormatInt(e.Sequence, 10), timeText(e.Updated))
			}
			if err != nil {
				return err
			}
		}
		return t.flush()
	})
	return c
}

func historyCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "history <service> <id>",
		Short: "Show the events of an entity",
		Long: `Show the events of an entity, oldest first.

What the events hold is shown as JSON where that is known: JSON events, and protobuf messages that the component or
--descriptors describe. Of others the type, the size and the first bytes are shown; -o json has all of them, in base64.`,
		Example: "  entities journal history shop.v1.ShoppingCart cart-1 --component\n  entities journal history state/entities 'shop||cart' --journal sqlite:entities.db -o json",
		Args:    exactly("<service>", "<id>"),
	}
	after := c.Flags().Int64("after", 0, "only events after this sequence")
	limit := c.Flags().Int("limit", 0, "at most so many; 0 for all")
	width := c.Flags().Int("width", 80, "cut what an event holds after so many characters; 0 for all of it")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		t := newTable(c.OutOrStdout(), o.output, "SEQUENCE", "TIME", "NAME", "DATA", "COMMAND")
		next := int64(0)
		for e, err := range operations.History(ctx, j, operations.Ref{Service: args[0], ID: args[1]}, *after, *limit) {
			if err == nil {
				if next == 0 && e.Sequence > *after+1 {
					fmt.Fprintf(c.ErrOrStderr(), "The events up to %d are no longer kept.\n", e.Sequence-1)
				}
				next = e.Sequence + 1
				err = t.row(e, strconv.FormatInt(e.Sequence, 10), timeText(e.Time), named(e.Name), data(e.Data, e.Type, *width), brief(e.Command, 24))
			}
			if err != nil {
				_ = t.flush() // what is said next is more important
				return err
			}
		}
		return t.flush()
	})
	return c
}

func stateCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "state <service> <id>",
		Short: "Show the state of an entity at any version",
		Long: `Show the state of an entity, now or after any of its events.

Of a state key it is the value, of a value entity the state. What an event-sourced entity makes of its events only its
handlers know: shown are the newest snapshot that is not newer than the version, and the events after it.

A running component knows which kind a service is of. A journal does not: then it is told by the events, or by --kind.`,
		Example: "  entities journal state chat.v1.Profile ada --component --version 3\n  entities journal state state/entities 'shop||cart' -o json",
		Args:    exactly("<service>", "<id>"),
	}
	version := c.Flags().Int64("version", 0, "sequence of the event after which it is wanted; 0 for the newest")
	kind := c.Flags().String("kind", "", "event-sourced, value or state; found out unless it is given")
	limit := c.Flags().Int("limit", 1000, "at most so many events; 0 for all")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		switch *kind {
		case "", operations.EventSourced, operations.Value, operations.StateKeys:
		default:
			return fmt.Errorf("the kind %q is unknown; use event-sourced, value or state", *kind)
		}
		if *version < 0 {
			return fmt.Errorf("the version %d is negative; versions count from 1", *version)
		}
		s, err := operations.StateAt(ctx, j, operations.Ref{Service: args[0], ID: args[1]}, *version, *kind, *limit)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return newTable(c.OutOrStdout(), o.output).row(s)
		}
		return showState(c.OutOrStdout(), s)
	})
	return c
}

func showState(to io.Writer, s *operations.State) error {
	guessed := ""
	if s.Guessed {
		guessed = " (by its events; --kind says otherwise)"
	}
	fmt.Fprintf(to, "%s\n", printable(s.Service+"/"+s.ID))
	fmt.Fprintf(to, "version  %d of %d\n", s.Sequence, s.Newest)
	if s.Erased {
		_, err := fmt.Fprintln(to, "erased: nothing of it is left but the version")
		return err
	}
	fmt.Fprintf(to, "kind     %s%s\n", s.Kind, guessed)
	if s.Kind != operations.EventSourced {
		fmt.Fprintf(to, "time     %s\n", timeText(s.Time))
		if !s.Expires.IsZero() {
			fmt.Fprintf(to, "expires  %s\n", timeText(s.Expires))
		}
		switch {
		case !s.Exists && s.Data == nil:
			fmt.Fprintln(to, "deleted: there was no value then")
		case !s.Exists:
			fmt.Fprintln(to, "expired: there is no value any more; it was")
		}
		if s.Data != nil {
			fmt.Fprintln(to, data(s.Data, s.Type, 0))
		}
		return nil
	}
	if s.Snapshot != nil {
		fmt.Fprintf(to, "snapshot at %d\n%s\n", s.Snapshot.Sequence, data(s.Snapshot.Data, s.Snapshot.Type, 0))
	}
	if len(s.Events) > 0 {
		fmt.Fprintln(to, "events")
	}
	t := newTable(to, "table", "SEQUENCE", "TIME", "NAME", "DATA")
	for _, e := range s.Events {
		if err := t.row(nil, strconv.FormatInt(e.Sequence, 10), timeText(e.Time), named(e.Name), data(e.Data, e.Type, 0)); err != nil {
			return err
		}
	}
	if s.More > 0 {
		defer fmt.Fprintf(to, "and %d more; --limit 0 shows all of them\n", s.Sequence-s.More)
	}
	return t.flush()
}

func tailCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "tail [service…]",
		Short: "Show the events of a journal in their order, and those to come",
		Long: `Show the events of services, or of all, in the one order that the journal has over all of them.

--id and --name take patterns (* any text, ? one character) and may be given more than once; one of each has to fit.`,
		Example: "  entities journal tail --component --from now -f\n  entities journal tail shop.v1.ShoppingCart --id 'cart-*' --name item-added --since 10m -o json",
	}
	var f operations.Filter
	c.Flags().StringArrayVar(&f.IDs, "id", nil, "only entities whose id fits the pattern")
	c.Flags().StringArrayVar(&f.Names, "name", nil, "only events whose name fits the pattern")
	since := c.Flags().String("since", "", "only events since a time (2006-01-02T15:04:05Z), or since so long ago (10m)")
	from := c.Flags().String("from", "start", "start, or now: only what comes from now on")
	c.Flags().BoolVarP(&f.Follow, "follow", "f", false, "wait for more at the end, until Ctrl-C")
	c.Flags().DurationVar(&f.Interval, "interval", 500*time.Millisecond, "how often to look for more")
	width := c.Flags().Int("width", 80, "cut what an event holds after so many characters; 0 for all of it")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		var err error
		if f.Since, err = moment(*since, time.Now()); err != nil {
			return err
		}
		switch *from {
		case "now":
			f.Now = true
		case "start":
		default:
			return fmt.Errorf("--from is %q; use start or now", *from)
		}
		f.Services = args
		return showTail(ctx, c.OutOrStdout(), o.output, *width, j, f)
	})
	return c
}

func showTail(ctx context.Context, to io.Writer, output string, width int, j operations.Journal, f operations.Filter) error {
	t := newTable(to, output, "TIME", "ENTITY", "SEQUENCE", "NAME", "DATA")
	for e, err := range operations.Tail(ctx, j, f) {
		if err == nil {
			err = t.row(e, timeText(e.Time), e.Service+"/"+e.ID, strconv.FormatInt(e.Sequence, 10), named(e.Name), data(e.Data, e.Type, width))
			if err == nil && f.Follow { // somebody watches
				err = t.flush()
			}
		}
		if err != nil {
			_ = t.flush() // what is said next is more important
			return err
		}
	}
	return t.flush()
}

// moment is a time, or so long ago.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("--since is %q; write a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m", text)
	}
	return t, nil
}

func named(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

// data is a payload for people: JSON as it is, and of what is not known the type, the size and some bytes.
func data(rendered json.RawMessage, typeURL string, width int) string {
	var opaque struct {
		Type *string `json:"@type"`
		Data *[]byte `json:"base64"`
	}
	if json.Unmarshal(rendered, &opaque) == nil && opaque.Type != nil && opaque.Data != nil {
		const shownBytes = 16
		bytes, more := *opaque.Data, ""
		if len(bytes) > shownBytes {
			bytes, more = bytes[:shownBytes], "…"
		}
		return fmt.Sprintf("%s, %d bytes: %s%s", typeURL, len(*opaque.Data), hex.EncodeToString(bytes), more)
	}
	return brief(string(rendered), width)
}
