package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dapr-entities/entities/component/config"
)

// width of the help: that of the long texts in it.
const width = 115

// settingFlags gives the command a flag for every setting, in the order of their documentation. The function it returns
// gives the values of those that were set.
func settingFlags(c *cobra.Command) func() map[string]string {
	values := config.Flags(c.Flags())
	c.Flags().SortFlags = false
	wrapUsages(c)
	return values
}

// wrapUsages wraps the texts of the flags of a command, and of those below it.
func wrapUsages(c *cobra.Command) {
	c.SetUsageTemplate(strings.ReplaceAll(c.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", width)))
}

// flagError says what to do about a flag that is wrong.
func flagError(c *cobra.Command, err error) error {
	hint := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			hint = fmt.Sprintf("; did you mean --%s?", near)
		}
	}
	return fmt.Errorf("%w%s (%s --help lists the flags)", err, hint, c.CommandPath())
}
