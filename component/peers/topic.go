package peers

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
)

// Topics is the sidecar's pub/sub API. Errors say what was done.
type Topics interface {
	// Send gives bytes to a topic.
	Send(ctx context.Context, pubsub, topic string, data []byte) error
	// Receive hands over what Send gives, until ctx ends, at least once and in any order, however often the subscription
	// breaks. state is told how it stands: nil while there is one.
	Receive(ctx context.Context, pubsub, topic string, handle func(data []byte), state func(error)) error
}

// TopicConfig of a Topic. Topics, PubSub and App are needed.
type TopicConfig struct {
	Topics Topics
	// PubSub is the name of the Dapr component.
	PubSub string
	// App is the app's id. Topic defaults to entities-<App>-replication.
	App, Topic string
	// MaxBatch is the largest batch in bytes. Defaults to 512 KiB: base64 and its envelope make it a third bigger on its
	// way, and many brokers take no more than 1 MB.
	MaxBatch int
	// ProbeTimeout is how long a probe may take to come back. Defaults to 10 seconds.
	ProbeTimeout time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Topic is a bus over a Dapr pub/sub component. It needs a component that gives every message to every process: one with a
// consumer id of its own in each, while the default is one for all processes of an app, which then take messages away from
// each other. That would go unnoticed for long, so a Topic publishes probes at its start, and whenever it hears of another
// process that it did not know, and expects them back.
type Topic struct {
	config TopicConfig
	origin uint64
	wake   chan struct{}

	mu         sync.Mutex // guards what follows
	prober     prober
	subscribed error // why not; nil while it is
	sending    error // why the last probe could not be published
}

var _ replica.Bus = (*Topic)(nil)

// NewTopic makes a bus that delivers when Run is called.
func NewTopic(config TopicConfig) (*Topic, error) {
	c := &config
	c.Topic = cmp.Or(c.Topic, "entities-"+c.App+"-replication")
	c.MaxBatch, c.ProbeTimeout = cmp.Or(c.MaxBatch, 512<<10), cmp.Or(c.ProbeTimeout, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	var problems []error
	if c.Topics == nil || c.PubSub == "" || c.App == "" {
		problems = append(problems, errors.New("Topics, PubSub and App are all needed"))
	}
	if c.MaxBatch < 1 || c.MaxBatch > 64<<20 {
		problems = append(problems, fmt.Errorf("MaxBatch is %d; 1 to %d are possible", c.MaxBatch, 64<<20))
	}
	if c.ProbeTimeout < 10*time.Millisecond {
		problems = append(problems, fmt.Errorf("ProbeTimeout is %s; at least 10ms are needed", c.ProbeTimeout))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the bus over pub/sub: %w", err)
	}
	t := &Topic{config: config, origin: rand.Uint64(), wake: make(chan struct{}, 1), subscribed: errors.New("not subscribed yet")}
	t.prober = newProber(t.origin, config.ProbeTimeout)
	return t, nil
}

// Err says why batches may not get through at present, nil if they do: for readiness.
func (t *Topic) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subscribed != nil {
		return fmt.Errorf("hear of other members' batches: %w", t.subscribed)
	}
	return cmp.Or(t.sending, t.config.explain(t.prober.verdict()))
}

// explain what the probes show.
func (c *TopicConfig) explain(v verdict) error {
	switch {
	case !v.known:
		return fmt.Errorf("the topic %s of %s is being tried", c.Topic, c.PubSub)
	case v.lost > 0:
		return fmt.Errorf("%d of %d messages that this process published to the topic %s of %s did not come back to it within %s: "+
			"most likely other processes take them away, because all have the same consumer id; give each its own in the metadata of the "+
			`component %s: {name: consumerID, value: "{uuid}"}, or "{podName}" in a StatefulSet`,
			v.lost, v.sent, c.Topic, c.PubSub, c.ProbeTimeout, c.PubSub)
	}
	return nil
}

// A message begins with what it is and who sent it.
const (
	messageBatch = 'b'
	messageProbe = 'p'
	headerBytes  = 9
)

func (t *Topic) header(kind byte, capacity int) []byte {
	return binary.LittleEndian.AppendUint64(append(make([]byte, 0, headerBytes+capacity), kind), t.origin)
}

// Publish implements replica.Bus.
func (t *Topic) Publish(ctx context.Context, batch []byte) error {
	if len(batch) > t.config.MaxBatch {
		return fmt.Errorf("publish a batch: it has %d bytes, at most %d are allowed", len(batch), t.config.MaxBatch)
	}
	return t.config.Topics.Send(ctx, t.config.PubSub, t.config.Topic, append(t.header(messageBatch, len(batch)), batch...))
}

// Run implements replica.Bus. It does not deliver to a process what that has published.
func (t *Topic) Run(ctx context.Context, deliver func(batch []byte)) error {
	var probing sync.WaitGroup
	defer probing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probing.Go(func() { t.probe(ctx) })
	err := t.config.Topics.Receive(ctx, t.config.PubSub, t.config.Topic, func(data []byte) { t.take(data, deliver) }, t.state)
	if err != nil {
		return fmt.Errorf("hear of other members' batches: %w", err)
	}
	return nil
}

// take a message. One that is not ours, or damaged, is nobody's: the topic may have been used for something else.
func (t *Topic) take(data []byte, deliver func([]byte)) {
	if len(data) < headerBytes {
		return
	}
	origin := binary.LittleEndian.Uint64(data[1:])
	switch body := data[headerBytes:]; {
	case data[0] == messageBatch && origin != t.origin:
		deliver(body)
	case data[0] == messageProbe && len(body) == 8:
		t.mu.Lock()
		t.prober.heard(origin, binary.LittleEndian.Uint64(body))
		t.mu.Unlock()
		ring(t.wake)
	}
}

// state of the subscription.
func (t *Topic) state(err error) {
	t.mu.Lock()
	was := t.subscribed
	t.subscribed = err
	if was != nil && err == nil {
		t.prober.restart()
	}
	t.mu.Unlock()
	switch {
	case err == nil && was != nil:
		t.config.Log.Info("subscribed to other members' batches", "pubsub", t.config.PubSub, "topic", t.config.Topic)
	case err != nil && was == nil:
		t.config.Log.Warn("not subscribed to other members' batches at present", "error", err)
	}
	ring(t.wake)
}

// probe publishes probes, and says what becomes of them.
func (t *Topic) probe(ctx context.Context) {
	var told error
	for ctx.Err() == nil {
		t.mu.Lock()
		number, send, wait := t.prober.next(time.Now(), t.subscribed == nil)
		v := t.prober.verdict()
		t.mu.Unlock()
		if v.known {
			told = t.tell(told, t.config.explain(v))
		}
		if send {
			within, cancel := context.WithTimeout(ctx, t.config.ProbeTimeout)
			err := t.config.Topics.Send(within, t.config.PubSub, t.config.Topic,
				binary.LittleEndian.AppendUint64(t.header(messageProbe, 8), number))
			cancel()
			t.mu.Lock()
			t.sending = err
			if err != nil {
				t.prober.unsent(number)
			}
			t.mu.Unlock()
			if err != nil {
				pause(ctx, time.Second)
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wake:
		}
		timer.Stop()
	}
}

// tell the log when the news are new.
func (t *Topic) tell(told, now error) error {
	switch {
	case now != nil && told == nil:
		t.config.Log.Error("batches do not get through to this process", "error", now)
	case now == nil && told != nil:
		t.config.Log.Info("batches get through to this process again")
	}
	return now
}
