package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"time"

	"github.com/lib/pq"

	"github.com/dapr-entities/entities/actors/journal"
)

var _ journal.Deltas = (*Journal)(nil)

const putDeltasSQL = `
INSERT INTO {schema}.deltas AS d (grp, origin, number, body)
SELECT $1::text, $2::int8, $3::int8 + q.n - 1, q.body FROM unnest($4::bytea[]) WITH ORDINALITY AS q(body, n) ORDER BY q.n
ON CONFLICT (grp, origin, number) DO NOTHING`

// originsText finds the origins of a group by a look at the index for each.
const originsText = `
WITH RECURSIVE o AS (
  (SELECT d.origin FROM {schema}.deltas d WHERE d.grp = $1 ORDER BY d.origin LIMIT 1)
  UNION ALL
  SELECT (SELECT d.origin FROM {schema}.deltas d WHERE d.grp = $1 AND d.origin > o.origin ORDER BY d.origin LIMIT 1)
  FROM o WHERE o.origin IS NOT NULL
)`

// deltasSQL takes the first ones of every origin before the second ones of any, so that none has to wait for another, and
// none is cut in the middle.
const deltasSQL = originsText + `, c AS MATERIALIZED (
  SELECT c.* FROM unnest($2::int8[], $3::int8[]) AS c(origin, number)
)
SELECT d.origin, d.number, d.body FROM (
  SELECT d.*, sum(d.size) OVER (ORDER BY d.n, d.origin ROWS UNBOUNDED PRECEDING) - d.size AS before
  FROM o CROSS JOIN LATERAL (
    SELECT d.*, octet_length(d.body) AS size, row_number() OVER (ORDER BY d.number) AS n FROM {schema}.deltas d
    WHERE d.grp = $1 AND d.origin = o.origin
      AND d.number > coalesce((SELECT max(c.number) FROM c WHERE c.origin = o.origin), 0)
    ORDER BY d.number LIMIT 256) d
  WHERE o.origin IS NOT NULL) d
WHERE d.before < {page} ORDER BY d.n, d.origin`

const lastDeltasSQL = originsText + `
SELECT o.origin, (
  SELECT d.number FROM {schema}.deltas d WHERE d.grp = $1 AND d.origin = o.origin ORDER BY d.number DESC LIMIT 1)
FROM o WHERE o.origin IS NOT NULL`

// trimDeltasSQL removes some at a time, and returns how many.
const trimDeltasSQL = `
WITH old AS MATERIALIZED (
  SELECT d.grp, d.origin, d.number FROM {schema}.deltas d WHERE d.at < clock_timestamp() - $1::int8 * interval '1 microsecond'
  ORDER BY d.at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM {schema}.deltas d USING old
  WHERE d.grp = old.grp AND d.origin = old.origin AND d.number = old.number
  RETURNING 1
)
SELECT count(*) FROM gone`

const trimAtOnce = 5000

const ringSQL = `SELECT pg_notify('entities_deltas', $1)`

// channel of the bells, of all journals in the database.
const channel = "entities_deltas"

// PutDeltas implements journal.Deltas.
func (j *Journal) PutDeltas(ctx context.Context, group string, origin, first int64, deltas [][]byte) error {
	if err := validDeltas(group, origin, first, deltas); err != nil {
		return fmt.Errorf("write deltas: %w", err)
	}
	if len(deltas) == 0 {
		return nil
	}
	size := 0
	for _, d := range deltas {
		size += len(d) + 4
	}
	bodies := newArray(oidBytea, size)
	for _, d := range deltas {
		bodies.bytes(d)
	}
	if err := j.change(ctx, putDeltasSQL, values(group, origin, first, bodies.encode()), nothing); err != nil {
		return fmt.Errorf("write %d deltas: %w", len(deltas), err)
	}
	return nil
}

func validDeltas(group string, origin, first int64, deltas [][]byte) error {
	if err := validDeltaGroup(group); err != nil {
		return err
	}
	if origin <= 0 || first <= 0 {
		return fmt.Errorf("the origin is %d and the first number %d; both are positive", origin, first)
	}
	for _, d := range deltas {
		if len(d) > journal.MaxDeltaBytes {
			return fmt.Errorf("one has %d bytes, at most %d are allowed", len(d), journal.MaxDeltaBytes)
		}
	}
	return nil
}

