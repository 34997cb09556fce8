//go:build unix

// Package postgrestest gives tests a real PostgreSQL.
package postgrestest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
)

// shared is the server of this test process, started by the first test that asks. It goes with the process.
var shared = sync.OnceValues(func() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return Start(ctx, Options{})
})

// server returns the URL of a server: that of TEST_DATABASE_URL if set, else of a temporary one that all tests of the
// process share. A test that changes the server has to Start one of its own. Without PostgreSQL's programs the test is
// skipped, except where CI is set: there it fails.
func server(t testing.TB) string {
	t.Helper()
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" {
		return given
	}
	s, err := shared()
	if errors.Is(err, ErrNoPrograms) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.URL()
}

// Main runs the tests of a package and stops the shared server, for use as TestMain's body. Without it the server goes
// a moment after the process.
func Main(m *testing.M) {
	code := m.Run()
	if os.Getenv("TEST_DATABASE_URL") == "" && started.Load() {
		if s, err := shared(); err == nil {
			if err := s.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
	}
	os.Exit(code)
}

// URL makes a database for the test and returns its URL. The database is dropped when the test ends.
func URL(t testing.TB) string {
	t.Helper()
	base := server(t)
	name := "test_" + strings.ToLower(rand.Text())
	admin(t, base, "CREATE DATABASE "+pq.QuoteIdentifier(name)+" TEMPLATE template0 ENCODING 'UTF8'")
	t.Cleanup(func() { admin(t, base, "DROP DATABASE "+pq.QuoteIdentifier(name)+" WITH (FORCE)") })
	return WithDatabase(t, base, name)
}

// WithDatabase returns a URL with another database.
func WithDatabase(t testing.TB, base, name string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil || u.Scheme == "" {
		t.Fatal("TEST_DATABASE_URL is not a URL") // the error would show a password
	}
	u.Path = "/" + name
	return u.String()
}

func admin(t testing.TB, base, statement string) {
	t.Helper()
	db, err := sql.Open("postgres", base)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}
