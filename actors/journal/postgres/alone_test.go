package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

// Who has the journal alone is the only one who can write: it is refused while others can, and others are while it lasts.
func TestAlone(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	open := func(alone bool) (*postgres.Journal, error) {
		j, err := postgres.Open(t.Context(), postgres.Config{URL: url + "&application_name=cellar", Alone: alone})
		if err == nil {
			t.Cleanup(func() { j.Close() })
		}
		return j, err
	}
	opened := func(alone bool) *postgres.Journal {
		t.Helper()
		j, err := open(alone)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	ref := actors.Ref{Service: "s", ID: "1"}
	sequence := int64(0)
	add := func(j *postgres.Journal) journal.Result {
		return j.Append(t.Context(), []journal.Append{{Ref: ref, Expected: sequence, Command: "c", Events: []journal.Event{{Name: "n"}}}})[0]
	}
	idle, writer := opened(false), opened(false)
	if r := add(writer); r.Status != journal.Committed {
		t.Fatal(r.Status, r.Err)
	}
	sequence++
	if _, err := open(true); err == nil || !strings.Contains(err.Error(), "it is in use by cellar at 127.0.0.1; stop the components") {
		t.Fatalf("while somebody can write: %v", err)
	}
	if err := idle.Held(t.Context()); err == nil {
		t.Error("it was not opened alone, and is held")
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	alone := opened(true)
	for range 2 {
		if r := add(idle); r.Status != journal.Refused || !errors.Is(r.Err, journal.ErrUnavailable) || !strings.Contains(r.Err.Error(), "move it") {
			t.Errorf("somebody else's append: %v, %v", r.Status, r.Err)
		}
		if _, err := idle.Put(t.Context(), journal.Cell{Key: "k"}); !errors.Is(err, journal.ErrUnavailable) {
			t.Errorf("somebody else's cell: %v", err)
		}
	}
	if err := idle.Ping(t.Context()); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	if _, err := open(false); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("somebody else opens it: %v", err)
	}
	if _, err := open(true); err == nil || !strings.Contains(err.Error(), "it is in use by cellar") {
		t.Errorf("somebody else opens it alone: %v", err)
	}
	last, err := idle.Last(t.Context(), []actors.Ref{ref})
	if err != nil || last[0].Sequence != sequence {
		t.Errorf("somebody else reads: %+v, %v", last, err)
	}
	if r := add(alone); r.Status != journal.Committed {
		t.Errorf("its own append: %v, %v", r.Status, r.Err)
	}
	sequence++
	for _, err := range []error{alone.Held(t.Context()), alone.Ping(t.Context()), alone.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
	alone = opened(true)
	exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND datname = current_database()`)
	if err := alone.Held(t.Context()); err == nil {
		t.Error("it is held, and its session has ended")
	}
	if err := alone.Close(); err != nil {
		t.Error(err)
	}
	if r := add(idle); r.Status != journal.Committed {
		t.Errorf("afterwards: %v, %v", r.Status, r.Err)
	}
}
