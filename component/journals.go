package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/daprapi"
)

// openJournal opens the journal that a setting names. One in a state store of the sidecar is not asked for anything yet:
// the sidecar may be waiting for us. See host.awaitJournal.
func openJournal(ctx context.Context, j config.Journal, sidecar daprapi.Config, log *slog.Logger) (journal.Journal, error) {
	switch j.Scheme {
	case "memory":
		return memory.Open(), nil
	case "sqlite":
		return opened(sqlite.Open(ctx, sqlite.Config{Path: string(j.Source)}))
	case "postgres":
		return opened(postgres.Open(ctx, postgres.Config{URL: string(j.Source)}))
	case "dapr":
		return opened(openInSidecar(string(j.Source), sidecar, log))
	default:
		return nil, fmt.Errorf("no journal for the scheme %q", j.Scheme) // config lets no other pass
	}
}

// sidecarJournal is a journal in a state store of the sidecar, and its way there, which outlives the host's own.
type sidecarJournal struct {
	*daprstate.Journal
	sidecar *daprapi.Client
}

func openInSidecar(store string, sidecar daprapi.Config, log *slog.Logger) (*sidecarJournal, error) {
	client, err := daprapi.Dial(sidecar)
	if err != nil {
		return nil, err
	}
	j, err := daprstate.New(daprstate.Config{Store: client.StateStore(store), Log: log})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &sidecarJournal{j, client}, nil
}

// Close implements journal.Journal.
func (j *sidecarJournal) Close() error {
	return errors.Join(j.Journal.Close(), j.sidecar.Close())
}

// sameJournal reports whether two settings name one journal, so that it need not be opened again: the one in memory would
// be lost, and the file of SQLite has one owner.
func sameJournal(a, b config.Config) bool {
	switch {
	case a.Journal.Scheme == "dapr":
		return a.Journal == b.Journal && a.DaprGRPCEndpoint == b.DaprGRPCEndpoint && a.DaprAPIToken == b.DaprAPIToken
	case a.Journal.Scheme != "sqlite" || b.Journal.Scheme != "sqlite":
		return a.Journal == b.Journal
	}
	first, err := filepath.Abs(string(a.Journal.Source))
	if err != nil {
		return a.Journal == b.Journal
	}
	second, err := filepath.Abs(string(b.Journal.Source))
	return err == nil && first == second
}

// awaitJournal returns when a journal that is reached through the sidecar can be written to, or with ctx. The others were
// when they were opened. What keeps it from being ready is logged, and readiness says so meanwhile.
func (h *host) awaitJournal(ctx context.Context) {
	if h.journal == nil || h.settings.Journal.Scheme != "dapr" {
		return
	}
	said := ""
	for pause := lookFirst; ; pause = min(2*pause, lookLast) {
		attempt, cancel := context.WithTimeout(ctx, pingPatience)
		err := h.journal.Ping(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		// A sidecar that is about to start is nothing to talk about.
		if text := err.Error(); text != said && pause == lookLast {
			h.log.Warn("waiting for the journal in the sidecar's state store", keyError, err)
			said = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// pingPatience is how long one look at the journal may take before it is used for the first time.
const pingPatience = 10 * time.Second

// opened keeps the nil of a back end from becoming a Journal that is not nil.
func opened[J journal.Journal](j J, err error) (journal.Journal, error) {
	if err != nil {
		return nil, err
	}
	return j, nil
}
