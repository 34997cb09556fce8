// Package postgres keeps a journal in PostgreSQL 14 or newer. Any number of processes may share one.
//
// A batch of appends is one statement on a connection that this package holds itself, below database/sql: database/sql
// and lib/pq together run a statement again when its reply is lost, which would append twice. Reads go through a pool
// of database/sql, where a repeat does no harm.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/lib/pq"
)

// Journal is a journal in a PostgreSQL schema.
type Journal struct {
	config Config
	driver pq.Config
	schema string // quoted
	id     string

	writers chan *writer // those that are not in use; nil stands for one that is not connected
	read    *sql.DB
	alone   *sql.Conn // nil if others may write

	heads, last, page, load, list *sql.Stmt
	due, parked, tail, blocked    *sql.Stmt
	cell, cells                   *sql.Stmt
	deltas, lastDeltas, ring      *sql.Stmt
	services, records, kept, left *sql.Stmt

	unlucky sync.Mutex // see patience

	// running is held for reading by every call, and for writing by Close, which thereby waits for them.
	running sync.RWMutex
	closed  bool
}

// Open opens the journal in a schema, or makes it.
func Open(ctx context.Context, c Config) (_ *Journal, err error) {
	driver, err := c.validate()
	if err != nil {
		return nil, fmt.Errorf("open postgres journal: %w", err)
	}
	j := &Journal{config: c, driver: driver, schema: pq.QuoteIdentifier(c.Schema)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open postgres journal %s: %w", c.Schema, cmp.Or(ctx.Err(), err)), j.release())
		}
	}()
	connector, err := pq.NewConnectorConfig(driver)
	if err != nil {
		return nil, err
	}
	connector.Dialer(impatient{c.Timeout})
	j.read = sql.OpenDB(settled{connector, planningReads})
	j.read.SetMaxOpenConns(c.Readers)
	j.read.SetMaxIdleConns(c.Readers)
	j.read.SetConnMaxLifetime(connLifetime)
	if err := j.check(ctx); err != nil {
		return nil, err
	}
	if c.Alone {
		if err := j.takeAlone(ctx); err != nil {
			return nil, err
		}
	}
	if err := j.migrate(ctx); err != nil {
		return nil, err
	}
	if err := j.read.QueryRowContext(ctx, j.sql("SELECT value FROM {schema}.meta WHERE key = 'id'")).Scan(&j.id); err != nil {
		return nil, err
	}
	for _, p := range j.queries() {
		if *p.stmt, err = j.read.PrepareContext(ctx, j.sql(p.text)); err != nil {
			return nil, err
		}
	}
	j.writers = make(chan *writer, c.Writers)
	for range c.Writers {
		j.writers <- nil
	}
	return j, nil
}

type prepared struct {
	stmt **sql.Stmt
	text string
}

func (j *Journal) queries() []prepared {
	return []prepared{
		{&j.heads, headsSQL}, {&j.last, lastSQL}, {&j.page, pageSQL}, {&j.load, loadSQL}, {&j.list, listSQL},
		{&j.due, dueSQL}, {&j.parked, parkedSQL}, {&j.tail, tailSQL}, {&j.blocked, blockedSQL},
		{&j.cell, cellSQL}, {&j.cells, cellsSQL},
		{&j.deltas, deltasSQL}, {&j.lastDeltas, lastDeltasSQL}, {&j.ring, ringSQL},
		{&j.services, servicesSQL}, {&j.records, recordsSQL}, {&j.kept, keptSQL}, {&j.left, leftSQL},
	}
}

// check refuses a server that cannot hold a journal.
func (j *Journal) check(ctx context.Context) error {
	var version int
	var encoding, fsync, pages, commit, recovery string
	err := j.read.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery()::text`).
		Scan(&version, &encoding, &fsync, &pages, &commit, &recovery)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	var errs []error
	if version < 140000 {
		errs = append(errs, fmt.Errorf("the server is PostgreSQL %d; 14 or newer is needed", version/10000))
	}
	if encoding != "UTF8" {
		errs = append(errs, fmt.Errorf("the database's encoding is %s; make one with ENCODING 'UTF8'", encoding))
	}
	if recovery == "true" {
		errs = append(errs, errors.New("the server is a standby; connect to the primary (target_session_attrs=read-write)"))
	}
	if !j.config.AllowUnsafe {
		for _, s := range []struct{ name, value string }{{"fsync", fsync}, {"full_page_writes", pages}, {"synchronous_commit", commit}} {
			if s.value == "off" {
				errs = append(errs, fmt.Errorf("%s is off: the server may lose what it has acknowledged; turn it on, or allow it in the journal's configuration", s.name))
			}
		}
	}
	return errors.Join(errs...)
}

// Close implements journal.Journal.
func (j *Journal) Close() error {
	j.running.Lock()
	defer j.running.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	if err := j.release(); err != nil {
		return fmt.Errorf("close postgres journal: %w", err)
	}
	return nil
}

func (j *Journal) release() error {
	var errs []error
	for range len(j.writers) {
		if w := <-j.writers; w != nil {
			w.close()
		}
	}
	for _, p := range j.queries() {
		if *p.stmt != nil {
			errs = append(errs, (*p.stmt).Close())
		}
	}
	if j.alone != nil {
		if err := j.alone.Close(); !errors.Is(err, sql.ErrConnDone) { // which Held has told
			errs = append(errs, err)
		}
	}
	if j.read != nil {
		errs = append(errs, j.read.Close())
	}
	return errors.Join(errs...)
}
