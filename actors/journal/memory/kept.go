package memory

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
)

var _ journal.Inventory = (*Journal)(nil)

// Kept implements journal.Inventory.
func (j *Journal) Kept(ctx context.Context, after int64, limit int) (list []journal.Kept, err error) {
	err = j.see(ctx, func() {
		for _, e := range j.outbox.kept {
			if e.number <= after {
				continue
			}
			list = append(list, journal.Kept{Pending: e.pending(), Number: e.number, Parked: e.parked})
			if len(list) == limit {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the effects that are kept: %w", err)
	}
	return list, nil
}
