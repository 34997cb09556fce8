package operations

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
)

// cursor notes that a consumer is through with the events that came so far. Where that is in the target is kept at once:
// when the import is repeated, events that are there already do not tell.
func (i *importing) cursor(ctx context.Context) error {
	var l cursorLine
	if err := i.r.decode(&l); err != nil || i.To == nil {
		return err
	}
	if fateOf(l.Key) != cursored {
		return i.r.wrong("%q is not the key of a cursor", l.Key)
	}
	if err := i.restore(ctx); err != nil {
		return err
	}
	at, known := i.state.Cursors[l.name()]
	if !known {
		at = positionForm(i.at)
		if i.state.Cursors == nil {
			i.state.Cursors = map[string]positionForm{}
		}
		i.state.Cursors[l.name()] = at
		if at != (positionForm{}) {
			if err := i.save(ctx); err != nil {
				return err
			}
		}
	}
	value, known := i.cursors[l.Key]
	if !known {
		var err error
		if value, err = document(l.Value); err != nil {
			return i.r.wrong("the value of %q cannot be read: %v", l.Key, err)
		}
		i.cursors[l.Key] = value
	}
	if !put(value, l.Path, journal.Position(at)) {
		return i.r.wrong("the value of %q has no place for a position at %q", l.Key, l.Path)
	}
	return nil
}

// putCursors writes the cells of consumers. One that is there is further, or somebody else's.
func (i *importing) putCursors(ctx context.Context) error {
	for _, key := range slices.Sorted(maps.Keys(i.cursors)) {
		value, err := json.Marshal(i.cursors[key])
		if err != nil {
			return err
		}
		if _, err := i.To.Put(ctx, journal.Cell{Key: key, Value: value}); err != nil && !errors.Is(err, journal.ErrConflict) {
			return err
		}
	}
	i.cursors = map[string]any{}
	return nil
}
