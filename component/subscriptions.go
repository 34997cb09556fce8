package component

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/building"
)

// subscriptions are those of sidecars. Consumers of one group in this process share a feed.Subscription, which shares
// with those of other processes.
type subscriptions struct {
	host    *host
	metrics *admin.Metrics
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	all    map[string]*shared // by group
	// stopping ends, under mu with closed, when no more is to be delivered.
	stopping context.Context
	stop     context.CancelFunc
}

// shared is a subscription and how many consume.
type shared struct {
	*feed.Subscription
	consumers int
	end       context.CancelFunc
}

func newSubscriptions(h *host, m *admin.Metrics) *subscriptions {
	s := &subscriptions{host: h, metrics: m, all: map[string]*shared{}}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// Run waits until ctx ends, and then until everything that was delivered is acknowledged, or has had its time.
func (s *subscriptions) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}

// consume implements the Consume of building.Runtime.
func (s *subscriptions) consume(ctx context.Context, b building.Subscription, handle func(ctx context.Context, e journal.Event) error) error {
	one, err := s.join(b)
	if err != nil {
		return err
	}
	defer s.running.Done()
	defer s.leave(b.Group, one)
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(s.stopping, end)()
	return one.Consume(ctx, b.Concurrency, func(ctx context.Context, e journal.Event) error {
		begun := time.Now()
		err := handle(ctx, e)
		if err == nil {
			s.metrics.Delivered("subscription", e.Ref.Service, time.Since(begun), time.Since(e.Time))
		}
		return err
	})
}

// join finds or begins the subscription of a group. Whoever joins is counted in running.
func (s *subscriptions) join(b building.Subscription) (*shared, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := strings.Join(b.Sources, ",")
	if s.closed {
		return nil, actors.Errorf(actors.Unavailable, "subscribe to %q: the component stops or changes its journal", source)
	}
	one := s.all[b.Group]
	if one == nil {
		from := feed.Beginning
		if b.FromNow {
			from = feed.Now
		}
		h := s.host
		made, err := feed.Subscribe(feed.SubscriptionConfig{
			Tailer: h.journal, Cells: h.journal, Group: b.Group, Sources: b.Sources, Resolve: b.Resolve, From: from,
			MaxTries: b.MaxTries, Timeout: b.Timeout, Concurrency: b.Concurrency,
			Drain: h.settings.DrainTimeout, LeaseTimeout: h.settings.LeaseTimeout, Log: h.log,
			Observer: feed.Observer{
				Retried: func(time.Duration) { s.metrics.Retried("subscription", source) },
				Parked:  func() { s.metrics.Parked("subscription", source) },
			},
		})
		if err != nil {
			return nil, fmt.Errorf("subscribe to %q: %w", source, err)
		}
		life, end := context.WithCancel(context.WithoutCancel(s.stopping))
		one = &shared{Subscription: made, end: end}
		s.all[b.Group] = one
		s.running.Go(func() {
			if err := one.Run(life); err != nil {
				h.log.Error("a subscription ended", "source", source, keyError, err)
			}
		})
	}
	one.consumers++
	s.running.Add(1)
	return one, nil
}

// leave ends the subscription when its last consumer has left.
func (s *subscriptions) leave(group string, one *shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.consumers--; one.consumers == 0 {
		one.end()
		if s.all[group] == one {
			delete(s.all, group)
		}
	}
}

// landed rings for all.
func (s *subscriptions) landed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		one.Ring()
	}
}

// topicRetentionTimeout is how long a host may be silent before another one goes on with its work, which has time.
const topicRetentionTimeout = 30 * time.Second

// newTopicRetention makes the work that removes messages that are too old, nil if all are kept. Of the hosts that share a
// journal, one does it.
func newTopicRetention(h *host) (*lease.Leases, error) {
	if h.settings.TopicRetention == 0 {
		return nil, nil
	}
	r := building.TopicRetention{Journal: h.journal, Age: h.settings.TopicRetention, Log: h.log}
	leases, err := lease.New(lease.Config{
		Cells: h.journal, Group: "topics", Member: rand.Text(), TTL: topicRetentionTimeout, Log: h.log,
		Work: func(ctx context.Context, _ *lease.Held) error { return r.Work(ctx) }, // twice at once does no harm
	})
	if err != nil {
		return nil, err
	}
	return leases, leases.Names([]string{"retention"})
}
