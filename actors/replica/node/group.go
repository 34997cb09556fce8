package node

import (
	"context"
	"strings"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// grouped are the cells of one group of members among others in the same journal. Slots and epochs are given out for each
// group, so entities of two groups must not meet: they would have the same dots for different events.
type grouped struct {
	cells  journal.Cells
	prefix string
}

// groupBytes is how much longer keys get.
const groupBytes = len("of//") + slot.MaxGroupBytes

func inGroup(cells journal.Cells, group string) journal.Cells {
	if group == "" {
		return cells
	}
	return grouped{cells, "of/" + group + "/"}
}

func (g grouped) Cell(ctx context.Context, key string) (journal.Cell, error) {
	c, err := g.cells.Cell(ctx, g.prefix+key)
	c.Key = key
	return c, err
}

func (g grouped) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	if after != "" {
		after = g.prefix + after
	}
	list, err := g.cells.Cells(ctx, g.prefix+prefix, after, limit)
	for i := range list {
		list[i].Key = strings.TrimPrefix(list[i].Key, g.prefix)
	}
	return list, err
}

func (g grouped) Put(ctx context.Context, c journal.Cell) (int64, error) {
	c.Key = g.prefix + c.Key
	return g.cells.Put(ctx, c)
}

func (g grouped) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	list := make([]journal.Cell, len(cells))
	for i, c := range cells {
		c.Key = g.prefix + c.Key
		list[i] = c
	}
	return g.cells.PutEach(ctx, list)
}

func (g grouped) Remove(ctx context.Context, key string, version int64) error {
	return g.cells.Remove(ctx, g.prefix+key, version)
}
