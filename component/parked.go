package component

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/component/admin"
)

// The ids of what is parked begin with its kind: effects, events of a journal, and messages of topics.
const (
	effectKind  = "effect"
	eventKind   = "event"
	messageKind = "message"
)

// parked shows what was given up. It implements admin.Parked.
type parked struct{ host *host }

// List implements admin.Parked.
func (p parked) List(ctx context.Context, after string, limit int) ([]admin.ParkedItem, error) {
	var items []admin.ParkedItem
	kind, after, _ := strings.Cut(after, "/")
	for _, list := range []struct {
		kind string
		read func(ctx context.Context, after string, limit int) ([]admin.ParkedItem, error)
	}{{effectKind, p.effects}, {eventKind, p.events}, {messageKind, p.messages}} {
		if list.kind < kind || len(items) >= limit {
			continue
		}
		from := ""
		if list.kind == kind {
			from = after
		}
		more, err := list.read(ctx, from, limit-len(items))
		if err != nil {
			return nil, err
		}
		for i := range more {
			more[i].Kind, more[i].ID = list.kind, list.kind+"/"+more[i].ID
		}
		items = append(items, more...)
	}
	return items, nil
}

func (p parked) effects(ctx context.Context, after string, limit int) ([]admin.ParkedItem, error) {
	list, err := p.host.journal.Parked(ctx, after, limit)
	items := make([]admin.ParkedItem, 0, len(list))
	for _, e := range list {
		items = append(items, admin.ParkedItem{
			ID: e.ID, Source: e.Source.String(), Target: e.Ref.String() + "." + e.Method, Tries: e.Tries, Problem: e.Problem, Since: e.Since,
		})
	}
	return items, err
}

func (p parked) events(ctx context.Context, after string, limit int) ([]admin.ParkedItem, error) {
	list, err := feed.List(ctx, p.host.journal, "", "", after, limit)
	items := make([]admin.ParkedItem, 0, len(list))
	for _, e := range list {
		items = append(items, admin.ParkedItem{
			ID: e.Key, Source: actors.Ref{Service: e.Service, ID: e.ID}.String(), Target: e.Group, Tries: e.Tries, Problem: e.Problem, Since: e.Time,
		})
	}
	return items, err
}

func (p parked) messages(ctx context.Context, after string, limit int) ([]admin.ParkedItem, error) {
	if p.host.topics == nil {
		return nil, nil
	}
	list, err := p.host.topics.subscriber.List(ctx, after, limit)
	items := make([]admin.ParkedItem, 0, len(list))
	for _, e := range list {
		items = append(items, admin.ParkedItem{
			ID: e.Key, Source: e.Topic, Target: e.Group, Tries: e.Tries, Problem: e.Problem, Since: e.Time,
		})
	}
	return items, err
}

// Release implements admin.Parked.
func (p parked) Release(ctx context.Context, ids []string) error {
	return p.each(ids, func(effects []string) error { return p.host.journal.Release(ctx, effects) },
		func(key string) error { return feed.Release(ctx, p.host.journal, key) },
		func(key string) error { return p.host.topics.subscriber.Release(ctx, key, p.host.topics.find) })
}

// Discard implements admin.Parked.
func (p parked) Discard(ctx context.Context, ids []string) error {
	return p.each(ids, func(effects []string) error { return p.host.journal.Discard(ctx, effects) },
		func(key string) error { return feed.Discard(ctx, p.host.journal, key) },
		func(key string) error { return p.host.topics.subscriber.Discard(ctx, key) })
}

func (p parked) each(ids []string, effects func([]string) error, event, message func(key string) error) error {
	var problems []error
	var all []string
	for _, id := range ids {
		kind, key, _ := strings.Cut(id, "/")
		var err error
		switch {
		case kind == effectKind:
			all = append(all, key)
		case kind == eventKind:
			err = event(key)
		case kind == messageKind && p.host.topics != nil:
			err = message(key)
		}
		if err == nil || actors.CodeOf(err) != actors.NotFound { // somebody else was faster
			problems = append(problems, err)
		}
	}
	if len(all) > 0 {
		problems = append(problems, effects(slices.Compact(slices.Sorted(slices.Values(all)))))
	}
	p.host.landed(false, len(all) > 0)
	return errors.Join(problems...)
}
