package feed

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// A lane that goes to another component goes there when what was begun has ended, however long that takes.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		one, endOne := s.begin(func(c *SubscriptionConfig) { c.Drain, c.Timeout = time.Second, time.Hour })
		stop := s.consume(one, "a", func(_ context.Context, e journal.Event) error {
			if e.Sequence == 1 {
				time.Sleep(5 * time.Minute)
			}
			return nil
		})
		time.Sleep(time.Second)
		s.add("x", "y", "z", "x", "y", "z")
		time.Sleep(time.Second)
		two, endTwo := s.begin(nil)
		stopTwo := s.consume(two, "b", nil)
		time.Sleep(time.Minute)
		one.Pause()
		time.Sleep(time.Minute)
		same(t, "after two minutes", s.got(), "a x:1", "a y:1", "a z:1")
		time.Sleep(4 * time.Minute)
		same(t, "after six", s.got(), "b x:2", "b y:2", "b z:2")
		for _, f := range []func(){stop, stopTwo, endOne, endTwo} {
			f()
		}
	})
}

// cutOff is a journal that one component cannot reach any more.
type cutOff struct {
	journal.Journal
	mu  sync.Mutex
	off bool
}

func (c *cutOff) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return errDead
	}
	return nil
}

func (c *cutOff) Cell(ctx context.Context, key string) (journal.Cell, error) {
	if err := c.err(); err != nil {
		return journal.Cell{}, err
	}
	return c.Journal.Cell(ctx, key)
}

func (c *cutOff) Put(ctx context.Context, cell journal.Cell) (int64, error) {
	if err := c.err(); err != nil {
		return 0, err
	}
	return c.Journal.Put(ctx, cell)
}

// Who cannot reach the journal any more loses his lanes, and stops what he has begun before others take them.
func TestCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSharing(t)
		off := &cutOff{Journal: s.memory}
		one, endOne := s.begin(func(c *SubscriptionConfig) { c.Tailer, c.Cells, c.Drain = off, off, time.Hour })
		stop := s.consume(one, "a", func(ctx context.Context, _ journal.Event) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(time.Second)
		s.add("x", "y", "z")
		time.Sleep(time.Second)
		same(t, "tries", s.got(), "a x:1", "a y:1", "a z:1")
		off.mu.Lock()
		off.off = true
		off.mu.Unlock()
		two, endTwo := s.begin(nil)
		defer endTwo()
		defer s.consume(two, "b", nil)()
		time.Sleep(20 * time.Second)
		same(t, "tries of the other", s.got(), "b x:1", "b y:1", "b z:1")
		off.mu.Lock()
		off.off = false
		off.mu.Unlock()
		stop()
		endOne()
	})
}
