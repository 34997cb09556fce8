package journaltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// modelBox is the contract of an outbox, one effect at a time. Time stands still in it: what is put off, is for good.
type modelBox struct {
	prefix string // of all ids
	made   int
	kept   []modelEffect // in the order in which they came
}

type modelEffect struct {
	source          actors.Ref
	id, key         string
	delayed, putOff bool
	parked          bool
	tries           int
	problem         string
}

func (b *modelBox) clone() modelBox {
	c := *b
	c.kept = slices.Clone(b.kept)
	return c
}

func (b *modelBox) keep(source actors.Ref, effects []actors.Effect) {
	for _, e := range effects {
		if e.Key != "" {
			b.kept = slices.DeleteFunc(b.kept, func(k modelEffect) bool { return k.source == source && k.key == e.Key })
		}
		if !e.Cancel {
			b.kept = append(b.kept, modelEffect{source: source, id: e.ID, key: e.Key, delayed: e.Delayed(), putOff: e.Delay > 0})
		}
	}
}

// program makes effects. Each has an id that no other has, whatever becomes of it.
func (b *modelBox) program(t *rapid.T) []actors.Effect {
	var effects []actors.Effect
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 4}).Draw(t, "effects") {
		b.made++
		id := fmt.Sprint(b.prefix, " ", b.made)
		key := rapid.SampledFrom([]string{"", "", "", "k", "l"}).Draw(t, "key")
		e := kept(id, key)
		switch sort := rapid.IntRange(0, 9).Draw(t, "sort"); {
		case sort == 0:
			e = later(e)
		case sort == 1:
			e.Due = time.Unix(1e9, 0)
		case sort < 4 && key != "":
			e = cancel(id, key)
		}
		effects = append(effects, e)
	}
	return effects
}

