//go:build unix

package postgrestest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrNoPrograms is matched by Start's error where PostgreSQL is not installed.
var ErrNoPrograms = errors.New("no PostgreSQL programs (initdb, postgres) in PATH or /usr/lib/postgresql/*/bin, and TEST_DATABASE_URL is not set")

var started atomic.Bool

// Options of a server.
type Options struct {
	// Settings are added to postgresql.conf, such as fsync=off. Fsync is on by default.
	Settings map[string]string
}

// Server is a temporary PostgreSQL on the loopback interface, with a user test and a database postgres. Its methods are
// for one goroutine.
type Server struct {
	bin, folder string
	port        int
	account     *syscall.Credential
	process     *exec.Cmd
	ended       chan struct{}
	output      bytes.Buffer

	janitor *exec.Cmd
	alive   io.Closer
}

// Start makes and starts a server. Close it.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	started.Store(true)
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	// The name is short, because a socket's path must be.
	folder, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, folder: folder}
	if err := s.hireJanitor(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a PostgreSQL for tests: %w", err), s.Close())
		}
	}()
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		s.account = nobody()
		if err := os.Chown(folder, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	settings := map[string]string{
		"listen_addresses": "'127.0.0.1'", "port": fmt.Sprint(s.port), "unix_socket_directories": "'" + folder + "'",
		"max_connections": "200", "shared_buffers": "'64MB'", "logging_collector": "off",
	}
	maps.Copy(settings, o.Settings)
	var conf strings.Builder
	for key, value := range settings {
		fmt.Fprintf(&conf, "%s = %s\n", key, value)
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString(conf.String())
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return s, s.Restart(ctx)
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// URL of the server's database postgres, over TCP.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// SocketURL is URL over the unix socket.
func (s *Server) SocketURL() string {
	q := url.Values{"host": {s.folder}, "port": {fmt.Sprint(s.port)}, "sslmode": {"disable"}}
	return "postgres://test@/postgres?" + q.Encode()
}

// Address is where it listens.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Restart starts a server that was stopped or killed, and waits until it answers.
func (s *Server) Restart(ctx context.Context) error {
	s.output.Reset()
	s.process = s.command("postgres", "-D", s.data())
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) { // Stop, Kill and Close wait for it
		_ = process.Wait()
		close(ended)
	}(s.process, s.ended)
	db, err := sql.Open("postgres", s.URL())
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended: %s", s.output.String())
		case <-ctx.Done():
			return fmt.Errorf("wait for its first answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends it in an orderly way ("fast": running transactions are aborted).
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill ends it as a crash does ("immediate"); the next start recovers from the log.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(signal syscall.Signal) {
	if s.process == nil || s.process.Process == nil {
		return
	}
	_ = s.process.Process.Signal(signal) // it may be gone
	if s.ended != nil {
		<-s.ended
	}
	s.process = nil
}

// Close kills the server and removes its files. A second Close does nothing.
func (s *Server) Close() error {
	s.Kill()
	if s.janitor == nil {
		return nil
	}
	err := errors.Join(s.alive.Close(), s.janitor.Wait())
	s.janitor = nil
	return err
}

// hireJanitor starts a shell that waits until its input ends, which happens when this process closes it or dies, by
// whatever death, and then kills the server and removes its files.
func (s *Server) hireJanitor() (err error) {
	const script = `cat
pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$0" 2>/dev/null && exit 0; sleep 0.2; done; exit 1`
	s.janitor = exec.Command("sh", "-c", script, s.folder)
	s.janitor.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is not for it
	if s.alive, err = s.janitor.StdinPipe(); err != nil {
		return err
	}
	return s.janitor.Start()
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, program), args...)
	c.Dir = s.folder
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if s.account != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	}
	return c
}

// nobody is an account that exists everywhere and owns nothing.
func nobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrNoPrograms
	}
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
