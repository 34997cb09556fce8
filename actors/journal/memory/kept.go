package memory

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

var _ journal.Inventory = (*Journal)(nil)

// Kept implements journal.Inventory.
func (j *Journal) Kept(ctx context.Context, mark string, limit int) (list []journal.Kept, next string, err error) {
	after, err := rules.Mark(mark)
	if err == nil {
		err = j.see(ctx, func() {
			for _, e := range j.outbox.kept {
				if e.number <= after {
					continue
				}
				list = append(list, journal.Kept{Pending: e.pending(), Parked: e.parked})
				if next = rules.MarkAt(e.number); len(list) == limit {
					return
				}
			}
			next = ""
		})
	}
	if err != nil {
		return nil, "", fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, next, nil
}
