package component

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/operations"
)

// OpenJournal opens a journal for the operations on it. The function it returns closes it. Without create, a file that is
// not there is an error: whoever looks into a journal does not want a new one.
func OpenJournal(ctx context.Context, where config.Journal, create bool, known func() *catalog.Catalog) (*operations.Direct, func() error, error) {
	switch where.Scheme {
	case "memory":
		return nil, nil, errors.New("open the journal: one in memory can be reached through its component only; name that by --component")
	case "sqlite":
		if _, err := os.Stat(where.Source.Reveal()); errors.Is(err, os.ErrNotExist) && !create {
			return nil, nil, fmt.Errorf("open the journal: there is no file %s; is it the right folder?", where.Source.Reveal())
		}
	}
	j, err := openJournal(ctx, where)
	if err != nil {
		return nil, nil, fmt.Errorf("open the journal: %w", err)
	}
	return &operations.Direct{Of: j, Scheme: where.Scheme, Catalog: known}, j.Close, nil
}
