package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dapr-entities/entities/component"
	"github.com/dapr-entities/entities/component/config"
)

// replicationCommand is for operators of replicated entities.
func replicationCommand(getenv func(string) string) *cobra.Command {
	c := &cobra.Command{
		Use:   "replication",
		Short: "Look after replicated entities",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(rotateCommand(getenv))
	return c
}

func rotateCommand(getenv func(string) string) *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make a journal that was restored from a backup fit for replication again",
		Long: `Give the replicated entities of an app id a new cluster id, after their journal was restored from a backup.

A restored journal gives out numbers again that nodes used after the backup was made. What a node, a broker or the
change log still has from then would be taken for something else, and writes would be lost or count twice. The cluster
id is part of every message and tells the two times apart. So:

  1. stop all components of the app id,
  2. restore the journal,
  3. run this command,
  4. start the components.

The same goes for a database that failed over to a standby which lacked the last commits. A crash, a restart or a
failover that lost nothing does not need it. It may be repeated. A component that was left running sees the change,
takes no further part and ends.

The journal's password is better given by ENTITIES_JOURNAL than by a flag, which everybody on the machine can see.`,
		Example: "  ENTITIES_JOURNAL=postgres://… entities replication rotate --appId shop",
		Args:    cobra.NoArgs,
	}
	journal := c.Flags().String("journal", "", "the journal that was restored, as the setting of that name has it (or ENTITIES_JOURNAL)")
	appID := c.Flags().String("appId", "", "app id of the sidecars whose components share the replicated entities")
	c.RunE = func(c *cobra.Command, _ []string) error {
		flags := map[string]string{}
		if *journal != "" {
			flags["journal"] = *journal
		}
		environment := config.Environment(getenv)
		if *journal == "" && environment["journal"] == "" {
			return errors.New("no journal is given; set ENTITIES_JOURNAL, or give --journal")
		}
		if *appID == "" {
			return errors.New("no app id is given; give --appId")
		}
		settings, err := config.Resolve(config.Process, environment, flags)
		if err != nil {
			return err
		}
		view, err := component.Rotate(c.Context(), settings.Journal, *appID)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "The replicated entities of %s have the new cluster id %x, and no members. Start the components now.\n", *appID, view.ClusterUID)
		return err
	}
	return c
}
