package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
)

// application marks a file as ours: "Ent1".
const application = 0x456e7431

// migrations take the file from one version (PRAGMA user_version) to the next. They are never changed once released.
var migrations = []string{schema1, schema2, schema3}

//go:embed schema1.sql
var schema1 string

//go:embed schema2.sql
var schema2 string

//go:embed schema3.sql
var schema3 string

// writer is the one connection that writes, with its statements.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	// prepared are all statements. database/sql does not close those of a Conn with it, and SQLite keeps the file open, and
	// its log beside it, as long as there are any.
	prepared []*sql.Stmt

	begin, commit, rollback   *sql.Stmt
	getHead, newHead, setHead *sql.Stmt
	getRecord, putRecord      *sql.Stmt
	putEvent, putSnapshot     *sql.Stmt

	effectByID, effectByKey    *sql.Stmt
	putEffect, removeEffect    *sql.Stmt
	nextToFront, backFromFront *sql.Stmt
	parkEffect, postponeEffect *sql.Stmt
	releaseEffect              *sql.Stmt

	nextVersion, newCell, setCell, removeCell *sql.Stmt
}

func newWriter(ctx context.Context, path string, maxBytes int64) (_ *writer, err error) {
	w := &writer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.db, err = sql.Open("sqlite", dsn(path, "busy_timeout(10000)")); err != nil {
		return nil, err
	}
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return nil, err
	}
	var version, mode string
	if err := w.conn.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return nil, err
	}
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	// The first look at the file: whether it is a database at all, and ours, before anything is changed in it.
	if err := w.ours(ctx); err != nil {
		return nil, err
	}
	if err := w.conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return nil, err
	}
	if mode != "wal" {
		return nil, fmt.Errorf("the file system does not allow a write-ahead log (journal mode is %s)", mode)
	}
	for _, pragma := range []string{"synchronous = FULL", "foreign_keys = OFF", "journal_size_limit = 67108864", "cache_size = -16000"} {
		if _, err := w.conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return nil, err
		}
	}
	if err := w.migrate(ctx); err != nil {
		return nil, err
	}
	if maxBytes > 0 {
		if err := w.bound(ctx, maxBytes); err != nil {
			return nil, err
		}
	}
	return w, w.prepare(ctx)
}

func (w *writer) ours(ctx context.Context) error {
	var id, version, tables int
	if err := w.pragma(ctx, "application_id", &id); err != nil {
		return err
	}
	if err := w.pragma(ctx, "user_version", &version); err != nil {
		return err
	}
	if err := w.conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	switch {
	case id != application && tables > 0:
		return errors.New("the file is another application's database; name another file")
	case version > len(migrations):
		return fmt.Errorf("the file has schema version %d, made by a newer release; this one knows up to %d", version, len(migrations))
	}
	return nil
}

func (w *writer) pragma(ctx context.Context, name string, value *int) error {
	return w.conn.QueryRowContext(ctx, "PRAGMA "+name).Scan(value)
}

func (w *writer) migrate(ctx context.Context) error {
	var version int
	if err := w.pragma(ctx, "user_version", &version); err != nil {
		return err
	}
	for ; version < len(migrations); version++ {
		tx, err := w.conn.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for _, statement := range []string{
			migrations[version],
			fmt.Sprintf("PRAGMA application_id = %d", application),
			fmt.Sprintf("PRAGMA user_version = %d", version+1),
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return errors.Join(fmt.Errorf("migrate to schema version %d: %w", version+1, err), tx.Rollback())
			}
		}
		if version == 0 {
			if _, err := tx.ExecContext(ctx, "INSERT INTO meta VALUES ('id', ?)", rand.Text()); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", version+1, err)
		}
	}
	return nil
}

func (w *writer) bound(ctx context.Context, maxBytes int64) error {
	var size int
	if err := w.pragma(ctx, "page_size", &size); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", max(1, maxBytes/int64(size))))
	return err
}

func (w *writer) meta(ctx context.Context, key string) (value string, err error) {
	err = w.conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&value)
	return value, err
}

func (w *writer) close() error {
	var errs []error
	for _, s := range w.prepared {
		errs = append(errs, s.Close())
	}
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	return errors.Join(errs...)
}
