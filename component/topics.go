package component

import (
	"context"
	"log/slog"
	"maps"
	"sync"

	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/daprapi"
	"github.com/dapr-entities/entities/component/eventing"
)

// topics subscribes, through the sidecar, to the topics that the user function consumes. The consumers of one topic share
// a subscription: Dapr gives an app id one consumer group.
type topics struct {
	host       *host
	log        *slog.Logger
	subscriber eventing.Subscriber
	changed    chan struct{}

	mu        sync.Mutex
	consumers map[string][]catalog.Consumer
	problems  map[string]error
}

func newTopics(h *host, m *admin.Metrics) *topics {
	return &topics{
		host: h, log: h.log, changed: make(chan struct{}, 1),
		consumers: map[string][]catalog.Consumer{}, problems: map[string]error{},
		subscriber: eventing.Subscriber{
			Cells: h.journal, MaxTries: h.settings.MaxTries, Log: h.log,
			Parked: func(group, _ string, _ error) { m.Parked("message", group) },
		},
	}
}

// update takes over what a user function consumes.
func (t *topics) update(c *catalog.Catalog) {
	t.mu.Lock()
	clear(t.consumers)
	for _, consumer := range c.Consumers() {
		if topic := consumer.Source.Topic; topic != "" {
			t.consumers[topic] = append(t.consumers[topic], consumer)
		}
	}
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Run keeps the subscriptions until ctx ends. Messages in hand are answered first.
func (t *topics) Run(ctx context.Context) error {
	var subscriptions sync.WaitGroup
	defer subscriptions.Wait()
	running := map[string]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		t.mu.Lock()
		wanted := maps.Clone(t.consumers)
		t.mu.Unlock()
		for topic, stop := range running {
			if wanted[topic] == nil {
				stop()
				delete(running, topic)
			}
		}
		for topic := range wanted {
			if running[topic] == nil {
				life, stop := context.WithCancel(ctx)
				running[topic] = stop
				subscriptions.Go(func() { t.subscribe(life, topic) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.changed:
		}
	}
}

func (t *topics) subscribe(ctx context.Context, topic string) {
	pubsub := t.host.settings.Pubsub
	_ = t.host.sidecar.Subscribe(ctx, pubsub, topic, func(ctx context.Context, m daprapi.Message) error { // returns nil
		return t.consume(ctx, topic, eventing.CloudEvent(m))
	}, func(problem error) { t.state(topic, problem) })
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.problems, topic)
}

// state is told of every change of a subscription, and says what is news.
func (t *topics) state(topic string, problem error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.problems[topic]
	t.problems[topic] = problem
	switch {
	case problem == nil && (!known || old != nil):
		t.log.Info("subscribed", "topic", topic, "pubsub", t.host.settings.Pubsub)
	case problem != nil && (!known || old == nil):
		t.log.Warn("the topic is not subscribed to; it is tried again", "topic", topic, keyError, problem)
	}
}

// ready says which subscription does not stand.
func (t *topics) ready() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, problem := range t.problems {
		if problem != nil {
			return problem
		}
	}
	return nil
}

// consume hands a message to all consumers, one after the other.
func (t *topics) consume(ctx context.Context, topic string, e eventing.CloudEvent) error {
	t.mu.Lock()
	consumers := t.consumers[topic]
	t.mu.Unlock()
	for _, c := range consumers {
		if err := t.subscriber.Consume(ctx, t.consumption(c), e); err != nil {
			t.log.Warn("a message goes back to the broker", "topic", topic, "id", e.ID, keyError, err)
			return err
		}
	}
	return nil
}

func (t *topics) consumption(c catalog.Consumer) eventing.Consumption {
	return eventing.Consumption{Consumer: c, Commands: t.host.router, Skipped: func(typeURL string) {
		t.host.deliveries.skip(c, typeURL)
	}}
}

// find returns the consumer of a group and a topic.
func (t *topics) find(group, topic string) (eventing.Consumption, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.consumers[topic] {
		if c.Group == group {
			return t.consumption(c), true
		}
	}
	return eventing.Consumption{}, false
}
