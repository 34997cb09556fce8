package postgres_test

import (
	"database/sql"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// kept is a journal that remembers where it is.
type kept struct {
	*postgres.Journal
	url string
}

func open(t testing.TB) journal.Journal { return openAt(t, postgrestest.URL(t)) }

func openAt(t testing.TB, url string) journal.Journal {
	t.Helper()
	j, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: `odd "name"`})
	if err != nil {
		t.Fatal(err)
	}
	return kept{j, url}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, journaltest.Backend{
		Open: open,
		Reopen: func(t testing.TB, closed journal.Journal) journal.Journal {
			return openAt(t, closed.(kept).url)
		},
		Damage: func(t testing.TB, j journal.Journal, ref actors.Ref, d journaltest.Damage, sequence int64) {
			const schema = `"odd ""name"""`
			const stream = " WHERE stream = (SELECT stream FROM " + schema + ".streams WHERE service = $1 AND id = $2)"
			const flip = " SET data = '\\x01'::bytea || substr(data, 2)"
			exec(t, j.(kept).url, map[journaltest.Damage]string{
				journaltest.FlipEvent:    "UPDATE " + schema + ".events" + flip + stream + " AND sequence = $3",
				journaltest.RenameEvent:  "UPDATE " + schema + ".events SET name = name || 'x'" + stream + " AND sequence = $3",
				journaltest.RemoveEvent:  "DELETE FROM " + schema + ".events" + stream + " AND sequence = $3",
				journaltest.FlipSnapshot: "UPDATE " + schema + ".snapshots" + flip + stream + " AND $3 = 0",
			}[d], ref.Service, ref.ID, sequence)
		},
	})
}

func exec(t testing.TB, url, statement string, args ...any) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec(statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := r.RowsAffected(); len(args) > 0 && n != 1 {
		t.Fatalf("%s: %d rows", statement, n)
	}
}

func BenchmarkJournal(b *testing.B) { journaltest.Bench(b, open) }
