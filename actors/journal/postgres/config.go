package postgres

import (
	"cmp"
	"errors"
	"time"

	"github.com/lib/pq"
)

// Config of a journal. URL is needed.
type Config struct {
	// URL as libpq takes it: postgres://user:password@host:port/database?sslmode=verify-full. It is never shown.
	URL string
	// Schema that holds the journal, made if need be. Defaults to entities.
	Schema string
	// Writers is the number of connections that append. Defaults to 2; batches cost less than connections.
	Writers int
	// Readers is the number of connections that read. Defaults to 4.
	Readers int
	// Timeout bounds one write: what the server has not finished by then is Unknown. It also bounds the wait for a
	// server that says nothing to a read, whose context the driver does not heed while it waits. Defaults to 30 s.
	Timeout time.Duration
	// AllowUnsafe opens a journal on a server that may lose what it has acknowledged (fsync, full_page_writes or
	// synchronous_commit is off).
	AllowUnsafe bool
	// Alone opens the journal only if nobody else can write to it, and keeps everybody else from writing until it is
	// closed. Held reports whether that has gone well.
	Alone bool
}

// connLifetime replaces connections, because one whose server has moved, or that the driver has left in a bad state,
// may not say so by itself.
const connLifetime = time.Minute

func (c *Config) validate() (pq.Config, error) {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("URL is empty; give one such as postgres://user@host/database"))
	}
	if c.Writers < 0 || c.Readers < 0 || c.Timeout < 0 {
		errs = append(errs, errors.New("Writers, Readers and Timeout must not be negative"))
	}
	c.Schema = cmp.Or(c.Schema, "entities")
	if len(c.Schema) > 63 {
		errs = append(errs, errors.New("Schema is longer than 63 bytes"))
	}
	c.Writers, c.Readers, c.Timeout = cmp.Or(c.Writers, 2), cmp.Or(c.Readers, 4), cmp.Or(c.Timeout, 30*time.Second)
	if len(errs) > 0 {
		return pq.Config{}, errors.Join(errs...)
	}
	driver, err := pq.NewConfig(c.URL)
	if err != nil {
		return pq.Config{}, errors.New("URL is not understood; its form is postgres://user:password@host:port/database?sslmode=… (it is not shown here, because it may hold a password)")
	}
	driver.BinaryParameters = true // one round trip for statements that are not prepared, and arrays as they are
	if driver.ApplicationName == "" {
		driver.ApplicationName = "entities"
	}
	return driver, nil
}
