package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// State of an entity at a version. Its JSON is what programs get, and does not change.
type State struct {
	Service string `json:"service"`
	ID      string `json:"id"`
	// Kind is event-sourced, value or state; Guessed says that it was guessed from the events.
	Kind    string `json:"kind"`
	Guessed bool   `json:"guessed,omitempty"`
	// Sequence that this is the state at, and the one of the newest event.
	Sequence int64 `json:"sequence"`
	Newest   int64 `json:"newest"`
	// Erased says that nothing is there since the entity was erased.
	Erased bool `json:"erased,omitempty"`

	// Time when it came to be, of a value or a state key.
	Time time.Time `json:"time,omitzero"`
	// Exists says that a value or a state key is there, and is neither deleted nor expired.
	Exists bool `json:"exists"`
	// Expires is when a state key does.
	Expires     time.Time       `json:"expires,omitzero"`
	Type        string          `json:"type,omitempty"`
	ContentType string          `json:"contentType,omitempty"`
	Size        int             `json:"size,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`

	// Snapshot and the events after it are the state of an event-sourced entity. If there are more events than were asked
	// for, More is the sequence of the last one here.
	Snapshot *SnapshotState `json:"snapshot,omitempty"`
	Events   []Event        `json:"events,omitempty"`
	More     int64          `json:"more,omitempty"`
}

// SnapshotState is a snapshot as it is shown.
type SnapshotState struct {
	Sequence    int64           `json:"sequence"`
	Type        string          `json:"type"`
	ContentType string          `json:"contentType,omitempty"`
	Size        int             `json:"size"`
	Data        json.RawMessage `json:"data"`
}

// The events of a value entity, and that by which a state key is deleted.
const (
	updated = "updated"
	deleted = "deleted"
)

// emptyType is the payload of a value entity's deletion.
const emptyType = "type.googleapis.com/google.protobuf.Empty"

// expiring is what the type URL of a state value begins with that expires; the time follows.
const expiring = stateType + "?expires="

// StateAt returns the state of an entity at a version, 0 for the newest, with up to limit events. kind is that of the
// service if it is not to be found out.
func StateAt(ctx context.Context, j Journal, ref actors.Ref, version int64, kind string, limit int) (*State, error) {
	span, err := exists(ctx, j, ref)
	if err != nil {
		return nil, err
	}
	switch {
	case version > span.Sequence:
		return nil, actors.Errorf(actors.NotFound, "%s has no version %d: the newest is %d", ref, version, span.Sequence)
	case version == 0:
		version = span.Sequence
	}
	s := &State{Service: ref.Service, ID: ref.ID, Kind: kind, Sequence: version, Newest: span.Sequence}
	if version <= span.Origin && span.Origin == span.Sequence {
		s.Erased = span.Origin > 0
		return s, nil
	}
	if version <= span.Origin && version <= span.Floor {
		return nil, fmt.Errorf("read %s at version %d: %w", ref, version, &journal.ForgottenError{Ref: ref, Floor: span.Floor})
	}
	if kind == "" {
		if err := s.find(ctx, j, ref); err != nil {
			return nil, err
		}
	}
	if s.Kind == EventSourced {
		err = s.fold(ctx, j, ref, span, limit)
	} else {
		err = s.value(ctx, j, ref)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// find finds out the kind: a component knows it, a journal does not. Then the events that a value entity has tell.
func (s *State) find(ctx context.Context, j Journal, ref actors.Ref) error {
	about, err := j.About(ctx)
	if err != nil {
		return err
	}
	if s.Kind = about.Kinds[ref.Service]; s.Kind != "" {
		return nil
	}
	s.Kind, s.Guessed = EventSourced, true
	list, err := j.Events(ctx, ref, s.Sequence-1, 1)
	if err != nil {
		return fmt.Errorf("read %s: %w", ref, err)
	}
	if len(list) == 0 {
		return nil
	}
	if e := &list[0]; e.Name == updated || e.Name == deleted && e.Payload.TypeURL == emptyType {
		snapshot, err := j.Snapshot(ctx, ref)
		if err != nil {
			return fmt.Errorf("read %s: %w", ref, err)
		}
		if snapshot == nil {
			s.Kind = Value
		}
	}
	return nil
}

// value is the state of what is stored whole.
func (s *State) value(ctx context.Context, j Journal, ref actors.Ref) error {
	for e, err := range events(ctx, j, ref, s.Sequence-1, s.Sequence) {
		if err != nil {
			return err
		}
		s.Time, s.Exists = e.Time, e.Name != deleted
		if text, found := strings.CutPrefix(e.Type, expiring); found {
			if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
				s.Expires = t
				s.Exists = s.Exists && (s.Sequence < s.Newest || time.Now().Before(t))
			}
		}
		if e.Name != deleted {
			s.Type, s.ContentType, s.Size, s.Data = e.Type, e.ContentType, e.Size, e.Data
		}
	}
	return nil
}

// fold collects what the state of an event-sourced entity is made of.
func (s *State) fold(ctx context.Context, j Journal, ref actors.Ref, span journal.Span, limit int) error {
	after := span.Origin
	snapshot, err := j.Snapshot(ctx, ref)
	if err != nil {
		return fmt.Errorf("read the snapshot of %s: %w", ref, err)
	}
	if snapshot != nil && snapshot.Sequence <= s.Sequence {
		data, err := j.Render(ctx, []actors.Payload{snapshot.Payload})
		if err != nil {
			return fmt.Errorf("render the snapshot of %s: %w", ref, err)
		}
		p := snapshot.Payload
		s.Snapshot = &SnapshotState{snapshot.Sequence, p.TypeURL, p.ContentType, len(p.Data), data[0]}
		after = snapshot.Sequence
	}
	if after < span.Floor {
		return fmt.Errorf("read %s at version %d: %w", ref, s.Sequence, &journal.ForgottenError{Ref: ref, Floor: span.Floor})
	}
	s.Exists = true
	until := s.Sequence
	if limit > 0 && until-after > int64(limit) {
		until = after + int64(limit)
		s.More = until
	}
	for e, err := range events(ctx, j, ref, after, until) {
		if err != nil {
			return err
		}
		s.Events = append(s.Events, e)
	}
	return nil
}