// step does something to the outbox itself, here and there.
func (b *modelBox) step(t *rapid.T, j journal.Journal, refs []actors.Ref) {
	ctx := context.Background()
	some := func() []string {
		ids := []string{"unknown"}
		for _, k := range b.kept {
			if rapid.Bool().Draw(t, "this one") {
				ids = append(ids, k.id)
			}
		}
		return ids
	}
	at := func(id string) *modelEffect {
		i := slices.IndexFunc(b.kept, func(k modelEffect) bool { return k.id == id })
		if i < 0 {
			return &modelEffect{}
		}
		return &b.kept[i]
	}
	forget := func(id string) {
		b.kept = slices.DeleteFunc(b.kept, func(k modelEffect) bool { return k.id == id })
	}
	var err error
	switch rapid.IntRange(0, 4).Draw(t, "box") {
	case 0:
		source, effects := rapid.SampledFrom(refs).Draw(t, "source"), b.program(t)
		b.keep(source, effects)
		// Who does not know whether it was done does it again.
		err = errors.Join(j.Enqueue(ctx, source, effects), j.Enqueue(ctx, source, effects))
	case 1:
		ids := some()
		for _, id := range ids {
			if k := at(id); k.parked {
				k.parked, k.putOff, k.tries, k.problem = false, false, 0, ""
			}
		}
		err = j.Release(ctx, ids)
	case 2:
		ids := some()
		for _, id := range ids {
			if at(id).parked {
				forget(id)
			}
		}
		err = j.Discard(ctx, ids)
	default:
		var settlements []journal.Settlement
		for _, id := range some() {
			s := rapid.SampledFrom([]journal.Settlement{done(id), postponed(id, 0), postponed(id, time.Hour), parked(id)}).Draw(t, "verdict")
			settlements = append(settlements, s)
			if k := at(id); s.Verdict == journal.Done {
				forget(id)
			} else if !k.parked {
				k.tries++
				k.problem = s.Problem
				k.parked = s.Verdict == journal.Parked
				if !k.parked {
					k.putOff = s.Again > 0
				}
			}
		}
		err = j.Settle(ctx, settlements)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compare looks at what is due of each source, in order, and at what is parked.
func (b *modelBox) compare(t *rapid.T, j journal.Journal, refs []actors.Ref) {
	ctx := context.Background()
	text := func(id, key string, tries int, problem string) string {
		return fmt.Sprint(id, "|", key, "|", tries, "|", problem)
	}
	var lanes []int
	for _, ref := range refs {
		lanes = append(lanes, journal.Lane(ref))
	}
	list, err := j.Due(ctx, nil, lanes, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		var ordered, delayed, wantOrdered, wantDelayed []string
		held := false
		for _, k := range b.kept {
			switch line := text(k.id, k.key, k.tries, k.problem); {
			case k.source != ref || k.parked:
			case k.delayed && !k.putOff:
				wantDelayed = append(wantDelayed, line)
			case !k.delayed:
				if held = held || k.putOff; !held {
					wantOrdered = append(wantOrdered, line)
				}
			}
		}
		for _, p := range list {
			if line := text(p.ID, p.Key, p.Tries, p.Problem); p.Source == ref && p.Delayed() {
				delayed = append(delayed, line)
			} else if p.Source == ref {
				ordered = append(ordered, line)
			}
		}
		slices.Sort(delayed)
		slices.Sort(wantDelayed)
		agree(t, "due of "+ref.ID, ordered, wantOrdered)
		agree(t, "delayed of "+ref.ID, delayed, wantDelayed)
	}
	parked, err := j.Parked(ctx, b.prefix, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got, expected []string
	for _, p := range parked {
		if strings.HasPrefix(p.ID, b.prefix+" ") {
			got = append(got, text(p.ID, p.Key, p.Tries, p.Problem))
		}
	}
	for _, k := range b.kept {
		if k.parked {
			expected = append(expected, text(k.id, k.key, k.tries, k.problem))
		}
	}
	slices.Sort(expected)
	slices.Sort(got)
	agree(t, "parked", got, expected)
}

// clear leaves nothing to the next program.
func (b *modelBox) clear(t *rapid.T, j journal.Journal) {
	var settlements []journal.Settlement
	for _, k := range b.kept {
		settlements = append(settlements, done(k.id))
	}
	if err := j.Settle(context.Background(), settlements); err != nil {
		t.Fatal(err)
	}
}

// modelCells are cells, and the highest version that each key ever had.
type modelCells struct {
	prefix  string
	kept    map[string]journal.Cell
	highest map[string]int64
}

func (m *modelCells) step(t *rapid.T, j journal.Journal) {
	if m.kept == nil {
		m.kept, m.highest = map[string]journal.Cell{}, map[string]int64{}
	}
	switch rapid.IntRange(0, 3).Draw(t, "step") {
	case 0:
		c := m.draw(t)
		err := j.Remove(context.Background(), c.Key, c.Version)
		m.judge(t, "remove", c, c.Version == m.kept[c.Key].Version && c.Version > 0, err)
		if err == nil {
			delete(m.kept, c.Key)
		}
	case 1:
		cells := make([]journal.Cell, rapid.IntRange(0, 4).Draw(t, "cells"))
		for i := range cells {
			cells[i] = m.draw(t)
		}
		results, err := j.PutEach(context.Background(), cells)
		if err != nil || len(results) != len(cells) {
			t.Fatalf("%d results for %d cells, %v", len(results), len(cells), err)
		}
		seen := map[string]bool{}
		for i, c := range cells {
			if seen[c.Key] {
				if err := results[i].Err; err == nil || errors.Is(err, journal.ErrConflict) {
					t.Fatalf("put of a key for the second time in a call: %v", err)
				}
				continue
			}
			seen[c.Key] = true
			m.put(t, c, results[i].Version, results[i].Err)
		}
	default:
		c := m.draw(t)
		next, err := j.Put(context.Background(), c)
		m.put(t, c, next, err)
	}
}

func (m *modelCells) draw(t *rapid.T) journal.Cell {
	key := m.prefix + rapid.SampledFrom([]string{"a", "b", "%", "ü"}).Draw(t, "key")
	is := m.kept[key]
	version := rapid.SampledFrom([]int64{is.Version, is.Version, is.Version, m.highest[key], 0, is.Version + 1}).Draw(t, "version")
	return journal.Cell{Key: key, Value: rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "value"), Version: version}
}

func (m *modelCells) judge(t *rapid.T, what string, c journal.Cell, fits bool, err error) {
	if fits != (err == nil) || !fits && !errors.Is(err, journal.ErrConflict) {
		t.Fatalf("%s at %d of one at %d: %v", what, c.Version, m.kept[c.Key].Version, err)
	}
}

func (m *modelCells) put(t *rapid.T, c journal.Cell, next int64, err error) {
	m.judge(t, "put", c, c.Version == m.kept[c.Key].Version, err)
	if err != nil {
		return
	}
	if next <= m.highest[c.Key] {
		t.Fatalf("version %d after %d", next, m.highest[c.Key])
	}
	c.Version = next
	m.kept[c.Key], m.highest[c.Key] = c, next
}

func (m *modelCells) compare(t *rapid.T, j journal.Journal) {
	got, err := j.Cells(context.Background(), m.prefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var expected []journal.Cell
	for _, key := range []string{"%", "a", "b", "ü"} {
		if c, ok := m.kept[m.prefix+key]; ok {
			expected = append(expected, c)
		}
	}
	agree(t, "cells", got, expected)
}
