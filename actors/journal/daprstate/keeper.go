package daprstate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// Services implements journal.Keeper.
func (j *Journal) Services(ctx context.Context) ([]string, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	var services []string
	for after := ""; ; {
		next, found := "", false
		err := j.streams.scan(ctx, "", after, func(entries []entry) (bool, error) {
			for i := range entries {
				next, _, found = strings.Cut(entries[i].key, "\x00")
				return false, nil
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the services: %w", err)
		}
		if !found {
			return services, nil
		}
		some, err := j.list(ctx, next, "", 1) // a stream is listed before it is made
		if err != nil {
			return nil, err
		}
		if len(some) > 0 {
			services = append(services, next)
		}
		after = next + "\x01" // behind all of its streams
	}
}

// Span implements journal.Keeper.
func (j *Journal) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	if err := j.enter(ctx); err != nil {
		return journal.Span{}, err
	}
	defer j.leave()
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return journal.Span{}, fmt.Errorf("read the span of %s: %w", ref, err)
	}
	return h.span(), nil
}

func (h *head) span() journal.Span {
	return journal.Span{Head: h.at, Origin: h.origin, Floor: h.floor, Updated: h.updated}
}

// commands of all records of a stream, in no order.
func (j *Journal) commands(ctx context.Context, h *head, life, spilled int64) ([]string, error) {
	keys := make([]string, spilled)
	for n := range keys {
		keys[n] = j.namesKey(h.ref, life, int64(n))
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range items {
		if item.ETag == "" {
			continue // removed already, or removed since
		}
		b, ok := summed(item.Value)
		d := decoder{data: b}
		for range d.count() {
			names = append(names, d.text())
		}
		if !ok || d.end() != nil {
			return nil, fmt.Errorf("%w: %s", errDamaged, item.Key)
		}
	}
	return names, nil
}

// Records implements journal.Keeper.
func (j *Journal) Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	fail := func(err error) ([]journal.CommandRecord, error) {
		return nil, fmt.Errorf("read the records of %s: %w", ref, err)
	}
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return fail(err)
	}
	names, err := j.commands(ctx, h, h.life, h.spilled)
	if err != nil {
		return fail(err)
	}
	for i := range h.records {
		names = append(names, h.records[i].id)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	first, there := slices.BinarySearch(names, after)
	if there {
		first++
	}
	names = names[first:]
	if limit == 0 {
		limit = len(names)
	}
	names = names[:min(limit, rules.RecordsInPage, len(names))]
	found, err := j.keptRecords(ctx, h, names)
	if err != nil {
		return fail(err)
	}
	var list []journal.CommandRecord
	for _, name := range names {
		if r := found[name]; r != nil {
			list = append(list, journal.CommandRecord{Command: name, Record: *r})
		}
	}
	return list, nil
}

// kept is what there is of a stream, for the rules.
func (c *change) kept(ctx context.Context) (*rules.Kept, error) {
	k := &rules.Kept{Exists: c.exists, Span: c.span()}
	if c.snapshot == nil {
		return k, nil
	}
	value := c.snapshot.data
	if err := c.parts.j.fill(ctx, []*data{&value}); err != nil {
		return nil, err
	}
	s := journal.Snapshot{Sequence: c.snapshot.sequence, Payload: c.snapshot.payload}
	s.Payload.Data = value.inline
	if s.Checksum(c.ref) == c.snapshot.sum && s.Sequence <= c.at.Sequence {
		k.Snapshot = s.Sequence
	}
	return k, nil
}

// raise raises the floor: what is below it in the head goes with the save, the rest by clear.
func (c *change) raise(floor int64) {
	c.floor = max(c.floor, floor)
	c.events = slices.DeleteFunc(slices.Clone(c.events), func(e event) bool {
		if e.Sequence <= c.floor {
			c.drop(e.data)
		}
		return e.Sequence <= c.floor
	})
}

// Forget implements journal.Keeper. The head says what is forgotten before it is removed.
func (j *Journal) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	for more := true; more; {
		more = false
		err := j.change(ctx, ref, func(c *change) error {
			more = false
			k, err := c.kept(ctx)
			if err != nil {
				return err
			}
			if err := k.Forgettable(through, wholeValues); err != nil || through <= c.floor {
				return cmp.Or(err, errSame)
			}
			to := min(through, c.floor+rules.ForgetEvents)
			more = to < through
			c.raise(to)
			if to == c.at.Sequence {
				c.origin, c.updated = to, now()
				c.unsnap()
			}
			return nil
		})
		if err == nil {
			err = j.clear(ctx, ref)
		}
		if err != nil {
			return fmt.Errorf("forget events of %s: %w", ref, err)
		}
	}
	return nil
}

func (c *change) unsnap() {
	if c.snapshot != nil {
		c.drop(c.snapshot.data)
	}
	c.snapshot = nil
}

// Erase implements journal.Keeper.
func (j *Journal) Erase(ctx context.Context, ref actors.Ref) error {
	if err := journal.ValidateRef(ref); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	err := j.change(ctx, ref, func(c *change) error {
		nothing := len(c.effects) == 0
		for i := range c.effects {
			c.drop(c.effects[i].body)
		}
		c.effects = nil
		if !c.exists || c.origin == c.at.Sequence && len(c.records) == 0 && c.spilled == 0 && c.snapshot == nil && nothing {
			if nothing {
				return errSame
			}
			return nil
		}
		c.raise(c.at.Sequence)
		c.unsnap()
		for i := range c.records {
			c.drop(c.records[i].outcome)
		}
		if c.spilled > 0 {
			c.remains = append(c.remains, remains{c.life, c.spilled})
		}
		c.records, c.spilled = nil, 0
		c.life++
		c.at.Epoch++
		c.origin, c.updated = c.at.Sequence, now()
		return nil
	})
	if err == nil {
		err = j.clear(ctx, ref)
	}
	if err != nil {
		return fmt.Errorf("erase %s: %w", ref, err)
	}
	return nil
}

