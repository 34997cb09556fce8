package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

// A server tells errors in the language of its settings. What it says for certain is certain all the same, and the end
// of a connection is not.
func TestLanguage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, url := behind(t)
	p.foreign = true
	j, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE FUNCTION entities.judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.name = 'bad' THEN RAISE check_violation; END IF;
		IF NEW.name = 'end' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
		RETURN NEW; END $$;
		CREATE TRIGGER judge BEFORE INSERT ON entities.events FOR EACH ROW EXECUTE FUNCTION entities.judge()`); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]journal.Status{"bad": journal.Refused, "end": journal.Unknown, "good": journal.Committed} {
		a := item(name, 0, fmt.Sprint(name), true)
		a.Events[0].Name = name
		if r := j.Append(ctx, []journal.Append{a})[0]; r.Status != want {
			t.Errorf("%s: %+v, want %v", name, r, want)
		}
	}
}
