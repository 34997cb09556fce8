package daprstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// wantedKey orders sources by lane, service and id.
func wantedKey(ref actors.Ref) string {
	return lanePrefix(journal.Lane(ref)) + streamKey(ref)
}

func lanePrefix(lane int) string { return fmt.Sprintf("%02d/", lane) }

func sourceOf(key string) actors.Ref {
	service, id, _ := strings.Cut(key[3:], "\x00")
	return actors.Ref{Service: service, ID: id}
}

// wish is what the index has of a source.
type wish struct {
	asked  int64     // grows with every change
	before time.Time // when there is something to do; zero for now
}

func (w wish) encode() []byte {
	var e encoder
	e.number(w.asked)
	e.time(w.before)
	return e.data
}

func decodeWish(stored []byte) wish {
	d := decoder{data: stored}
	w := wish{d.number(), d.time()}
	if d.end() != nil {
		return wish{asked: w.asked} // it is looked at, then
	}
	return w
}

// want has a source looked at, from now on.
func (j *Journal) want(ctx context.Context, ref actors.Ref) error {
	return j.wanted.do(ctx, []string{wantedKey(ref)}, func(p *page, keys []string) {
		for _, key := range keys {
			p.counter++
			p.set(key, wish{asked: p.counter}.encode())
		}
	})
}

// never is when nothing is to be done before somebody asks for it.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// next is when there is something to do about the effects of a head; ok is false if there are none.
func (h *head) next() (next time.Time, ok bool) {
	next = never
	held := false
	for i := range h.effects {
		e := &h.effects[i]
		if e.parked || held && !e.delayed {
			continue
		}
		held = held || !e.delayed
		if e.due.Before(next) {
			next = e.due
		}
	}
	return next, len(h.effects) > 0
}

// rest lets a source be until its next effect is due, if nothing was changed about it for a while.
func (j *Journal) rest(ctx context.Context, ref actors.Ref, w wish) error {
	key := wantedKey(ref)
	if !j.watch.quiet("wanted "+key, fmt.Sprint(w.asked), j.config.Quiet) {
		return nil
	}
	var until time.Time
	var some, idle bool
	err := j.change(ctx, ref, func(c *change) error {
		if until, some = c.next(); some && !until.After(time.Now()) {
			idle = false
			return errSame
		}
		idle, c.wanted = true, false
		return nil
	})
	if err != nil || !idle {
		return err
	}
	j.watch.forget("wanted " + key)
	return j.wanted.do(ctx, []string{key}, func(p *page, _ []string) {
		stored, ok := p.get(key)
		if !ok || decodeWish(stored).asked != w.asked {
			return
		}
		p.counter++
		if some {
			p.set(key, wish{p.counter, until}.encode())
			return
		}
		p.remove(key)
	})
}

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

// sourcesOf calls visit with the heads of the sources in a lane that pass, some at a time.
func (j *Journal) sourcesOf(ctx context.Context, lane int, pass func(ref actors.Ref, w wish) bool, visit func(h *head, w wish) (more bool, err error)) error {
	prefix := lanePrefix(lane)
	return j.wanted.scan(ctx, prefix, "", func(entries []entry) (bool, error) {
		for len(entries) > 0 {
			var refs []actors.Ref
			var wishes []wish
			for len(entries) > 0 && len(refs) < messageItems {
				ref, w := sourceOf(entries[0].key), decodeWish(entries[0].value)
				if entries = entries[1:]; pass(ref, w) {
					refs, wishes = append(refs, ref), append(wishes, w)
				}
			}
			heads, err := j.views(ctx, refs)
			if err != nil {
				return false, err
			}
			for i, h := range heads {
				if more, err := visit(h, wishes[i]); err != nil || !more {
					return false, err
				}
			}
		}
		return true, nil
	})
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

// Settle implements journal.Outbox. What it says of one source happens all or not at all.
func (j *Journal) Settle(ctx context.Context, settlements []journal.Settlement) error {
	if err := journal.ValidateSettlements(settlements); err != nil {
		return fmt.Errorf("settle effects: %w", err)
	}
	ids := make([]string, len(settlements))
	for i := range settlements {
		ids[i] = settlements[i].ID
	}
	return j.amend(ctx, "settle effects", ids, func(c *change, i int) bool {
		return c.settle(&settlements[i], now())
	})
}

// settle reports whether it changed something.
func (c *change) settle(s *journal.Settlement, at time.Time) bool {
	e := c.find(s.ID)
	switch {
	case e == nil:
		return false
	case s.Verdict == journal.Done:
		c.forget(s.ID)
		return true
	case e.parked:
		return false
	}
	e.tries++
	e.problem = rules.Problem(s.Problem)
	if e.parked = s.Verdict == journal.Parked; !e.parked {
		e.due = at.Add(s.Again).Truncate(time.Microsecond)
	}
	return true
}

func (c *change) forget(id string) {
	c.effects = slices.DeleteFunc(c.effects, func(e effect) bool {
		if e.id == id {
			c.drop(e.body)
		}
		return e.id == id
	})
}

// Release implements journal.Outbox.
func (j *Journal) Release(ctx context.Context, ids []string) error {
	return j.amend(ctx, "release effects", ids, func(c *change, i int) bool {
		e := c.find(ids[i])
		if e == nil || !e.parked {
			return false
		}
		e.parked, e.tries, e.problem, e.due = false, 0, "", now()
		return true
	})
}

// Discard implements journal.Outbox.
func (j *Journal) Discard(ctx context.Context, ids []string) error {
	return j.amend(ctx, "discard effects", ids, func(c *change, i int) bool {
		if e := c.find(ids[i]); e == nil || !e.parked {
			return false
		}
		c.forget(ids[i])
		return true
	})
}

// amend changes effects by their ids, source by source.
func (j *Journal) amend(ctx context.Context, doing string, ids []string, amend func(c *change, i int) bool) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	places, err := j.locate(ctx, ids)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var errs []error
	for _, ref := range sorted(places) {
		err := j.change(ctx, ref, func(c *change) error {
			changed := false
			for _, i := range places[ref] {
				changed = amend(c, i) || changed
			}
			if !changed {
				return errSame
			}
			c.touched = true
			return nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", doing, ref, err))
		}
	}
	return errors.Join(errs...)
}

func sorted(places map[actors.Ref][]int) []actors.Ref {
	refs := make([]actors.Ref, 0, len(places))
	for ref := range places {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b actors.Ref) int { return cmp.Compare(streamKey(a), streamKey(b)) })
	return refs
}

// locate finds the sources of effects: of those that went through this process it is known, for the others all sources
// with effects are looked through.
func (j *Journal) locate(ctx context.Context, ids []string) (map[actors.Ref][]int, error) {
	places := map[actors.Ref][]int{}
	unknown := map[string][]int{}
	for i, id := range ids {
		if ref, ok := j.sources.Get(id); ok {
			places[ref] = append(places[ref], i)
		} else {
			unknown[id] = append(unknown[id], i)
		}
	}
	if len(unknown) == 0 {
		return places, nil
	}
	for lane := range journal.Lanes {
		err := j.sourcesOf(ctx, lane, func(actors.Ref, wish) bool { return true }, func(h *head, _ wish) (bool, error) {
			for i := range h.effects {
				e := &h.effects[i]
				if at := unknown[e.id]; at != nil {
					places[h.ref] = append(places[h.ref], at...)
					j.sources.Add(e.id, h.ref)
				}
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	for ref := range places {
		slices.Sort(places[ref])
	}
	return places, nil
}