func validDeltaGroup(group string) error {
	if group == "" || len(group) > journal.MaxDeltaGroupBytes || !storable(group) {
		return fmt.Errorf("the group %.40q is not 1 to %d bytes of UTF-8 without zero bytes", group, journal.MaxDeltaGroupBytes)
	}
	return nil
}

// Deltas implements journal.Deltas.
func (j *Journal) Deltas(ctx context.Context, group string, after map[int64]int64) (list []journal.Delta, err error) {
	origins, numbers := newArray(oidInt8, 12*len(after)), newArray(oidInt8, 12*len(after))
	for origin, number := range after {
		origins.int8(origin)
		numbers.int8(number)
	}
	if err = validDeltaGroup(group); err == nil {
		err = j.view(ctx, j.deltas, func(r *sql.Rows) (bool, error) {
			var d journal.Delta
			err := r.Scan(&d.Origin, &d.Number, &d.Body)
			list = append(list, d)
			return true, err
		}, group, origins.encode(), numbers.encode())
	}
	if err != nil {
		return nil, fmt.Errorf("read deltas: %w", err)
	}
	return list, nil
}

// LastDeltas implements journal.Deltas.
func (j *Journal) LastDeltas(ctx context.Context, group string) (last map[int64]int64, err error) {
	last = map[int64]int64{}
	if err = validDeltaGroup(group); err == nil {
		err = j.view(ctx, j.lastDeltas, func(r *sql.Rows) (bool, error) {
			var origin, number int64
			err := r.Scan(&origin, &number)
			last[origin] = number
			return true, err
		}, group)
	}
	if err != nil {
		return nil, fmt.Errorf("read where deltas end: %w", err)
	}
	return last, nil
}

// TrimDeltas implements journal.Deltas.
func (j *Journal) TrimDeltas(ctx context.Context, age time.Duration) error {
	for n := int64(trimAtOnce); n >= trimAtOnce; {
		err := j.change(ctx, trimDeltasSQL, values(age.Microseconds(), int64(trimAtOnce)), func(row []driver.Value) { n = row[0].(int64) })
		if err != nil {
			return fmt.Errorf("remove old deltas: %w", err)
		}
	}
	return nil
}

// bell is what a notification says: the channel is that of all journals of the database.
func (j *Journal) bell(group string) string { return j.config.Schema + "/" + group }

// RingDeltas implements journal.Deltas.
func (j *Journal) RingDeltas(ctx context.Context, group string) error {
	err := validDeltaGroup(group)
	if err == nil {
		err = j.view(ctx, j.ring, func(*sql.Rows) (bool, error) { return false, nil }, j.bell(group))
	}
	if err != nil {
		return fmt.Errorf("tell of deltas: %w", err)
	}
	return nil
}

// ListenDeltas implements journal.Deltas.
func (j *Journal) ListenDeltas(ctx context.Context, group string, rang func()) error {
	if err := validDeltaGroup(group); err != nil {
		return fmt.Errorf("listen for deltas: %w", err)
	}
	listener := pq.NewDialListener(listening{ctx}, j.config.URL, 100*time.Millisecond, time.Second, nil)
	hangUp := func() { _ = listener.Close() } // a second time as a rule
	defer func() {
		hangUp()
		for range listener.Notify { // until the listener has ended
		}
	}()
	defer context.AfterFunc(ctx, hangUp)()
	if err := listener.Listen(channel); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listen for deltas: %w", err)
	}
	rang()
	want := j.bell(group)
	for n := range listener.Notify {
		if n == nil || n.Extra == want { // nil: connected again
			rang()
		}
	}
	return nil
}

// listening makes connections that end with a context, whatever the driver waits for.
type listening struct{ ctx context.Context }

func (l listening) Dial(network, address string) (net.Conn, error) {
	return l.DialTimeout(network, address, 10*time.Second)
}

func (l listening) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: timeout, KeepAlive: 10 * time.Second}).DialContext(l.ctx, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(l.ctx, func() { _ = conn.Close() })
	return &hungUp{conn, stop}, nil
}

// hungUp lets go of the context when it is closed.
type hungUp struct {
	net.Conn
	stop func() bool
}

func (h *hungUp) Close() error {
	h.stop()
	return h.Conn.Close()
}
