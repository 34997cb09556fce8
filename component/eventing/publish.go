package eventing

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Publisher is an actors.Handler for commands to actors.Topics: it publishes their payloads as CloudEvents.
type Publisher struct {
	// Publish gives a CloudEvent in its JSON form to a topic.
	Publish func(ctx context.Context, topic string, event []byte) error
	// Now defaults to time.Now.
	Now func() time.Time
}

var _ actors.Handler = Publisher{}

// Handle publishes. The event has the command's key as its id, so that one that is published twice can be told; without
// a key it has a random one.
func (p Publisher) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	id := c.Key
	if id == "" {
		id = rand.Text()
	}
	source := c.Method // service.method
	if i := strings.LastIndexByte(source, '.'); i > 0 {
		source = source[:i]
	}
	event, err := reply(id, source, c.Payload, c.Metadata, now())
	if err != nil {
		return actors.Outcome{}, &actors.Error{Code: actors.InvalidArgument, Cause: err,
			Message: fmt.Sprintf("publish the reply of %s to the topic %s: its payload is not what its type says", c.Method, c.ID)}
	}
	text, err := event.JSON()
	if err != nil {
		return actors.Outcome{}, &actors.Error{Code: actors.InvalidArgument, Cause: err,
			Message: fmt.Sprintf("publish the reply of %s to the topic %s: it cannot be written as a CloudEvent", c.Method, c.ID)}
	}
	return actors.Outcome{}, p.Publish(ctx, c.ID, text)
}
