package harness

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

	_ "github.com/lib/pq" // the driver
)

// Postgres is a PostgreSQL server of our own, with what is acknowledged on disk.
type Postgres struct {
	*Process

	// Address is host:port.
	Address string
	// Tools is the folder of PostgreSQL's programs.
	Tools string
}

// PostgresOptions say how a server is started.
type PostgresOptions struct {
	// Folder is where a folder for its files is made, which goes with the cluster. Defaults to the system's for temporary
	// files, for the cluster's own is closed to the user that it runs as.
	Folder string
	// Settings are lines of postgresql.conf, such as fsync=on.
	Settings []string
}

// ErrNoPostgres is matched by StartPostgres's error where PostgreSQL is not installed.
var ErrNoPostgres = errors.New("there is no PostgreSQL server (initdb, postgres); install it, for example with apt-get install postgresql")

// StartPostgres makes a server's files and serves them on a free port. PostgreSQL refuses to run as root: then it runs as
// postgres, or as nobody.
func (c *Cluster) StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	tools, err := postgresTools()
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}

	folder, err := os.MkdirTemp(options.Folder, "entities-postgres-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for postgres: %w", err)
	}

	c.removes(folder)

	credential, err := postgresUser(folder)
	if err != nil {
		return nil, err
	}

	files := filepath.Join(folder, "data")

	create := exec.CommandContext(ctx, filepath.Join(tools, "initdb"),
		"-D", files, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	create.Dir = folder
	create.SysProcAttr = &syscall.SysProcAttr{Credential: credential}

	if output, err := create.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the files of postgres: %w\n%s", err, output)
	}

	ports, err := FreePorts(1)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}

	p := &Postgres{Address: loopback(ports[0]), Tools: tools}

	args := []string{
		"-D", files, "-p", strconv.Itoa(ports[0]),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
	}
	for _, setting := range options.Settings {
		args = append(args, "-c", setting)
	}

	p.Process, err = c.Start(ctx, Command{
		Name: "postgres", Path: filepath.Join(tools, "postgres"), Args: args, Folder: folder, Credential: credential,
		Ready: p.ready,
		// At SIGTERM it would wait until its clients go.
		End: syscall.SIGINT,
	})

	return p, err
}

// ready is asked at every start, so it keeps nothing open.
func (p *Postgres) ready(ctx context.Context) error {
	admin, err := sql.Open("postgres", p.URL("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close()

	return admin.PingContext(ctx)
}

// URL leads to a database; postgres is there from the beginning. There is no password: the server listens on loopback
// and lives for minutes.
func (p *Postgres) URL(database string) string { return PostgresURL(p.Address, database) }

// PostgresURL leads to a database of a server that is reached at another address than its own, such as a Link's.
func PostgresURL(address, database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", address, database)
}

// postgresTools finds the programs of the newest installed server; distributions keep them off the path.
func postgresTools() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well formed
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })), nil
	}

	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNoPostgres
	}

	return filepath.Dir(path), nil
}

// major is the version in a path such as /usr/lib/postgresql/15/bin/initdb.
func major(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])

	return n
}

// postgresUser gives the folder to a user that PostgreSQL is willing to run as, and returns it; nil if we are one.
func postgresUser(folder string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}

	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("find a user to run postgres as: %w", err)
		}
	}

	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)

	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of user %s: %w", account.Username, err)
	}

	if err := os.Chown(folder, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("give postgres its folder: %w", err)
	}

	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
