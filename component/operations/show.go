package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Event is an event as it is shown. Its JSON is what programs get, and does not change.
type Event struct {
	Service     string    `json:"service"`
	ID          string    `json:"id"`
	Sequence    int64     `json:"sequence"`
	Name        string    `json:"name"`
	Time        time.Time `json:"time"`
	Type        string    `json:"type"`
	ContentType string    `json:"contentType,omitempty"`
	// Size of the payload in bytes.
	Size int `json:"size"`
	// Data is the payload as JSON, or {"@type": …, "base64": …}.
	Data        json.RawMessage `json:"data"`
	Command     string          `json:"command"`
	Correlation string          `json:"correlation,omitempty"`
	Causation   string          `json:"causation,omitempty"`
	Traceparent string          `json:"traceparent,omitempty"`
	Caller      string          `json:"caller,omitempty"`
}

// shown renders events.
func shown(ctx context.Context, j Journal, events []journal.Event) ([]Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	payloads := make([]actors.Payload, len(events))
	for i := range events {
		payloads[i] = events[i].Payload
	}
	data, err := j.Render(ctx, payloads)
	if err != nil {
		return nil, err
	}
	list := make([]Event, len(events))
	for i := range events {
		e := &events[i]
		list[i] = Event{
			Service: e.Ref.Service, ID: e.Ref.ID, Sequence: e.Sequence, Name: e.Name, Time: e.Time.UTC(),
			Type: e.Payload.TypeURL, ContentType: e.Payload.ContentType, Size: len(e.Payload.Data), Data: data[i],
			Command: e.Command, Correlation: e.Context.Correlation, Causation: e.Context.Causation,
			Traceparent: e.Context.Traceparent, Caller: e.Context.Caller,
		}
	}
	return list, nil
}

// Entity is a stream as it is listed.
type Entity struct {
	Service  string    `json:"service"`
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"`
	Updated  time.Time `json:"updated"`
}

// List yields up to limit entities of a service whose ids are greater than after; limit 0 is no limit. A service that has
// none at all is an error with the code NotFound.
func List(ctx context.Context, j Journal, service, after string, limit int) iter.Seq2[Entity, error] {
	return func(yield func(Entity, error) bool) {
		for left := limit; limit <= 0 || left > 0; {
			list, err := j.List(ctx, service, after, max(left, 0))
			if err != nil {
				yield(Entity{}, fmt.Errorf("list the entities of %s: %w", service, err))
				return
			}
			if len(list) == 0 {
				if after == "" {
					yield(Entity{}, actors.Errorf(actors.NotFound, "the journal has no entities of %s; entities journal services lists what it has", service))
				}
				return
			}
			for _, s := range list {
				if !yield(Entity{service, s.ID, s.Sequence, s.Updated.UTC()}, nil) {
					return
				}
			}
			left, after = left-len(list), list[len(list)-1].ID
		}
	}
}

// History yields up to limit events of an entity after a sequence; limit 0 is no limit. One that does not exist is an error
// with the code NotFound.
func History(ctx context.Context, j Journal, ref actors.Ref, after int64, limit int) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		span, err := exists(ctx, j, ref)
		if err != nil {
			yield(Event{}, err)
			return
		}
		if after > span.Sequence {
			yield(Event{}, actors.Errorf(actors.NotFound, "%s has no events after %d: the newest is %d", ref, after, span.Sequence))
			return
		}
		until := span.Sequence
		if limit > 0 && until-after > int64(limit) {
			until = after + int64(limit)
		}
		for e, err := range events(ctx, j, ref, max(after, span.Floor), until) {
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// events yields those after a sequence, up to and including another one.
func events(ctx context.Context, j Journal, ref actors.Ref, after, until int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for after < until {
			page, broken := j.Events(ctx, ref, after, int(min(until-after, pageEvents)))
			list, err := shown(ctx, j, page)
			for _, e := range list {
				if e.Sequence > until || !yield(e, nil) {
					return
				}
				after = e.Sequence
			}
			if err = errors.Join(err, broken); err != nil {
				yield(Event{}, fmt.Errorf("read %s: %w", ref, err))
				return
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// exists returns the span of an entity.
func exists(ctx context.Context, j Journal, ref actors.Ref) (journal.Span, error) {
	span, err := j.Span(ctx, ref)
	if err == nil && span.Head == (journal.Head{}) {
		err = actors.Errorf(actors.NotFound, "the journal has no %s; entities journal list %s lists the entities of the service", ref, ref.Service)
	}
	if err != nil {
		return span, fmt.Errorf("look up %s: %w", ref, err)
	}
	return span, nil
}
