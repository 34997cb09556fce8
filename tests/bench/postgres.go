package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver
	"golang.org/x/sys/unix"

	"github.com/dapr-entities/entities/tests/harness"
)

// server is the PostgreSQL server that all rows write to, with a database for each system. Nothing is tuned, and what
// is acknowledged is on disk.
type server struct {
	*harness.Process

	port   int
	folder string
	admin  *sql.DB
}

// startPostgres makes a cluster of databases in a new folder inside data and serves it on loopback.
func startPostgres(ctx context.Context, cluster *harness.Cluster, data string) (_ *server, err error) {
	initdb, err := postgresTool("initdb")
	if err != nil {
		return nil, err
	}

	folder, err := os.MkdirTemp(data, "bench-postgres-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for Postgres: %w", err)
	}

	s := &server{folder: folder}

	defer func() {
		if err != nil {
			_ = s.remove() // the first error says more, and the cluster ends the process
		}
	}()

	credential, err := postgresUser(folder)
	if err != nil {
		return nil, err
	}

	files := filepath.Join(folder, "data")

	create := exec.CommandContext(ctx, initdb, "-D", files, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	create.Dir = folder
	create.SysProcAttr = &syscall.SysProcAttr{Credential: credential}

	if output, err := create.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the databases: %w\n%s", err, output)
	}

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}

	s.port = ports[0]

	if s.admin, err = sql.Open("postgres", s.url("postgres")); err != nil {
		return nil, fmt.Errorf("open Postgres: %w", err)
	}

	s.Process, err = cluster.Start(ctx, harness.Command{
		Name: "postgres",
		Path: filepath.Join(filepath.Dir(initdb), "postgres"),
		Args: []string{
			"-D", files, "-p", strconv.Itoa(s.port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
			"-c", "max_connections=200",
		},
		Folder:     folder,
		Credential: credential,
		Ready:      func(ctx context.Context) error { return s.admin.PingContext(ctx) },
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process itself
	}

	return s, nil
}

// url leads to a database. There is no password: the server listens on loopback and lives for minutes.
func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// create makes a database and runs statements in it.
func (s *server) create(ctx context.Context, database string, statements ...string) error {
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+database); err != nil {
		return fmt.Errorf("make database %s: %w", database, err)
	}

	if len(statements) == 0 {
		return nil
	}

	db, err := sql.Open("postgres", s.url(database))
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

// remove deletes the files of a server that has ended.
func (s *server) remove() error {
	if err := os.RemoveAll(s.folder); err != nil {
		return fmt.Errorf("remove Postgres's files: %w", err)
	}

	return nil
}

// postgresTool finds a program of the newest installed server; distributions keep them off the path.
func postgresTool(name string) (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well formed
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) }), nil
	}

	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the benchmark needs PostgreSQL's server programs (apt install postgresql): %w", err)
	}

	return path, nil
}

// major is the version in a path such as /usr/lib/postgresql/15/bin/initdb.
func major(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])

	return n
}

// postgresUser gives the folder to a user that Postgres is willing to run as, and returns it; nil if we are one.
func postgresUser(folder string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}

	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("find a user to run Postgres as: %w", err)
		}
	}

	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)

	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of user %s: %w", account.Username, err)
	}

	if err := os.Chown(folder, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("give Postgres its folder: %w", err)
	}

	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
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
