package daprstate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// inlineCell is how big a cell may be that is in the page itself.
const inlineCell = 1 << 10

func encodeCell(version int64, value data) []byte {
	var e encoder
	e.number(version)
	e.content(value)
	return e.data
}

// decodeCell returns version 0 of what is not there.
func decodeCell(stored []byte) (version int64, value data, err error) {
	if stored == nil {
		return 0, data{}, nil
	}
	d := decoder{data: stored}
	version, value = d.number(), d.content()
	return version, value, d.end()
}

// Cell implements journal.Cells.
func (j *Journal) Cell(ctx context.Context, key string) (journal.Cell, error) {
	c := journal.Cell{Key: key}
	if err := j.enter(ctx); err != nil {
		return c, err
	}
	defer j.leave()
	for try := 0; ; try++ {
		stored, _, err := j.cells.get(ctx, key)
		if err != nil {
			return c, fmt.Errorf("read the cell %s: %w", key, err)
		}
		version, value, err := decodeCell(stored)
		if err == nil {
			err = j.fill(ctx, []*data{&value})
		}
		if err != nil {
			return c, fmt.Errorf("read the cell %s: %w", key, err)
		}
		if missing(&value) {
			if try < 8 && pause(ctx, try) { // it was replaced since
				continue
			}
			return c, fmt.Errorf("read the cell %s: %w", key, errDamaged)
		}
		c.Version, c.Value = version, slices.Clone(value.inline)
		return c, nil
	}
}

// missing reports that what is apart was not there.
func missing(v *data) bool { return v.big.name != "" && len(v.inline) != v.big.size }

// Cells implements journal.Cells.
func (j *Journal) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	for try := 0; ; try++ {
		list, err := j.listCells(ctx, prefix, after, limit)
		if errors.Is(err, errLost) && try < 8 && pause(ctx, try) { // the first of them was replaced while it was read
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the cells of %q: %w", prefix, err)
		}
		return list, nil
	}
}

func (j *Journal) listCells(ctx context.Context, prefix, after string, limit int) (list []journal.Cell, err error) {
	size := 0
	err = j.cells.scan(ctx, prefix, after, func(entries []entry) (bool, error) {
		cells := make([]journal.Cell, 0, len(entries))
		values := make([]data, 0, len(entries))
		for _, e := range entries {
			if limit > 0 && len(list)+len(cells) == limit || size >= rules.PageBytes {
				break
			}
			version, value, err := decodeCell(e.value)
			if err != nil {
				return false, err
			}
			size += len(value.inline) + value.big.size
			cells, values = append(cells, journal.Cell{Key: e.key, Version: version}), append(values, value)
		}
		apart := make([]*data, len(values))
		for i := range values {
			apart[i] = &values[i]
		}
		if err := j.fill(ctx, apart); err != nil {
			return false, err
		}
		for i := range cells {
			if missing(&values[i]) {
				if len(list) == 0 && i == 0 {
					return false, errLost
				}
				list = append(list, cells[:i]...)
				return false, nil // it was replaced; who asks for those behind gets it
			}
			cells[i].Value = slices.Clone(values[i].inline)
		}
		list = append(list, cells...)
		return len(cells) == len(entries), nil
	})
	return list, err
}

// Put implements journal.Cells.
func (j *Journal) Put(ctx context.Context, c journal.Cell) (int64, error) {
	if err := c.Validate(); err != nil {
		return 0, fmt.Errorf("put: %w", err)
	}
	results, err := j.PutEach(ctx, []journal.Cell{c})
	if err != nil {
		return 0, err
	}
	return results[0].Version, results[0].Err
}

// PutEach implements journal.Cells.
func (j *Journal) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	results, indexes := rules.Puts(cells)
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	parts := parts{j: j}
	values := map[string]data{}
	places := map[string]int{}
	keys := make([]string, 0, len(indexes))
	for _, i := range indexes {
		c := &cells[i]
		values[c.Key], places[c.Key] = parts.keep(slices.Clone(c.Value), inlineCell), i
		keys = append(keys, c.Key)
	}
	if err := parts.put(ctx); err != nil {
		return nil, fmt.Errorf("put %d cells: %w", len(cells), err)
	}
	obsolete := map[string][]string{} // by key of a cell
	// What it writes belongs to it alone until it returns: somebody else may go on with it when ctx has ended.
	outcome := slices.Clone(results)
	versions := make([]int64, len(cells))
	for i := range cells {
		versions[i] = cells[i].Version
	}
	err := j.cells.do(ctx, keys, func(p *page, keys []string) {
		for _, key := range keys {
			i := places[key]
			stored, _ := p.get(key)
			version, old, _ := decodeCell(stored)
			delete(obsolete, key)
			if version != versions[i] {
				outcome[i] = rules.NotPut(key)
				obsolete[key] = j.bigKeys(values[key].big)
				continue
			}
			p.counter++
			outcome[i] = journal.PutResult{Version: p.counter}
			obsolete[key] = j.bigKeys(old.big)
			p.set(key, encodeCell(p.counter, values[key]))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("put %d cells: %w", len(cells), err)
	}
	for _, keys := range obsolete {
		j.discard(keys)
	}
	return outcome, nil
}

// Remove implements journal.Cells.
func (j *Journal) Remove(ctx context.Context, key string, version int64) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	type removal struct {
		done bool
		old  data
	}
	r := &removal{}
	err := j.cells.do(ctx, []string{key}, func(p *page, _ []string) {
		stored, ok := p.get(key)
		is, old, _ := decodeCell(stored)
		if r.done = ok && is == version; r.done {
			r.old = old
			p.counter++
			p.remove(key)
		}
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	if !r.done {
		return fmt.Errorf("remove %s: %w", key, journal.ErrConflict)
	}
	j.discard(j.bigKeys(r.old.big))
	return nil
}
