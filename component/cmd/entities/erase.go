package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component/operations"
)

func eraseCommand(o *operating) *cobra.Command {
	c := &cobra.Command{
		Use:   "erase <service> <id>",
		Short: "Remove everything about an entity but its version",
		Long: `Remove the events of an entity, its snapshot, the records of its commands, and the effects that it asked for and that are
still to be carried out. It cannot be undone.

What is left is its head: the version, so that nobody can take a new event for an old one, and the epoch. A command to
the entity finds one that does not exist, and its events count on from there. Consumers that have had the events keep
what they made of them, exports and backups keep what they have, and a replicated entity has no events to erase.`,
		Example: "  entities journal erase chat.v1.Profile ada --component\n  entities journal erase state/entities 'shop||cart' --journal sqlite:entities.db --yes",
		Args:    exactly("<service>", "<id>"),
	}
	yes := c.Flags().BoolP("yes", "y", false, "do not ask")
	c.RunE = o.do(func(ctx context.Context, c *cobra.Command, args []string, j operations.Journal) error {
		ref := operations.Ref{Service: args[0], ID: args[1]}
		was, err := operations.Look(ctx, j, ref)
		if err != nil {
			return err
		}
		if !*yes {
			if err := confirm(c, fmt.Sprintf("Erase %s with its %d events?", printable(ref.String()), was.Sequence-was.Floor)); err != nil {
				return err
			}
		}
		is, err := operations.Erase(ctx, j, ref)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return newTable(c.OutOrStdout(), o.output).row(is)
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "Erased %s. What is left is its head: version %d, epoch %d. Its next event will be %d.\n",
			printable(ref.String()), is.Sequence, is.Epoch, is.Sequence+1)
		return err
	})
	return c
}

// confirm asks, and returns an error unless the answer is yes.
func confirm(c *cobra.Command, question string) error {
	if file, ok := c.InOrStdin().(*os.File); ok && !isTerminal(file) {
		return errors.New("erase: nobody is there to be asked; say --yes if it is meant")
	}
	fmt.Fprint(c.ErrOrStderr(), question, " It cannot be undone. [y/N] ")
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil && answer == "" {
		return fmt.Errorf("erase: read the answer: %w", err)
	}
	return errors.New("erase: the answer was not yes; nothing was changed")
}
