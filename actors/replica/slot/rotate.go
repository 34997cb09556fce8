package slot

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
)

// Rotate gives the group another cluster id, which belongs to the restoring of a journal from a backup: it is called when
// the journal is restored and before any member starts. It frees all slots, and makes whatever members from before still
// say recognizable. If it fails it can be called again.
func Rotate(ctx context.Context, cells journal.Cells, name string) (View, error) {
	if err := validateGroup(name); err != nil {
		return View{}, fmt.Errorf("rotate the cluster's id: %w", err)
	}
	for {
		view, err := rotate(ctx, cells, name)
		if errors.Is(err, journal.ErrConflict) {
			continue
		}
		if err != nil {
			return View{}, fmt.Errorf("rotate the cluster's id of %s: %w", name, err)
		}
		return view, nil
	}
}

func rotate(ctx context.Context, cells journal.Cells, name string) (View, error) {
	cell, err := cells.Cell(ctx, groupKey(name))
	if err != nil {
		return View{}, err
	}
	was, err := decodeGroup(cell)
	if err != nil {
		was = group{} // whatever it was, it is over
	}
	now := group{ClusterUID: random(), View: was.View + 1, Members: []Member{}}
	// The id first: a slot that is free must not be taken under the old one.
	if _, err := cells.Put(ctx, journal.Cell{Key: cell.Key, Value: encode(now), Version: cell.Version}); err != nil {
		return View{}, err
	}
	slots, err := list(ctx, cells, slotPrefix(name))
	if err != nil {
		return View{}, err
	}
	for _, s := range slots {
		r, err := decodeRecord(s)
		if err != nil || r.Owner == "" {
			continue
		}
		free := record{Epoch: r.Epoch, Retired: r.Retired}
		if _, err := cells.Put(ctx, journal.Cell{Key: s.Key, Value: encode(free), Version: s.Version}); err != nil {
			return View{}, err
		}
	}
	return now.view(), nil
}