// clear removes what a head does not refer to any more: full segments below its floor, and records of earlier lives. The
// head says how far that was done, so it goes on where it was interrupted.
func (j *Journal) clear(ctx context.Context, ref actors.Ref) error {
	h, err := j.viewOf(ctx, ref)
	if err != nil {
		return err
	}
	cleared := min(h.floor, h.sealed) / segmentEvents * segmentEvents
	if h.cleared >= cleared && len(h.remains) == 0 {
		return nil
	}
	for from := h.cleared; from < cleared; from += messageItems * segmentEvents {
		if err := j.clearSegments(ctx, h, from, min(cleared, from+messageItems*segmentEvents)); err != nil {
			return err
		}
	}
	for _, r := range h.remains {
		if err := j.clearRecords(ctx, h, r); err != nil {
			return err
		}
	}
	return j.change(ctx, ref, func(c *change) error {
		c.cleared = max(c.cleared, cleared)
		c.remains = slices.DeleteFunc(c.remains, func(r remains) bool { return slices.Contains(h.remains, r) })
		return nil
	})
}

func (j *Journal) clearSegments(ctx context.Context, h *head, from, to int64) error {
	var keys []string
	for n := from / segmentEvents; n*segmentEvents < to; n++ {
		keys = append(keys, j.segmentKey(h.ref, n))
	}
	items, err := j.get(ctx, keys)
	if err != nil {
		return err
	}
	var parts []string
	for _, item := range items {
		for _, e := range decodeSegment(item.Value) {
			parts = append(parts, j.bigKeys(e.data.big)...)
		}
	}
	return j.remove(ctx, append(parts, keys...)) // what names the others last
}

func (j *Journal) clearRecords(ctx context.Context, h *head, r remains) error {
	for n := range r.spilled {
		key := j.namesKey(h.ref, r.life, n)
		item, err := j.getOne(ctx, key)
		if err != nil {
			return err
		}
		b, _ := summed(item.Value)
		d := decoder{data: b}
		var keys []string
		var names []string
		for range d.count() {
			names = append(names, d.text())
			keys = append(keys, j.commandKey(h.ref, r.life, names[len(names)-1]))
		}
		items, err := j.get(ctx, keys)
		if err != nil {
			return err
		}
		var parts []string
		for i, item := range items {
			if c, err := decodeCommand(item.Value, h.ref, names[i]); err == nil {
				parts = append(parts, j.bigKeys(c.outcome.big)...)
			}
		}
		if err := j.remove(ctx, append(append(parts, keys...), key)); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) remove(ctx context.Context, keys []string) error {
	for part := range slices.Chunk(keys, messageItems) {
		if err := j.store.Delete(ctx, part); err != nil {
			return fmt.Errorf("remove from the state store: %w", err)
		}
	}
	return nil
}

// Restore implements journal.Keeper.
func (j *Journal) Restore(ctx context.Context, r journal.Restored) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	var made *change
	err := j.change(ctx, r.Ref, func(c *change) error {
		made = c
		return c.restore(ctx, &r)
	})
	if err == nil {
		j.feed.publish([]landed{made.run()})
		err = j.clear(ctx, r.Ref)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	return nil
}

func (c *change) restore(ctx context.Context, r *journal.Restored) error {
	j := c.parts.j
	k, err := c.kept(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(r.Records))
	for i := range r.Records {
		names[i] = r.Records[i].Command
	}
	records, err := j.keptRecords(ctx, c.head, names)
	if err != nil {
		return err
	}
	events, err := c.old(ctx, r.Events)
	if err != nil {
		return err
	}
	to, err := k.Restore(r, func(sequence int64) *journal.Event { return events[sequence] },
		func(command string) *journal.Record { return records[command] })
	if err != nil {
		return err
	}
	c.exists = true
	room := inlineTotal
	for i := range to.Events {
		e := &to.Events[i]
		c.at.Sequence = e.Sequence - 1
		a := &journal.Append{Ref: r.Ref, Command: e.Command}
		room -= c.add(a, e, e.Time, room)
	}
	for _, record := range to.Records {
		limit := inlineBytes
		if room < 0 {
			limit = 64
		}
		outcome := c.parts.keep(slices.Clone(record.Outcome), limit)
		room -= len(outcome.inline) + len(record.Command)
		c.records = append(c.records, command{record.Command, record.Hash, record.Sequence, outcome})
	}
	c.at, c.origin, c.updated = to.Span.Head, to.Span.Origin, to.Span.Updated
	c.raise(to.Span.Floor)
	if s := to.Snapshot; s != nil {
		at := c.at.Sequence
		c.at.Sequence = s.Sequence
		c.snap(&s.Payload)
		c.at.Sequence = at
	}
	return c.fits()
}

// old returns the events that a stream has in the place of others.
func (c *change) old(ctx context.Context, others []journal.Event) (map[int64]*journal.Event, error) {
	found := map[int64]*journal.Event{}
	if len(others) == 0 {
		return found, nil
	}
	after := max(others[0].Sequence-1, c.floor)
	last := min(others[len(others)-1].Sequence, c.at.Sequence)
	for after < last {
		s := &span{head: c.head, after: after, last: last}
		if err := c.parts.j.readSpans(ctx, []*span{s}); err != nil {
			return nil, err
		}
		if len(s.events) == 0 {
			return found, nil
		}
		for i := range s.events {
			found[s.events[i].Sequence] = &s.events[i].Event
		}
		after = s.events[len(s.events)-1].Sequence
	}
	return found, nil
}
