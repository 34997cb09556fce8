package operations

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// eventKey names an event.
type eventKey struct {
	actors.Ref
	sequence int64
}

// searched is how many events are looked for at once in the order of a journal that does not tell where an event is.
const searched = 1000

// reposition puts a cell that is about an event, with the position that this has in the target. Without one it is left out.
func (i *importing) reposition(ctx context.Context, c journal.Cell) error {
	var about struct {
		Service  string `json:"service"`
		ID       string `json:"id"`
		Sequence int64  `json:"sequence"`
	}
	value, _, ok := parsePlaced(c.Value)
	if !ok || json.Unmarshal(c.Value, &about) != nil {
		return i.r.wrong("the cell %q is not about an event", c.Key)
	}
	if about.Sequence < 1 {
		i.leftOut[word(c.Key)]++
		return nil
	}
	ref := actors.Ref{Service: about.Service, ID: about.ID}
	list, err := i.To.Events(ctx, ref, about.Sequence-1, 1)
	if errors.Is(err, journal.ErrForgotten) || err == nil && len(list) == 0 {
		i.leftOut[word(c.Key)]++
		return nil
	}
	if err != nil {
		return err
	}
	if list[0].Position != (journal.Position{}) {
		return i.putAt(ctx, c, value, list[0].Position)
	}
	if i.adrift == nil {
		i.adrift = map[eventKey][]journal.Cell{}
	}
	key := eventKey{ref, about.Sequence}
	i.adrift[key] = append(i.adrift[key], c)
	if len(i.adrift) < searched {
		return nil
	}
	return i.search(ctx)
}

func (i *importing) putAt(ctx context.Context, c journal.Cell, value placedValue, at journal.Position) (err error) {
	if c.Value, err = value.at(at); err != nil {
		return err
	}
	return i.put(ctx, c)
}

// search finds the events of cells in the order of the target, where all of them have been seen, and puts those cells.
func (i *importing) search(ctx context.Context) error {
	services := map[string]bool{}
	for key := range i.adrift {
		services[key.Service] = true
	}
	names := slices.Sorted(maps.Keys(services))
	for at := (journal.Position{}); len(i.adrift) > 0; {
		page, next, err := i.To.Tail(ctx, names, at, pageEvents)
		if err != nil {
			return err
		}
		for n := range page {
			key := eventKey{page[n].Ref, page[n].Sequence}
			for _, c := range i.adrift[key] {
				value, _, _ := parsePlaced(c.Value) // as it was before
				if err := i.putAt(ctx, c, value, page[n].Position); err != nil {
					return err
				}
			}
			delete(i.adrift, key)
		}
		if next == at { // the others have been forgotten meanwhile
			for key, cells := range i.adrift {
				i.leftOut[word(cells[0].Key)] += int64(len(cells))
				delete(i.adrift, key)
			}
		}
		at = next
	}
	return nil
}
