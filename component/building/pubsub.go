package building

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
)

// MaxBulk is the number of messages that are published at once.
const MaxBulk = 10_000

// pubsub serves pubsub.entities.
type pubsub struct {
	components.UnimplementedPubSubServer
	server *Server
	topics topics

	mu    sync.Mutex
	gates map[string]*gate // by the component's name
}

// gate holds the deliveries of a component while the sidecar wants none.
type gate struct {
	paused bool
	// changed is closed when paused changes.
	changed chan struct{}
}

// gate returns whether a component's deliveries are paused, and what is closed when that changes.
func (p *pubsub) gate(name string) (paused bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[name]
	if g == nil {
		g = &gate{changed: make(chan struct{})}
		p.gates[name] = g
	}
	return g.paused, g.changed
}

func (p *pubsub) pause(name string, paused bool) {
	p.gate(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.gates[name]; g.paused != paused {
		close(g.changed)
		p.gates[name] = &gate{paused: paused, changed: make(chan struct{})}
	}
}

// Init takes the settings.
func (p *pubsub) Init(ctx context.Context, r *components.PubSubInitRequest) (*components.PubSubInitResponse, error) {
	key := instanceKey{pubsubType, nameOf(ctx)}
	if err := p.server.instances.init(ctx, key, r.GetMetadata().GetProperties(), true); err != nil {
		return nil, stateStatus(err)
	}
	p.pause(key.name, false)
	return &components.PubSubInitResponse{}, nil
}

// Ping answers always: it asks for the process.
func (p *pubsub) Ping(context.Context, *components.PingRequest) (*components.PingResponse, error) {
	return &components.PingResponse{}, nil
}

// Features lists everything there is. Because the sidecar takes one message of a topic at a time, it would wait in vain
// for more of them to make a bulk of.
func (p *pubsub) Features(ctx context.Context, _ *components.FeaturesRequest) (*components.FeaturesResponse, error) {
	if _, err := p.server.instances.get(ctx, pubsubType); err != nil {
		return nil, stateStatus(err)
	}
	// The constants are in a package of components-contrib that would bring many others along.
	return &components.FeaturesResponse{Features: []string{
		"MESSAGE_TTL", "SUBSCRIBE_WILDCARDS", "BULK_PUBSUB", "BULK_SUBSCRIBE_IMMEDIATE",
	}}, nil
}

// Publish appends a message to a topic.
func (p *pubsub) Publish(ctx context.Context, r *components.PublishRequest) (*components.PublishResponse, error) {
	problems, err := p.publish(ctx, r.GetTopic(), []*message{{
		data: r.GetData(), contentType: r.GetContentType(), metadata: r.GetMetadata(),
	}})
	if err := errors.Join(err, errors.Join(problems...)); err != nil {
		return nil, stateStatus(err)
	}
	return &components.PublishResponse{}, nil
}

// BulkPublish appends messages to a topic, each for itself.
func (p *pubsub) BulkPublish(ctx context.Context, r *components.BulkPublishRequest) (*components.BulkPublishResponse, error) {
	messages := make([]*message, len(r.GetEntries()))
	for i, e := range r.GetEntries() {
		metadata := maps.Clone(r.GetMetadata())
		if metadata == nil {
			metadata = map[string]string{}
		}
		maps.Copy(metadata, e.GetMetadata())
		messages[i] = &message{data: e.GetEvent(), contentType: e.GetContentType(), metadata: metadata}
	}
	problems, err := p.publish(ctx, r.GetTopic(), messages)
	if err != nil {
		return nil, stateStatus(err)
	}
	resp := &components.BulkPublishResponse{}
	for i, problem := range problems {
		if problem != nil {
			resp.FailedEntries = append(resp.FailedEntries, &components.BulkPublishResponseFailedEntry{
				EntryId: r.GetEntries()[i].GetEntryId(), Error: problem.Error(),
			})
		}
	}
	return resp, nil
}

// publish returns an error for each message, or one for them all.
func (p *pubsub) publish(ctx context.Context, topic string, messages []*message) ([]error, error) {
	i, r, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateTopic(topic); err != nil {
		return nil, err
	}
	if strings.Contains(topic, wildcard) {
		return nil, actors.Errorf(actors.InvalidArgument, "the topic %q has a %s, which stands for many topics; publish to one of them", cut(topic), wildcard)
	}
	if len(messages) > MaxBulk {
		return nil, actors.Errorf(actors.ResourceExhausted, "%d messages were to be published at once; at most %d are allowed", len(messages), MaxBulk)
	}
	if err := p.topics.refuseServices(ctx, r, topic); err != nil {
		return nil, err
	}
	now := time.Now()
	problems := make([]error, len(messages))
	var good []*message
	var places []int
	for n, m := range messages {
		m.topic = topic
		if problems[n] = m.parse(i.room(), now); problems[n] == nil {
			good, places = append(good, m), append(places, n)
		}
	}
	for n, problem := range publish(ctx, r.Journal, i.config.AppID, good) {
		if problem != nil {
			problem = &actors.Error{Code: actors.CodeOf(problem), Message: fmt.Sprintf("publish to the topic %q: %v", cut(topic), problem), Cause: problem}
		}
		problems[places[n]] = problem
	}
	if r.Landed != nil {
		r.Landed()
	}
	return problems, nil
}

// open finds the runtime for a request, and the component that it is for.
func (p *pubsub) open(ctx context.Context) (*instance, *Runtime, error) {
	i, err := p.server.instances.get(ctx, pubsubType)
	if err != nil {
		return nil, nil, err
	}
	r := p.server.runtime.Load()
	if r == nil || r.Journal == nil {
		return nil, nil, errNoTopics
	}
	return i, r, nil
}

var errNoTopics = actors.Errorf(actors.Unavailable,
	"the journal is not open (yet); topics are kept in that of a state.entities component, which the sidecar needs, too")

// Pause delivers nothing more until Resume; what was delivered may still be acknowledged.
func (p *pubsub) Pause(ctx context.Context, _ *components.PauseRequest) (*components.PauseResponse, error) {
	if _, err := p.server.instances.get(ctx, pubsubType); err != nil {
		return nil, stateStatus(err)
	}
	p.pause(nameOf(ctx), true)
	return &components.PauseResponse{}, nil
}

// Resume ends a Pause.
func (p *pubsub) Resume(ctx context.Context, _ *components.ResumeRequest) (*components.ResumeResponse, error) {
	if _, err := p.server.instances.get(ctx, pubsubType); err != nil {
		return nil, stateStatus(err)
	}
	p.pause(nameOf(ctx), false)
	return &components.ResumeResponse{}, nil
}

// PullMessages delivers the messages of a topic until the sidecar ends the stream, or this component does.
func (p *pubsub) PullMessages(stream components.PubSub_PullMessagesServer) error {
	ctx := stream.Context()
	i, err := p.server.instances.get(ctx, pubsubType)
	if err != nil {
		return stateStatus(err)
	}
	first, err := stream.Recv()
	if err != nil {
		return stateStatus(fmt.Errorf("subscribe: %w", err))
	}
	if first.GetTopic() == nil {
		return stateStatus(actors.Errorf(actors.InvalidArgument, "the first message of a subscription names no topic"))
	}
	if err := p.refuseSilent(first.GetTopic().GetName()); err != nil {
		return stateStatus(err)
	}
	s, err := newPull(p, i, nameOf(ctx), first.GetTopic(), stream)
	if err != nil {
		return stateStatus(err)
	}
	return s.serve(ctx)
}

// refuseSilent returns an error if the topic is a service of which there never are events, as far as that is known now.
func (p *pubsub) refuseSilent(topic string) error {
	r := p.server.runtime.Load()
	if r == nil {
		return nil
	}
	if c := r.catalog(); c != nil {
		if s, ok := c.Service(topic); ok && !s.Kind.Placed() {
			return actors.Errorf(actors.InvalidArgument, "the topic %q is the service %s, which keeps no events: it is no event-sourced or value entity", cut(topic), s.Name)
		}
	}
	return nil
}
