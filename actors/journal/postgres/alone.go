package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lib/pq"

	"github.com/dapr-entities/entities/actors/journal"
)

// Every session that writes shares a lock with the others, for as long as it lives. Who has the journal alone has that lock
// for himself: so nobody can write while he has it, and he does not get it while somebody can.

// lockOf is the expression of that lock's key.
func (j *Journal) lockOf() string {
	return "hashtextextended(" + pq.QuoteLiteral("entities writers "+j.config.Schema) + ", 0)"
}

// errTaken is what others get who want to write.
var errTaken = fmt.Errorf("%w: somebody has it alone, to move it to another back end; when that is done, write to the new one", journal.ErrUnavailable)

// alonePatience is how long sessions may take to end whose process has just ended.
const alonePatience = 3 * time.Second

// takeAlone takes the lock, and keeps the connection that has it.
func (j *Journal) takeAlone(ctx context.Context) (err error) {
	if j.alone, err = j.read.Conn(ctx); err != nil {
		return err
	}
	if _, err := j.alone.ExecContext(ctx, "SET idle_session_timeout = 0"); err != nil {
		return err
	}
	for began := time.Now(); ; {
		var ok bool
		if err := j.alone.QueryRowContext(ctx, "SELECT pg_try_advisory_lock("+j.lockOf()+")").Scan(&ok); err != nil {
			return fmt.Errorf("lock out those who write: %w", err)
		}
		if ok {
			return nil
		}
		if time.Since(began) > alonePatience {
			return j.inUse(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// inUse names those who write.
func (j *Journal) inUse(ctx context.Context) error {
	var who sql.NullString
	err := j.alone.QueryRowContext(ctx, `SELECT string_agg(DISTINCT format('%s at %s', application_name, coalesce(host(client_addr), 'its own machine')), ', ')
		FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND datname = current_database()
			AND (classid::bigint << 32 | objid::bigint) = `+j.lockOf()).Scan(&who)
	if err != nil {
		return err
	}
	if who.String == "" {
		who.String = "somebody"
	}
	return fmt.Errorf("it is in use by %s; stop the components that have it open, and try again", who.String)
}

// Held reports whether nobody else has been able to write since the journal was opened alone. An error says that somebody
// may have.
func (j *Journal) Held(ctx context.Context) error {
	if j.alone == nil {
		return errors.New("the journal is not opened alone")
	}
	if err := j.alone.PingContext(ctx); err != nil {
		return fmt.Errorf("the connection that kept others from writing to the journal has ended: %w", err)
	}
	return nil
}

// share takes part in the lock of those who write.
func (j *Journal) share(w *writer) error {
	if j.config.Alone {
		return nil
	}
	rows, err := w.conn.(driver.QueryerContext).QueryContext(context.Background(), "SELECT pg_try_advisory_lock_shared("+j.lockOf()+")", nil)
	if err != nil {
		return err
	}
	ok := make([]driver.Value, 1)
	err = rows.Next(ok)
	if err == nil {
		if end := rows.Next(make([]driver.Value, 1)); !errors.Is(end, io.EOF) {
			err = end
		}
	}
	if err = errors.Join(err, rows.Close()); err != nil {
		return err
	}
	if ok[0] != true {
		return errTaken
	}
	return nil
}
