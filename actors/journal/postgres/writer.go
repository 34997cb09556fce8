package postgres

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/dapr-entities/entities/actors/journal"
)

// writer is a connection that writes. It is used by one call at a time.
type writer struct {
	conn driver.Conn
	wire net.Conn
	// prepared are the statements that were used, by their texts.
	prepared map[string]driver.StmtQueryContext
	born     time.Time
	used     time.Time
}

// errUnsent marks errors from before anything was sent: they leave nothing in doubt.
type errUnsent struct{ error }

func (e errUnsent) Unwrap() error { return e.error }

// write runs a prepared statement once, and never again, and hands its rows to row. Of its errors, those for which
// definite holds leave nothing behind.
func (j *Journal) write(
	ctx context.Context, statement string, args []driver.NamedValue, row func([]driver.Value),
) (err error) {
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	var w *writer
	select {
	case w = <-j.writers:
	case <-ctx.Done():
		return errUnsent{context.Cause(ctx)}
	}
	defer func() { j.writers <- w }()
	if w, err = j.ready(ctx, w); err != nil {
		return errUnsent{err}
	}
	stop := w.until(ctx)
	prepared, err := j.prepared(w, statement)
	if err != nil {
		stop()
		w.close()
		w = nil
		return errUnsent{cmp.Or(context.Cause(ctx), err)}
	}
	err = query(prepared, args, row)
	w.translate(err)
	if !stop() || err != nil && !definite(err) {
		if ctx.Err() != nil && !definite(err) {
			err = cmp.Or(err, context.Cause(ctx))
		}
		w.close()
		w = nil
		return err
	}
	w.used = time.Now()
	return err
}

func query(statement driver.StmtQueryContext, args []driver.NamedValue, row func([]driver.Value)) error {
	// The context is the writer's business: the driver would open another connection to cancel with.
	rows, err := statement.QueryContext(context.Background(), args)
	if err != nil {
		return err
	}
	values := make([]driver.Value, len(rows.Columns()))
	for {
		// The end comes only when the server is ready for the next statement, that is after the commit.
		if err := rows.Next(values); errors.Is(err, io.EOF) {
			return rows.Close()
		} else if err != nil {
			_ = rows.Close() // the same error
			return err
		}
		row(values)
	}
}

// translate says how severe an error of a server is that speaks another language: the driver gives the word that is meant
// for people. After an ERROR the server goes on with the connection, after anything worse it does not.
func (w *writer) translate(err error) {
	e, ok := errors.AsType[*pq.Error](err)
	if !ok || e.Severity == severityError || e.Severity == pqerror.SeverityFatal || e.Severity == pqerror.SeverityPanic {
		return
	}
	if w.conn.(driver.Pinger).Ping(context.Background()) == nil {
		e.Severity = severityError
	}
}

// until makes the writer's connection fail when ctx ends. The function it returns ends that, and reports false if it
// has happened.
func (w *writer) until(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { _ = w.wire.SetDeadline(time.Unix(1, 0)) })
}

// ready returns w if it is young and alive, else a new writer.
func (j *Journal) ready(ctx context.Context, w *writer) (*writer, error) {
	if w != nil && time.Since(w.born) < connLifetime {
		if time.Since(w.used) < time.Second {
			return w, nil
		}
		stop := w.until(ctx)
		err := w.conn.(driver.Pinger).Ping(context.Background())
		if stop() && err == nil {
			return w, nil
		}
	}
	if w != nil {
		w.close()
	}
	return j.connect(ctx)
}

// planning makes sessions run our statements by their indexes: that is best whatever the statistics say, and new tables
// have none. None of them is worth planning again for its arguments. Those that write join their arguments with each
// other, which those that read do not: those have nothing to join but by an index.
const (
	planning = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off;
		SET max_parallel_workers_per_gather = 0;`
	planningReads = planning + "SET enable_hashjoin = off; SET enable_mergejoin = off"
)

func (j *Journal) connect(ctx context.Context) (made *writer, err error) {
	connector, err := pq.NewConnectorConfig(j.driver)
	if err != nil {
		return nil, err
	}
	w := &writer{prepared: map[string]driver.StmtQueryContext{}, born: time.Now(), used: time.Now()}
	connector.Dialer(&dialer{w: w, ctx: ctx})
	if w.conn, err = connector.Connect(ctx); err != nil {
		return nil, err
	}
	stop := w.until(ctx)
	defer func() {
		if !stop() || err != nil {
			w.close()
			made, err = nil, cmp.Or(err, context.Cause(ctx))
			return
		}
		// The dialer's deadline was for connecting. The driver takes back none but its own.
		if err = w.wire.SetDeadline(time.Time{}); err != nil {
			w.close()
			made = nil
		}
	}()
	settings := fmt.Sprintf(`SET statement_timeout = %d; SET idle_in_transaction_session_timeout = %[1]d;
		%s`, j.config.Timeout.Milliseconds(), planning)
	if _, err := w.conn.(driver.ExecerContext).ExecContext(context.Background(), settings, nil); err != nil {
		return nil, err
	}
	if err := j.share(w); err != nil {
		return nil, err
	}
	return w, nil
}

// prepared prepares a statement that the writer has not used yet.
func (j *Journal) prepared(w *writer, statement string) (driver.StmtQueryContext, error) {
	if known := w.prepared[statement]; known != nil {
		return known, nil
	}
	made, err := w.conn.Prepare(j.sql(statement))
	if err != nil {
		return nil, err
	}
	w.prepared[statement] = made.(driver.StmtQueryContext)
	return w.prepared[statement], nil
}

// close lets go of the connection. What the server says to that does not matter any more.
func (w *writer) close() {
	if w.conn != nil {
		_ = w.wire.SetDeadline(time.Now().Add(time.Second))
		_ = w.conn.Close()
	}
	if w.wire != nil {
		_ = w.wire.Close()
	}
}

var _ journal.Journal = (*Journal)(nil)
