package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

// file is a journal that remembers where it is.
type file struct {
	*sqlite.Journal
	path string
}

func open(t testing.TB) journal.Journal {
	return openAt(t, filepath.Join(t.TempDir(), "odd name 100% #?.db"))
}

func openAt(t testing.TB, path string) journal.Journal {
	t.Helper()
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return file{j, path}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, journaltest.Backend{
		Open: open,
		Reopen: func(t testing.TB, closed journal.Journal) journal.Journal {
			return openAt(t, closed.(file).path)
		},
		Damage: func(t testing.TB, j journal.Journal, ref actors.Ref, d journaltest.Damage, sequence int64) {
			db, err := sql.Open("sqlite", (sqlite.DSN(j.(file).path)))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			const stream = " WHERE stream = (SELECT stream FROM streams WHERE service = ?1 AND id = ?2)"
			statement := map[journaltest.Damage]string{
				journaltest.FlipEvent:    "UPDATE events SET data = X'01' || substr(data, 2)" + stream + " AND sequence = ?3",
				journaltest.RenameEvent:  "UPDATE events SET name = name || 'x'" + stream + " AND sequence = ?3",
				journaltest.RemoveEvent:  "DELETE FROM events" + stream + " AND sequence = ?3",
				journaltest.FlipSnapshot: "UPDATE snapshots SET data = X'01' || substr(data, 2)" + stream + " AND ?3 = 0",
			}[d]
			r, err := db.Exec(statement, ref.Service, ref.ID, sequence)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := r.RowsAffected(); n != 1 {
				t.Fatalf("%v damaged %d rows", d, n)
			}
		},
	})
}

func BenchmarkJournal(b *testing.B) { journaltest.Bench(b, open) }
