package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
)

// TestUpgrade opens a schema of the first version, with an event in it.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	db := connect(t, url)
	first, err := os.ReadFile("migrations/1.sql")
	if err != nil {
		t.Fatal(err)
	}
	const schema = `"odd ""name"""`
	for _, statement := range []string{
		"CREATE SCHEMA " + schema,
		"CREATE TABLE " + schema + ".meta (key text PRIMARY KEY, value text NOT NULL)",
		"INSERT INTO " + schema + ".meta VALUES ('id', 'the old one'), ('version', '1')",
		strings.ReplaceAll(string(first), "{schema}", schema),
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	old := actors.Ref{Service: "cart", ID: "old"}
	for ok := false; !ok; { // it gives up now and then
		if ok, err = slowly(t.Context(), db, old, 1); err != nil {
			t.Fatal(err)
		}
	}
	for round := range int64(2) {
		j := openAt(t, url).(kept)
		if id, err := j.ID(t.Context()); id != "the old one" || err != nil {
			t.Errorf("id %s, %v", id, err)
		}
		var version string
		if err := db.QueryRow("SELECT value FROM " + schema + ".meta WHERE key = 'version'").Scan(&version); err != nil || version != "4" {
			t.Errorf("version %s, %v", version, err)
		}
		l, err := j.Load(t.Context(), old)
		if err != nil || l.Head.Sequence != 1+round {
			t.Fatalf("%+v, %v", l.Head, err)
		}
		for e, err := range j.Read(t.Context(), old, round, 0) {
			if err != nil || e.Command != fmt.Sprint(e.Sequence) {
				t.Errorf("%+v, %v", e, err)
			}
		}
		a := item("old", 1, "2", true)
		a.Effects = []actors.Effect{effect("e1", "")}
		if r := j.Append(t.Context(), []journal.Append{a})[0]; r.Status != journal.Committed && r.Status != journal.AlreadyApplied {
			t.Errorf("%+v", r)
		}
		if ids := due(t, j); len(ids) != 1 || ids[0] != "e1" {
			t.Errorf("effects %v", ids)
		}
		if span, err := j.Span(t.Context(), old); err != nil || span.Origin != 0 || span.Floor != round {
			t.Errorf("span %+v, %v", span, err)
		}
		if err := j.Forget(t.Context(), old, 1, true); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
