package eventing

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

// Commands carries out what an event is for.
type Commands interface {
	actors.Handler
	actors.Streamer
}

// Consumption is one consumer and what it needs. The zero value of what is optional works.
type Consumption struct {
	catalog.Consumer
	Commands Commands
	// Skipped is told of events that no method of the consumer takes; they count as delivered. Who subscribes to a log
	// has methods for what it is about, and need not name the rest. Optional.
	Skipped func(typeURL string)
}

// Log handles an event of a journal.
func (c Consumption) Log(ctx context.Context, stored journal.Event) error {
	id := stored.Ref.ID + "/" + strconv.FormatInt(stored.Sequence, 10)
	e := CloudEvent{
		ID: id, Source: stored.Ref.Service, SpecVersion: specVersion, Type: stored.Payload.TypeURL,
		ContentType: contentAny, Attributes: map[string]string{"subject": stored.Ref.ID},
	}
	metadata := e.metadata()
	if c.Service.Extensions["events"] {
		metadata = append(metadata,
			actors.Entry{Key: keyTime, Text: stored.Time.UTC().Format(time.RFC3339Nano)},
			actors.Entry{Key: keyEventName, Text: stored.Name},
			actors.Entry{Key: keySequence, Text: strconv.FormatInt(stored.Sequence, 10)})
	}
	m, err := c.Method(stored.Payload)
	if err != nil {
		c.skip(stored.Payload)
		return nil
	}
	return c.deliver(ctx, m, stored.Payload, metadata, c.key(e.Source, e.ID))
}

// Topic handles an event of a topic.
func (c Consumption) Topic(ctx context.Context, e CloudEvent) error {
	p := e.payload()
	m, err := c.Method(p)
	if err != nil && p.ContentType == actors.ContentJSON && len(c.Methods) == 1 {
		// Most publishers of a Dapr topic say nothing of the type of their JSON. Whoever is the only one to take the
		// topic means it.
		m = c.Methods[0]
		if p, err = m.Parse(p.ContentType, p.Data); err != nil {
			return err
		}
	}
	if err != nil {
		c.skip(p)
		return nil
	}
	return c.deliver(ctx, m, p, e.metadata(), c.key(e.Source, e.ID))
}

func (c Consumption) skip(p actors.Payload) {
	if c.Skipped != nil {
		c.Skipped(p.TypeURL)
	}
}

// key is the same for every delivery of an event to a consumer. Sources and ids are of any length.
func (c Consumption) key(source, id string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", c.Group, source, id))
	return "event-" + base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}

// deliver carries out the command that an event is for. A failure counts as not delivered.
func (c Consumption) deliver(ctx context.Context, m *catalog.Method, p actors.Payload, metadata actors.Metadata, key string) error {
	command := actors.Command{
		Ref: actors.Ref{Service: c.Service.Name}, Method: m.Name, Payload: p, Metadata: metadata, Key: key,
	}
	if c.Service.Kind != actors.Action {
		id, err := m.Entity(p)
		if err != nil && p.ContentType == actors.ContentJSON {
			id, err = metadata.Get(keySubject), nil // plain JSON has no key field: the event is about the entity of that id
		}
		if err != nil {
			return err
		}
		command.ID = id
	}
	if !m.StreamedIn && !m.StreamedOut || c.Service.Kind == actors.Replicated { // whose streams may never end
		o, err := c.Commands.Handle(ctx, command)
		if err == nil && o.Failure != nil {
			err = o.Failure
		}
		return err
	}
	var in func() (actors.Input, error)
	if m.StreamedIn {
		command.Payload, command.Metadata = actors.Payload{}, nil
		given := false
		in = func() (actors.Input, error) {
			if given {
				return actors.Input{}, io.EOF
			}
			given = true
			return actors.Input{Payload: p, Metadata: metadata}, nil
		}
	}
	return c.Commands.Stream(ctx, command, in, func(o actors.Outcome) error {
		if o.Failure != nil {
			return o.Failure
		}
		return nil
	})
}
