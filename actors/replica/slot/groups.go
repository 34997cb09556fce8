package slot

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
)

// Groups returns the names of the groups that a journal has slots of, in order.
func Groups(ctx context.Context, cells journal.Cells) ([]string, error) {
	found, err := list(ctx, cells, groupKey(""))
	if err != nil {
		return nil, fmt.Errorf("list the groups of members: %w", err)
	}
	var names []string
	for _, c := range found {
		names = append(names, c.Key[len(groupKey("")):])
	}
	return names, nil
}
