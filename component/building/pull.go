package building

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/config"
)

// fromKey is the metadata of a subscription that overrules the setting of that name.
const fromKey = "from"

// topicKey is the metadata of a message whose topic is another than the one that was subscribed to: a wildcard, or another
// name of the service.
const topicKey = "topic"

// pull is one subscription of a sidecar: to a topic, or that of an input binding.
type pull struct {
	server   *Server
	instance *instance
	name     string // of the component
	topic    string // of an input binding, its services
	stream   acknowledged
	log      *slog.Logger
	sending  sync.Mutex // one at a time may send
	// gate tells whether the sidecar wants nothing now, and what is closed when that changes.
	gate         func() (paused bool, changed <-chan struct{})
	subscription func(r *Runtime) Subscription
	// message tells of an event; nil if it has expired. An error is for good: the event cannot be told of.
	message func(r *Runtime, e journal.Event) (*components.PullMessagesResponse, error)

	mu      sync.Mutex
	waiting map[string]chan error // for the acknowledgement of a message, by its id
	heard   time.Time             // of the last acknowledgement
}

// acknowledged is a stream of messages and their acknowledgements.
type acknowledged interface {
	Context() context.Context
	Send(m *components.PullMessagesResponse) error
	Recv() (*components.PullMessagesRequest, error)
}

func newPull(p *pubsub, i *instance, name string, topic *components.Topic, stream acknowledged) (*pull, error) {
	s := &pull{
		server: p.server, instance: i, name: name, topic: topic.GetName(), stream: stream,
		log:     p.server.logger.With("component", name, "topic", topic.GetName(), "consumer", i.consumer(name)),
		gate:    func() (bool, <-chan struct{}) { return p.gate(name) },
		waiting: map[string]chan error{},
	}
	s.message = s.published
	group, began := groupOf(i.consumer(name), s.topic), i.config.From
	s.subscription = func(r *Runtime) Subscription {
		return Subscription{Group: group, Sources: []string{s.topic}, Resolve: r.servicesOf, FromNow: began == config.FromNow}
	}
	if err := validateTopic(s.topic); err != nil {
		return nil, err
	}
	switch from := lookup(topic.GetMetadata(), fromKey); {
	case from == "":
	case strings.EqualFold(from, string(config.FromBeginning)):
		began = config.FromBeginning
	case strings.EqualFold(from, string(config.FromNow)):
		began = config.FromNow
	default:
		return nil, actors.Errorf(actors.InvalidArgument, "the subscription to the topic %q has the metadata %s: %q, which is none of %s, %s",
			cut(s.topic), fromKey, cut(from), config.FromBeginning, config.FromNow)
	}
	return s, nil
}

// consumer is who consumes, for a component whose sidecar did not say it.
func (i *instance) consumer(name string) string {
	if i.config.ConsumerID != "" {
		return i.config.ConsumerID
	}
	return name
}

// serve delivers until the stream or this component ends.
func (s *pull) serve(ctx context.Context) error {
	in := s.server.instances
	ctx, end := context.WithCancel(ctx)
	defer end()
	// It ends with the stream, which ends when serve returns; the server waits for it.
	s.server.readers.Go(func() {
		defer end()
		s.read()
	})
	var noting sync.WaitGroup
	defer noting.Wait() // a panic comes by here, too
	noted := false
	noting.Go(func() { noted = in.note(ctx, s.instance, s.topic, 1) })
	err := s.deliver(ctx)
	end()
	noting.Wait()
	if s.server.stopping.Err() != nil {
		return stateStatus(actors.Errorf(actors.Unavailable, "the component stops; subscribe to %q again", cut(s.topic)))
	}
	if noted {
		in.note(context.WithoutCancel(ctx), s.instance, s.topic, -1)
	}
	return stateStatus(err)
}

// read takes acknowledgements until the stream ends.
func (s *pull) read() {
	for {
		r, err := s.stream.Recv()
		if err != nil {
			return
		}
		var verdict error
		if r.GetAckError() != nil {
			verdict = fmt.Errorf("the sidecar or its app: %.200s", r.GetAckError().GetMessage())
		}
		s.mu.Lock()
		s.heard = time.Now()
		if answer := s.waiting[r.GetAckMessageId()]; answer != nil {
			answer <- verdict // has room for the one that is waited for
			delete(s.waiting, r.GetAckMessageId())
		}
		s.mu.Unlock()
	}
}

