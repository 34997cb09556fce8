package component

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/daprapi"
)

// Rotate gives the replicated entities of an app id another cluster id, after their journal was restored from a backup.
// Those of an app id that the journal does not know are not made up.
func Rotate(ctx context.Context, where config.Journal, appID string) (_ slot.View, err error) {
	j, err := openJournal(ctx, where, daprapi.Config{}, nil)
	if err != nil {
		return slot.View{}, fmt.Errorf("open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	known, err := slot.Groups(ctx, j)
	switch {
	case err != nil:
		return slot.View{}, err
	case len(known) == 0:
		return slot.View{}, errors.New("the journal has no replicated entities: there is nothing to rotate; is it the right one?")
	case !slices.Contains(known, appID):
		return slot.View{}, fmt.Errorf("the journal has no replicated entities of the app id %q; it has those of %s", appID, strings.Join(known, ", "))
	}
	return slot.Rotate(ctx, j, appID)
}
