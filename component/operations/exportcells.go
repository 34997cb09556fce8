package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
)

// findCursors finds all positions of consumers that are not written.
func (e *export) findCursors(ctx context.Context, written map[string]bool) error {
	for _, f := range fates {
		if f.fate != cursored {
			continue
		}
		for after := ""; ; {
			page, err := e.From.Cells(ctx, f.prefix, after, 0)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				after = c.Key
				if err := e.addCursors(c, written); err != nil {
					return err
				}
			}
		}
	}
	slices.SortStableFunc(e.cursors, func(a, b cursor) int { return a.at.Compare(b.at) })
	return nil
}

func (e *export) addCursors(c journal.Cell, written map[string]bool) error {
	value, err := document(c.Value)
	if err != nil {
		e.leftOut[word(c.Key)]++
		return nil //nolint:nilerr // it is said at the end
	}
	found := places(value, nil)
	without, err := json.Marshal(value)
	if err != nil {
		return err
	}
	for _, p := range found {
		l := cursorLine{line{kindCursor}, c.Key, p.path, without}
		if !written[l.name()] {
			e.cursors = append(e.cursors, cursor{l, p.at})
		}
	}
	return nil
}

func (e *export) cursor() error {
	c := e.cursors[0]
	e.cursors = e.cursors[1:]
	return e.w.write(kindCursor, &c.cursorLine)
}

// effects writes those that are still to be carried out.
func (e *export) effects(ctx context.Context) error {
	for mark := ""; ; {
		page, next, err := e.From.Kept(ctx, mark, 0)
		if err != nil {
			return err
		}
		for i := range page {
			k := &page[i]
			if k.Service == "" {
				return fmt.Errorf("the effect %q of %s cannot be read (%s); discard it at /parked of the component, or repair it", k.Effect.ID, k.Source, k.Problem)
			}
			l := effectLine{line{kindEffect}, effectOf(k)}
			if err := e.w.write(kindEffect, &l); err != nil {
				return err
			}
		}
		e.Progress(Progress{Doing: "effects", Done: e.w.chain.counts[kindEffect]})
		if mark = next; mark == "" {
			return nil
		}
	}
}

// cells writes those that make sense elsewhere.
func (e *export) cells(ctx context.Context) error {
	for after := ""; ; {
		page, err := e.From.Cells(ctx, "", after, 0)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, c := range page {
			after = c.Key
			if err := e.cell(c); err != nil {
				return err
			}
		}
		e.Progress(Progress{Doing: "cells", Done: e.w.chain.counts[kindCell]})
	}
}

func (e *export) cell(c journal.Cell) error {
	value := c.Value
	switch fateOf(c.Key) {
	case cursored:
		return nil
	case grouped:
		return e.w.write(kindGroup, &groupLine{line{kindGroup}, c.Key[len(groupPrefix):]})
	case freed:
		var err error
		if value, err = freeSlot(value); err != nil {
			return fmt.Errorf("the cell %s cannot be read: %w", c.Key, err)
		}
	case repositioned:
		v, _, ok := parsePlaced(value)
		if !ok {
			e.leftOut[word(c.Key)]++
			return nil
		}
		var err error
		if value, err = v.at(journal.Position{}); err != nil {
			return err
		}
	case copied:
	default:
		e.leftOut[word(c.Key)]++
		return nil
	}
	return e.w.write(kindCell, &cellLine{line{kindCell}, cellForm{c.Key, value}})
}
