package daprstate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Effects are in the head of their source, so they are kept with the append that decided them and with nothing else. An
// index, by lane, has all sources with effects, each with the time before which there is nothing to do. It is changed as
// the feed's list of open streams is: a source is in it, with no time, before its head is saved with a new effect, and the
// head says so (wanted); whoever wants to give it a time saves the head first, so that those fail who rely on it.

// keep changes the effects of a head. Changed ones are sorted in where they come.
func (c *change) keep(k rules.Keeping, at time.Time) {
	for _, key := range k.Keys {
		c.effects = slices.DeleteFunc(c.effects, func(e effect) bool {
			gone := e.key == key && !slices.ContainsFunc(k.Effects, func(n *actors.Effect) bool { return n.ID == e.id })
			if gone {
				c.drop(e.body)
			}
			return gone
		})
	}
	for _, e := range k.Effects {
		if c.find(e.ID) != nil {
			continue
		}
		c.effects = append(c.effects, effect{
			id: e.ID, key: e.Key, delayed: e.Delayed(), due: rules.Due(e, at), since: at,
			body: c.parts.keep(actors.MarshalEffect(e), inlineBytes/2),
		})
		c.parts.j.sources.Add(e.ID, c.ref)
		c.touched = true
	}
}

func (h *head) find(id string) *effect {
	for i := range h.effects {
		if h.effects[i].id == id {
			return &h.effects[i]
		}
	}
	return nil
}

// never is when nothing is to be done before somebody asks for it.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Enqueue implements journal.Outbox.
func (j *Journal) Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error {
	if err := cmp.Or(journal.ValidateRef(source), journal.ValidateEffects(effects)); err != nil {
		return fmt.Errorf("keep effects of %s: %w", source, err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	if len(effects) == 0 {
		return nil
	}
	keeping := rules.Keep(source, effects)
	err := j.change(ctx, source, func(c *change) error {
		c.keep(keeping, now())
		return c.fits()
	})
	if err != nil {
		return fmt.Errorf("keep effects of %s: %w", source, err)
	}
	return nil
}

// pending is an effect as it is handed out.
func (h *head) pending(e *effect) journal.Pending {
	p := journal.Pending{Source: h.ref, Tries: int(e.tries), Problem: e.problem, Since: e.since}
	p.ID, p.Key = e.id, e.key
	if e.delayed {
		p.Due = e.due
	}
	rules.Decode(&p, e.body.inline)
	return p
}

// handOut fills the bodies of effects and makes them Pending.
func (j *Journal) handOut(ctx context.Context, h *head, list []*effect) ([]journal.Pending, error) {
	apart := make([]*data, len(list))
	for i, e := range list {
		apart[i] = &e.body
	}
	if err := j.fill(ctx, apart); err != nil {
		return nil, err
	}
	pending := make([]journal.Pending, 0, len(list))
	for _, e := range list {
		if missing(&e.body) {
			break // it was settled or replaced since; those behind it come again
		}
		j.sources.Add(e.id, h.ref)
		pending = append(pending, h.pending(e))
	}
	return pending, nil
}

// due are the effects of a head that are due, in order.
func (h *head) due(limit int) (list []*effect) {
	at := time.Now()
	held := false
	for i := range h.effects {
		e := &h.effects[i]
		switch {
		case limit > 0 && len(list) == limit:
			return list
		case e.parked || !e.delayed && held:
		case e.due.After(at):
			held = held || !e.delayed
		default:
			list = append(list, e)
		}
	}
	return list
}

// Due implements journal.Outbox.
func (j *Journal) Due(ctx context.Context, services []string, lanes []int, limit int) ([]journal.Pending, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	var list []journal.Pending
	at := time.Now()
	pass := func(ref actors.Ref, w wish) bool {
		return !w.before.After(at) && (services == nil || slices.Contains(services, ref.Service))
	}
	type idle struct {
		ref  actors.Ref
		wish wish
	}
	var resting []idle
	for _, lane := range lanes {
		err := j.sourcesOf(ctx, lane, pass, func(h *head, w wish) (bool, error) {
			left := 0
			if limit > 0 {
				left = limit - len(list)
			}
			due := h.due(left)
			if len(due) == 0 {
				resting = append(resting, idle{h.ref, w})
				return true, nil
			}
			pending, err := j.handOut(ctx, h, due)
			list = append(list, pending...)
			return limit == 0 || len(list) < limit, err
		})
		if err != nil {
			return nil, fmt.Errorf("find the effects that are due: %w", err)
		}
		if limit > 0 && len(list) >= limit {
			break
		}
	}
	for _, i := range resting {
		if err := j.rest(ctx, i.ref, i.wish); err != nil {
			j.config.Log.Debug("a source of effects is looked at more often than it should be", "error", err)
		}
	}
	return list, nil
}

// Parked implements journal.Outbox. It looks at all sources.
func (j *Journal) Parked(ctx context.Context, after string, limit int) ([]journal.Pending, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	type parked struct {
		head   *head
		effect *effect
	}
	var all []parked
	for lane := range journal.Lanes {
		err := j.sourcesOf(ctx, lane, func(actors.Ref, wish) bool { return true }, func(h *head, _ wish) (bool, error) {
			for i := range h.effects {
				if e := &h.effects[i]; e.parked && e.id > after {
					all = append(all, parked{h, e})
				}
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("find the effects that are parked: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b parked) int { return cmp.Compare(a.effect.id, b.effect.id) })
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	var list []journal.Pending
	for _, p := range all {
		pending, err := j.handOut(ctx, p.head, []*effect{p.effect})
		if err != nil {
			return nil, fmt.Errorf("find the effects that are parked: %w", err)
		}
		list = append(list, pending...)
	}
	return list, nil
}
