package building

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/component/catalog"
)

// any stands in a subscription's topic for any number of characters, as in Dapr's pubsub.in-memory.
const wildcard = "*"

// topicService is where the messages of a topic are.
func topicService(topic string) string { return catalog.TopicPersistence + topic }

// validateTopic checks what no topic can be called.
func validateTopic(topic string) error {
	switch {
	case topic == "":
		return actors.Errorf(actors.InvalidArgument, "the topic is empty")
	case len(topic) > MaxTopicBytes:
		return actors.Errorf(actors.InvalidArgument, "the topic %q has %d bytes; at most %d are allowed", cut(topic), len(topic), MaxTopicBytes)
	case strings.ContainsFunc(topic, unicode.IsControl):
		return actors.Errorf(actors.InvalidArgument, "the topic %q contains control characters", cut(topic))
	}
	return nil
}

// matches reports whether a pattern means a name.
func matches(pattern, name string) bool {
	first, rest, some := strings.Cut(pattern, wildcard)
	if !some {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for {
		next, more, some := strings.Cut(rest, wildcard)
		if !some {
			return strings.HasSuffix(name, next)
		}
		at := strings.Index(name, next)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(next):], more
	}
}

// topicOf is the topic by which a service's events are known.
func topicOf(c *catalog.Catalog, service string) string {
	if topic, ok := strings.CutPrefix(service, catalog.TopicPersistence); ok {
		return topic
	}
	if c != nil {
		for _, s := range c.Services() {
			if s.Kind.Placed() && s.Persistence == service {
				return s.Name
			}
		}
	}
	return service
}

// servicesOf returns the services whose events are what a topic, or pattern, means now. A name may mean a service and a
// topic of messages: which of them there will be, nobody knows yet.
func (r *Runtime) servicesOf(ctx context.Context, topic string) ([]string, error) {
	c := r.catalog()
	if !strings.Contains(topic, wildcard) {
		if c != nil {
			if s, ok := c.Service(topic); ok && s.Kind.Placed() {
				return []string{s.Persistence}, nil
			}
		}
		if strings.HasPrefix(topic, catalog.TopicPersistence) || len(topic) > feed.MaxGroupBytes {
			return []string{topicService(topic)}, nil
		}
		return []string{topic, topicService(topic)}, nil
	}
	known, err := r.Journal.Services(ctx)
	if err != nil {
		return nil, journalError("look for the topics of "+cut(topic), err)
	}
	if c != nil {
		for _, s := range c.Services() {
			if s.Kind.Placed() {
				known = append(known, s.Persistence)
			}
		}
	}
	slices.Sort(known)
	// The keys of the state store are nobody's topic by accident.
	return slices.DeleteFunc(slices.Compact(known), func(service string) bool {
		return service == StateService || len(service) > feed.MaxGroupBytes || !matches(topic, topicOf(c, service))
	}), nil
}

// groupOf names who shares the cursor of a subscription: consumers with the same id, of the same topic or pattern. A
// pattern's is another than that of a topic it means: who subscribes to both gets what he asked for, twice.
func groupOf(consumer, topic string) string { return groupIn("pubsub", consumer, topic) }

// groupIn names who shares a subscription of a kind.
func groupIn(kind, consumer, what string) string {
	group := kind + "/" + actors.EscapeID(consumer) + "/" + actors.EscapeID(what)
	if len(group) <= feed.MaxGroupBytes {
		return group
	}
	sum := sha256.Sum256([]byte(group))
	return kind + "/" + hex.EncodeToString(sum[:])
}

const (
	// trusted is how long a name counts as one of no service.
	trusted = 5 * time.Second
	// maxTrusted is how many of them are remembered.
	maxTrusted = 10_000
)

// topics remembers which names are of no service, so that publishing need not ask every time.
type topics struct {
	mu   sync.Mutex
	free map[string]time.Time
}

// refuseServices returns an error if the topic is that of a service: only its entities say what happens there.
func (t *topics) refuseServices(ctx context.Context, r *Runtime, topic string) error {
	owned := actors.Errorf(actors.InvalidArgument,
		"the topic %q is that of the service's events, which its entities emit; send them commands, or publish to a topic of another name", cut(topic))
	if topic == StateService {
		return owned
	}
	if c := r.catalog(); c != nil {
		if _, ok := c.Service(topic); ok || slices.ContainsFunc(c.Services(), func(s *catalog.Service) bool {
			return s.Kind.Placed() && s.Persistence == topic
		}) {
			return owned
		}
	}
	if strings.HasPrefix(topic, catalog.TopicPersistence) {
		return nil
	}
	now := time.Now()
	t.mu.Lock()
	known := now.Before(t.free[topic])
	t.mu.Unlock()
	if known {
		return nil
	}
	found, err := r.Journal.List(ctx, topic, "", 1)
	if err != nil {
		return journalError("publish to the topic "+cut(topic), err)
	}
	if len(found) > 0 {
		return owned
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == nil || len(t.free) >= maxTrusted {
		t.free = map[string]time.Time{}
	}
	t.free[topic] = now.Add(trusted)
	return nil
}
