package rules

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors/journal"
)

// Puts judges the cells of a PutEach before anything is known of those that are kept: those that are refused have their
// results, the indexes of the others come in the order of their keys.
func Puts(cells []journal.Cell) (results []journal.PutResult, order []int) {
	results = make([]journal.PutResult, len(cells))
	order = make([]int, 0, len(cells))
	for i := range cells {
		if err := cells[i].Validate(); err != nil {
			results[i].Err = fmt.Errorf("put: %w", err)
			continue
		}
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(cells[a].Key, cells[b].Key), cmp.Compare(a, b)) })
	first := order[:0]
	for _, i := range order {
		if n := len(first); n > 0 && cells[first[n-1]].Key == cells[i].Key {
			results[i].Err = fmt.Errorf("put %s: another cell of the call has that key", cells[i].Key)
			continue
		}
		first = append(first, i)
	}
	return results, first
}

// NotPut is the result of a cell that was not what its writer believes.
func NotPut(key string) journal.PutResult {
	return journal.PutResult{Err: fmt.Errorf("put %s: %w", key, journal.ErrConflict)}
}
