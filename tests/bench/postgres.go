package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapr-entities/entities/tests/harness"
)

// server is the PostgreSQL server that all rows write to, with a database for each system. Nothing is tuned, and what
// is acknowledged is on disk.
type server struct {
	*harness.Postgres

	admin *sql.DB
}

// startPostgres makes a cluster of databases in a new folder inside data and serves it on loopback.
func startPostgres(ctx context.Context, cluster *harness.Cluster, data string) (*server, error) {
	started, err := cluster.StartPostgres(ctx, harness.PostgresOptions{
		Folder:   data,
		Settings: []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on"},
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was tried
	}

	admin, err := sql.Open("postgres", started.URL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("open Postgres: %w", err)
	}

	return &server{Postgres: started, admin: admin}, nil
}

// create makes a database and runs statements in it.
func (s *server) create(ctx context.Context, database string, statements ...string) error {
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+database); err != nil {
		return fmt.Errorf("make database %s: %w", database, err)
	}

	if len(statements) == 0 {
		return nil
	}

	db, err := sql.Open("postgres", s.URL(database))
	if err != nil {
		return fmt.Errorf("open database %s: %w", database, err)
	}
	defer db.Close()

	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("prepare database %s: %w", database, err)
		}
	}

	return nil
}

// checkpoint writes out what the row before has left behind, so that this one does not pay for it.
func (s *server) checkpoint(ctx context.Context) error {
	if _, err := s.admin.ExecContext(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}

	return nil
}

// work is what the server has done since it started. Its backends tell of commits once a second, so a difference over a
// few seconds is right within some percent; the log's length is exact.
type work struct {
	commits int64
	wal     int64 // bytes of write-ahead log
}

func (s *server) work(ctx context.Context) (work, error) {
	const query = `SELECT sum(xact_commit)::bigint, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
		FROM pg_stat_database`

	var w work
	if err := s.admin.QueryRowContext(ctx, query).Scan(&w.commits, &w.wal); err != nil {
		return work{}, fmt.Errorf("ask Postgres what it has done: %w", err)
	}

	return w, nil
}

func (w work) since(then work) work {
	return work{commits: w.commits - then.commits, wal: w.wal - then.wal}
}

// version is what the server calls itself, without the compiler.
func (s *server) version(ctx context.Context) (string, error) {
	var version string
	if err := s.admin.QueryRowContext(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "", fmt.Errorf("ask for Postgres's version: %w", err)
	}

	return version, nil
}

// disk tells how many blocks of 8 KiB per second one writer brings to the disk under the folder, each with fdatasync.
// It refuses a folder in memory, where fsync costs nothing and no figure would mean anything.
func disk(folder string) (perSecond float64, err error) {
	var info unix.Statfs_t
	if err := unix.Statfs(folder, &info); err != nil {
		return 0, fmt.Errorf("look at %s: %w", folder, err)
	}

	if info.Type == unix.TMPFS_MAGIC || info.Type == unix.RAMFS_MAGIC {
		return 0, fmt.Errorf("%s lies in memory, where fsync does nothing; name a folder on a disk with -data", folder)
	}

	file, err := os.CreateTemp(folder, "bench-disk-")
	if err != nil {
		return 0, fmt.Errorf("measure the disk: %w", err)
	}

	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()

	var (
		block = make([]byte, 8192)
		began = time.Now()
		n     int
	)

	for ; time.Since(began) < 300*time.Millisecond; n++ {
		if _, err := file.WriteAt(block, int64(n%64)*int64(len(block))); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}

		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}
	}

	return float64(n) / time.Since(began).Seconds(), nil
}
