package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// plan is what all subscriptions of a group have to agree on. It is the value of the group's cell.
type plan struct {
	// Lanes that entities are dealt into.
	Lanes int `json:"lanes"`
	// Sources, by their names, and where they begin.
	Sources map[string]place `json:"sources"`
}

// place is a position as it is written.
type place struct {
	Transaction uint64 `json:"transaction"`
	Ordinal     int64  `json:"ordinal"`
}

func (p place) position() journal.Position { return journal.Position(p) }

func planKey(group string) string { return "subscription/" + part(group) }

// agree makes the group's plan, or adds to it what is new. It goes on until that is done, or ctx ends: then it
// is false.
func (s *Subscription) agree(ctx context.Context) (plan, bool) {
	for failing := false; ; {
		p, err := s.tryAgree(ctx)
		if err == nil || ctx.Err() != nil {
			return p, err == nil
		}
		if !failing {
			s.config.Log.Warn("the subscription waits for the journal", logError, err)
			failing = true
		}
		select {
		case <-ctx.Done():
			return plan{}, false
		case <-time.After(s.config.Poll):
		}
	}
}

func (s *Subscription) tryAgree(ctx context.Context) (plan, error) {
	key := planKey(s.config.Group)
	for {
		cell, err := s.config.Cells.Cell(ctx, key)
		if err != nil {
			return plan{}, fmt.Errorf("load %s: %w", key, err)
		}
		p := plan{Lanes: s.config.Lanes}
		if cell.Version > 0 {
			if err := json.Unmarshal(cell.Value, &p); err != nil || p.Lanes < 1 || p.Lanes > MaxLanes {
				return plan{}, fmt.Errorf("load %s: its value is no plan of lanes and sources; correct the cell (%w)", key, errors.Join(err))
			}
			if p.Lanes != s.config.Lanes {
				s.config.Log.Info("the subscription has another number of lanes, since it began with it", "lanes", p.Lanes)
			}
		}
		before := len(p.Sources)
		p.Sources = maps.Clone(p.Sources)
		if p.Sources == nil {
			p.Sources = map[string]place{}
		}
		for _, source := range s.config.Sources {
			if _, known := p.Sources[source]; known {
				continue
			}
			p.Sources[source] = place{}
			if s.config.From == Now {
				end, err := endOf(ctx, s.config.Tailer, s.config.Sources, s.config.Batch)
				if err != nil {
					return plan{}, err
				}
				p.Sources[source] = place(end)
			}
		}
		if cell.Version > 0 && len(p.Sources) == before {
			return p, nil
		}
		value, err := json.Marshal(p)
		if err != nil {
			return plan{}, fmt.Errorf("save %s: %w", key, err)
		}
		_, err = s.config.Cells.Put(ctx, journal.Cell{Key: key, Value: value, Version: cell.Version})
		switch {
		case err == nil:
			return p, nil
		case !errors.Is(err, journal.ErrConflict):
			return plan{}, fmt.Errorf("save %s: %w", key, err)
		}
	}
}

// endOf the journal, whoever its events are of.
func endOf(ctx context.Context, t journal.Tailer, services []string, batch int) (journal.Position, error) {
	var at journal.Position
	for {
		_, next, err := t.Tail(ctx, services, at, batch)
		if err != nil && !errors.Is(err, journal.ErrCorrupt) {
			return at, fmt.Errorf("look for the end of the journal: %w", err)
		}
		if next == at {
			return at, nil
		}
		at = next
	}
}

// services that the sources mean now, and where each begins. A source that cannot be resolved now means what it meant
// before.
func (s *Subscription) services(ctx context.Context, p plan, before map[string][]string) map[string]journal.Position {
	begin := map[string]journal.Position{}
	for _, source := range s.config.Sources {
		list, err := s.config.Resolve(ctx, source)
		if err != nil {
			if ctx.Err() == nil {
				s.config.Log.Warn("it is not known now which services a source means", "source", source, logError, err)
			}
			list = before[source]
		}
		before[source] = list
		for _, service := range list {
			at := p.Sources[source].position()
			if other, known := begin[service]; !known || at.Compare(other) < 0 {
				begin[service] = at
			}
		}
	}
	return begin
}
