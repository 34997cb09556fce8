package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// The migrations 1.sql, 2.sql, … are never changed once released. The one before is always readable.
//
//go:embed migrations
var migrations embed.FS

const newest = 4

// sql fills in the schema and the bytes of a page.
func (j *Journal) sql(text string) string {
	return strings.NewReplacer("{schema}", j.schema, "{page}", fmt.Sprint(rules.PageBytes)).Replace(text)
}

// migrate brings the schema to the newest version, in one transaction. An advisory lock makes others wait that open
// the same journal at the same time.
func (j *Journal) migrate(ctx context.Context) (err error) {
	tx, err := j.read.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("migrate: %w", errors.Join(cmp.Or(ctx.Err(), err), ignoreDone(tx.Rollback())))
		}
	}()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('entities journal ' || $1::text, 0))", j.config.Schema); err != nil {
		return err
	}
	if !j.config.Alone {
		var free bool
		if err := tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock_shared("+j.lockOf()+")").Scan(&free); err != nil {
			return err
		}
		if !free {
			return errTaken
		}
	}
	var exists bool
	if err := tx.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", j.sql("{schema}.meta")).Scan(&exists); err != nil {
		return err
	}
	version := 0
	if exists {
		if err := tx.QueryRowContext(ctx, j.sql("SELECT value::int FROM {schema}.meta WHERE key = 'version'")).Scan(&version); err != nil {
			return err
		}
	}
	if version > newest {
		return fmt.Errorf("the schema has version %d, made by a newer release; this one knows up to %d", version, newest)
	}
	if version == newest {
		return tx.Commit()
	}
	if !exists {
		// CREATE SCHEMA IF NOT EXISTS asks for the right to make schemas even if there is nothing to make.
		var schema bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", j.config.Schema).Scan(&schema); err != nil {
			return err
		}
		if !schema {
			if _, err := tx.ExecContext(ctx, j.sql("CREATE SCHEMA {schema}")); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, j.sql("CREATE TABLE {schema}.meta (key text PRIMARY KEY, value text NOT NULL)")); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, j.sql("INSERT INTO {schema}.meta VALUES ('id', $1), ('version', '0')"), rand.Text()); err != nil {
			return err
		}
	}
	for version < newest {
		version++
		text, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", version))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, j.sql(string(text))); err != nil {
			return fmt.Errorf("to version %d: %w", version, err)
		}
	}
	if _, err := tx.ExecContext(ctx, j.sql("UPDATE {schema}.meta SET value = $1 WHERE key = 'version'"), fmt.Sprint(version)); err != nil {
		return err
	}
	return tx.Commit()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
