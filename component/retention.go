package component

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors/lease"
	"github.com/dapr-entities/entities/component/building"
)

// retentionTimeout is how long a host may be silent before another one goes on with its retention, which has time.
const retentionTimeout = 30 * time.Second

// newRetention makes the work that removes what is no longer kept of state keys, nil if there are no rules for it. Of the
// hosts that share a journal, one works on the keys that begin alike.
func newRetention(h *host, c *Component) (*lease.Leases, error) {
	s := h.settings
	if !s.Retains() {
		return nil, nil
	}
	r := building.NewRetention(building.RetentionConfig{
		Journal: h.journal, Rule: s.RetentionOf, Version: fmt.Sprint(s.Retention), Interval: s.RetentionInterval,
		Removed: c.metrics.Removed, Swept: c.metrics.Swept, Log: c.log,
	})
	leases, err := lease.New(lease.Config{
		Cells: h.journal, Group: "retention", Member: rand.Text(), TTL: retentionTimeout, Log: c.log,
		Work: func(ctx context.Context, held *lease.Held) error {
			space, err := strconv.Unquote(held.Name())
			if err != nil { // none of ours
				return fmt.Errorf("retention of %s: %w", held.Name(), err)
			}
			return r.Work(ctx, space, held.Valid)
		},
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, space := range s.KeySpaces() {
		names = append(names, strconv.Quote(space))
	}
	return leases, leases.Names(names)
}
