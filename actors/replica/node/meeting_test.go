package node_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// stale is a Membership that has not heard of who joined until it is read again.
type stale struct {
	node.Membership
	fresh atomic.Bool
}

func (s *stale) Standing() node.Standing {
	at := s.Membership.Standing()
	if !s.fresh.Load() && len(at.Members) > 1 {
		at.View--
		at.Members = []slot.Member{at.Self}
	}
	return at
}

func (s *stale) Refresh(ctx context.Context) error {
	err := s.Membership.Refresh(ctx)
	s.fresh.Store(err == nil)
	return err
}

// A member whose writes come before the news that it has joined waited 5 seconds for their confirmation, which is as long as
// anybody does.
func TestConfirmedByWhoHasNotHeardOfIt(t *testing.T) {
	for _, level := range []replica.Level{replica.Majority, replica.All} {
		t.Run(level.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cells, h := memory.Open(), newHub()
				a := start(t, cells, h, "a", func(c *node.Config) {
					c.Membership = &stale{Membership: c.Membership}
				})
				b := start(t, cells, h, "b", nil)
				ra := open(t, a, "d", nil)
				write(t, ra, counter(5), replica.Local)
				rb := open(t, b, "d", nil)
				began := time.Now()
				write(t, rb, counter(0), level) // it says no more than that they should compare
				if took := time.Since(began); took > 500*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				write(t, rb, counter(1), level)
				if got := count(ra); got != 6 {
					t.Errorf("the other one has %d, want 6", got)
				}
			})
		})
	}
}
