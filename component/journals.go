package component

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/config"
)

// openJournal opens the journal that a setting names.
func openJournal(ctx context.Context, j config.Journal) (journal.Journal, error) {
	switch j.Scheme {
	case "memory":
		return memory.Open(), nil
	case "sqlite":
		return opened(sqlite.Open(ctx, sqlite.Config{Path: string(j.Source)}))
	case "postgres":
		return opened(postgres.Open(ctx, postgres.Config{URL: string(j.Source)}))
	default:
		return nil, fmt.Errorf("no journal for the scheme %q", j.Scheme) // config lets no other pass
	}
}

// sameJournal reports whether two settings name one journal, so that it need not be opened again: the one in memory would
// be lost, and the file of SQLite has one owner.
func sameJournal(a, b config.Journal) bool {
	if a.Scheme != "sqlite" || b.Scheme != "sqlite" {
		return a == b
	}
	first, err := filepath.Abs(string(a.Source))
	if err != nil {
		return a == b
	}
	second, err := filepath.Abs(string(b.Source))
	return err == nil && first == second
}

// opened keeps the nil of a back end from becoming a Journal that is not nil.
func opened[J journal.Journal](j J, err error) (journal.Journal, error) {
	if err != nil {
		return nil, err
	}
	return j, nil
}