// deliver takes part in the subscription whenever there is a journal and the sidecar has not paused.
func (s *pull) deliver(ctx context.Context) error {
	server := s.server
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(server.stopping, stop)()
	for ctx.Err() == nil {
		paused, changed := s.gate()
		r, replaced := server.attached()
		if paused || r == nil || r.Journal == nil {
			select {
			case <-ctx.Done():
			case <-changed:
			case <-replaced:
			}
			continue
		}
		life, leave := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() {
			defer leave()
			select {
			case <-life.Done():
			case <-changed:
			case <-replaced:
			}
		})
		err := s.consume(life, r)
		gone := life.Err() != nil
		leave()
		watching.Wait()
		switch {
		case gone: // for one of the reasons above
		case err != nil && actors.CodeOf(err).Lasting():
			return err
		default: // the runtime stops, and another one is attached when that is over
			s.log.Debug("the subscription waits for the journal", "error", err)
			select {
			case <-ctx.Done():
			case <-replaced:
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

func (s *pull) consume(ctx context.Context, r *Runtime) error {
	c := s.instance.config
	subscription := s.subscription(r)
	subscription.MaxTries, subscription.Concurrency = c.MaxDeliveries, c.MaxUnacked
	subscription.Timeout = time.Duration(c.MaxUnacked+1) * c.AckTimeout // see wait
	return r.Consume(ctx, subscription, func(ctx context.Context, e journal.Event) error { return s.handle(ctx, r, e) })
}

// handle delivers one event and waits for the acknowledgement.
func (s *pull) handle(ctx context.Context, r *Runtime, e journal.Event) error {
	m, err := s.message(r, e)
	if m == nil || err != nil {
		return err
	}
	answer := make(chan error, 1)
	s.mu.Lock()
	s.waiting[m.Id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[m.Id] == answer {
			delete(s.waiting, m.Id)
		}
	}()
	s.sending.Lock()
	if s.stream.Context().Err() == nil {
		err = s.stream.Send(m)
	}
	s.sending.Unlock()
	if err != nil {
		return feed.ErrGone
	}
	return s.wait(ctx, answer)
}

// wait for an acknowledgement. The sidecar takes one message after the other, so a message has its time from when the one
// before it was acknowledged. A sidecar that works on others for ever does not keep one for ever, though.
func (s *pull) wait(ctx context.Context, answer <-chan error) error {
	c := s.instance.config
	sent := time.Now()
	last := sent.Add(time.Duration(c.MaxUnacked) * c.AckTimeout)
	timer := time.NewTimer(c.AckTimeout)
	defer timer.Stop()
	for {
		select {
		case err := <-answer:
			return err
		case <-s.stream.Context().Done():
			return feed.ErrGone
		case <-ctx.Done():
			return feed.ErrGone
		case <-timer.C:
		}
		s.mu.Lock()
		due := s.heard.Add(c.AckTimeout)
		s.mu.Unlock()
		if due.After(last) {
			due = last
		}
		left := time.Until(due)
		if left <= 0 {
			return actors.Errorf(actors.DeadlineExceeded, "the sidecar did not acknowledge it within %s (ackTimeout)", c.AckTimeout)
		}
		timer.Reset(left)
	}
}

// messageID is the same for every delivery of an event, and no other's.
func messageID(e journal.Event) string {
	return actors.EscapeID(e.Ref.Service) + "/" + actors.EscapeID(e.Ref.ID) + "/" + strconv.FormatInt(e.Sequence, 10)
}

// published is the message of a topic.
func (s *pull) published(r *Runtime, e journal.Event) (*components.PullMessagesResponse, error) {
	topic := topicOf(r.catalog(), e.Ref.Service)
	m := &components.PullMessagesResponse{
		// As it was subscribed to: by that the sidecar, and SDKs, find who takes it.
		TopicName: s.topic,
		// The same every time, so that a late acknowledgement counts.
		Id: messageID(e),
	}
	if strings.HasPrefix(e.Ref.Service, topicService("")) {
		metadata, expires := stored(e)
		if !expires.IsZero() && !time.Now().Before(expires) {
			return nil, nil
		}
		m.Data, m.ContentType, m.Metadata = e.Payload.Data, e.Payload.ContentType, metadata
	} else {
		data, err := r.CloudEvent(e, topic, s.name)
		if err != nil {
			return nil, actors.Errorf(actors.FailedPrecondition, "make a CloudEvent of it: %w", err)
		}
		m.Data, m.ContentType = data, contentCloud
	}
	if topic != s.topic {
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[topicKey] = topic
	}
	if err := fits(m, s.instance.room(), "the message", "the event stays in the journal, where the binding's history has it"); err != nil {
		return nil, actors.Errorf(actors.FailedPrecondition, "%s", err)
	}
	return m, nil
}
