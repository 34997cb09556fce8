package eventing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Subscriber consumes the events of topics: it tries each a number of times, and parks those that cannot be consumed, so
// that the ones behind them get on.
type Subscriber struct {
	// Cells keep what is parked. Without them a message that cannot be consumed goes back to the broker for ever.
	Cells journal.Cells
	// MaxTries before an event is parked. Defaults to 10.
	MaxTries int
	// Backoff before the second try. It doubles with every further one, up to MaxBackoff, less up to a half by chance.
	// They default to 100 ms and 30 s.
	Backoff, MaxBackoff time.Duration
	// Parked, if set, is told of every event that is parked, by its consumer group and topic.
	Parked func(group, topic string, why error)
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// parkedPrefix is what the cells of parked messages begin with.
const parkedPrefix = "parked/topic/"

// ParkedEvent is an event of a topic that could not be consumed.
type ParkedEvent struct {
	Key     string          `json:"-"`
	Version int64           `json:"-"`
	Group   string          `json:"group"`
	Topic   string          `json:"topic"`
	Event   json.RawMessage `json:"event"`
	Tries   int             `json:"tries"`
	Problem string          `json:"problem"`
	Time    time.Time       `json:"time"`
}

// Consume hands an event to a consumer until it is consumed or parked. The error says that it is neither: ctx has ended,
// or it cannot be parked.
func (s Subscriber) Consume(ctx context.Context, c Consumption, e CloudEvent) error {
	most, wait, longest := s.MaxTries, s.Backoff, s.MaxBackoff
	if most <= 0 {
		most = 10
	}
	if wait <= 0 {
		wait = 100 * time.Millisecond
	}
	if longest <= 0 {
		longest = 30 * time.Second
	}
	for n := 1; ; n++ {
		err := c.Topic(ctx, e)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case n >= most || actors.CodeOf(err).Lasting():
			return s.park(ctx, c, e, n, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait - rand.N(wait/2+1)):
		}
		wait = min(2*wait, longest)
	}
}

func (s Subscriber) park(ctx context.Context, c Consumption, e CloudEvent, tries int, why error) error {
	log := s.Log
	if log == nil {
		log = slog.Default()
	}
	if s.Cells == nil {
		return why
	}
	event, err := e.JSON()
	if err != nil {
		return fmt.Errorf("park the event %q of the topic %s: %w", e.ID, c.Source.Topic, err)
	}
	parked := ParkedEvent{Group: c.Group, Topic: c.Source.Topic, Event: event, Tries: tries, Problem: why.Error(), Time: time.Now().UTC()}
	value, err := json.Marshal(parked)
	if err != nil {
		return fmt.Errorf("park the event %q of the topic %s: %w", e.ID, c.Source.Topic, err)
	}
	if len(value) > journal.MaxCellBytes {
		// There is no room for it. Which event it was is better than nothing.
		parked.Event, _ = json.Marshal(map[string]string{"id": e.ID, "source": e.Source, "type": e.Type})
		if value, err = json.Marshal(parked); err != nil {
			return fmt.Errorf("park the event %q of the topic %s: %w", e.ID, c.Source.Topic, err)
		}
	}
	// The key is that of the command, so that an event that the broker delivers again is parked once.
	_, err = s.Cells.Put(ctx, journal.Cell{Key: parkedPrefix + c.key(e.Source, e.ID), Value: value})
	if err != nil && !errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("park the event %q of the topic %s: %w", e.ID, c.Source.Topic, err)
	}
	log.Warn("an event of a topic could not be consumed and is parked", "topic", c.Source.Topic, "group", c.Group, "id", e.ID, "tries", tries, "error", why)
	if s.Parked != nil {
		s.Parked(c.Group, c.Source.Topic, why)
	}
	return nil
}

// List returns up to limit parked events with keys greater than after, in the order of their keys.
func (s Subscriber) List(ctx context.Context, after string, limit int) ([]ParkedEvent, error) {
	cells, err := s.Cells.Cells(ctx, parkedPrefix, after, limit)
	if err != nil {
		return nil, err
	}
	list := make([]ParkedEvent, 0, len(cells))
	for _, cell := range cells {
		var p ParkedEvent
		if err := json.Unmarshal(cell.Value, &p); err != nil {
			p.Problem = "what is parked here cannot be read"
		}
		p.Key, p.Version = cell.Key, cell.Version
		list = append(list, p)
	}
	return list, nil
}

// Release consumes a parked event now and forgets it if that comes out well. An unknown key is ignored. find returns the
// consumer of a group and a topic, as it is now.
func (s Subscriber) Release(ctx context.Context, key string, find func(group, topic string) (Consumption, bool)) error {
	cell, err := s.Cells.Cell(ctx, key)
	if err != nil || cell.Version == 0 {
		return err
	}
	var p ParkedEvent
	if err := json.Unmarshal(cell.Value, &p); err != nil {
		return fmt.Errorf("release %s: read what is parked: %w", key, err)
	}
	e, err := parseCloudEvent(p.Event)
	if err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	c, ok := find(p.Group, p.Topic)
	if !ok {
		return fmt.Errorf("release %s: nobody consumes the topic %s in the group %s any more", key, p.Topic, p.Group)
	}
	if err := c.Topic(ctx, e); err != nil {
		return fmt.Errorf("release %s: %w", key, err)
	}
	return s.Discard(ctx, key)
}

// Discard forgets a parked event. An unknown key is ignored.
func (s Subscriber) Discard(ctx context.Context, key string) error {
	cell, err := s.Cells.Cell(ctx, key)
	if err != nil || cell.Version == 0 {
		return err
	}
	err = s.Cells.Remove(ctx, key, cell.Version)
	if errors.Is(err, journal.ErrConflict) {
		return nil // somebody else was faster
	}
	return err
}
