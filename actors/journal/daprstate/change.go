package daprstate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// change is one attempt to change a head.
type change struct {
	*head
	parts parts
	// before is the stream's head before the change.
	before journal.Head
	// touched says that effects were added, or may be due earlier.
	touched bool
	// obsolete are the keys that nobody needs once the head is saved.
	obsolete []string
}

func (c *change) drop(v data) { c.obsolete = append(c.obsolete, c.parts.j.bigKeys(v.big)...) }

// change saves what what makes of the head, again and again until nobody comes in between. What returns errSame if nothing
// is to be saved. The error matches errDoubt if it is not known whether the change was made; otherwise it was not.
func (j *Journal) change(ctx context.Context, ref actors.Ref, what func(c *change) error) error {
	return j.changeFrom(ctx, ref, nil, what)
}

// changeFrom begins with an item that was just read.
func (j *Journal) changeFrom(ctx context.Context, ref actors.Ref, item *Item, what func(c *change) error) error {
	give, waited, err := j.locks.take(ctx, ref)
	if err != nil {
		return err
	}
	defer give()
	if waited {
		item = nil // it is out of date, most likely
	}
	return j.changeNow(ctx, ref, item, what)
}

// changeNow waits for no other goroutine, so that those may wait for it.
func (j *Journal) changeNow(ctx context.Context, ref actors.Ref, item *Item, what func(c *change) error) error {
	for try := 0; ; try++ {
		if try > 0 && !pause(ctx, try) {
			return context.Cause(ctx)
		}
		if item == nil {
			now, err := j.getOne(ctx, j.headKey(ref))
			if err != nil {
				return err
			}
			item = &now
		}
		r, h, err := j.settled(ctx, ref, *item)
		if err != nil {
			return err
		}
		item = nil
		c := &change{head: h, parts: parts{j: j}, before: h.at}
		existed := h.exists
		// Before what looks for something that the head had just now: a command that is repeated, or an event.
		if err := j.put(ctx, h.seal(j)); err != nil {
			return err
		}
		if err := what(c); errors.Is(err, errSame) {
			return nil
		} else if err != nil {
			return err
		}
		if err := c.register(ctx, existed); err != nil {
			return err
		}
		if err := j.put(ctx, c.parts.items); err != nil {
			return err
		}
		err = j.save(ctx, r, h.encode())
		if err == nil {
			j.discard(c.obsolete)
			return nil
		}
		if !errors.Is(err, errDoubt) {
			c.parts.discard()
		}
		if !errors.Is(err, errLost) {
			return err
		}
	}
}

// settled returns a head without an intent: it waits for the transaction that has one there, or ends it.
func (j *Journal) settled(ctx context.Context, ref actors.Ref, item Item) (record, *head, error) {
	patience := newPatience(j)
	for {
		r, err := decodeRecord(item)
		if err != nil {
			return r, nil, err
		}
		h, err := decodeHead(r, ref)
		if err != nil || h.intent == nil {
			return r, h, err
		}
		if err := j.resolve(ctx, r, h, patience); err != nil {
			return r, nil, err
		}
		if item, err = j.getOne(ctx, r.key); err != nil {
			return r, nil, err
		}
	}
}

// register puts the stream on the lists on which it has to be before the head is saved. To be there without need does no
// harm.
func (c *change) register(ctx context.Context, existed bool) error {
	j, h := c.parts.j, c.head
	if h.exists && !existed {
		if err := j.streams.insert(ctx, streamKey(h.ref)); err != nil {
			return fmt.Errorf("list %s: %w", h.ref, err)
		}
	}
	if h.at.Sequence > c.before.Sequence && h.round == 0 {
		round, err := j.feed.register(ctx, h.ref)
		if err != nil {
			return fmt.Errorf("open the feed of %s: %w", h.ref, err)
		}
		h.round, h.opened = round, c.before.Sequence
	}
	if c.touched && len(h.effects) > 0 && !h.wanted {
		if err := j.want(ctx, h.ref); err != nil {
			return fmt.Errorf("list the effects of %s: %w", h.ref, err)
		}
		h.wanted = true
	}
	return nil
}

// streamKey orders streams by service and id. Neither has zero bytes.
func streamKey(ref actors.Ref) string { return ref.Service + "\x00" + ref.ID }

// Fence implements journal.Appender.
func (j *Journal) Fence(ctx context.Context, ref actors.Ref, epoch int64) (journal.Head, error) {
	if err := journal.ValidateRef(ref); err != nil {
		return journal.Head{}, fmt.Errorf("fence: %w", err)
	}
	if err := j.enter(ctx); err != nil {
		return journal.Head{}, err
	}
	defer j.leave()
	var fenced journal.Head
	err := j.change(ctx, ref, func(c *change) error {
		c.exists, c.updated = true, now()
		c.at = journal.Head{Sequence: c.at.Sequence, Epoch: max(c.at.Epoch+1, epoch)}
		fenced = c.at
		return nil
	})
	if err != nil {
		return journal.Head{}, fmt.Errorf("fence %s: %w", ref, err)
	}
	return fenced, nil
}

// keptRecord returns the record of a command: what the head holds or, of older ones, what has a key of its own. The head
// has to be read before: what it does not hold any more has a key since.
func (j *Journal) keptRecords(ctx context.Context, h *head, ids []string) (map[string]*journal.Record, error) {
	found := map[string]*journal.Record{}
	var commands []*command
	var keys, missing []string
	for _, id := range ids {
		if c := h.record(id); c != nil {
			commands = append(commands, c)
		} else if h.spilled > 0 && !slices.Contains(missing, id) {
			keys, missing = append(keys, j.commandKey(h.ref, h.life, id)), append(missing, id)
		}
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, item := range items {
		if item.ETag == "" {
			continue
		}
		c, err := decodeCommand(item.Value, h.ref, missing[i])
		if err != nil {
			return nil, fmt.Errorf("%w: the record of command %q of %s", err, missing[i], h.ref)
		}
		commands = append(commands, &c)
	}
	var apart []*data
	for _, c := range commands {
		apart = append(apart, &c.outcome)
	}
	if err := j.fill(ctx, apart); err != nil {
		return nil, err
	}
	for _, c := range commands {
		found[c.id] = &journal.Record{Hash: c.hash, Outcome: c.outcome.inline, Sequence: c.sequence}
	}
	return found, nil
}
