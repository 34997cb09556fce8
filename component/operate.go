package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/operations"
)

// Opening says how a journal is opened for the operations on it.
type Opening struct {
	// Create makes a file that is not there. Without it that is an error: whoever looks into a journal does not want a new one.
	Create bool
	// Alone keeps others from writing to it meanwhile, if its back end can.
	Alone bool
	// Known is operations.Direct's Catalog.
	Known func() *catalog.Catalog
}

// OpenJournal opens the journal of settings for the operations on it. The function it returns closes it.
func OpenJournal(ctx context.Context, settings config.Config, o Opening) (*operations.Direct, func() error, error) {
	where := settings.Journal
	switch where.Scheme {
	case "memory":
		return nil, nil, errors.New("open the journal: one in memory can be reached through its component only; name that by --component")
	case "sqlite":
		if _, err := os.Stat(where.Source.Reveal()); errors.Is(err, os.ErrNotExist) && !o.Create {
			return nil, nil, fmt.Errorf("open the journal: there is no file %s; is it the right folder?", where.Source.Reveal())
		}
	}
	j, held, err := openFor(ctx, settings, o)
	if err != nil {
		hint := ""
		switch where.Scheme {
		case "sqlite":
			hint = "; if a component has it open, ask that: --component"
		case "dapr":
			hint = "; it is reached through a sidecar, at DAPR_GRPC_ENDPOINT"
		}
		return nil, nil, fmt.Errorf("open the journal: %w%s", err, hint)
	}
	return &operations.Direct{Of: j, Scheme: where.Scheme, Catalog: o.Known, Held: held}, j.Close, nil
}

// openFor also returns what reports whether nobody else has been able to write to the journal since, if that can be known.
func openFor(ctx context.Context, settings config.Config, o Opening) (journal.Journal, func(context.Context) error, error) {
	where := settings.Journal
	if where.Scheme == "postgres" && o.Alone {
		j, err := postgres.Open(ctx, postgres.Config{URL: string(where.Source), Alone: true})
		if err != nil {
			return nil, nil, err
		}
		return j, j.Held, nil
	}
	j, err := openJournal(ctx, where, sidecarOf(settings), slog.New(slog.DiscardHandler))
	if where.Scheme == "sqlite" { // whose file has one owner
		return j, func(context.Context) error { return nil }, err
	}
	return j, nil, err
}

// serveOperations carries out operations on the journal at the admin address, for those who may.
func (c *Component) serveOperations() {
	if c.settings.Operations == config.OperationsOff {
		return
	}
	c.admin.Operations(operations.Path, c.settings.Operations == config.OperationsAll, &operations.Handler{
		Journal: func() (operations.Journal, error) {
			h := c.host.Load()
			if h == nil || h.journal == nil {
				return nil, errors.New("the component has no journal open; /readyz says why")
			}
			return &operations.Direct{Of: h.journal, Scheme: h.settings.Journal.Scheme, Catalog: h.catalog.Load}, nil
		},
		// JSON may write a byte as six.
		MaxBody: 6*c.settings.MaxMessage + 64<<20,
		Logger:  c.log,
	})
}
