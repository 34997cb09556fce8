//go:build unix

package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

// fight runs the simulation's fight once, in real time. On top of the faults that are made up, meanwhile makes real ones.
func fight(t *testing.T, open func() journal.Journal, commands int, meanwhile func()) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	t.Logf("-sim.seed=%d", seed)
	s := &sim{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1))}
	first := open()
	s.outbox, s.whole = first, s.chance(0.5)
	journals := [2]*journaltest.Faulty{journaltest.NewFaulty(first), journaltest.NewFaulty(open())}
	s.fight(t, journals, commands, meanwhile)
	time.Sleep(time.Second) // late appends happen, or not
	s.read(t, journals[0])
	for _, j := range journals {
		s.totals.struck += j.Struck()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	total := new(simTotals)
	s.check(total)
	t.Logf("%+v", *total)
	if total.acked == 0 || total.conflicts == 0 || total.nudges == 0 {
		t.Error("the engines did not fight")
	}
}

// shared lets both engines have a journal that only one process can open.
type shared struct{ journal.Journal }

func (shared) Close() error { return nil }

func TestFightOnSQLite(t *testing.T) {
	t.Parallel()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	fight(t, func() journal.Journal { return shared{j} }, 12, nil)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// TestFightOnPostgres kills the server twice meanwhile, which loses real acknowledgements.
func TestFightOnPostgres(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := postgrestest.Start(ctx, postgrestest.Options{})
	if errors.Is(err, postgrestest.ErrNoPrograms) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	open := func() journal.Journal {
		j, err := postgres.Open(ctx, postgres.Config{URL: server.URL()})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	fight(t, open, 30, func() {
		for range 2 {
			time.Sleep(time.Second)
			server.Kill()
			time.Sleep(100 * time.Millisecond)
			if err := server.Restart(ctx); err != nil {
				t.Error(err)
			}
		}
	})
}
