package operations

import (
	"context"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Erased is what is left of an entity. Its JSON is what programs get, and does not change.
type Erased struct {
	Service  string `json:"service"`
	ID       string `json:"id"`
	Sequence int64  `json:"sequence"`
	Epoch    int64  `json:"epoch"`
}

// Look returns what is kept of an entity. One that does not exist is an error with the code NotFound.
func Look(ctx context.Context, j Journal, ref actors.Ref) (journal.Span, error) {
	return exists(ctx, j, ref)
}

// Erase removes everything about an entity but its head. One that does not exist is an error with the code NotFound.
func Erase(ctx context.Context, j Journal, ref actors.Ref) (Erased, error) {
	if _, err := exists(ctx, j, ref); err != nil {
		return Erased{}, err
	}
	if err := j.Erase(ctx, ref); err != nil {
		return Erased{}, fmt.Errorf("erase %s: %w; erase it again", ref, err)
	}
	span, err := j.Span(ctx, ref)
	if err != nil {
		return Erased{}, fmt.Errorf("look what is left of %s: %w", ref, err)
	}
	return Erased{ref.Service, ref.ID, span.Sequence, span.Epoch}, nil
}
